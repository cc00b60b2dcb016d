# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Targets that were trained to resist."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from monai.networks.nets import BasicUNet
from monai.transforms import Compose, CropForegroundd, LoadImaged, Orientationd, SpatialPadd
from torch import nn

from monai_shield.attacks import PGD
from monai_shield.data import volume_datalist
from monai_shield.losses import WeightedLogisticDiceLoss
from monai_shield.transforms import MergeLabelsd, ScaleToWindowd
from reproduction.data import StudyData
from reproduction.parts import TargetPart
from reproduction.robust_targets import AdversarialTarget, DistilledTarget, multiply_logits
from reproduction.training import Training, TrainingRun

STRUCTURES = {"dark": [1], "middle": [2], "bright": [3]}
network = partial(nn.Conv2d, 1, 4, 3, padding=1)


def run(folder: Path, seed: int = 0) -> TrainingRun:
    return TrainingRun(seed, folder / "c.checkpoint", torch.device("cpu"))


@pytest.fixture(scope="module")
def data(brain_folder) -> StudyData:
    keys = ("image", "label")
    preprocessing = Compose(
        [
            LoadImaged(keys, image_only=True, ensure_channel_first=True),
            Orientationd(keys, axcodes="LAS", labels=None),
            ScaleToWindowd("image"),
            CropForegroundd(keys, source_key="image"),
            SpatialPadd(keys, (48, -1, 48)),
            MergeLabelsd("label", STRUCTURES),
        ]
    )
    splits = {split: volume_datalist(brain_folder, split) for split in ("train", "val", "test")}
    return StudyData(**splits, preprocessing=preprocessing, structures=list(STRUCTURES), slices_per_volume=2)


@pytest.fixture(scope="module")
def plain(data, tmp_path_factory) -> nn.Module:
    part = TargetPart(network, Training(epochs=6, learning_rate=0.05))
    return part.train(data, run(tmp_path_factory.mktemp("plain")), None)


def loss_under(attack: PGD, target: nn.Module, data: StudyData) -> float:
    images = data.val_images
    labels = torch.stack([data.val[i]["label"] for i in range(len(data.val))])
    attacked = attack(target, images, labels, images > 0).image
    with torch.no_grad():
        return float(WeightedLogisticDiceLoss()(target(attacked), labels))


def test_adversarial_training_makes_the_attack_it_saw_weaker(data, plain, tmp_path):
    attack = PGD(epsilon=0.08, max_steps=4, confine_to_mask=True)
    part = AdversarialTarget(network, Training(epochs=4, learning_rate=0.02), after="plain", attack=attack)
    trained_on = part.train(data, run(tmp_path), plain)
    assert loss_under(attack, trained_on, data) < loss_under(attack, plain, data)


def test_adversarial_training_begins_with_the_weights_of_the_other_target(data, plain, tmp_path):
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    training = Training(epochs=1, learning_rate=1e-12)
    part = AdversarialTarget(network, training, after="plain", attack=PGD(epsilon=0.01, max_steps=1))
    trained_on = part.train(data, run(tmp_path, 3), plain)
    for name, value in trained_on.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=1e-3, rtol=0)
        torch.testing.assert_close(plain.state_dict()[name], before[name], atol=0, rtol=0)


def test_adversarial_training_needs_a_target_to_begin_with(data, tmp_path):
    part = AdversarialTarget(network, Training(epochs=1))
    with pytest.raises(ValueError, match="'after' must name it"):
        part.train(data, run(tmp_path), None)


class Backwards(nn.Module):
    """The layer that gives the logits is not the one that was made last."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.logits = nn.Conv2d(4, classes, 1)
        self.features = nn.Sequential(nn.Conv2d(1, 4, 1), nn.InstanceNorm2d(4))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.logits(self.features(image))


def distilled(data: StudyData, plain: nn.Module, folder: Path, temperature: float) -> nn.Module:
    part = DistilledTarget(network, Training(epochs=12, learning_rate=0.05), after="plain", temperature=temperature)
    return part.train(data, run(folder, 1), plain)


def test_a_student_says_at_its_temperature_what_its_teacher_says(data, plain, tmp_path):
    student = distilled(data, plain, tmp_path, temperature=5.0)
    with torch.no_grad():
        taught, learned = (
            torch.softmax(logits, dim=1) for logits in (plain(data.val_images), student(data.val_images) / 5)
        )
    chance = torch.full_like(taught, 0.25)
    assert float((taught - learned).abs().mean()) < 0.5 * float((taught - chance).abs().mean())
    assert float((taught.argmax(1) == learned.argmax(1)).float().mean()) > 0.9
    assert not torch.allclose(student.weight / 5, plain.weight, atol=1e-3)


def test_a_temperature_is_a_factor_of_the_logits(data, plain, tmp_path):
    one, twenty = (distilled(data, plain, tmp_path / str(t), t)(data.val_images) for t in (1.0, 20.0))
    torch.testing.assert_close(twenty, 20 * one, rtol=1e-4, atol=1e-4)


def test_a_high_temperature_leaves_cross_entropy_no_gradient():
    image = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    target = nn.Conv2d(1, 3, 3, padding=1)
    label = target(image).argmax(1)
    norms = {}
    for factor in (1.0, 1e6):
        multiply_logits(target, factor, image)
        x = image.clone().requires_grad_()
        nn.functional.cross_entropy(target(x), label).backward()
        norms[factor] = float(x.grad.norm())
    assert norms[1.0] > 0
    assert norms[1e6] == 0


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_logits_of_a_unet_are_multiplied(dimensions):
    unet = BasicUNet(dimensions, 1, 3, features=(4, 4, 4, 4, 4, 4), norm="batch").eval()
    image = torch.randn(1, 1, *[16] * dimensions, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = unet(image)
        multiply_logits(unet, 20.0, image)
        torch.testing.assert_close(unet(image), 20 * before, rtol=1e-4, atol=1e-4)


def test_logits_that_another_layer_gives_are_not_multiplied():
    with pytest.raises(ValueError, match="logits of a Backwards cannot be multiplied"):
        multiply_logits(Backwards(3), 20.0, torch.rand(1, 1, 8, 8))


def test_what_cannot_be_distilled_is_refused_before_it_is_trained(data, plain, tmp_path):
    def backwards() -> nn.Module:
        return Backwards(4)

    part = DistilledTarget(backwards, Training(epochs=1), after="plain")
    with pytest.raises(ValueError, match="logits of a Backwards cannot be multiplied"):
        part.train(data, run(tmp_path), plain)
    assert not list(tmp_path.iterdir())


def test_distillation_needs_a_teacher(data, tmp_path):
    with pytest.raises(ValueError, match="'after' must name it"):
        DistilledTarget(network, Training(epochs=1)).train(data, run(tmp_path), None)


def test_a_temperature_is_positive():
    with pytest.raises(ValueError, match="temperature must be positive"):
        DistilledTarget(network, Training(epochs=1), temperature=0.0)
