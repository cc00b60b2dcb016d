# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import math
import os
from dataclasses import fields

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from torch import nn

from monai_shield.attacks import ATTACKS, PGD, AttackInfo, Transfer, UniversalPerturbation
from monai_shield.attacks.base import window_width

# settings to run each attack with; more than one where a branch of its own is worth a row
SETTINGS = [
    ("alma_prox", {"step": 0.02, "max_steps": 12}),
    ("alma_prox", {"step": 0.02, "max_steps": 12, "target": "runner_up", "stop_share": 0.3}),
    ("apgd", {"epsilon": 0.1, "max_steps": 12}),
    ("apgd", {"epsilon": 2.0, "norm": "l2", "max_steps": 12, "stop_early": True, "stop_share": 0.4}),
    ("asma", {"beta": 0.02, "tau": 0.01, "max_steps": 8, "target": "runner_up"}),
    ("bim", {"epsilon": 0.1, "max_steps": 6}),
    ("cos_pgd", {"epsilon": 0.1, "max_steps": 6}),
    ("dag", {"step": 0.02, "max_steps": 12}),
    ("dag", {"step": 0.3, "norm": "l2", "max_steps": 6, "target": "runner_up", "attack_background": True}),
    ("fgsm", {"epsilon": 0.1}),
    ("mi_fgsm", {"epsilon": 0.1, "max_steps": 6, "stop_early": True, "stop_share": 0.4}),
    ("pgd", {"epsilon": 0.1, "max_steps": 6}),
    ("pgd", {"epsilon": 2.0, "norm": "l2", "max_steps": 6, "stop_early": True}),
    ("pgd", {"epsilon": 0.1, "max_steps": 6, "target": "background", "random_start": False}),
    ("sea", {"epsilon": 0.1, "max_steps": 10}),
    ("sea", {"epsilon": 0.1, "max_steps": 10, "stop_early": True, "stop_share": 0.4, "target": "runner_up"}),
    ("seg_pgd", {"epsilon": 0.1, "max_steps": 6}),
    ("smia", {"epsilon": 0.1, "max_steps": 6}),
    ("square", {"epsilon": 0.1, "max_steps": 12}),
    ("square", {"epsilon": 0.2, "max_steps": 12, "p": 0.5, "stop_share": 0.4}),
    ("transfer", {"epsilon": 0.1, "max_steps": 6}),
    ("transfer", {"epsilon": 2.0, "norm": "l2", "max_steps": 6, "target": "runner_up", "stop_early": True}),
    ("uniform_noise", {"epsilon": 0.1}),
    ("uniform_noise", {"epsilon": 2.0, "norm": "l2"}),
    ("universal", {"epsilon": 0.1}),
    ("universal", {"epsilon": 2.0, "norm": "l2", "target": "runner_up"}),
    ("vafa", {"q_max": 0.3, "step_size": 0.02, "max_steps": 6}),
    ("vafa", {"q_max": 0.5, "q_min": 0.1, "step_size": 0.1, "max_steps": 6, "stop_early": True, "stop_share": 0.4}),
]
SHAPES = [(4, 1, 9, 8), (3, 2, 6, 5, 4)]
CLASSES = 4

every_attack = pytest.mark.parametrize(("name", "settings"), SETTINGS)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])


class Network(nn.Module):
    """A small segmenter with all that training mode would wake: batch statistics and dropout."""

    def __init__(self, dims, channels):
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
        self.foreground = nn.Sequential(conv(channels, 6, 3, padding=1), norm(6), nn.Tanh(), nn.Dropout(0.5))
        self.head = conv(6, CLASSES, 1)

    def forward(self, image):
        return self.head(self.foreground(image))


def make_network(shape, dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Network(len(shape) - 2, shape[1]).to(dtype)


def make_image(shape, dtype=torch.float64, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


class FitsEveryImage(UniversalPerturbation):
    """One that was learned on images of whatever size it meets."""

    def _run(self, network, problem):
        direction = make_image(problem.image.shape[1:]) - 0.5
        self.perturbation = (
            self.epsilon * direction / (direction.abs().max() if self.norm == "linf" else direction.norm())
        )
        return super()._run(network, problem)


class Squashed(nn.Module):
    """A network like another one."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        return self.network(image).tanh()


class FromOneLikeIt(Transfer):
    """PGD on a substitute that is like whatever network it meets."""

    def __init__(self, **settings):
        super().__init__(PGD(**settings), nn.Identity())

    def __call__(self, network, *args, **more):
        self.substitutes = [Squashed(network)]
        return super().__call__(network, *args, **more)


# attacks that need more than settings: something learned on such images, another network
READY = {"transfer": FromOneLikeIt, "universal": FitsEveryImage}


def make(name, settings, **more):
    return {**ATTACKS, **READY}[name](**{**settings, **more})


def test_every_attack_is_in_the_grid():
    assert {name for name, _ in SETTINGS} == set(ATTACKS)


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_info_names_the_source(name):
    info = ATTACKS[name].info
    assert isinstance(info, AttackInfo)
    assert info.name
    assert info.paper
    assert (info.arxiv is None) == (info.year is None)


@every_attack
@every_shape
def test_result_accounts_for_every_image(name, settings, shape):
    image = make_image(shape, torch.float32)
    result = make(name, settings)(make_network(shape, torch.float32), image)
    assert result.image.shape == image.shape
    assert result.image.dtype == torch.float32
    assert not result.image.requires_grad
    change = (result.image - image).flatten(1).double()
    torch.testing.assert_close(result.norm_linf, change.abs().amax(1))
    torch.testing.assert_close(result.norm_l2, change.square().sum(1).sqrt())
    assert result.steps.shape == result.success.shape == result.attacked.shape == result.window.shape == shape[:1]
    assert result.steps.dtype == torch.int64
    assert result.success.dtype == torch.bool
    assert bool((result.norm_linf > 0).all())


@every_attack
@every_shape
def test_an_image_does_not_feel_its_batch_mates(name, settings, shape):
    network, attack = make_network(shape), make(name, settings)
    image = make_image(shape) * torch.linspace(0.2, 3, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    image[1] = 0.5  # a constant one among them
    together = attack(network, image)
    for i in range(shape[0]):
        alone = attack(network, image[i : i + 1], index=[i])
        torch.testing.assert_close(alone.image, together.image[i : i + 1], rtol=0, atol=1e-9)
        assert alone.steps[0] == together.steps[i]
        assert alone.success[0] == together.success[i]
    backward = list(range(shape[0]))[::-1]
    reversed_ = attack(network, image[backward], index=backward)
    torch.testing.assert_close(reversed_.image[backward], together.image, rtol=0, atol=1e-9)


@every_attack
@pytest.mark.parametrize("number", [1, 3, 9])
def test_micro_batches_change_nothing(name, settings, number):
    shape = SHAPES[0]
    network, image = make_network(shape), make_image(shape)
    sizes = [0]

    def count(module, inputs, output):
        if output.requires_grad:  # it keeps what a backward pass needs
            sizes.append(len(output))

    network.register_forward_hook(count)
    whole = make(name, settings)(network, image)
    sizes[:] = [0]
    parts = make(name, settings, micro_batch=number)(network, image)
    assert max(sizes) <= number
    torch.testing.assert_close(parts.image, whole.image, rtol=0, atol=1e-9)
    assert torch.equal(parts.steps, whole.steps)
    assert torch.equal(parts.success, whole.success)


@every_attack
@pytest.mark.parametrize(("scale", "shift"), [(1, -0.5), (3000, -1000)], ids=["z-scored", "hounsfield"])
def test_each_image_keeps_to_its_own_range(name, settings, scale, shift):
    shape = SHAPES[0]
    image = make_image(shape) * torch.linspace(0.5, 1, shape[0]).reshape(-1, 1, 1, 1) * scale + shift
    network = nn.Sequential(Rescaled(scale, shift), make_network(shape)).double()
    result = make(name, settings, window="image")(network, image)
    for clean, adversarial in zip(image, result.image):
        assert adversarial.min() >= clean.min()
        assert adversarial.max() <= clean.max()
    assert bool((result.norm_linf > 0).all())

    low, high = float(image.min()), float(image.max())
    result = make(name, settings, window="image", bounds=(low, high))(network, image)
    assert low <= result.image.min()
    assert result.image.max() <= high


class Rescaled(nn.Module):
    """Undoes x -> scale · x + shift."""

    def __init__(self, scale, shift):
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, image):
        return (image - self.shift) / self.scale


@every_attack
@every_shape
def test_the_unit_of_intensity_does_not_matter(name, settings, shape):
    # the same scan written in other units, before the same network, is attacked in the same way
    network, image, attack = make_network(shape), make_image(shape), make(name, settings, window="image")
    image = image - image.amin(dim=tuple(range(1, image.ndim)), keepdim=True)  # the background of a scan is 0
    result = attack(network, image)
    other = attack(nn.Sequential(Rescaled(1700.0, -1024.0), network), image * 1700 - 1024)
    torch.testing.assert_close(other.image, result.image * 1700 - 1024, rtol=0, atol=1e-6)
    torch.testing.assert_close(other.norm_linf / other.window, result.norm_linf / result.window)


def test_window_is_the_percentile_inside_the_foreground():
    foreground = torch.arange(1, 1001, dtype=torch.float64)
    image = torch.cat([torch.zeros(600), foreground]).reshape(1, 1, 40, 40)
    assert window_width(image).flatten().tolist() == [995]
    assert window_width(image - 1024).flatten().tolist() == [995]
    with pytest.raises(ValueError, match="constant"):
        window_width(torch.zeros(1, 1, 4, 4))


@every_attack
def test_network_and_random_state_are_as_before(name, settings):
    shape = SHAPES[0]
    network = make_network(shape).train()
    network.foreground[1].eval()  # a frozen normalization inside a network in training
    network.head.bias.requires_grad_(False)
    network(make_image(shape)).square().mean().backward()
    modes = [module.training for module in network.modules()]
    wanted = [parameter.requires_grad for parameter in network.parameters()]
    gradients = [None if p.grad is None else p.grad.clone() for p in network.parameters()]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    random_state = torch.get_rng_state()

    def check():
        assert [module.training for module in network.modules()] == modes
        assert [parameter.requires_grad for parameter in network.parameters()] == wanted
        for parameter, gradient in zip(network.parameters(), gradients):
            assert (parameter.grad is None) == (gradient is None)
            assert gradient is None or torch.equal(parameter.grad, gradient)
        assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
        assert torch.equal(torch.get_rng_state(), random_state)

    attack, image = make(name, settings), make_image(shape)
    in_training = attack(network, image)
    check()
    with pytest.raises(RuntimeError, match="channels"):
        attack(network, make_image((2, 3, 8, 8)))
    check()
    assert torch.equal(in_training.image, attack(network.eval(), image).image)  # it was crafted in evaluation mode


@every_attack
def test_a_network_that_draws_leaves_the_random_state_too(name, settings):
    class Drawing(nn.Module):
        def forward(self, image):
            return torch.cat([image - 0.5, 0.01 * torch.randn_like(image)], 1)

    before = torch.get_rng_state()
    make(name, settings)(Drawing(), make_image((2, 1, 5, 5)))
    assert torch.equal(torch.get_rng_state(), before)


@every_attack
def test_callers_without_gradients(name, settings):
    shape = SHAPES[0]
    network, attack = make_network(shape).eval(), make(name, settings)
    image = make_image(shape)
    expected = attack(network, image, network(image).argmax(1)).image
    with torch.no_grad():
        assert torch.equal(attack(network, image, network(image).argmax(1)).image, expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert torch.equal(attack(network, image + 0, network(image).argmax(1)).image, expected)
        assert torch.is_inference_mode_enabled()


@every_attack
@every_shape
def test_without_a_label_the_clean_prediction_is_the_label(name, settings, shape):
    network, image, attack = make_network(shape).eval(), make_image(shape), make(name, settings)
    own = network(image).argmax(1, keepdim=True)
    expected = attack(network, image).image
    assert torch.equal(attack(network, image, own).image, expected)
    assert torch.equal(attack(network, image, own.squeeze(1)).image, expected)
    assert torch.equal(attack(network, image, own.float()).image, expected)


@every_attack
def test_metatensor_in_metatensor_out(name, settings):
    shape = SHAPES[1]
    network, image, attack = make_network(shape), make_image(shape), make(name, settings)
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0]))
    result = attack(network, MetaTensor(image, affine=affine, meta={"filename_or_obj": "scan.nii"}))
    assert isinstance(result.image, MetaTensor)
    assert result.image.meta["filename_or_obj"] == "scan.nii"
    assert torch.equal(result.image.affine, affine.double())
    assert not isinstance(result.norm_l2, MetaTensor)
    plain = attack(network, image).image
    assert not isinstance(plain, MetaTensor)
    assert torch.equal(result.image.as_tensor(), plain)


@every_attack
@every_shape
def test_mask(name, settings, shape):
    network, image = make_network(shape), make_image(shape)
    mask = torch.zeros(shape[0], 1, *shape[2:], dtype=torch.bool)
    mask[:, :, 1:4, 1:4] = True
    free = make(name, settings)(network, image, mask=mask)
    confined = make(name, settings, confine_to_mask=True)(network, image, mask=mask)
    outside = ~mask.expand_as(image)
    assert bool((free.attacked <= mask.flatten(1).sum(1)).all())
    assert bool(((free.image - image)[outside] != 0).any())
    assert bool(((confined.image - image)[outside] == 0).all())
    assert bool(((confined.image - image)[~outside] != 0).any())


@every_attack
def test_nothing_to_attack(name, settings):
    shape = SHAPES[0]
    network, image = make_network(shape), make_image(shape)
    mask = torch.ones(shape[0], 1, *shape[2:])
    mask[1] = 0
    result = make(name, settings)(network, image, mask=mask)
    assert len(result.image) == len(image)
    assert result.attacked[1] == 0
    assert result.steps[1] == 0
    assert result.success[1]
    assert result.remaining[1] == 0
    if name != "uniform_noise":  # a control is noise everywhere
        assert torch.equal(result.image[1], image[1])


@every_attack
def test_void_pixels_are_not_attacked(name, settings):
    shape = SHAPES[0]
    network, image = make_network(shape).eval(), make_image(shape)
    label = network(image).argmax(1)
    full = make(name, settings, ignore_index=255)(network, image, label)
    label[:, :4] = 255
    void = make(name, settings, ignore_index=255)(network, image, label)
    masked = make(name, settings)(network, image, label.where(label != 255, 0), (label != 255).unsqueeze(1))
    assert bool((void.attacked < full.attacked).all())
    assert torch.equal(void.attacked, masked.attacked)
    assert torch.equal(void.image, masked.image)
    with pytest.raises(ValueError, match="255"):
        make(name, settings)(network, image, label)


@every_attack
def test_a_sigmoid_head_is_a_softmax_over_zero_and_its_logit(name, settings):
    class Two(nn.Module):
        def __init__(self, one):
            super().__init__()
            self.one = one

        def forward(self, image):
            logit = self.one(image)
            return torch.cat([torch.zeros_like(logit), logit], 1)

    image = make_image((2, 1, 6, 6))
    one = nn.Conv2d(1, 1, 3, padding=1).double()
    attack = make(name, settings)
    assert torch.equal(attack(one, image).image, attack(Two(one), image).image)


@every_attack
def test_torchscript(name, settings):
    shape = SHAPES[0]
    network, image = make_network(shape), make_image(shape)
    scripted = torch.jit.script(network.train())
    torch.testing.assert_close(
        make(name, settings)(scripted, image).image, make(name, settings)(network, image).image, rtol=0, atol=1e-9
    )
    assert all(module.training for module in scripted.modules())


def test_a_wrapper_for_distributed_training_can_go_on_training(tmp_path):
    if not torch.distributed.is_available():
        pytest.skip("this torch has no torch.distributed")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        shape = SHAPES[0]
        network = nn.parallel.DistributedDataParallel(make_network(shape))
        image = make_image(shape)
        for _ in range(2):
            make("pgd", {"epsilon": 0.1, "max_steps": 2})(network, image)
            network(image).square().mean().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("name", "settings"), [row for row in SETTINGS if row[0] not in READY])
def test_from_a_config(name, settings):
    config = {"attack": {"_target_": f"monai_shield.attacks.{ATTACKS[name].__name__}", "bounds": [0, 1], **settings}}
    attack = ConfigParser(config).get_parsed_content("attack")
    image = make_image(SHAPES[0])
    expected = make(name, settings, bounds=(0, 1))(make_network(SHAPES[0]), image).image
    assert torch.equal(attack(make_network(SHAPES[0]), image).image, expected)


@pytest.mark.parametrize(
    ("image", "label", "mask", "message"),
    [
        (torch.zeros(2, 1, 8), None, None, "image must be"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.int16), None, None, "image must be"),
        (torch.zeros(0, 1, 8, 8), None, None, "image must be"),
        (torch.full((1, 1, 8, 8), math.nan), None, None, "not finite"),
        (torch.full((1, 1, 8, 8), math.inf), None, None, "not finite"),
        (torch.rand(1, 1, 8, 8), torch.zeros(1, 4, 8, 8), None, "label must be"),
        (torch.rand(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.5), None, "whole numbers"),
        (torch.rand(1, 1, 8, 8), torch.full((1, 8, 8), 4), None, "classes 0 to 3"),
        (torch.rand(1, 1, 8, 8), torch.full((1, 8, 8), -1), None, "classes 0 to 3"),
        (torch.rand(1, 1, 8, 8), None, torch.ones(1, 1, 4, 4), "mask must be"),
    ],
)
@every_attack
def test_what_is_wrong_is_refused(name, settings, image, label, mask, message):
    with pytest.raises(ValueError, match=message):
        make(name, settings)(make_network((1, 1, 8, 8), torch.float32), image, label, mask)


@every_attack
def test_a_network_that_cannot_be_attacked_is_refused(name, settings):
    image, attack = make_image(SHAPES[0]), make(name, settings)
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        attack(lambda x: x, image)
    with pytest.raises(ValueError, match="do not lie"):
        attack(nn.MaxPool2d(2), image)
    with pytest.raises(TypeError, match="tensor of logits"):
        attack(nn.MaxPool2d(2, return_indices=True), image)
    with pytest.raises(ValueError, match="outside the bounds"):
        make(name, settings, bounds=(0, 0.5))(make_network(SHAPES[0]), image)
    with pytest.raises(ValueError, match="index must name"):
        attack(make_network(SHAPES[0]), image, index=[0])
    with pytest.raises(ValueError, match="needs a mask"):
        make(name, settings, confine_to_mask=True)(make_network(SHAPES[0]), image)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bounds": (1, 0)},
        {"bounds": (1,)},
        {"window": 0.0},
        {"window": "volume"},
        {"stop_share": 1.0},
        {"micro_batch": 0},
    ],
)
@every_attack
def test_settings_out_of_range_are_refused(name, settings, wrong):
    if "norm" in wrong and "norm" not in {each.name for each in fields(ATTACKS[name])}:
        pytest.skip("it has no choice of norm")
    with pytest.raises(ValueError, match="must be"):
        make(name, settings, **wrong)


@every_attack
def test_a_norm_that_is_none_is_refused(name, settings):
    if not hasattr(ATTACKS[name], "norm"):
        pytest.skip("it has no norm")
    with pytest.raises(ValueError, match="norm must be"):
        make(name, settings, norm="l1")


def test_a_gradient_that_is_not_finite_is_refused():
    class Broken(nn.Module):
        def forward(self, image):
            return torch.cat([image, (image * 0).sqrt()], 1)

    for name in ("dag", "pgd"):
        settings = next(settings for other, settings in SETTINGS if other == name)
        with pytest.raises(ValueError, match="gradient is not finite"):
            make(name, settings, attack_background=True, bounds=(-9, 9))(
                Broken(), -make_image((1, 1, 4, 4)), torch.ones(1, 4, 4)
            )
