# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss
from monai.metrics import SSIMMetric
from scipy.fft import dct, dctn, idctn
from torch import nn

from monai_shield.attacks import VAFA
from monai_shield.attacks.criteria import RemainingShare
from monai_shield.attacks.loop import outcome_at
from monai_shield.attacks.losses import dice_cross_entropy
from monai_shield.attacks.problem import Problem
from monai_shield.attacks.vafa import (
    Requantize,
    block_dct,
    block_idct,
    dct_matrix,
    filled_up,
    quantize,
    smooth_round,
)

WIDE = (0.0, 1000.0)  # the lower bound is the zero of the coefficients
SHAPES = [(2, 2, 16, 24), (2, 1, 8, 16, 8)]
ODD_SHAPES = [(2, 2, 13, 17), (1, 1, 5, 9, 11)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])
every_odd_shape = pytest.mark.parametrize("shape", ODD_SHAPES, ids=["2d", "3d"])


def draw(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def small_network(shape):
    conv = nn.Conv2d if len(shape) == 4 else nn.Conv3d
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = conv(shape[1], 6, 3, padding=1), nn.Tanh(), conv(6, 3, 3, padding=1)
        return nn.Sequential(*layers).double()


def problem_of(image, bounds=WIDE, window=1.0, support=None, label=None):
    """A problem in which every pixel is attacked."""
    label = torch.zeros_like(image[:, 0], dtype=torch.long) if label is None else label
    attacked = torch.ones_like(label, dtype=torch.bool)
    one = torch.ones(len(image), *[1] * (image.ndim - 1), dtype=image.dtype)
    places = torch.arange(len(image))
    low, high = (bound * one for bound in bounds)
    return Problem(image, label, None, ~attacked, attacked, support, low, high, window * one, places)


def rule_of(**settings):
    return Requantize(VAFA(**{"q_max": 0.3, "q_min": 0.02, "step_size": 0.02, "max_steps": 8, **settings}))


def by_scipy(image, table, size=8):
    """Each block of an array (B,C,spatial) transformed, quantized and transformed back on its own."""
    result = np.empty_like(image)
    for batch, channel, *block in np.ndindex(*image.shape[:2], *(length // size for length in image.shape[2:])):
        place = (batch, channel, *(slice(size * i, size * (i + 1)) for i in block))
        coefficients = dctn(image[place], type=2, norm="ortho")
        result[place] = idctn(table[place] * np.round(coefficients / table[place]), type=2, norm="ortho")
    return result


@pytest.mark.parametrize("size", [1, 2, 5, 8, 32])
def test_the_matrix_is_orthonormal_and_that_of_scipy(size):
    matrix = dct_matrix(size)
    identity = torch.eye(size, dtype=torch.float64)
    torch.testing.assert_close(matrix @ matrix.T, identity, rtol=0, atol=1e-14)
    torch.testing.assert_close(matrix, torch.from_numpy(dct(np.eye(size), norm="ortho", axis=0)), rtol=0, atol=1e-14)


@every_shape
def test_the_transform_keeps_the_norm_and_has_an_inverse(shape):
    image = draw(shape)
    coefficients = block_dct(image, 8)
    torch.testing.assert_close(coefficients.square().sum(), image.square().sum())
    torch.testing.assert_close(block_idct(coefficients, 8), image, rtol=0, atol=1e-13)
    first = (0, 0, *(slice(8) for _ in shape[2:]))
    last = (-1, -1, *(slice(-8, None) for _ in shape[2:]))
    for block in (first, last):
        expected = torch.from_numpy(dctn(image[block].numpy(), type=2, norm="ortho"))
        torch.testing.assert_close(coefficients[block], expected, rtol=0, atol=1e-13)


@every_odd_shape
def test_filled_up(shape):
    image = draw(shape)
    whole = filled_up(image, 8)
    assert all(length % 8 == 0 and 0 <= length - before < 8 for before, length in zip(shape[2:], whole.shape[2:]))
    expected = np.pad(image, [(0, 0), (0, 0), *((0, -length % 8) for length in shape[2:])], mode="edge")
    assert np.array_equal(whole.numpy(), expected)
    assert torch.equal(filled_up(whole, 8), whole)


def test_rounding():
    values = torch.linspace(-3, 3, 601, dtype=torch.float64)
    for softness in (0.5, 0.1, 0.01):
        rounded = smooth_round(values, softness)
        assert bool((rounded.diff() > -1e-12).all())
        assert float((rounded - values).abs().max()) < 0.5
        torch.testing.assert_close(
            smooth_round(torch.arange(-3.0, 4).double() + 0.5, softness) % 1, torch.full((7,), 0.5).double()
        )
    away = (values % 1 - 0.5).abs() > 0.02
    far = (values % 1 - 0.5).abs() > 0.3
    torch.testing.assert_close(smooth_round(values, 0.0)[far], values.round()[far], rtol=0, atol=1e-3)
    sharper = [(smooth_round(values, softness) - values.round())[away].abs().mean() for softness in (0.5, 0.1, 1e-3, 0)]
    assert sharper == sorted(sharper, reverse=True)


def test_quantization_is_hard_and_its_gradient_that_of_the_smooth_rounding():
    values, table = 4 * draw((50,)) - 2, 0.1 + draw((50,), seed=1)
    table.requires_grad_()
    quantized = quantize(values, table, 0.1)
    assert torch.equal(quantized, table * (values / table).round())
    assert bool(((quantized - values).abs() <= table / 2 + 1e-12).all())
    (slope,) = torch.autograd.grad(quantized.sum(), table)
    step = 1e-6
    ahead, behind = ((table + way) * smooth_round(values / (table + way), 0.1) for way in (step, -step))
    torch.testing.assert_close(slope, ((ahead - behind) / (2 * step)).detach(), rtol=1e-4, atol=1e-6)


@every_shape
@pytest.mark.parametrize("window", [1.0, 40.0])
def test_the_image_is_that_quantized_block_by_block(shape, window):
    # clean image and table in fractions of the window, above the lower bound
    image = 3 + window * draw(shape)
    table = 0.02 + 0.3 * draw(shape, seed=1)
    problem = problem_of(image, (2.0, 1e6), window)
    expected = 2 + window * by_scipy(((image - 2) / window).numpy(), table.numpy())
    quantized = rule_of().quantized(table, problem)
    torch.testing.assert_close(quantized, torch.from_numpy(expected).clamp(min=2), rtol=0, atol=1e-11 * window)


@every_odd_shape
def test_blocks_that_are_not_whole(shape):
    image = draw(shape)
    rule, problem = rule_of(), problem_of(image)
    whole = filled_up(image, 8)
    table = 0.02 + 0.3 * draw(whole.shape, seed=1)
    inside = (..., *(slice(length) for length in shape[2:]))
    expected = torch.from_numpy(by_scipy(whole.numpy(), table.numpy()))[inside].clamp(min=0)
    torch.testing.assert_close(rule.quantized(table, problem), expected, rtol=0, atol=1e-12)


@every_shape
def test_the_size_of_the_perturbation(shape):
    image = draw(shape)
    for q in (1e-9, 1e-3, 0.1):
        change = rule_of().quantized(torch.full(shape, q).double(), problem_of(image, (-1e6, 1e6))) - image
        assert 0 < float(change.square().sum()) <= q**2 / 4 * image.numel()


@pytest.mark.parametrize("depth", [1, 3, 8])
def test_a_volume_that_is_one_slice_over_and_over(depth):
    # of its 3D coefficients only those of depth frequency 0 are not zero: √8 times those of the slice
    image = draw((2, 1, 16, 8))
    table = 0.02 + 0.3 * draw(image.shape, seed=1)
    slice_ = rule_of().quantized(table, problem_of(image))
    volume = image.unsqueeze(-1).expand(*image.shape, depth).contiguous()
    tables = math.sqrt(8) * table.unsqueeze(-1).expand(*image.shape, 8).contiguous()
    quantized = rule_of().quantized(tables, problem_of(volume))
    torch.testing.assert_close(quantized, slice_.unsqueeze(-1).expand_as(volume), rtol=0, atol=1e-12)


class Captured(VAFA):
    """Hands out its rule."""

    def _rule(self):
        self.rule = super()._rule()
        return self.rule


@every_shape
def test_the_result_is_the_clean_image_quantized_by_the_learned_table(shape):
    image, network = draw(shape), small_network(shape)
    attack = Captured(q_max=0.3, q_min=0.1, step_size=0.05, max_steps=8, bounds=(-1e6, 1e6), keep="last")
    result = attack(network, image)
    table = attack.rule.memory["table"]
    assert result.steps.tolist() == [8] * len(image)
    assert bool(((table >= 0.1) & (table <= 0.3)).all())
    assert len(table.unique()) > 2
    expected = -1e6 + by_scipy((image + 1e6).numpy(), table.numpy())
    torch.testing.assert_close(result.image, torch.from_numpy(expected), rtol=0, atol=1e-7)


def test_one_step_follows_the_sign_of_the_gradient():
    # −∂L/∂image as a random field; the sum is differentiated numerically, entry by entry, through the smooth rounding
    image, gradient = draw((1, 1, 8, 8)), draw((1, 1, 8, 8), seed=2) - 0.5
    problem, rule = problem_of(image, (-1e3, 1e3)), rule_of(ssim_weight=0.0, q_max=0.3, step_size=0.01)
    after = rule(image, gradient, torch.zeros(1), problem)
    coefficients = block_dct(image + 1e3, 8)
    along = block_dct(gradient, 8)
    step = 1e-7
    ahead, behind = (q * smooth_round(coefficients / q, 0.1) for q in (0.3 + step, 0.3 - step))
    slope = along * (ahead - behind)
    torch.testing.assert_close(rule.memory["table"], (0.3 + 0.01 * slope.sign()).clamp(max=0.3))
    assert bool((rule.memory["table"] < 0.3).any())
    torch.testing.assert_close(after, rule.quantized(rule.memory["table"], problem))


def test_similarity_is_kept_where_it_is_asked_for():
    shape = (3, 1, 24, 24)
    image, network = draw(shape), small_network(shape)
    similarity = SSIMMetric(2, win_size=3)
    means = [
        float(
            similarity(
                VAFA(q_max=0.5, ssim_weight=weight, step_size=0.05, keep="last")(network, image).image, image
            ).mean()
        )
        for weight in (0.0, 10.0)
    ]
    assert means[0] < means[1]


class Texture(nn.Module):
    """Class 1 where the image has a checkerboard, by how far four neighbors are apart crosswise."""

    def forward(self, image):
        kernel = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).to(image).reshape(1, 1, 2, 2)
        board = torch.ones(image.shape[2:]).to(image)
        board[1::2, ::2] = board[::2, 1::2] = -1
        response = nn.functional.conv2d(nn.functional.pad(image, (0, 1, 0, 1), mode="replicate"), kernel) * board
        return torch.cat([torch.zeros_like(response), response - 0.05], 1)


def textured():
    board = torch.ones(32, 32, dtype=torch.float64)
    board[1::2, ::2] = board[::2, 1::2] = -1
    return 0.5 + 0.03 * board + 0.05 * (draw((3, 1, 32, 32)) - 0.5) * 0.2


def test_a_fine_texture_goes_as_q_max_grows():
    # the coarser the quantization, the more of the texture it may drop
    image, network = textured(), Texture()
    label = network(image).argmax(1)
    assert float(label.double().mean()) > 0.9
    settings = {
        "q_min": 0.001,
        "step_size": 0.02,
        "max_steps": 20,
        "ssim_weight": 0.0,
        "bounds": (0, 1),
        "keep": "fewest",
    }
    remaining = [
        float(VAFA(q_max=q, **settings)(network, image, label).remaining.mean()) for q in (0.002, 0.05, 0.2, 0.6)
    ]
    assert remaining == sorted(remaining, reverse=True)
    assert remaining[0] > 0.95
    assert remaining[-1] < 0.1


@pytest.mark.parametrize("shape", [(2, 1, 24, 24), (1, 1, 8, 16, 8)], ids=["2d", "3d"])
def test_a_learned_table_beats_random_ones(shape):
    image, network = draw(shape), small_network(shape)
    label = network(image).argmax(1)
    learned = VAFA(q_max=0.4, q_min=0.05, step_size=0.05, ssim_weight=0.0, bounds=WIDE, keep="fewest")
    problem = problem_of(image, label=label)
    random = [
        outcome_at(
            network,
            rule_of().quantized(0.05 + 0.35 * draw(shape, seed), problem),
            problem,
            RemainingShare(),
        ).remaining
        for seed in range(10)
    ]
    remaining = learned(network, image, label).remaining
    assert bool((remaining < torch.stack(random).amin(0)).all())


def test_the_loss_is_dice_and_cross_entropy():
    logits = draw((3, 4, 6, 5)) * 4
    label = logits.argmax(1).roll(1, 0)
    problem = problem_of(draw((3, 1, 6, 5)), label=label)
    each = [
        DiceCELoss(to_onehot_y=True, softmax=True)(one.unsqueeze(0), truth.reshape(1, 1, 6, 5))
        for one, truth in zip(logits, label)
    ]
    torch.testing.assert_close(dice_cross_entropy(logits, problem, problem.attacked, 0.0), torch.stack(each))


def test_the_loss_sees_the_attacked_pixels_only():
    logits, image = draw((2, 3, 6, 5)), draw((2, 1, 6, 5))
    label = logits.argmax(1)
    posed = problem_of(image, label=label)
    attacked = posed.attacked.clone()
    attacked[:, :3] = False
    part = Problem(**{**{name: getattr(posed, name) for name in posed.__dataclass_fields__}, "attacked": attacked})
    changed = logits.clone()
    changed[:, :, :3] += draw((2, 3, 3, 5), seed=5)
    first, second = (dice_cross_entropy(each, part, attacked, 0.0) for each in (logits, changed))
    torch.testing.assert_close(first, second)
    below = problem_of(image[:, :, 3:], label=label[:, 3:])
    torch.testing.assert_close(first, dice_cross_entropy(logits[:, :, 3:], below, below.attacked, 0.0))


def test_images_smaller_than_a_block_or_the_window_of_the_similarity():
    image = draw((2, 1, 2, 5, 1))
    result = VAFA(q_max=0.4, q_min=0.05, step_size=0.05, bounds=WIDE)(small_network(image.shape), image)
    assert result.image.shape == image.shape
    assert bool((result.norm_linf > 0).all())


@pytest.mark.parametrize(
    "wrong",
    [
        {"q_min": 0.0},
        {"q_min": 0.3, "q_max": 0.2},
        {"q_max": math.nan},
        {"step_size": 0.0},
        {"max_steps": 0},
        {"block_size": 0},
        {"ssim_weight": -1.0},
        {"keep": "best"},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        VAFA(**wrong)


def test_a_loss_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="no loss 'dice'"):
        VAFA(loss="dice")
