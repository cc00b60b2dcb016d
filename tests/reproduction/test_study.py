# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A study of defenses computes everything once, and again only what changed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from monai_shield.attacks import PGD
from monai_shield.detectors import PredictionConsistency
from monai_shield.evaluation.cells import CellStore
from monai_shield.locks import RefusedError, one_run
from monai_shield.metrics import overlap_counts
from reproduction.parts import AttackPart
from reproduction.study import DefenseStudy, ImageSet
from reproduction.summary import DefenseSummary
from reproduction.training import Training

ATTACKED = [f"tiny, {attack}, {variant}" for attack in ("PGD", "DAG") for variant in ("raw", "exported")]
THREE = {
    "1": ("spatial", "convolution"),
    "2": ("shifted", "convolution"),
    "3": ("spatial", "shifted", "convolution"),
}


def results(study: DefenseStudy) -> str:
    return json.dumps(DefenseSummary(study, resamples=20).as_dict())


def places(attacked: list[tuple[str, list[int]]]) -> list[tuple[str, int]]:
    return sorted((attack, place) for attack, found in attacked for place in found)


def test_all_defenses_share_what_is_computed_once(tiny_study, record) -> None:
    study = tiny_study(defenses=THREE)
    study.run()
    assert record.trained == 3  # a target, two detectors
    # three scans, two slices each, by either attack
    chosen = [place for scan in study.data.volumes.values() for place in scan.chosen.tolist()]
    assert len(chosen) == 6
    assert places(record.attacked) == sorted(
        (repr(part.attack), place) for part in study.grid.attacks.values() for place in chosen
    )
    assert len(record.kept) == len(set(record.kept))
    first = results(study)
    record.clear()
    again = tiny_study(defenses=THREE)
    again.run()
    assert (record.trained, record.attacked, record.kept, record.asked) == (0, [], [], 0)
    assert results(again) == first


def test_predictions_are_shared_by_detectors_and_dice(tiny_study, record) -> None:
    study = tiny_study(defenses=THREE)
    study.run()
    whole = results(study)
    for folder in ("scores", "counts"):
        shutil.rmtree(study.cells.folder / folder)
    record.clear()
    again = tiny_study(defenses=THREE)
    again.run()
    # though two detectors look at predictions, three defenses answer, and Dice has four variants
    reformer = again.networks.reformer("convolution")
    for attack in study.grid.attacks:
        for variant in ("raw", "exported"):
            images = again.images.images(ImageSet(attack, "tiny", variant))
            with torch.no_grad():
                assert record.seen(images) == record.seen(reformer(images)) == {1}
    assert results(again) == whole


def test_a_run_that_was_killed_goes_on(tiny_study, record) -> None:
    straight = tiny_study("straight", batch_size=1)
    straight.run()
    whole = list(record.attacked)
    record.clear()
    record.limit = 4
    with pytest.raises(KeyboardInterrupt):
        tiny_study("killed", batch_size=1).run()
    before = list(record.attacked)
    record.clear()
    record.limit = None
    study = tiny_study("killed", batch_size=1)
    study.run()
    assert record.trained == 0
    assert len(before) == 4
    assert sorted(before + record.attacked) == sorted(whole)
    assert results(study) == results(straight)


def test_a_second_run_in_its_folder_is_refused_before_it_touches_anything(tiny_study, record) -> None:
    study = tiny_study()
    with one_run(study.output_dir), pytest.raises(RefusedError, match=f"another run writes to '{study.output_dir}'"):
        study.run()
    assert record.kept == []
    assert [path.name for path in study.output_dir.iterdir()] == [".lock"]


def test_a_batch_in_which_a_run_was_killed_is_attacked_as_a_whole(tiny_study, study_data, record, monkeypatch) -> None:
    """Among other slices the rest of it would come out otherwise in the last digits."""
    settings = {"data": study_data(slices_per_volume=5), "batch_size": 3}
    straight = tiny_study("straight", **settings)
    straight.run()
    whole = list(record.attacked)
    put, kept = CellStore.put, record.kept

    def killed(self: CellStore, *args: Any) -> Any:
        if sum(heading.startswith("slices/") for heading, _ in kept) == 4:
            raise KeyboardInterrupt
        return put(self, *args)

    record.clear()
    kept = record.kept
    monkeypatch.setattr(CellStore, "put", killed)
    with pytest.raises(KeyboardInterrupt):
        tiny_study("killed", **settings).run()
    monkeypatch.setattr(CellStore, "put", put)
    before = list(record.attacked)
    record.clear()
    study = tiny_study("killed", **settings)
    study.run()
    # three were kept with their batch; the first of the next two alone
    assert [len(found) for _, found in before] == [3, 2]
    assert before[:1] + record.attacked == whole
    one, two = ({path.name: path for path in each.cells.folder.glob("slices/*/*/*/*.pt")} for each in (study, straight))
    assert one.keys() == two.keys()
    assert results(study) == results(straight)


def test_a_changed_attack_is_made_anew_and_measured_and_nothing_else(tiny_study, record) -> None:
    study = tiny_study()
    study.run()
    record.clear()
    changed = study.grid.attacks | {"PGD": AttackPart(PGD(0.1, max_steps=3, attack_background=False), pooled=True)}
    tiny_study(attacks=changed).run()
    assert record.trained == 0
    assert {attack for attack, _ in record.attacked} == {repr(changed["PGD"].attack)}
    assert set(record.headings) == {
        "adversarial/tiny/PGD",
        "slices/tiny/PGD",
        *(f"{kind}/tiny, PGD, {variant}" for kind in ("scores", "counts") for variant in ("raw", "exported")),
    }


def test_a_changed_detector_is_trained_anew_and_scores_and_nothing_else(tiny_study, record) -> None:
    study = tiny_study()
    study.run()
    record.clear()
    longer = replace(study.grid.detectors["shifted"], training=Training(2, batch_size=4, every=3))
    tiny_study(detectors=study.grid.detectors | {"shifted": longer}).run()
    assert (record.trained, record.attacked, record.asked) == (1, [], 0)
    sets = ("val", "clean", *ATTACKED)
    assert sorted(record.kept) == sorted(
        [("detectors/shifted", "0"), *((f"scores/{name}", "shifted 0") for name in sets)]
    )
    record.clear()
    # another norm asks for no training
    tiny_study(detectors=study.grid.detectors | {"shifted": replace(longer, p=1.0)}).run()
    assert record.trained == 0
    assert sorted(record.kept) == sorted((f"scores/{name}", "shifted 0") for name in sets)


def test_a_changed_reformer_is_followed_by_what_it_reforms(tiny_study, record) -> None:
    study = tiny_study()
    study.run()
    record.clear()
    longer = replace(study.grid.detectors["spatial"], training=Training(2, batch_size=4, every=3))
    tiny_study(detectors=study.grid.detectors | {"spatial": longer}).run()
    assert (record.trained, record.attacked) == (1, [])
    counted = {(heading, name) for heading, name in record.kept if heading.startswith("counts/")}
    assert counted == {(f"counts/{name}", "convolution") for name in ("tiny, clean", *ATTACKED)}
    scored = {(heading, name) for heading, name in record.kept if heading.startswith("scores/")}
    assert {(f"scores/{name}", "consistency") for name in ("tiny, val", "tiny, clean", *ATTACKED)} < scored
    assert not [name for _, name in scored if name.startswith("shifted")]


def test_more_slices_go_on_from_those_there_are(tiny_study, study_data, record) -> None:
    third = AttackPart(PGD(0.2, max_steps=1, attack_background=False), every=3)
    attacks = {"PGD": tiny_study().grid.attacks["PGD"], "third": third}
    few = tiny_study(data=study_data(slices_per_volume=3), attacks=attacks)
    few.run()
    before = places(record.attacked)
    record.clear()
    many = tiny_study(data=study_data(slices_per_volume=9), attacks=attacks)
    many.run()
    assert record.trained == 0
    assert (len(before), len(record.attacked)) == (3 * (3 + 1), 2 * 3)
    chosen = {volume: scan.chosen.tolist() for volume, scan in many.data.volumes.items()}
    assert all(len(found) == 9 for found in chosen.values())
    assert sorted(before + places(record.attacked)) == sorted(
        [(repr(attacks["PGD"].attack), place) for found in chosen.values() for place in found]
        + [(repr(third.attack), place) for found in chosen.values() for place in found[1::3]]
    )
    which = ImageSet("third", "tiny", "raw")
    assert many.images.owners(which) == [volume for volume in chosen for _ in range(3)]
    assert many.images.images(which).shape == many.images.labels(which).shape == (9, 1, 16, 16)


def test_attacked_slices_are_those_of_their_scans(tiny_study) -> None:
    study = tiny_study()
    study.run()
    clean, labels = study.images.images(ImageSet("clean")), study.images.labels(ImageSet("clean"))
    assert study.images.owners(ImageSet("clean")) == ["s3", "s3", "s4", "s4", "s5", "s5"]
    # the labels are the images' own intensities in three steps
    bounds = [[float(clean[i][labels[i] == k].min()) for k in (1, 2)] for i in range(6)]
    assert all(low < high for low, high in bounds)
    raw, exported = (study.images.images(ImageSet("PGD", "tiny", variant)) for variant in ("raw", "exported"))
    assert 0.05 < float((raw - clean).abs().max()) <= 0.1 + 1e-6
    # whole numbers are about a thousandth of the window, and the background is restored
    inside = clean > 0
    torch.testing.assert_close(exported[inside], raw[inside], atol=1.5e-3, rtol=0)
    assert bool((exported[~inside] == 0).all())
    assert torch.equal(study.images.labels(ImageSet("PGD", "tiny", "raw")), labels)


def test_what_needs_no_training_defends_as_well(tiny_study, record) -> None:
    tiny_study().run()
    record.clear()

    def blurred(size: int) -> DefenseStudy:
        blur = nn.AvgPool2d(size, stride=1, padding=size // 2)
        defenses = {"1": ("spatial", "convolution"), "free": ("zeros", "blur")}
        study = tiny_study(reformers={"convolution": "spatial", "blur": blur}, defenses=defenses)
        study.run()
        return study

    for size in (3, 5):
        study = blurred(size)
        assert (record.trained, record.attacked) == (0, [])
        assert sorted(record.kept) == sorted((f"counts/{name}", "blur") for name in ("tiny, clean", *ATTACKED))
        record.clear()
        which = ImageSet("PGD", "tiny", "exported")
        seen = nn.functional.avg_pool2d(study.images.images(which), size, stride=1, padding=size // 2)
        prediction = study.networks.target("tiny")(seen).argmax(1, keepdim=True)
        cell = study.cells.load(*study.measured.count_keys(which)["blur"])
        assert cell is not None
        assert torch.equal(cell["counts"], overlap_counts(prediction, study.images.labels(which), 3))
    assert "AvgPool2d(kernel_size=5" in study.settings_as_dict()["reformers"]["blur"]
    rows = DefenseSummary(study, resamples=5).as_dict()["defenses"]
    assert {(row["detector"], row["reformer"]) for row in rows if row["defense"] == "free"} == {("zeros", "blur")}


def test_a_filter_that_detects_and_reforms_is_asked_once(tiny_study, record) -> None:
    blur = nn.AvgPool2d(3, stride=1, padding=1)
    squeezing = {"squeezing": partial(PredictionConsistency, reformer=blur)}
    study = tiny_study(reformers={"convolution": "spatial", "blur": blur}, baseline_detectors=squeezing)
    study.run()
    for variant in ("raw", "exported"):
        assert record.seen(blur(study.images.images(ImageSet("PGD", "tiny", variant)))) == {1}


def test_one_more_test_scan_is_attacked_and_all_of_them_measured_but_nothing_is_trained(
    study_data, subjects, tiny_study, record
) -> None:
    tiny_study(data=study_data(test=subjects["test"][:2])).run()
    before = len(record.attacked)
    record.clear()
    tiny_study().run()
    assert record.trained == 0
    assert len(record.attacked) == before / 2
    assert not any(heading.startswith("scores/val") for heading in record.headings)
