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
"""The one gradient loop: an attack hands it a loss, a direction, a projection, and when a pixel holds out."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from monai_shield.attacks.base import Problem, logits_of, per_image, share_held

__all__ = [
    "DIRECTIONS",
    "NORMS",
    "Criterion",
    "Direction",
    "Loss",
    "Projection",
    "ascend",
    "into_ball",
    "into_bounds",
    "not_yet_target",
    "sign",
    "still_label",
    "unit_l2",
    "unit_linf",
]

Loss = Callable[[Tensor, Problem, Tensor], Tensor]
"""(logits (B,K,spatial), problem, pixels that hold out (B,spatial)) -> what is to grow, per image (B,)."""
Direction = Callable[[Tensor], Tensor]
"""Gradient (B,C,spatial) -> where to go (B,C,spatial); zero where the gradient is zero."""
Projection = Callable[[Tensor, Problem], Tensor]
"""(image (B,C,spatial), problem) -> the nearest image that is allowed (B,C,spatial)."""
Criterion = Callable[[Tensor, Problem], Tensor]
"""(prediction (B,spatial), problem) -> attacked pixels that hold out against the attack (B,spatial)."""


def ascend(
    network: nn.Module,
    problem: Problem,
    *,
    loss: Loss,
    direction: Direction,
    project: Projection,
    held: Criterion,
    step: float,
    max_steps: int,
    start: Tensor | None = None,
    stop_share: float | None = None,
    keep_best: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Climb the loss, x ← project(x + step · window · direction(∇ loss)), each image until it is done.

    Args:
        network: network to attack, in evaluation mode.
        problem: what is asked, for B images; those with nothing to attack stay as they are.
        loss: what is to grow.
        direction: from the gradient to the direction of a step.
        project: back into what is allowed.
        held: which of the attacked pixels hold out.
        step: length of a step, as a fraction of the window.
        max_steps: steps at most.
        start: where to begin (B,C,spatial), by default at the clean image.
        stop_share: an image is done, and leaves the batch, when no more than this share of its attacked pixels holds
            out; None to take all the steps.
        keep_best: whether to return the iterate with the highest loss, not the last one. One that was done is
            returned in either case.

    Returns:
        adversarial image (B,C,spatial), steps taken (B,), share of attacked pixels that hold out on it (B,).

    Raises:
        ValueError: when a gradient is not finite.
    """
    result = problem.image.clone()
    steps = torch.zeros(len(result), dtype=torch.long, device=result.device)
    remaining = torch.zeros(len(result), dtype=torch.float64, device=result.device)
    highest = torch.full_like(remaining, -math.inf)

    rows = problem.attacked.flatten(1).any(1).nonzero().squeeze(1)  # images that are still in the batch
    part = problem.select(rows)
    image = (problem.image if start is None else start)[rows]
    for taken in range(max_steps + 1):
        if len(rows) == 0:
            break
        last = taken == max_steps
        image = image.detach().requires_grad_(not last)
        logits = logits_of(network, image)
        holding = held(logits.detach().argmax(1), part)
        value = loss(logits, part, holding)

        share = share_held(holding, part.attacked)
        done = torch.zeros_like(rows, dtype=torch.bool) if stop_share is None else share <= stop_share
        kept = done | (value.detach() > highest[rows]) if keep_best else torch.ones_like(done)
        result[rows[kept]] = image.detach()[kept]
        remaining[rows[kept]] = share[kept]
        highest[rows] = torch.maximum(highest[rows], value.detach().double())
        steps[rows] = taken
        if last or bool(done.all()):
            break

        (gradient,) = torch.autograd.grad(value.sum(), image)
        if not bool(gradient.isfinite().all()):
            raise ValueError("the network's gradient is not finite.")
        image = image.detach()
        if bool(done.any()):
            stay = (~done).nonzero().squeeze(1)
            rows, part, image, gradient = rows[stay], part.select(stay), image[stay], gradient[stay]
        image = project(image + step * part.window * direction(part.confine(gradient)), part)
    return result, steps, remaining


def sign(gradient: Tensor) -> Tensor:
    """sign(g), the steepest direction under the L∞ norm; (B,C,spatial)."""
    return gradient.sign()


def unit_linf(gradient: Tensor) -> Tensor:
    """g / ‖g‖∞ per image; (B,C,spatial)."""
    return _over_norm(gradient, math.inf)


def unit_l2(gradient: Tensor) -> Tensor:
    """g / ‖g‖₂ per image, the steepest direction under the L2 norm; (B,C,spatial)."""
    return _over_norm(unit_linf(gradient), 2)  # twice, as the square of a vanishing gradient would be zero


def into_bounds(image: Tensor, problem: Problem) -> Tensor:
    """Nearest image (B,C,spatial) within the bounds."""
    return problem.clamp(image)


def into_ball(image: Tensor, problem: Problem, *, epsilon: float, norm: str) -> Tensor:
    """Image (B,C,spatial) within the bounds whose perturbation r has ‖r‖ ≤ epsilon · window, r scaled or clamped.

    The bounds come last: the clean image lies inside them, so they only ever shrink the perturbation.
    """
    perturbation = image - problem.image
    radius = epsilon * problem.window
    if norm == "linf":
        perturbation = torch.clamp(perturbation, -radius, radius)
    else:
        length = per_image(torch.linalg.vector_norm(perturbation.flatten(1), dim=1), image)
        perturbation = torch.where(length > radius, perturbation * (radius / length), perturbation)
    return problem.clamp(problem.image + perturbation)


def still_label(prediction: Tensor, problem: Problem) -> Tensor:
    """Attacked pixels (B,spatial) still predicted as their label."""
    return problem.attacked & (prediction == problem.label)


def not_yet_target(prediction: Tensor, problem: Problem) -> Tensor:
    """Attacked pixels (B,spatial) not yet predicted as their adversarial label."""
    return problem.attacked & (prediction != problem.target)


def _over_norm(gradient: Tensor, order: float) -> Tensor:
    length = per_image(torch.linalg.vector_norm(gradient.flatten(1), order, dim=1), gradient)
    return torch.where(length > 0, gradient / length, 0)


NORMS = ("linf", "l2")
DIRECTIONS: dict[str, Direction] = {"sign": sign, "linf": unit_linf, "l2": unit_l2}
