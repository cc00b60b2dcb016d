# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from monai.networks.nets import BasicUNetPlusPlus, SegResNetDS
from torch import nn
from torch.nn import functional

from monai_shield.adaptive import AdaptivePGD
from monai_shield.attacks import DAG, PGD
from monai_shield.attacks.heads import MultiLabel, SelectOutput
from monai_shield.detectors import Calibration, MeanEntropy, Views


def draw(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Returns(nn.Module):
    """Returns what it was given, whatever the image."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, image):
        return self.output


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 4, 5, 6)], ids=["2d", "3d"])
def test_the_output_that_is_asked_for(shape):
    image = draw(2, 1, *shape[2:])
    first, second = draw(*shape), draw(*shape, seed=1)
    for outputs in ([first, second], (first, second), torch.stack([first, second], dim=1)):
        assert torch.equal(SelectOutput(Returns(outputs))(image), first)
        assert torch.equal(SelectOutput(Returns(outputs), 1)(image), second)
        assert torch.equal(SelectOutput(Returns(outputs), -1)(image), second)
        with pytest.raises(ValueError, match="no output 2; there are 0, 1"):
            SelectOutput(Returns(outputs), 2)(image)
    named = Returns({"out": first, "aux": second})
    assert torch.equal(SelectOutput(named, "aux")(image), second)
    with pytest.raises(ValueError, match="no output 0; there are out, aux"):
        SelectOutput(named)(image)
    assert torch.equal(SelectOutput(Returns(first), 1)(image), first)  # plain logits
    with pytest.raises(ValueError, match="are not the logits"):
        SelectOutput(Returns(first[0]))(image)
    with pytest.raises(TypeError, match="NoneType"):
        SelectOutput(Returns(None))(image)


@pytest.mark.parametrize(
    ("make", "output"),
    [
        (lambda: SegResNetDS(2, init_filters=8, in_channels=1, out_channels=2, blocks_down=(1, 1, 1), dsdepth=2), 0),
        (lambda: BasicUNetPlusPlus(2, 1, 2, features=(4, 4, 4, 4, 4, 4), deep_supervision=True), -1),
    ],
    ids=["SegResNetDS", "BasicUNetPlusPlus"],
)
def test_a_network_of_monai_with_several_outputs_is_attacked(make, output):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make()
    image = draw(2, 1, 32, 32).float()
    result = PGD(0.1, max_steps=2)(SelectOutput(network, output), image)
    assert bool((result.norm_linf > 0).all())
    several = network.train()(image)
    assert len(several) > 1
    assert torch.equal(SelectOutput(Returns(several), output)(image), several[output])


@pytest.mark.parametrize("several", [[draw(2, 2, 4, 5)], (draw(2, 2, 4, 5),), {"out": draw(2, 2, 4, 5)}])
def test_several_outputs_are_refused_by_name_of_the_way_out(several):
    """By an attack, by a detector and so by an attack on the whole shield."""
    network, image = Returns(several), draw(2, 1, 4, 5)
    detector = MeanEntropy()
    detector.calibration = Calibration.fit(torch.linspace(0, 1, 40))
    adaptive = AdaptivePGD(epsilon=0.1, detector=detector)
    message = f"must return a tensor of logits, got {type(several).__name__}: wrap it in .*SelectOutput"
    for call in (PGD(0.1), adaptive, lambda network, image: detector(Views(image, network))):
        with pytest.raises(TypeError, match=message):
            call(network, image)
    output = "out" if isinstance(several, dict) else 0
    assert detector(Views(image, SelectOutput(network, output))).shape == (2,)


def small_network(dims, channels):
    conv = nn.Conv2d if dims == 2 else nn.Conv3d
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = conv(1, 5, 3, padding=1), nn.Tanh(), conv(5, channels, 3, padding=1)
        return nn.Sequential(*layers).double()


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("dims", [2, 3])
def test_combinations_are_the_channels_in_other_words(dims, channels):
    network, image = small_network(dims, channels), draw(2, 1, *(5, 4, 3)[:dims]) * 6
    z, logits = network(image), MultiLabel(network)(image)
    assert logits.shape[1] == 2**channels

    label = (draw(*z.shape, seed=2) < 0.5).long()
    code = MultiLabel.encode(label)
    assert code.shape == (2, 1, *z.shape[2:])
    assert torch.equal(MultiLabel.decode(code, channels), label)

    binary = functional.binary_cross_entropy_with_logits(z, label.double(), reduction="none").sum(1)
    torch.testing.assert_close(functional.cross_entropy(logits, code.squeeze(1), reduction="none"), binary)
    assert torch.equal(MultiLabel.decode(logits.argmax(1, keepdim=True), channels), (z > 0).long())

    # the chance that structure k is there, over all combinations, is the channel's own
    there = MultiLabel.decode(torch.arange(2**channels).reshape(1, 1, -1), channels)[0].double()  # (K,2^K)
    marginal = torch.einsum("kc,bc...->bk...", there, logits.softmax(1))
    torch.testing.assert_close(marginal, z.sigmoid())


def test_one_channel_is_the_sigmoid_head_every_attack_knows():
    network, image = small_network(2, 1), draw(2, 1, 6, 6)
    attack = PGD(0.1, max_steps=4)
    assert torch.equal(attack(MultiLabel(network), image).image, attack(network, image).image)


def test_dag_empties_every_structure():
    network, image = small_network(2, 3), draw(2, 1, 8, 8) * 2
    truth = (network(image) > 0).long()
    assert bool(truth.any())
    attack = DAG("background", step=0.05, max_steps=200, bounds=(-20, 20), stop_share=0.0)
    result = attack(MultiLabel(network), image, MultiLabel.encode(truth))
    assert bool(result.success.all())
    assert torch.equal(result.attacked, truth.any(1).flatten(1).sum(1))
    fallen = (network(result.image) > 0).long() != truth
    assert bool(fallen.any(1)[truth.any(1)].all())


def test_what_is_no_multi_label_is_refused():
    with pytest.raises(ValueError, match="2\\^9"):
        MultiLabel(nn.Identity())(draw(1, 9, 4, 4))
    with pytest.raises(ValueError, match="0 and 1"):
        MultiLabel.encode(torch.full((1, 2, 4, 4), 2))
