# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from torch import nn

from monai_shield.attacks import (
    APGD,
    DAG,
    FGSM,
    PGD,
    SEA,
    RemainingShare,
    StructureDice,
    Transfer,
    UniformNoise,
    UniversalPerturbation,
)
from monai_shield.attacks.transfer import MeanNetwork

SHAPES = [(4, 1, 9, 8), (2, 2, 6, 5, 4)]
EXACT = {"rtol": 0, "atol": 0}


class Centered(nn.Module):
    def forward(self, image):
        return image - 0.5


def make_network(shape=SHAPES[0], seed=1, classes=3):
    """A network that predicts each of its classes about as often, with all that training mode would wake."""
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if len(shape) == 4 else (nn.Conv3d, nn.BatchNorm3d)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        foreground = Centered(), conv(shape[1], 6, 3, padding=1), norm(6), nn.Tanh(), nn.Dropout(0.5)
        return nn.Sequential(*foreground, conv(6, classes, 1, bias=False)).double()


def make_image(shape=SHAPES[0], seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Constant(nn.Module):
    """Predicts one class, whatever the image."""

    def __init__(self, label, classes=3):
        super().__init__()
        self.label, self.classes = label, classes

    def forward(self, image):
        logits = torch.zeros_like(image[:, :1]).repeat(1, self.classes, *[1] * (image.ndim - 2))
        logits[:, self.label] += 1
        return logits


class Decides(nn.Module):
    """Gives away nothing but its decision."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        logits = self.network(image)
        return torch.zeros_like(logits).scatter(1, logits.argmax(1, keepdim=True), 1)


class WithoutWayBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image):
        return image.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise AssertionError("the gradient of the network was asked")


class BlackBox(nn.Module):
    """Raises when its gradient is asked."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        return WithoutWayBack.apply(self.network(image))


ATTACKS = [
    PGD(0.1, max_steps=6),
    PGD(0.1, max_steps=6, target="runner_up", stop_early=True, stop_share=0.6),
    DAG("runner_up", step=0.02, max_steps=8, attack_background=True),
    FGSM(2.0, norm="l2", criterion=StructureDice(0.5) | RemainingShare(0.3)),
    APGD(0.1, max_steps=8, target="background", ignore_index=2),
    SEA(0.1, max_steps=4),
    UniformNoise(0.1),
]
every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)


def assert_same(found, expected):
    for name in vars(expected):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


@every_attack
@pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])
def test_from_the_network_itself_it_is_the_attack(attack, shape):
    network, image = make_network(shape), make_image(shape)
    label = torch.randint(0, 3, (shape[0], 1, *shape[2:]), generator=torch.Generator().manual_seed(5))
    mask = make_image((shape[0], 1, *shape[2:]), seed=7) < 0.6
    index = list(range(10, 10 + shape[0]))
    transfer = Transfer(attack, network)
    assert_same(transfer(network, image), attack(network, image))
    assert_same(transfer(network, image, label, mask, index=index), attack(network, image, label, mask, index=index))


@every_attack
def test_the_network_gives_away_no_gradient_and_no_logits(attack):
    network, substitute, image = make_network(), make_network(seed=2), make_image()
    transfer = Transfer(attack, substitute)
    if not isinstance(attack, UniformNoise):
        with pytest.raises(AssertionError, match="was asked"):  # or the next line would show nothing
            attack(BlackBox(network), image)
    expected = transfer(network, image)
    assert_same(transfer(BlackBox(network), image), expected)
    assert_same(transfer(Decides(network), image), expected)
    other = transfer(make_network(seed=3), image, network.eval()(image).argmax(1))
    assert torch.equal(other.image, expected.image)  # with a label, nothing at all


@every_attack
def test_it_is_judged_on_the_network(attack):
    network, substitute, image = make_network(), make_network(seed=2), make_image()
    result = Transfer(attack, substitute)(network, image)
    network.eval()
    label, prediction = network(image).argmax(1), network(result.image).argmax(1)
    problem = attack.pose(substitute.eval(), image, label, None, None)
    attacked = problem.attacked
    not_fooled = attacked & (prediction == label)
    if problem.target is not None and not isinstance(attack, DAG):
        not_fooled = attacked & (prediction != problem.target)
    torch.testing.assert_close(
        result.remaining, not_fooled.flatten(1).sum(1).double() / attacked.flatten(1).sum(1), **EXACT
    )
    assert torch.equal(result.success, attack.success_criterion()(prediction, not_fooled, problem))
    assert torch.equal(result.attacked, attacked.flatten(1).sum(1))


def test_what_misleads_the_substitute_need_not_mislead_the_network():
    substitute, image = make_network(), make_image()
    attack = PGD(1.0, bounds=(-9, 9), stop_share=0.3, max_steps=10)
    label = torch.ones(4, 9, 8)
    assert bool(attack(substitute, image, label).success.all())
    stubborn = Transfer(attack, substitute)(Constant(1), image, label)
    assert stubborn.success.tolist() == [False] * 4
    assert stubborn.remaining.tolist() == [1.0] * 4
    wrong = Transfer(UniformNoise(0.0), Constant(1))(Constant(2), image, label)
    assert wrong.success.tolist() == [True] * 4
    assert bool((attack(substitute, image, label).norm_linf > 0.5).all())


def test_a_substitute_like_the_network_transfers_better_than_noise():
    # the same layers, with weights a tenth off
    network, substitute, image = make_network(), make_network(), make_image((8, 1, 9, 8))
    with torch.no_grad():
        for number, parameter in enumerate(substitute.parameters()):
            parameter += 0.1 * parameter.abs().mean() * (2 * make_image(parameter.shape, number) - 1)
    own, transferred, noise = (
        attack(network, image).remaining.mean()
        for attack in (PGD(0.05), Transfer(PGD(0.05), substitute), UniformNoise(0.05))
    )
    assert own < transferred + 1e-9
    assert 1 - transferred > 2 * (1 - noise)


@pytest.mark.parametrize("dims", [2, 3])
def test_several_substitutes_are_their_mean(dims):
    # of 1x1 convolutions the mean of the logits is the convolution with the mean weights
    conv = nn.Conv2d if dims == 2 else nn.Conv3d
    shape = (3, 2, 6, 5, 4)[: dims + 2]
    networks = [conv(2, 3, 1).double() for _ in range(3)]
    mean = conv(2, 3, 1).double()
    for name in ("weight", "bias"):
        getattr(mean, name).data = torch.stack([getattr(each, name).data for each in networks]).mean(0)
    image, network = make_image(shape), conv(2, 3, 1).double()
    several = Transfer(PGD(0.1, max_steps=5), networks)(network, image)
    one = Transfer(PGD(0.1, max_steps=5), mean)(network, image)
    torch.testing.assert_close(several.image, one.image, rtol=0, atol=1e-12)
    assert torch.equal(several.remaining, one.remaining)
    torch.testing.assert_close(MeanNetwork(networks)(image), mean(image))


def test_a_sigmoid_head_and_a_softmax_of_two_are_averaged_as_what_they_are():
    sigmoid, softmax, image = make_network(classes=1), make_network(seed=2, classes=2), make_image()
    logits = MeanNetwork([sigmoid, softmax]).eval()(image)
    expected = softmax(image) / 2 + torch.cat([torch.zeros_like(image), sigmoid(image)], 1) / 2
    torch.testing.assert_close(logits, expected)
    result = Transfer(PGD(0.1, max_steps=3), [sigmoid, softmax])(make_network(seed=3, classes=1), image)
    assert bool((result.norm_linf > 0).all())


def test_any_attack_can_be_transferred():
    network, substitute, image = make_network(), make_network(seed=2), make_image()
    universal = UniversalPerturbation(0.1, epochs=2).fit(substitute, image.split(2), progress=False)
    assert_same(Transfer(universal, substitute)(network, image), universal(network, image))
    inner = Transfer(PGD(0.1, max_steps=3), substitute)
    assert torch.equal(Transfer(inner, network)(network, image).image, inner(network, image).image)


def test_substitutes_are_as_before():
    network, substitutes, image = (
        make_network(),
        [make_network(seed=2).train(), make_network(seed=3).eval()],
        make_image(),
    )
    substitutes[0][2].eval()
    substitutes[0][5].weight.requires_grad_(False)
    substitutes[0](image).square().mean().backward()
    everything = nn.ModuleList([network, *substitutes])
    modes = [module.training for module in everything.modules()]
    wanted = [parameter.requires_grad for parameter in everything.parameters()]
    gradients = [None if p.grad is None else p.grad.clone() for p in everything.parameters()]
    state = {key: value.clone() for key, value in everything.state_dict().items()}
    random_state = torch.get_rng_state()

    def check():
        assert [module.training for module in everything.modules()] == modes
        assert [parameter.requires_grad for parameter in everything.parameters()] == wanted
        for parameter, gradient in zip(everything.parameters(), gradients):
            assert (parameter.grad is None) == (gradient is None)
            assert gradient is None or torch.equal(parameter.grad, gradient)
        assert all(torch.equal(value, state[key]) for key, value in everything.state_dict().items())
        assert torch.equal(torch.get_rng_state(), random_state)

    transfer = Transfer(PGD(0.1, max_steps=3), substitutes)
    in_training = transfer(network, image)
    check()
    with pytest.raises(ValueError, match="label must be"):
        transfer(network, image, torch.zeros(4, 3, 9, 8))
    check()
    everything.eval()
    assert torch.equal(transfer(network, image).image, in_training.image)  # it was crafted in evaluation mode


def test_from_a_config():
    config = {
        "unet": {"_target_": "monai.networks.nets.BasicUNet", "spatial_dims": 2, "features": [4, 4, 4, 4, 4, 4]},
        "other": {"_target_": "monai.networks.nets.UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 2}
        | {"channels": [4, 8], "strides": [2]},
        "attack": {
            "_target_": "monai_shield.attacks.Transfer",
            "attack": {"_target_": "monai_shield.attacks.FGSM", "epsilon": 0.1, "bounds": [0, 1]},
            "substitutes": ["@unet", "@other"],
        },
    }
    parser = ConfigParser(config)
    transfer, unet, other = (parser.get_parsed_content(name) for name in ("attack", "unet", "other"))
    image = make_image((2, 1, 32, 32)).float()
    network = make_network(classes=2).float()
    expected = Transfer(FGSM(0.1, bounds=(0, 1)), [unet, other])(network, image)
    assert_same(transfer(network, image), expected)
    config["attack"]["substitutes"] = "@unet"
    one = ConfigParser(config).get_parsed_content("attack")
    assert [type(substitute).__name__ for substitute in one.substitutes] == ["BasicUNet"]


def test_its_settings_are_those_of_the_attack():
    attack = PGD(0.1, bounds=(0, 1), window="image", ignore_index=7, stop_share=0.3, confine_to_mask=True)
    transfer = Transfer(attack, make_network())
    assert (transfer.bounds, transfer.window, transfer.ignore_index) == ((0, 1), "image", 7)
    assert (transfer.stop_share, transfer.confine_to_mask) == (0.3, True)
    with pytest.raises(TypeError, match="bounds"):
        Transfer(attack, make_network(), bounds=(0, 2))


def test_metatensor_in_metatensor_out():
    image = MetaTensor(make_image(), meta={"filename_or_obj": "scan.nii"})
    result = Transfer(PGD(0.1, max_steps=2), make_network(seed=2))(make_network(), image)
    assert isinstance(result.image, MetaTensor)
    assert result.image.meta["filename_or_obj"] == "scan.nii"
    assert not isinstance(result.remaining, MetaTensor)


@pytest.mark.parametrize(
    ("substitute", "message"),
    [
        (make_network(classes=4), r"substitute 1 \(Sequential\) has 4 classes, the network 3"),
        (make_network(classes=1), r"substitute 1 \(Sequential\) has 2 classes, the network 3"),
        (make_network((1, 2, 8, 8)), r"substitute 1 \(Sequential\) cannot take .*channels"),
        (make_network(SHAPES[1]), r"substitute 1 \(Sequential\) cannot take the image \(1, 1, 9, 8\)"),
        (make_network().float(), r"substitute 1 \(Sequential\) cannot take"),
        (nn.MaxPool2d(2), r"substitute 1 \(MaxPool2d\) cannot take .*do not lie"),
        (nn.MaxPool2d(2, return_indices=True), r"substitute 1 \(MaxPool2d\) cannot take .*tensor of logits"),
    ],
)
def test_a_substitute_that_does_not_fit_is_named(substitute, message):
    with pytest.raises(ValueError, match=message):
        Transfer(PGD(0.1), [make_network(seed=2), substitute])(make_network(), make_image())


def test_what_is_neither_attack_nor_substitute_is_refused():
    with pytest.raises(TypeError, match="must be an attack"):
        Transfer("pgd", make_network())
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        Transfer(PGD(0.1), [make_network(), "unet"])
    with pytest.raises(ValueError, match="one network at least"):
        Transfer(PGD(0.1), [])
