# Copyright (c) The monai-shield authors.
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Targets that were trained to resist."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from monai.transforms import Compose, CropForegroundd, LoadImaged, Orientationd, SpatialPadd
from torch import nn

from monai_shield.attacks import PGD
from monai_shield.data import volume_datalist
from monai_shield.losses import WeightedLogisticDiceLoss
from monai_shield.studies import AdversarialTarget, DistilledTarget, StudyData, TargetPart, Training
from monai_shield.studies.hardened import Tempered
from monai_shield.transforms import MergeLabelsd, ScaleToWindowd

CPU = torch.device("cpu")
STRUCTURES = {"dark": [1], "middle": [2], "bright": [3]}
network = partial(nn.Conv2d, 1, 4, 3, padding=1)


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
    return part.train(data, 0, tmp_path_factory.mktemp("plain") / "c.checkpoint", CPU, None)


def loss_under(attack: PGD, target: nn.Module, data: StudyData) -> float:
    images = data.val_images
    labels = torch.stack([data.val[i]["label"] for i in range(len(data.val))])
    attacked = attack(target, images, labels, images > 0).image
    with torch.no_grad():
        return float(WeightedLogisticDiceLoss()(target(attacked), labels))


def test_adversarial_training_makes_the_attack_it_saw_weaker(data, plain, tmp_path):
    attack = PGD(epsilon=0.08, max_steps=4, confine_to_mask=True)
    part = AdversarialTarget(network, Training(epochs=4, learning_rate=0.02), after="plain", attack=attack)
    hardened = part.train(data, 0, tmp_path / "c.checkpoint", CPU, plain)
    assert loss_under(attack, hardened, data) < loss_under(attack, plain, data)


def test_adversarial_training_begins_with_the_weights_of_the_other_target(data, plain, tmp_path):
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    training = Training(epochs=1, learning_rate=1e-12)
    part = AdversarialTarget(network, training, after="plain", attack=PGD(epsilon=0.01, max_steps=1))
    hardened = part.train(data, 3, tmp_path / "c.checkpoint", CPU, plain)
    for name, value in hardened.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=1e-3, rtol=0)
        torch.testing.assert_close(plain.state_dict()[name], before[name], atol=0, rtol=0)


def test_adversarial_training_needs_a_target_to_begin_with(data, tmp_path):
    part = AdversarialTarget(network, Training(epochs=1))
    with pytest.raises(ValueError, match="'after' must name it"):
        part.train(data, 0, tmp_path / "c.checkpoint", CPU, None)


def test_a_student_says_what_its_teacher_says(data, tmp_path):
    part = DistilledTarget(network, Training(epochs=12, learning_rate=0.05), temperature=5.0)
    student = part.train(data, 0, tmp_path / "c.checkpoint", CPU, None)
    teacher = network()
    saved = torch.load(tmp_path / "c.teacher.checkpoint", weights_only=True)
    teacher.load_state_dict(saved["network"])
    with torch.no_grad():
        images = data.val_images
        soft = [torch.softmax(net(images) / 5.0, dim=1) for net in (teacher, student)]
        chance = torch.full_like(soft[0], 0.25)
    assert float((soft[0] - soft[1]).abs().mean()) < 0.5 * float((soft[0] - chance).abs().mean())
    assert not torch.equal(student.weight, teacher.weight)


@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_a_tempered_loss_is_that_of_the_cooled_logits(temperature):
    logits, label = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    expected = temperature * nn.functional.cross_entropy(logits / temperature, label)
    torch.testing.assert_close(Tempered(nn.CrossEntropyLoss(), temperature)(logits, label), expected)


def test_the_gradient_of_a_tempered_loss_keeps_its_size():
    """At a high temperature softmax is linear: T times the loss of logits / T has the gradient p - y whatever T is."""
    label = torch.randint(0, 3, (2, 4, 4))
    norms = []
    for temperature in (100.0, 1000.0):
        logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
        Tempered(nn.CrossEntropyLoss(), temperature)(logits, label).backward()
        norms.append(float(logits.grad.norm()))
    assert norms[0] == pytest.approx(norms[1], rel=0.02)


def test_a_temperature_is_positive():
    with pytest.raises(ValueError, match="temperature must be positive"):
        Tempered(nn.CrossEntropyLoss(), 0.0)
