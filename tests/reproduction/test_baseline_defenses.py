# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Baseline defenses are searched once a set; robust targets are attacked, not defended."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from monai_shield.attacks import PGD
from reproduction.baseline_defenses import DefenseGANPart
from reproduction.dcgan import dcgan_critic, dcgan_generator
from reproduction.defense_gan import resample
from reproduction.image_set import ImageSet
from reproduction.parts import TargetPart
from reproduction.robust_targets import AdversarialTarget
from reproduction.summary import DefenseSummary
from reproduction.tables import defense_tables, find
from reproduction.training import Training

GAN = DefenseGANPart(
    partial(dcgan_generator, 4, (4, 4)),
    partial(dcgan_critic, (4, 4), size=16),
    latent=4,
    steps=2,
    size=16,
    every=2,
    training={"checkpoint_interval": 1, "critic_steps": 1, "batch_size": 4},
    search={"steps": 3, "restarts": 1},
)


@pytest.fixture
def targets(tiny_target):
    training = Training(1, batch_size=4)
    return {name: TargetPart(partial(tiny_target, channels), training) for name, channels in zip("ab", (3, 4))}


@pytest.fixture
def robust(tiny_target):
    training = Training(1, batch_size=4)
    attack = PGD(0.05, max_steps=1)
    return {"a, robust": AdversarialTarget(partial(tiny_target, 3), training, after="a", attack=attack)}


@pytest.fixture
def study(tiny_study, targets, robust):
    made = tiny_study(targets=targets, robust_targets=robust, baseline_defenses={"gan": GAN})
    made.run()
    return made


def test_a_clean_slice_is_searched_once_for_all_targets(tiny_study, targets, record):
    tiny_study(targets=targets, baseline_defenses={"gan": GAN}).run()
    # validation, clean, and two attacks on two targets, raw and exported
    assert sum(heading == "found/gan" for heading, _ in record.kept) == 2 + 2 * 2 * 2
    # the clean ones are segmented by both targets, the attacked ones by their own
    assert sum(heading == "counts/gan" for heading, _ in record.kept) == 2 + 2 * 2 * 2
    assert sum(heading == "baseline_defenses" for heading, _ in record.kept) == 1
    record.clear()
    tiny_study(targets=targets, baseline_defenses={"gan": GAN}).run()
    assert record.kept == []


def test_another_search_trains_no_generator_again(tiny_study, record):
    tiny_study(baseline_defenses={"gan": GAN}).run()
    record.clear()
    tiny_study(baseline_defenses={"gan": replace(GAN, search={"steps": 4, "restarts": 1})}).run()
    assert {heading for heading, _ in record.kept} == {"found/gan", "counts/gan"}


def test_its_images_are_the_rows_that_it_says(study):
    for which in (ImageSet("clean"), ImageSet("PGD", "a", "raw")):
        rows = study.baselines.rows("gan", which)
        # the first of the two slices of each of three scans
        assert rows.tolist() == [0, 2, 4]
        found = study.cells.load(*study.baselines.search_key("gan", which))
        small, error = study.networks.baseline_defense("gan").reconstruct(study.images.images(which)[rows])
        torch.testing.assert_close(found["images"], small)
        torch.testing.assert_close(found["scores"], error.double())
    assert study.baselines.rows("gan", ImageSet("val")).tolist() == list(range(0, 12, 2))


def test_its_dice_is_that_of_the_target_on_what_it_found(study):
    which = ImageSet("DAG", "b", "exported")
    rows = study.baselines.rows("gan", which)
    small, _ = study.networks.baseline_defense("gan").reconstruct(study.images.images(which)[rows])
    with torch.no_grad():
        prediction = study.networks.target("b")(resample(small, (16, 16))).argmax(1)
    label = study.images.labels(which)[rows][:, 0]
    counts = study.cells.load(*study.baselines.count_key("gan", which, "b"))["counts"]
    for structure in (1, 2):
        both = ((prediction == structure) & (label == structure)).flatten(1).sum(1)
        torch.testing.assert_close(counts[:, structure - 1, 0], both)


def test_the_rows_of_a_baseline_defense(study):
    results = DefenseSummary(study, resamples=20).as_dict()
    assert len(results["baseline_defenses"]) == 2 * (2 * 2 * 2 + 3 * 2)  # as it is and adjusted; each, pooled, mean
    rows = find(results["baseline_defenses"], adjusted=False)
    adjusted = find(results["baseline_defenses"], adjusted=True, target="a", attack="PGD", variant="raw")[0]
    clean, attacked = (
        study.cells.load(*study.baselines.search_key("gan", which))["scores"].numpy()
        for which in (ImageSet("clean"), ImageSet("PGD", "a", "raw"))
    )
    truth = np.r_[np.zeros(len(clean)), np.ones(len(attacked))]
    expected = 100 * roc_auc_score(truth, np.r_[clean, attacked])
    found = find(rows, target="a", attack="PGD", variant="raw")[0]
    assert found["auc"]["value"] == pytest.approx(expected)
    # every slice of these subjects has as much foreground: judged by it the order is the same, and so is the threshold
    same = ("auc", "accepted_attacked", "harm", "reformed")
    assert [adjusted[name] for name in same] == [found[name] for name in same]
    parts = [find(rows, target=t, attack=a, variant="raw")[0] for t in "ab" for a in ("PGD", "DAG")]
    mean = find(rows, target="mean", attack="pooled", variant="raw")[0]
    assert mean["auc"]["value"] == pytest.approx(np.mean([part["auc"]["value"] for part in parts]))
    tables = defense_tables(results | {"comparisons": [], "settings": study.settings_as_dict()})
    assert "gan" in tables["Baseline defenses, pooled, exported"]


def test_a_robust_target_is_attacked_and_not_defended(study, record):
    results = DefenseSummary(study, resamples=20).as_dict()
    assert [row["target"] for row in results["targets"]] == ["a", "b", "a, robust"]
    assert [row["robust"] for row in results["targets"]] == [False, False, True]
    assert len(find(results["undefended"], target="a, robust")) == 2 * 2
    for table in ("detection", "defenses", "baseline_defenses"):
        assert not find(results[table], target="a, robust")
    assert not (study.cells.folder / "scores" / "a__robust__PGD__raw").exists()
    tables = defense_tables(results | {"settings": study.settings_as_dict()})
    assert "a, robust" in tables["Attacks on bare targets"]
    assert "a, robust" not in tables["AUC, paper, exported"]


def test_a_robust_target_follows_the_one_it_begins_with(tiny_study, targets, robust):
    longer = targets | {"a": replace(targets["a"], training=Training(2, batch_size=4))}
    one, other = (tiny_study(targets=each, robust_targets=robust) for each in (targets, longer))
    assert one.networks.target_fingerprint("a, robust") != other.networks.target_fingerprint("a, robust")


def test_a_target_that_begins_with_another_is_a_robust_one(tiny_study, targets, robust):
    with pytest.raises(ValueError, match="belongs to the robust targets"):
        tiny_study(targets=targets | robust)
    with pytest.raises(ValueError, match="robust_targets: there is no 'a'"):
        tiny_study(robust_targets=robust)


def test_what_a_training_needed_to_go_on_is_gone_with_its_end(study):
    assert not list(study.cells.folder.rglob("*.checkpoint"))
