# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Rivals are searched once a set; hardened targets are attacked, not defended."""

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
def hardened(tiny_target):
    training = Training(1, batch_size=4)
    attack = PGD(0.05, max_steps=1)
    return {"a, hardened": AdversarialTarget(partial(tiny_target, 3), training, after="a", attack=attack)}


@pytest.fixture
def study(tiny_study, targets, hardened):
    made = tiny_study(targets=targets, hardened=hardened, rivals={"gan": GAN})
    made.run()
    return made


def test_a_clean_slice_is_searched_once_for_all_targets(tiny_study, targets, record):
    tiny_study(targets=targets, rivals={"gan": GAN}).run()
    # validation, clean, and two attacks on two targets, raw and exported
    assert sum(heading == "found/gan" for heading, _ in record.kept) == 2 + 2 * 2 * 2
    # the clean ones are segmented by both targets, the attacked ones by their own
    assert sum(heading == "counts/gan" for heading, _ in record.kept) == 2 + 2 * 2 * 2
    assert sum(heading == "rivals" for heading, _ in record.kept) == 1
    record.clear()
    tiny_study(targets=targets, rivals={"gan": GAN}).run()
    assert record.kept == []


def test_another_search_trains_no_generator_again(tiny_study, record):
    tiny_study(rivals={"gan": GAN}).run()
    record.clear()
    tiny_study(rivals={"gan": replace(GAN, search={"steps": 4, "restarts": 1})}).run()
    assert {heading for heading, _ in record.kept} == {"found/gan", "counts/gan"}


def test_its_images_are_the_rows_that_it_says(study):
    for which in (ImageSet("clean"), ImageSet("PGD", "a", "raw")):
        rows = study.rivals.rows("gan", which)
        # the first of the two slices of each of three scans
        assert rows.tolist() == [0, 2, 4]
        found = study.cells.load(*study.rivals.search_key("gan", which))
        small, error = study.rivals.defense("gan").reconstruct(study.images(which)[rows])
        torch.testing.assert_close(found["images"], small)
        torch.testing.assert_close(found["scores"], error.double())
    assert study.rivals.rows("gan", ImageSet("val")).tolist() == list(range(0, 12, 2))


def test_its_dice_is_that_of_the_target_on_what_it_found(study):
    which = ImageSet("DAG", "b", "exported")
    rows = study.rivals.rows("gan", which)
    small, _ = study.rivals.defense("gan").reconstruct(study.images(which)[rows])
    with torch.no_grad():
        prediction = study.target("b")(resample(small, (16, 16))).argmax(1)
    label = study.labels(which)[rows][:, 0]
    counts = study.cells.load(*study.rivals.count_key("gan", which, "b"))["counts"]
    for structure in (1, 2):
        both = ((prediction == structure) & (label == structure)).flatten(1).sum(1)
        torch.testing.assert_close(counts[:, structure - 1, 0], both)


def test_the_rows_of_a_rival(study):
    results = DefenseSummary(study, resamples=20).as_dict()
    assert len(results["rivals"]) == 2 * (2 * 2 * 2 + 3 * 2)  # as it is and adjusted; each, pooled, mean
    rows = find(results["rivals"], adjusted=False)
    adjusted = find(results["rivals"], adjusted=True, target="a", attack="PGD", variant="raw")[0]
    clean, attacked = (
        study.cells.load(*study.rivals.search_key("gan", which))["scores"].numpy()
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
    tables = defense_tables(results | {"comparisons": [], "settings": study.described()})
    assert "gan" in tables["Rivals, pooled, exported"]


def test_a_hardened_target_is_attacked_and_not_defended(study, record):
    results = DefenseSummary(study, resamples=20).as_dict()
    assert [row["target"] for row in results["targets"]] == ["a", "b", "a, hardened"]
    assert [row["hardened"] for row in results["targets"]] == [False, False, True]
    assert len(find(results["undefended"], target="a, hardened")) == 2 * 2
    for table in ("detection", "defenses", "rivals"):
        assert not find(results[table], target="a, hardened")
    assert not (study.cells.folder / "scores" / "a__hardened__PGD__raw").exists()
    tables = defense_tables(results | {"settings": study.described()})
    assert "a, hardened" in tables["Attacks on bare targets"]
    assert "a, hardened" not in tables["AUC, paper, exported"]


def test_a_hardened_target_follows_the_one_it_begins_with(tiny_study, targets, hardened):
    longer = targets | {"a": replace(targets["a"], training=Training(2, batch_size=4))}
    one, other = (tiny_study(targets=each, hardened=hardened) for each in (targets, longer))
    assert one.target_fingerprint("a, hardened") != other.target_fingerprint("a, hardened")


def test_a_target_that_begins_with_another_is_hardened(tiny_study, targets, hardened):
    with pytest.raises(ValueError, match="belongs to the hardened"):
        tiny_study(targets=targets | hardened)
    with pytest.raises(ValueError, match="hardened targets name what is not there: a"):
        tiny_study(hardened=hardened)


def test_what_a_training_needed_to_go_on_is_gone_with_its_end(study):
    assert not list(study.cells.folder.rglob("*.checkpoint"))
