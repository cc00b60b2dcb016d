# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from monai_shield.attacks import PGD
from monai_shield.attacks.losses import (
    LOSSES,
    cos_pgd,
    cross_entropy,
    jensen_shannon,
    masked_cross_entropy,
    masked_norm_correlation,
    seg_pgd,
)
from monai_shield.attacks.problem import Problem

CLASSES = 4
every_loss = pytest.mark.parametrize("name", sorted(LOSSES))
every_shape = pytest.mark.parametrize("shape", [(3, 6, 5), (2, 4, 3, 5)], ids=["2d", "3d"])


def pose(shape, targeted=False, seed=0):
    """Logits (B,K,spatial), a problem in which the last row is not attacked, and the pixels not yet fooled."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(shape[0], CLASSES, *shape[1:], generator=generator, dtype=torch.float64)
    label = torch.randint(CLASSES, shape, generator=generator)
    # about half of the pixels are predicted as their label
    label = torch.where(torch.rand(shape, generator=generator) < 0.5, logits.argmax(1), label)
    target = (label + 1) % CLASSES if targeted else None
    attacked = torch.ones(shape, dtype=torch.bool)
    attacked[:, -1] = False
    one = torch.ones(shape[0], 1, *[1] * (len(shape) - 1), dtype=torch.float64)
    problem = Problem(logits, label, target, ~attacked, attacked, None, -one, one, one, torch.arange(shape[0]))
    not_fooled = problem.not_fooled(logits.argmax(1))
    return logits, problem, not_fooled


def mean_over(pixels, attacked):
    return torch.stack([each[where].mean() for each, where in zip(pixels, attacked)])


@every_loss
@every_shape
@pytest.mark.parametrize("targeted", [False, True])
def test_each_image_for_itself_and_only_its_attacked_pixels(name, shape, targeted):
    logits, problem, not_fooled = pose(shape, targeted)
    logits.requires_grad_()
    value = LOSSES[name](logits, problem, not_fooled, 0.3)
    assert value.shape == shape[:1]
    for i in range(shape[0]):
        row = torch.tensor([i])
        alone = LOSSES[name](logits[row], problem.select(row), not_fooled[row], 0.3)
        torch.testing.assert_close(alone, value[row])
    (gradient,) = torch.autograd.grad(value[0], logits)
    assert not gradient[1:].any()
    assert not gradient[:, :, -1].any()
    assert gradient[0].any()


@every_loss
@pytest.mark.parametrize("targeted", [False, True])
def test_the_gradient_leads_away_from_the_label_and_toward_the_target(name, targeted):
    logits, problem, not_fooled = pose((2, 6, 5), targeted)
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(LOSSES[name](logits, problem, not_fooled, 0.5).sum(), logits)
    about = problem.target if targeted else problem.label
    slope = gradient.gather(1, about.unsqueeze(1)).squeeze(1)
    # a pixel not yet fooled is pulled; none is pushed back
    assert bool(((slope > 0) if targeted else (slope < 0))[not_fooled].all())
    assert bool(((slope >= 0) if targeted else (slope <= 0)).all())


@every_loss
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e4], ids=["zero", "tiny", "huge"])
def test_the_gradient_is_finite_on_extreme_logits(name, scale):
    logits, problem, not_fooled = pose((2, 6, 5))
    logits = (logits.float() * scale).requires_grad_()
    value = LOSSES[name](logits, problem, not_fooled, 0.5)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert bool(value.isfinite().all())
    assert bool(gradient.isfinite().all())


@every_shape
@pytest.mark.parametrize("targeted", [False, True])
def test_cross_entropy_is_torchs(shape, targeted):
    logits, problem, not_fooled = pose(shape, targeted)
    wanted = problem.target if targeted else problem.label
    pixels = functional.cross_entropy(logits, wanted, reduction="none")
    value = cross_entropy(logits, problem, not_fooled, 0.0)
    torch.testing.assert_close(value, (-1 if targeted else 1) * mean_over(pixels, problem.attacked))


@every_shape
@pytest.mark.parametrize("targeted", [False, True])
def test_seg_pgd_goes_from_the_masked_cross_entropy_to_half_of_the_whole(shape, targeted):
    posed = pose(shape, targeted)
    first, last = seg_pgd(*posed, 0.0), seg_pgd(*posed, 1.0)
    torch.testing.assert_close(first, masked_cross_entropy(*posed, 0.0))
    torch.testing.assert_close(last, cross_entropy(*posed, 0.0) / 2)
    torch.testing.assert_close(seg_pgd(*posed, 0.25), 0.75 * first + 0.25 * last)


@every_shape
def test_masked_losses_are_those_of_the_correct_pixels(shape):
    logits, problem, not_fooled = pose(shape)
    correct = (logits.argmax(1) == problem.label) & problem.attacked
    share = correct.flatten(1).sum(1) / problem.attacked.flatten(1).sum(1)
    pixels = functional.cross_entropy(logits, problem.label, reduction="none")
    torch.testing.assert_close(
        masked_cross_entropy(logits, problem, not_fooled, 0.0), share * mean_over(pixels, correct)
    )
    axis = functional.one_hot(problem.label, CLASSES).movedim(-1, 1).double()
    pixels = -functional.cosine_similarity(logits, axis, dim=1)
    torch.testing.assert_close(
        masked_norm_correlation(logits, problem, not_fooled, 0.0), share * mean_over(pixels, correct)
    )


@pytest.mark.parametrize("targeted", [False, True])
def test_norm_correlation_does_not_feel_the_scale_of_the_logits(targeted):
    logits, problem, not_fooled = pose((3, 6, 5), targeted)
    value = masked_norm_correlation(logits, problem, not_fooled, 0.0)
    torch.testing.assert_close(masked_norm_correlation(1000 * logits, problem, not_fooled, 0.0), value)


@every_shape
@pytest.mark.parametrize("targeted", [False, True])
def test_cos_pgd_weighs_by_the_cosine(shape, targeted):
    logits, problem, not_fooled = pose(shape, targeted)
    wanted = problem.target if targeted else problem.label
    axis = functional.one_hot(wanted, CLASSES).movedim(-1, 1).double()
    cosine = functional.cosine_similarity(logits.softmax(1), axis, dim=1)
    pixels = functional.cross_entropy(logits, wanted, reduction="none")
    pixels = -(1 - cosine) * pixels if targeted else cosine * pixels
    torch.testing.assert_close(cos_pgd(logits, problem, not_fooled, 0.0), mean_over(pixels, problem.attacked))


def test_the_weight_of_cos_pgd_takes_no_gradient():
    logits, problem, not_fooled = pose((1, 1 + 1, 1))  # one attacked pixel
    logits.requires_grad_()
    (plain,) = torch.autograd.grad(cross_entropy(logits, problem, not_fooled, 0.0).sum(), logits)
    (weighted,) = torch.autograd.grad(cos_pgd(logits, problem, not_fooled, 0.0).sum(), logits)
    ratio = (weighted / plain)[:, :, 0]
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))


@every_shape
def test_jensen_shannon_is_the_mean_of_the_two_divergences_from_the_mixture(shape):
    logits, problem, not_fooled = pose(shape)
    softmax = logits.softmax(1)
    axis = functional.one_hot(problem.label, CLASSES).movedim(-1, 1).double()
    mixture = (softmax + axis) / 2
    pixels = (torch.special.xlogy(softmax, softmax / mixture) + torch.special.xlogy(axis, axis / mixture)).sum(1) / 2
    torch.testing.assert_close(jensen_shannon(logits, problem, not_fooled, 0.0), mean_over(pixels, problem.attacked))


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 1000.0])
def test_jensen_shannon_lies_between_0_and_log_2(scale):
    logits, problem, not_fooled = pose((3, 6, 5))
    value = jensen_shannon(scale * logits, problem, not_fooled, 0.0)
    assert bool((value >= 0).all())
    assert bool((value <= math.log(2)).all())
    axis = functional.one_hot(problem.label, CLASSES).movedim(-1, 1).double()
    ends = [
        jensen_shannon(sign * 1000 * axis, problem, not_fooled, 0.0) for sign in (1, -1)
    ]  # sure and right, sure and wrong
    torch.testing.assert_close(ends[0], torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(ends[1], torch.full((3,), math.log(2), dtype=torch.float64))


@pytest.mark.parametrize("name", sorted({*LOSSES} - {"cross_entropy", "dice_cross_entropy", "seg_pgd"}))
def test_a_pixel_that_is_wrong_for_sure_pulls_no_more(name):
    direction = torch.tensor([0.1, 1.0, -0.3, 0.2], dtype=torch.float64).reshape(1, CLASSES, 1, 1).expand(1, -1, 2, 1)
    _, problem, _ = pose((1, 2, 1))
    for label, scale, pulls in ((0, 60.0, False), (1, 1.0, True)):
        logits = (scale * direction).requires_grad_()
        posed = replace(problem, label=torch.full((1, 2, 1), label))
        not_fooled = posed.not_fooled(logits.argmax(1))
        (gradient,) = torch.autograd.grad(LOSSES[name](logits, posed, not_fooled, 0.0).sum(), logits)
        assert gradient.abs().max() > 1e-2 if pulls else gradient.abs().max() < 1e-9


@every_loss
@pytest.mark.parametrize("target", [None, "runner_up"])
@pytest.mark.parametrize("shape", [(3, 1, 5, 4), (2, 1, 4, 3, 3)], ids=["2d", "3d"])
def test_every_loss_reaches_the_optimum_of_a_linear_network(linear_segmenter, name, target, shape):
    # a pixel of value v falls with a change of |v|: the largest of them is what an image needs
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    best = float(image.abs().max())
    settings = {"max_steps": 20, "loss": name, "target": target, "bounds": (-9, 9), "stop_share": 0.0, "keep": "fewest"}
    assert PGD(1.25 * best, **settings)(linear_segmenter(), image).remaining.tolist() == [0] * shape[0]
    below = PGD(0.99 * float(image.abs().flatten(1).amax(1).min()), **settings)(linear_segmenter(), image)
    assert not below.success.any()
