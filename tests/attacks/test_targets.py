# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from scipy import ndimage
from torch import nn

from monai_shield.attacks import DAG, TARGETS, Background, Dilate, Exchange, RunnerUp
from monai_shield.attacks.targets import adversarial_label

SPATIAL = [(12, 11), (9, 8, 7)]
every_dimension = pytest.mark.parametrize("spatial", SPATIAL, ids=["2d", "3d"])


def draw_label(spatial, classes=5, batch=3):
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, classes, (batch, *spatial), generator=generator)


def draw_logits(label, classes=5):
    return torch.randn(label.shape[0], classes, *label.shape[1:], generator=torch.Generator().manual_seed(4))


@every_dimension
def test_background(spatial):
    label = draw_label(spatial)
    assert bool((Background()(label, draw_logits(label)) == 0).all())


@every_dimension
def test_exchange_is_its_own_inverse_and_keeps_the_others(spatial):
    label = draw_label(spatial)
    rule = Exchange((1, 3))
    exchanged = rule(label, draw_logits(label))
    assert torch.equal(rule(exchanged, draw_logits(label)), label)
    assert torch.equal(exchanged == 1, label == 3)
    assert torch.equal(exchanged == 3, label == 1)
    for structure in (0, 2, 4):
        assert torch.equal(exchanged == structure, label == structure)


def test_exchange_takes_the_two_most_frequent_foreground_classes_of_each_image():
    label = torch.tensor([[[0, 0, 0, 0, 0, 1, 2, 2, 4, 4, 4]], [[0, 1, 1, 3, 3, 3, 2, 0, 0, 0, 0]]])
    expected = torch.tensor([[[0, 0, 0, 0, 0, 1, 4, 4, 2, 2, 2]], [[0, 3, 3, 1, 1, 1, 2, 0, 0, 0, 0]]])
    assert torch.equal(Exchange()(label, draw_logits(label)), expected)


def test_exchange_with_one_foreground_class_or_none_leaves_nothing_to_attack():
    label = torch.tensor([[[0, 0, 2, 2]], [[0, 0, 0, 0]], [[0, 1, 2, 2]]])
    exchanged = Exchange()(label, draw_logits(label))
    assert torch.equal(exchanged[:2], label[:2])
    assert exchanged[2].tolist() == [[0, 2, 1, 1]]


def test_of_equally_frequent_classes_the_lower_is_taken():
    label = torch.tensor([[[0, 3, 2, 1]]])
    assert Exchange()(label, draw_logits(label)).tolist() == [[[0, 3, 1, 2]]]
    assert Dilate(iterations=1)(label, draw_logits(label)).tolist() == [[[0, 3, 1, 1]]]


@every_dimension
@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_dilate_agrees_with_morphology(spatial, iterations):
    label = draw_label(spatial, classes=30) // 7  # classes 0 to 4, the last one rare
    dilated = Dilate(structure=4, iterations=iterations)(label, draw_logits(label))
    full = ndimage.generate_binary_structure(len(spatial), len(spatial))
    for before, after in zip(label.numpy(), dilated.numpy()):
        grown = before == 4
        for _ in range(iterations):
            grown = ndimage.binary_dilation(grown, full)
        assert ((after == 4) == grown).all()
        assert (after[~grown] == before[~grown]).all()


@every_dimension
def test_dilate_grows_one_pixel_by_six_in_every_direction(spatial):
    spatial = tuple(15 for _ in spatial)
    label = torch.zeros(2, *spatial, dtype=torch.long)
    label[(0, *[7 for _ in spatial])] = 3
    dilated = Dilate()(label, draw_logits(label))
    assert (dilated[0] == 3).sum() == 13 ** len(spatial)
    assert bool((dilated[1] == 0).all())  # nothing there to grow


def test_dilate_takes_the_most_frequent_foreground_class():
    label = torch.tensor([[[0, 0, 0, 0, 1, 0, 2, 2, 0]]])
    assert Dilate(iterations=1)(label, draw_logits(label)).tolist() == [[[0, 0, 0, 0, 1, 2, 2, 2, 2]]]


@every_dimension
def test_runner_up_is_the_best_of_the_others(spatial):
    label = draw_label(spatial)
    logits = draw_logits(label)
    predicted, second = logits.topk(2, dim=1).indices.unbind(1)
    assert torch.equal(RunnerUp()(predicted, logits), second)
    assert torch.equal(RunnerUp()(label, logits), torch.where(label == predicted, second, predicted))


@pytest.mark.parametrize("name", sorted(TARGETS))
@every_dimension
def test_rules_by_name_treat_each_image_by_itself_and_leave_the_label_alone(name, spatial):
    label = draw_label(spatial)
    label[1] = 0
    logits, before = draw_logits(label), label.clone()
    together = adversarial_label(name, label, logits)
    assert torch.equal(label, before)
    assert together.shape == label.shape
    assert together.dtype == torch.int64
    for i in range(len(label)):
        assert torch.equal(adversarial_label(name, label[i : i + 1], logits[i : i + 1]), together[i : i + 1])


def test_the_label_itself_and_a_rule_of_ones_own():
    network = nn.Conv2d(1, 4, 1).double()
    image = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = (network(image).argmax(1) + 1) % 4
    settings = {"step": 0.1, "max_steps": 3, "attack_background": True}
    by_rule = DAG(lambda label, logits: (label + 1) % 4, **settings)(network, image)
    assert by_rule.attacked.tolist() == [16, 16]
    for given in (wanted, wanted.unsqueeze(1), wanted.float()):
        assert torch.equal(DAG(given, **settings)(network, image).image, by_rule.image)
    for wrong in (wanted + 3, wanted - 4, wanted[:1], wanted + 0.5):
        with pytest.raises(ValueError, match=r"adversarial label|whole numbers"):
            DAG(wrong, **settings)(network, image)


@pytest.mark.parametrize("classes", [(1,), (1, 1), (1, 2, 3)])
def test_exchange_needs_two_different_classes(classes):
    with pytest.raises(ValueError, match="two different"):
        Exchange(classes)


def test_no_such_rule():
    label = draw_label((4, 4))
    with pytest.raises(ValueError, match="background, dilate, exchange, runner_up"):
        adversarial_label("foreground", label, draw_logits(label))
