# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import weakref

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SliceInferer, SlidingWindowInferer, SlidingWindowInfererAdapt
from torch import nn

from monai_shield.attacks import DAG, PGD
from monai_shield.attacks.sliding import SlidingWindowNetwork

GRIDS = [
    # batch and channels, spatial, window
    ((2, 2), (13, 10), (6, 5)),
    ((1, 1), (4, 11), (6, 5)),  # padded along one axis
    ((2, 1), (3, 4), (6, 7)),  # smaller than one window
    ((1, 2), (9, 7, 6), (4, 5, 3)),
    ((2, 1), (3, 8, 5), (5, 4, 5)),
    ((1, 1), (12, 9), (5, -1)),  # as long as the image along the second axis
]


def small_network(dims, channels, dtype=torch.float64):
    conv = nn.Conv2d if dims == 2 else nn.Conv3d
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = conv(channels, 5, 3, padding=1), nn.SiLU(), conv(5, 3, 3, padding=1)
        return nn.Sequential(*layers).to(dtype)


def draw(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient_of(network, image):
    """Logits, and the gradient of a loss that weights every logit differently."""
    image = image.clone().requires_grad_()
    logits = network(image)
    (gradient,) = torch.autograd.grad((logits.square() * draw(*logits.shape, seed=1).to(logits)).sum(), image)
    return logits.detach(), gradient


def through_monai(network, *args, **settings):
    inferer = SlidingWindowInferer(*args, **settings)
    return lambda image: inferer(image, network)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("overlap", [0, 0.25, 0.5])
@pytest.mark.parametrize("mode", ["constant", "gaussian"])
def test_logits_and_gradient_are_those_of_monai(mode, overlap, grid):
    (batch, channels), spatial, window = grid
    network, image = small_network(len(spatial), channels), draw(batch, channels, *spatial)
    for number in (1, 4):
        settings = {"roi_size": window, "sw_batch_size": number, "overlap": overlap, "mode": mode}
        logits, gradient = gradient_of(SlidingWindowNetwork(network, **settings), image)
        expected, expected_gradient = gradient_of(through_monai(network, **settings), image)
        assert torch.equal(logits, expected)
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "settings",
    [{"padding_mode": "reflect"}, {"padding_mode": "replicate"}, {"cval": 0.7}, {"sigma_scale": 0.3}],
    ids=str,
)
def test_padding_and_width_of_the_gaussian_are_those_of_monai(settings):
    network, image = small_network(2, 1, torch.float32), draw(2, 1, 5, 12).float()
    settings = {"roi_size": 8, "sw_batch_size": 3, "overlap": 0.6, "mode": "gaussian", **settings}
    wrapped = SlidingWindowNetwork.from_inferer(network, SlidingWindowInferer(**settings))
    logits, gradient = gradient_of(wrapped, image)
    expected, expected_gradient = gradient_of(through_monai(network, **settings), image)
    assert torch.equal(logits, expected)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-5)


def test_gradient_agrees_with_finite_differences():
    network = SlidingWindowNetwork(small_network(2, 1), (4, 4), 2, 0.5, "gaussian")
    torch.autograd.gradcheck(network, draw(1, 1, 6, 3).requires_grad_())


def peak_saved(network, image):
    """Most bytes that the graph held at one time, forward and backward; a storage counts once."""
    held: dict[int, int] = {}
    most = 0

    class Kept:
        def __init__(self, tensor):
            self.tensor = tensor

    def release(storage):
        held[storage][1] -= 1
        if held[storage][1] == 0:
            del held[storage]

    def pack(tensor):
        nonlocal most
        kept, storage = Kept(tensor.detach()), tensor.untyped_storage().data_ptr()
        held.setdefault(storage, [tensor.untyped_storage().nbytes(), 0])[1] += 1
        weakref.finalize(kept, release, storage)
        most = max(most, sum(size for size, _ in held.values()))
        return kept

    image = image.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
        # linear, so that the loss itself keeps nothing
        torch.autograd.grad(network(image).sum(), image)
    return most


def test_what_the_graph_keeps_does_not_grow_with_the_number_of_windows():
    network = small_network(2, 1)
    settings = {"roi_size": 8, "sw_batch_size": 2, "overlap": 0.5}
    few, many = draw(1, 1, 16, 16), draw(1, 1, 64, 64)  # 9 and 225 windows
    ours, monais = SlidingWindowNetwork(network, **settings), through_monai(network, **settings)
    image_bytes = many.nbytes - few.nbytes
    assert peak_saved(ours, many) <= peak_saved(ours, few) + image_bytes
    # the measure sees what is there to be saved
    assert peak_saved(monais, many) > 20 * peak_saved(monais, few)


def test_windows_that_do_not_matter_are_skipped():
    calls = []

    class Counting(nn.Module):
        def forward(self, image):
            calls.append(len(image))
            return image * 2

    image = draw(1, 1, 20, 20).requires_grad_()
    logits = SlidingWindowNetwork(Counting(), 5, 1, 0)(image)
    assert len(calls) == 16
    calls.clear()
    (gradient,) = torch.autograd.grad(logits[..., :5, 5:15].sum(), image)
    assert len(calls) == 2
    expected = torch.zeros_like(image)
    expected[..., :5, 5:15] = 2
    assert torch.equal(gradient, expected)


class Noisy(nn.Module):
    """Multiplies each pixel by a number of its own, drawn from the global random state."""

    def forward(self, image):
        return image * torch.rand_like(image)


def test_the_second_pass_draws_what_the_first_drew():
    image = torch.ones(1, 1, 9, 9, dtype=torch.float64, requires_grad=True)
    logits = SlidingWindowNetwork(Noisy(), 4, 2, 0.25)(image)
    before = torch.get_rng_state()
    # of the last rows only, so that windows are skipped; z = r · x, so that the gradient at x = 1 is z
    (gradient,) = torch.autograd.grad(logits[..., -1, :].sum(), image)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(gradient[..., -1, :], logits[..., -1, :])


def test_the_second_pass_runs_under_the_same_autocast():
    seen = []

    class Recorder(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = small_network(2, 1, torch.float32)

        def forward(self, image):
            seen.append(self.conv(image))
            return seen[-1]

    image = draw(1, 1, 8, 8).float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = SlidingWindowNetwork(Recorder(), 4, 4, 0)(image)
    torch.autograd.grad(logits.sum(), image)
    assert [logits.dtype for logits in seen] == [torch.bfloat16] * 2
    assert torch.equal(seen[0], seen[1])


def test_a_network_that_hands_its_input_on_leaves_the_image_alone():
    image = draw(2, 1, 6, 6)
    before = image.clone()
    logits = SlidingWindowNetwork(nn.Identity(), 4, 1, 0.5, "gaussian")(image)
    assert torch.equal(image, before)
    torch.testing.assert_close(logits, image)


def test_meta_information_stays():
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0], dtype=torch.float64))
    image = MetaTensor(draw(1, 1, 6, 6, 4), affine=affine).requires_grad_()
    logits = SlidingWindowNetwork(small_network(3, 1), 4)(image)
    assert isinstance(logits, MetaTensor)
    assert torch.equal(logits.affine, affine)
    (gradient,) = torch.autograd.grad(logits.sum(), image)
    assert gradient.shape == image.shape


@pytest.mark.parametrize(
    "attack",
    [
        DAG("runner_up", step=0.05, max_steps=8, attack_background=True, bounds=(-10, 10)),
        PGD(0.1, max_steps=5, bounds=(-10, 10)),
    ],
    ids=["dag", "pgd"],
)
@pytest.mark.parametrize("dims", [2, 3])
def test_an_attack_runs_through_it_as_through_monai(attack, dims):
    class Inferred(nn.Module):
        def __init__(self, network, **settings):
            super().__init__()
            self.network, self.inferer = network, SlidingWindowInferer(**settings)

        def forward(self, image):
            return self.inferer(image, self.network)

    network, image = small_network(dims, 2), draw(3, 2, *(9, 8, 7)[:dims])
    settings = {"roi_size": (5, 6, 4)[:dims], "sw_batch_size": 4, "overlap": 0.4, "mode": "gaussian"}
    result = attack(SlidingWindowNetwork(network, **settings), image)
    expected = attack(Inferred(network, **settings), image)
    torch.testing.assert_close(result.image, expected.image, rtol=0, atol=1e-9)
    assert torch.equal(result.success, expected.success)
    assert bool((result.remaining < 1).all())


def test_from_inferer_takes_what_it_can_stand_for():
    network, image = small_network(2, 1), draw(1, 1, 9, 9)
    inferer = SlidingWindowInfererAdapt((4, 5), 3, 0.5, mode="gaussian", padding_mode="replicate")
    wrapped = SlidingWindowNetwork.from_inferer(network, inferer)
    torch.testing.assert_close(wrapped(image), inferer(image, network))
    with pytest.raises(TypeError, match="SliceInferer"):
        SlidingWindowNetwork.from_inferer(network, SliceInferer(roi_size=(4, 4)))
    with pytest.raises(ValueError, match="with_coord"):
        SlidingWindowNetwork.from_inferer(network, SlidingWindowInferer((4, 4), with_coord=True))


def test_what_is_not_logits_on_the_pixels_is_refused():
    class Lists(nn.Module):
        def forward(self, image):
            return [image]

    image = draw(1, 1, 8, 8)
    with pytest.raises(TypeError, match="list"):
        SlidingWindowNetwork(Lists(), 4)(image)
    with pytest.raises(ValueError, match="do not lie"):
        SlidingWindowNetwork(nn.AvgPool2d(2), 4)(image)
    with pytest.raises(ValueError, match="sw_batch_size"):
        SlidingWindowNetwork(nn.Identity(), 4, 0)
