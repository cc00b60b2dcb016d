# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Trainings of a study: killed, one after another, with several seeds."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from monai.metrics import compute_dice
from monai.transforms import AsDiscrete, RandGaussianNoised
from torch import nn

from reproduction.image_set import ImageSet
from reproduction.parts import DetectorPart, TargetPart
from reproduction.summary import DefenseSummary
from reproduction.training import Training, TrainingRun


def equal(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize("augmentation", [(), (partial(RandGaussianNoised, "image", prob=1.0, std=0.2),)])
def test_a_training_that_was_killed_goes_on_and_ends_with_the_same_weights(tiny_study, record, augmentation) -> None:
    part = TargetPart(tiny_study().grid.targets["tiny"].network, Training(3, batch_size=4, every=3), augmentation)
    straight = tiny_study("straight", targets={"tiny": part})
    straight.run()
    record.clear()
    record.kill_at(5)  # in the third epoch of two batches
    with pytest.raises(KeyboardInterrupt):
        tiny_study("killed", targets={"tiny": part}).run()
    record.clear()
    study = tiny_study("killed", targets={"tiny": part})
    (job,) = study.networks.target_jobs(["tiny"])
    assert not job.done()
    job.run()
    trained_on, validated = 2 * 4, len(study.data.val)
    assert sum(record.seen_images().values()) == trained_on + validated  # the third epoch alone
    assert equal(straight.networks.target("tiny"), study.networks.target("tiny"))


def test_a_training_with_noise_that_was_killed_goes_on_and_ends_with_the_same_weights(tiny_study) -> None:
    calls = []

    class Killed(nn.Conv2d):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            calls.append(0)
            if len(calls) == 5:
                raise KeyboardInterrupt
            return super().forward(image)

    training = Training(3, batch_size=4, every=3, noise_std=0.2)
    networks = []
    for folder, kind in {"straight": nn.Conv2d, "killed": Killed}.items():
        part = DetectorPart(partial(kind, 1, 1, 3, padding=1), training)
        study = tiny_study(folder, detectors={"spatial": part}, defenses={})
        (job,) = study.networks.detector_jobs()
        if kind is Killed:
            with pytest.raises(KeyboardInterrupt):
                job.run()
        job.run()
        networks.append(study.networks.detector("spatial").network)
    assert equal(*networks)


def test_a_target_that_comes_after_another_one_gets_its_network(tiny_study, record) -> None:
    seen = []

    class After(TargetPart):
        def train(self, data: Any, run: TrainingRun, before: Any) -> nn.Module:
            seen.append(before)
            return super().train(data, run, before)

    first = tiny_study().grid.targets["tiny"]
    second = {"second": After(first.network, first.training, after="tiny")}
    study = tiny_study(robust_targets=second, only={"attacks": ["PGD"]})
    study.run()
    image = study.data.val_images
    (before,) = seen
    assert torch.equal(before(image), study.networks.target("tiny")(image))
    record.clear()
    changed = {"tiny": replace(first, training=Training(2, batch_size=4, every=3))}
    tiny_study(targets=changed, robust_targets=second, only={"attacks": ["PGD"]}).run()
    assert record.trained == 2  # the second depends on the first


def test_seeds_are_those_of_the_part_and_no_more_than_those_of_the_study(tiny_study, record) -> None:
    detectors = tiny_study().grid.detectors
    detectors = {"spatial": replace(detectors["spatial"], seeds=3), "shifted": detectors["shifted"]}
    study = tiny_study(detectors=detectors, seeds=2, only={"attacks": ["PGD"]})
    assert study.networks.trained_detectors() == [("spatial", 0), ("spatial", 1), ("shifted", 0)]
    study.run()
    first, second = (study.networks.detector("spatial", k).state_dict() for k in range(2))
    assert not torch.equal(first["network.network.weight"], second["network.network.weight"])
    record.clear()
    tiny_study(detectors=detectors, seeds=3, only={"attacks": ["PGD"]}).run()
    assert record.trained == 1
    assert {name for _, name in record.kept} == {"2", "spatial 2"}


def test_too_few_slices_for_a_batch_are_refused(tiny_study) -> None:
    part = DetectorPart(partial(nn.Conv2d, 1, 1, 1), Training(1, batch_size=25))
    with pytest.raises(ValueError, match="24 training slices do not fill a batch of 25"):
        tiny_study(detectors={"spatial": part}, defenses={}).run()


def test_what_is_not_trained_yet_says_so(tiny_study) -> None:
    study = tiny_study()
    with pytest.raises(ValueError, match="target 'tiny' is not trained yet"):
        study.networks.target("tiny")
    with pytest.raises(ValueError, match="detector 'shifted' is not trained yet"):
        study.networks.detector("shifted")
    with pytest.raises(ValueError, match="'tiny, PGD, raw' of scan 's3' is not made yet"):
        study.images.images(ImageSet("PGD", "tiny", "raw"))
    with pytest.raises(ValueError, match="run the study first"):
        DefenseSummary(study).as_dict()


def test_what_a_target_learned_is_told_when_it_has(tiny_study, caplog):
    study = tiny_study()
    with caplog.at_level("INFO", logger="reproduction"):
        study.run()
    (told,) = [record.getMessage() for record in caplog.records if "mean Dice" in record.getMessage()]
    data, target = study.data, study.networks.target("tiny")
    labels = torch.stack([data.val[i]["label"] for i in range(len(data.val))])
    prediction = target(data.val_images).argmax(1, keepdim=True)
    # one image of all slices, by MONAI
    stacked = [AsDiscrete(to_onehot=data.num_classes)(x.reshape(1, 1, -1))[None] for x in (prediction, labels)]
    dice = compute_dice(*stacked, include_background=False, ignore_empty=False)
    assert told == f"target 'tiny': mean Dice {float(dice.mean()):.3f} on the validation slices."
