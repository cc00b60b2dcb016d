# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A study of defenses computes everything once, and again only what changed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.metrics import compute_dice
from monai.transforms import AsDiscrete, RandGaussianNoised
from torch import nn

from monai_shield.attacks import PGD
from monai_shield.detectors import PredictionConsistency, ZeroShare
from monai_shield.evaluation.cells import CellStore
from monai_shield.locks import RefusedError, one_run
from monai_shield.metrics import overlap_counts
from reproduction.parts import AttackPart, DetectorPart, TargetPart
from reproduction.spectra import study_spectra
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
    return json.dumps(DefenseSummary(study, [("spatial", "shifted")], resamples=20).as_dict())


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
        (repr(part.attack), place) for part in study.attacks.values() for place in chosen
    )
    assert len(record.kept) == len(set(record.kept))
    first = results(study)
    record.clear()
    again = tiny_study(defenses=THREE)
    again.run()
    assert (record.trained, record.attacked, record.kept, record.forwards) == (0, [], [], 0)
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
    # in batches of eight: all 42 test slices once; the 12 validation slices, the 6 clean ones and 4 sets of attacked
    # ones as they are and reformed, though two detectors look at predictions and four kinds of Dice are told
    assert record.forwards == 6 + 2 * (2 + 1 + 4)
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


@pytest.mark.parametrize("augmentation", [(), (partial(RandGaussianNoised, "image", prob=1.0, std=0.2),)])
def test_a_training_that_was_killed_goes_on_and_ends_with_the_same_weights(tiny_study, record, augmentation) -> None:
    part = TargetPart(tiny_study().targets["tiny"].network, Training(3, batch_size=4, every=3), augmentation)

    straight = tiny_study("straight", targets={"tiny": part})
    (job,) = straight._target_jobs(["tiny"])
    job.run()
    assert record.forwards == 6 + 2  # two batches, three times; the twelve validation slices
    record.clear()
    (job,) = tiny_study("killed", targets={"tiny": part})._target_jobs(["tiny"])
    record.kill_at(5)
    with pytest.raises(KeyboardInterrupt):
        job.run()
    record.clear()
    study = tiny_study("killed", targets={"tiny": part})
    (job,) = study._target_jobs(["tiny"])
    assert not job.done()
    job.run()
    assert record.forwards == 2 + 2  # the third epoch alone
    one, other = (each.target("tiny").state_dict() for each in (straight, study))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_training_with_noise_that_was_killed_goes_on_and_ends_with_the_same_weights(tiny_study, tiny_target) -> None:
    class Killed(nn.Conv2d):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            tiny_target.calls += 1
            if tiny_target.calls == tiny_target.kill_at:
                raise KeyboardInterrupt
            return super().forward(image)

    part = DetectorPart(partial(Killed, 1, 1, 3, padding=1), Training(3, batch_size=4, every=3, noise_std=0.2))
    weights = []
    for folder, kill_at in {"straight": None, "killed": 5}.items():
        tiny_target.calls, tiny_target.kill_at = 0, kill_at
        study = tiny_study(folder, detectors={"spatial": part}, defenses={})
        (job,) = study._detector_jobs()
        if kill_at is not None:
            with pytest.raises(KeyboardInterrupt):
                job.run()
            tiny_target.kill_at = None
        job.run()
        weights.append(study.detector("spatial").network.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_changed_attack_is_made_anew_and_measured_and_nothing_else(tiny_study, record) -> None:
    study = tiny_study()
    study.run()
    record.clear()
    changed = study.attacks | {"PGD": AttackPart(PGD(0.1, max_steps=3, attack_background=False), pooled=True)}
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
    longer = replace(study.detectors["shifted"], training=Training(2, batch_size=4, every=3))
    tiny_study(detectors=study.detectors | {"shifted": longer}).run()
    assert (record.trained, record.attacked, record.forwards) == (1, [], 0)
    sets = ("val", "clean", *ATTACKED)
    assert sorted(record.kept) == sorted(
        [("detectors/shifted", "0"), *((f"scores/{name}", "shifted 0") for name in sets)]
    )
    record.clear()
    # another norm asks for no training
    tiny_study(detectors=study.detectors | {"shifted": replace(longer, p=1.0)}).run()
    assert record.trained == 0
    assert sorted(record.kept) == sorted((f"scores/{name}", "shifted 0") for name in sets)


def test_a_changed_reformer_is_followed_by_what_it_reforms(tiny_study, record) -> None:
    study = tiny_study()
    study.run()
    record.clear()
    longer = replace(study.detectors["spatial"], training=Training(2, batch_size=4, every=3))
    tiny_study(detectors=study.detectors | {"spatial": longer}).run()
    assert (record.trained, record.attacked) == (1, [])
    counted = {(heading, name) for heading, name in record.kept if heading.startswith("counts/")}
    assert counted == {(f"counts/{name}", "convolution") for name in ("tiny, clean", *ATTACKED)}
    scored = {(heading, name) for heading, name in record.kept if heading.startswith("scores/")}
    assert {(f"scores/{name}", "consistency") for name in ("tiny, val", "tiny, clean", *ATTACKED)} < scored
    assert not [name for _, name in scored if name.startswith("shifted")]


def test_more_slices_go_on_from_those_there_are(tiny_study, study_data, record) -> None:
    third = AttackPart(PGD(0.2, max_steps=1, attack_background=False), every=3)
    attacks = {"PGD": tiny_study().attacks["PGD"], "third": third}
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
    assert many.owners(which) == [volume for volume in chosen for _ in range(3)]
    assert many.images(which).shape == many.labels(which).shape == (9, 1, 16, 16)


def test_attacked_slices_are_those_of_their_scans(tiny_study) -> None:
    study = tiny_study()
    study.run()
    clean, labels = study.images(ImageSet("clean")), study.labels(ImageSet("clean"))
    assert study.owners(ImageSet("clean")) == ["s3", "s3", "s4", "s4", "s5", "s5"]
    # the labels are the images' own intensities in three steps
    bounds = [[float(clean[i][labels[i] == k].min()) for k in (1, 2)] for i in range(6)]
    assert all(low < high for low, high in bounds)
    raw, exported = (study.images(ImageSet("PGD", "tiny", variant)) for variant in ("raw", "exported"))
    assert 0.05 < float((raw - clean).abs().max()) <= 0.1 + 1e-6
    # whole numbers are about a thousandth of the window, and the background is restored
    inside = clean > 0
    torch.testing.assert_close(exported[inside], raw[inside], atol=1.5e-3, rtol=0)
    assert bool((exported[~inside] == 0).all())
    assert torch.equal(study.labels(ImageSet("PGD", "tiny", "raw")), labels)


def test_a_target_that_comes_after_another_one_gets_its_network(tiny_study, record) -> None:
    seen = []

    class After(TargetPart):
        def train(self, data: Any, seed: int, checkpoint: Path, device: torch.device, before: Any) -> nn.Module:
            seen.append(before)
            return super().train(data, seed, checkpoint, device, before)

    first = tiny_study().targets["tiny"]
    second = {"second": After(first.network, first.training, after="tiny")}
    study = tiny_study(hardened=second, attacks={"PGD": tiny_study().attacks["PGD"]})
    study.run()
    image = study.data.val_images
    (before,) = seen
    assert torch.equal(before(image), study.target("tiny")(image))
    record.clear()
    changed = {"tiny": replace(first, training=Training(2, batch_size=4, every=3))}
    tiny_study(targets=changed, hardened=second, attacks=study.attacks).run()
    assert record.trained == 2  # the second depends on the first


def test_seeds_are_those_of_the_part_and_no_more_than_those_of_the_study(tiny_study, record) -> None:
    detectors = tiny_study().detectors
    detectors = {"spatial": replace(detectors["spatial"], seeds=3), "shifted": detectors["shifted"]}
    study = tiny_study(detectors=detectors, seeds=2, attacks={"PGD": tiny_study().attacks["PGD"]})
    assert study.trained() == [("spatial", 0), ("spatial", 1), ("shifted", 0)]
    study.run()
    first, second = (study.detector("spatial", k).state_dict() for k in range(2))
    assert not torch.equal(first["network.network.weight"], second["network.network.weight"])
    record.clear()
    tiny_study(detectors=detectors, seeds=3, attacks=study.attacks).run()
    assert record.trained == 1
    assert {name for _, name in record.kept} == {"2", "spatial 2"}


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
        seen = nn.functional.avg_pool2d(study.images(which), size, stride=1, padding=size // 2)
        prediction = study.target("tiny")(seen).argmax(1, keepdim=True)
        cell = study.cells.load(*study.measured.count_keys(which)["blur"])
        assert cell is not None
        assert torch.equal(cell["counts"], overlap_counts(prediction, study.labels(which), 3))
    assert "AvgPool2d(kernel_size=5" in study.described()["reformers"]["blur"]
    rows = DefenseSummary(study, resamples=5).as_dict()["defenses"]
    assert {(row["detector"], row["reformer"]) for row in rows if row["defense"] == "free"} == {("zeros", "blur")}


def test_a_filter_that_detects_and_reforms_is_asked_once(tiny_study, record) -> None:
    blur = nn.AvgPool2d(3, stride=1, padding=1)
    parts = tiny_study()
    reformers = parts.reformers | {"blur": blur}
    tiny_study("reforms", reformers=reformers).run()
    before = record.forwards
    record.clear()
    squeezing = parts.baselines | {"squeezing": partial(PredictionConsistency, reformer=blur)}
    tiny_study("both", reformers=reformers, baselines=squeezing).run()
    # one more pass for the validation slices, for which there is no Dice
    assert record.forwards == before + len(parts.data.val) // parts.batch_size + 1


def test_a_group_that_is_left_out_takes_its_reformers_and_defenses_along(tiny_study) -> None:
    detectors = tiny_study().detectors
    detectors |= {"other": replace(detectors["spatial"], group="others")}
    more = {
        "detectors": detectors,
        "reformers": {"convolution": "spatial", "another": "other"},
        "defenses": {**THREE, "4": ("other", "convolution"), "5": ("spatial", "another")},
    }
    study = tiny_study(groups=["paper"], **more)
    study.run()
    summary = DefenseSummary(study, [("spatial", "other"), ("spatial", "shifted")], resamples=5).as_dict()
    assert list(dict.fromkeys(row["defense"] for row in summary["defenses"])) == ["1", "2", "3"]
    assert {row["second"] for row in summary["comparisons"]} == {"shifted"}
    assert "another" not in study.described()["reformers"]
    with pytest.raises(ValueError, match="consistency_reformer 'another' is of a group that is left out"):
        tiny_study(groups=["paper"], consistency_reformer="another", **more)


def test_spectra_of_attacks_on_different_slices(tiny_study, study_data) -> None:
    attack = PGD(0.1, max_steps=1, attack_background=False)
    attacks = {
        "PGD": AttackPart(attack, pooled=True),
        "second": AttackPart(attack, every=2),
        "third": AttackPart(attack, every=3),
    }
    study = tiny_study(data=study_data(slices_per_volume=3), attacks=attacks)
    study.run()
    found = study_spectra(study)
    assert {f"radial {name}, {variant}" for name in attacks for variant in ("raw", "exported")} < set(found)
    clean = study.images(ImageSet("clean"))
    for name in attacks:
        if f"perturbation {name}, raw" in found:
            # it is that of the slice whose spectrum stands beside it
            made = torch.from_numpy(found[f"perturbation {name}, raw"]).float()
            assert 0 < float(made.abs().max()) <= 0.1 + 1e-3
    assert "perturbation PGD, raw" in found
    assert found["spectrum clean"].shape == clean.shape[2:]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"reformers": {"convolution": "nobody"}}, "reformers name what is not there: nobody"),
    ({"consistency_reformer": "nobody"}, "consistency_reformer name what is not there: nobody"),
    ({"defenses": {"1": ("nobody", "convolution")}}, "defenses name what is not there: nobody"),
    ({"defenses": {"1": ("zero", "convolution")}}, "defenses name what is not there: zero"),
    ({"defenses": {"1": ("spatial", "nobody")}}, "defenses name what is not there: nobody"),
    ({"reformers": {"convolution": "shifted"}}, "reformer 'convolution': detector 'shifted' is not one in space"),
    ({"attacks": {"clean": AttackPart(PGD(0.1), pooled=True)}}, "no attack may be called 'clean'"),
    ({"attacks": {"PGD": AttackPart(PGD(0.1), every=10, pooled=True)}}, "'PGD' is for every 10th slice of 2 of a scan"),
    ({"attacks": {"pooled": AttackPart(PGD(0.1), pooled=True)}}, "no attack may be called 'pooled'"),
    ({"attacks": {"PGD": AttackPart(PGD(0.1))}}, "a study needs an attack that is pooled"),
    (
        {"attacks": {name: AttackPart(PGD(0.1), pooled=True) for name in ("a+", "a-")}},
        "attacks 'a\\+' and 'a-' cannot be",
    ),
    ({"targets": {}}, "a study needs a target"),
    ({"baselines": {"spatial": ZeroShare}}, "detectors 'spatial' and 'spatial' cannot be told apart"),
    ({"defenses": {"1": ("convolution",)}}, "defense '1' needs a detector and a reformer, got \\['convolution'\\]"),
    ({"groups": ["paper", "papper"]}, "groups name what is not there: papper"),
    ({"seeds": 0}, "seeds must be at least 1, got 0"),
    ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ({"t_fp": 5}, "t_fp must be at least 0 and less than 1, got 5"),
]


@pytest.mark.parametrize(("changes", "words"), BAD, ids=[words for _, words in BAD])
def test_what_is_not_known_is_refused_in_one_line(tiny_study, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        tiny_study(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", [{"epochs": 0}, {"every": 0}, {"batch_size": 0}, {"learning_rate": 0.0}])
def test_a_training_out_of_its_range_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(change))}.* must be .* got"):
        Training(**({"epochs": 1} | change))


def test_every_0th_slice_is_refused() -> None:
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        AttackPart(PGD(0.1), every=0)


def test_what_is_not_trained_yet_says_so(tiny_study) -> None:
    study = tiny_study()
    with pytest.raises(ValueError, match="target 'tiny' is not trained yet"):
        study.target("tiny")
    with pytest.raises(ValueError, match="detector 'shifted' is not trained yet"):
        study.detector("shifted")
    with pytest.raises(ValueError, match="'tiny, PGD, raw' of scan 's3' is not made yet"):
        study.images(ImageSet("PGD", "tiny", "raw"))
    with pytest.raises(ValueError, match="run the study first"):
        DefenseSummary(study).as_dict()


def test_too_few_slices_for_a_batch_are_refused(tiny_study) -> None:
    part = DetectorPart(partial(nn.Conv2d, 1, 1, 1), Training(1, batch_size=25))
    with pytest.raises(ValueError, match="24 training slices do not fill a batch of 25"):
        tiny_study(detectors={"spatial": part}, defenses={}).run()


def test_subjects_are_kept_apart(study_data, subjects) -> None:
    with pytest.raises(ValueError, match="subject 'a' is in 'train' and in 'val'"):
        study_data(val=[*subjects["val"], subjects["train"][0]])
    with pytest.raises(ValueError, match="split 'test' holds no scan"):
        study_data(test=[])
    with pytest.raises(ValueError, match="slices_per_volume must be at least 1"):
        study_data(slices_per_volume=0)
    with pytest.raises(ValueError, match="two test scans have one id"):
        study_data(test=[*subjects["test"], subjects["test"][0]])


def test_the_fingerprint_of_a_split_is_that_of_its_files_and_preprocessing(study_data, subjects) -> None:
    assert study_data().fingerprint("train") == study_data(slices_per_volume=5).fingerprint("train")
    swapped = {
        "image": subjects["train"][1]["image"],
        "label": subjects["train"][0]["label"],
        "id": "s0",
        "subject": "a",
    }
    different = [
        study_data(),
        study_data(min_foreground=0.1),
        study_data(axis=0),
        study_data(train=subjects["train"][:1]),
        study_data(train=[swapped, subjects["train"][1]]),
    ]
    assert len({data.fingerprint("train") for data in different}) == len(different)
    assert len({data.fingerprint("test") for data in different}) == 3


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


def test_a_scan_that_moves_from_test_to_val_changes_the_thresholds(study_data, subjects, tiny_study) -> None:
    before = tiny_study(data=study_data(val=subjects["val"], test=subjects["test"]))
    after = tiny_study(data=study_data(val=[*subjects["val"], subjects["test"][2]], test=subjects["test"][:2]))
    assert before.detector_fingerprint("spatial", 0) == after.detector_fingerprint("spatial", 0)
    assert before.set_fingerprint(ImageSet("val")) != after.set_fingerprint(ImageSet("val"))


def test_what_a_target_learned_is_told_when_it_has(tiny_study, caplog):
    study = tiny_study()
    with caplog.at_level("INFO", logger="reproduction"):
        study.run()
    (told,) = [record.getMessage() for record in caplog.records if "mean Dice" in record.getMessage()]
    data, target = study.data, study.target("tiny")
    labels = torch.stack([data.val[i]["label"] for i in range(len(data.val))])
    prediction = target(data.val_images).argmax(1, keepdim=True)
    # one image of all slices, by MONAI
    stacked = [AsDiscrete(to_onehot=data.num_classes)(x.reshape(1, 1, -1))[None] for x in (prediction, labels)]
    dice = compute_dice(*stacked, include_background=False, ignore_empty=False)
    assert told == f"target 'tiny': mean Dice {float(dice.mean()):.3f} on the validation slices."
