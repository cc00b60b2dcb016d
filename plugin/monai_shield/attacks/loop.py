# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The one gradient loop: an attack hands it a loss, a step rule, and when a pixel holds out."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from monai_shield.attacks.criteria import Criterion
from monai_shield.attacks.problem import Outcome, Problem, logits_of, per_image, share_held

Loss = Callable[[Tensor, Problem, Tensor, float], Tensor]
"""(logits (B,K,spatial), problem, pixels that hold out (B,spatial), share of the steps taken) -> what is to grow, per
image (B,)."""
Direction = Callable[[Tensor], Tensor]
"""Gradient (B,C,spatial) -> where to go (B,C,spatial); zero where the gradient is zero."""
Projection = Callable[[Tensor, Problem], Tensor]
"""(image (B,C,spatial), problem) -> the nearest image that is allowed (B,C,spatial)."""
Holding = Callable[[Tensor, Problem], Tensor]
"""(prediction (B,spatial), problem) -> attacked pixels that hold out against the attack (B,spatial)."""


class StepRule(Protocol):
    """From an iterate to the next one. It may remember what it has seen of each image: every run has one of its own."""

    def __call__(self, image: Tensor, gradient: Tensor, value: Tensor, problem: Problem) -> Tensor:
        """The next image (B,C,spatial), one that is allowed.

        Args:
            image: iterate (B,C,spatial).
            gradient: gradient of the loss, zero outside the support (B,C,spatial).
            value: tracked loss at the iterate (B,).
            problem: what is asked.
        """

    def select(self, rows: Tensor) -> None:
        """Go on with the images ``rows`` (b,) only; the others have left the batch."""


@dataclass
class Steepest:
    """Step rule x ← project(x + step · window · direction(g)), with momentum g the sum v ← momentum · v + ∇L / ‖∇L‖₁.

    Args:
        direction: from the gradient to the direction of a step.
        project: back into what is allowed.
        step: length of a step, as a fraction of the window.
        momentum: share of the sum of past gradients that is kept; 0 for the gradient itself.
    """

    direction: Direction
    project: Projection
    step: float
    momentum: float = 0.0
    velocity: Tensor | None = field(default=None, init=False)

    def __call__(self, image: Tensor, gradient: Tensor, value: Tensor, problem: Problem) -> Tensor:
        """The next image (B,C,spatial)."""
        if self.momentum > 0:
            # first to a largest entry of 1, as the sum of many vanishing entries would be zero
            gradient = _over_norm(unit_linf(gradient), 1)
            if self.velocity is not None:
                gradient = gradient + self.momentum * self.velocity
            self.velocity = gradient
        return self.project(image + self.step * problem.window * self.direction(gradient), problem)

    def select(self, rows: Tensor) -> None:
        """Go on with the images ``rows`` (b,) only."""
        if self.velocity is not None:
            self.velocity = self.velocity[rows]


def ascend(
    network: nn.Module,
    problem: Problem,
    *,
    loss: Loss,
    rule: StepRule,
    held: Holding,
    criterion: Criterion,
    max_steps: int,
    start: Tensor | None = None,
    stop_early: bool = True,
    keep: str = "last",
    track: Loss | None = None,
) -> Outcome:
    """Climb the loss, x ← rule(x, ∇ loss), each image until it is done.

    Args:
        network: network to attack, in evaluation mode.
        problem: what is asked, for B images; those with nothing to attack stay as they are.
        loss: what is to grow.
        rule: from an iterate to the next one.
        held: which of the attacked pixels hold out.
        criterion: when an image is done.
        max_steps: steps at most.
        start: where to begin (B,C,spatial), by default at the clean image.
        stop_early: whether an image leaves the batch as soon as it is done, instead of taking all the steps.
        keep: which iterate to return: the "last" one, the one with the "highest" tracked loss, the last of those with
            the "fewest" pixels that hold out, first of all among those that are done, or of those that are done the
            one with the "smallest" perturbation under L∞, else the last of those with the fewest. An image that is done
            when it is clean has the smallest, and leaves.
        track: loss by which iterates are compared, here and by the step rule; by default ``loss``.

    Returns:
        the iterate that was kept of each image, and the steps taken.

    Raises:
        ValueError: when a gradient is not finite.
    """
    result = problem.image.clone()
    steps = torch.zeros(len(result), dtype=torch.long, device=result.device)
    remaining = torch.zeros(len(result), dtype=torch.float64, device=result.device)
    success = torch.zeros(len(result), dtype=torch.bool, device=result.device)
    highest = torch.full_like(remaining, -math.inf)
    fewest = torch.full_like(remaining, math.inf)
    smallest = torch.full_like(remaining, math.inf)

    rows = problem.attacked.flatten(1).any(1).nonzero().squeeze(1)  # images that are still in the batch
    part = problem.select(rows)
    image = (problem.image if start is None else start)[rows]
    for taken in range(max_steps + 1):
        if len(rows) == 0:
            break
        last = taken == max_steps
        image = image.detach().requires_grad_(not last)
        logits = logits_of(network, image)
        prediction = logits.detach().max(1).indices  # argmax takes twice as long
        holding = held(prediction, part)
        progress = taken / max(max_steps, 1)
        value = loss(logits, part, holding, progress)
        tracked = (value if track is None else track(logits.detach(), part, holding, progress)).detach()

        share = share_held(holding, part.attacked)
        met = criterion(prediction, holding, part)
        done = met & stop_early
        no_worse = (met & ~success[rows]) | ((met == success[rows]) & (share <= fewest[rows]))
        if keep == "smallest":
            size = (image.detach() - part.image).flatten(1).abs().amax(1).double()
            no_worse = torch.where(met, size < smallest[rows], no_worse)
            smallest[rows] = torch.where(met, torch.minimum(size, smallest[rows]), smallest[rows])
            done = done | (met & (size == 0))
        kept = done | _is_better(keep, tracked > highest[rows], no_worse)
        result[rows[kept]] = image.detach()[kept]
        remaining[rows[kept]] = share[kept]
        success[rows[kept]] = met[kept]
        highest[rows] = torch.maximum(highest[rows], tracked.double())
        fewest[rows[kept]] = share[kept]
        steps[rows] = taken
        if last or bool(done.all()):
            break

        (gradient,) = torch.autograd.grad(value.sum(), image)
        if not bool(gradient.isfinite().all()):
            raise ValueError("the network's gradient is not finite.")
        image = image.detach()
        if bool(done.any()):
            stay = (~done).nonzero().squeeze(1)
            rows, part = rows[stay], part.select(stay)
            image, gradient, tracked = image[stay], gradient[stay], tracked[stay]
            rule.select(stay)
        image = rule(image, part.confine(gradient), tracked, part)
    return Outcome(result, steps, remaining, success)


def outcome_at(
    network: nn.Module,
    image: Tensor,
    problem: Problem,
    held: Holding,
    criterion: Criterion,
    steps: Tensor | None = None,
) -> Outcome:
    """How far an image (B,C,spatial) gets, for an attack that did not look on its way; ``steps`` (B,), 0 by default."""
    with torch.no_grad():
        prediction = logits_of(network, image).argmax(1)
    holding = held(prediction, problem)
    if steps is None:
        steps = torch.zeros(len(image), dtype=torch.long, device=image.device)
    return Outcome(image.clone(), steps, share_held(holding, problem.attacked), criterion(prediction, holding, problem))


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


def _is_better(keep: str, higher: Tensor, no_worse: Tensor) -> Tensor:
    """Which images (B,) keep this iterate: by its loss ``higher`` (B,) or how far it got ``no_worse`` (B,)."""
    if keep == "highest":
        return higher
    return no_worse if keep in ("fewest", "smallest") else torch.ones_like(higher)


def _over_norm(gradient: Tensor, order: float) -> Tensor:
    length = per_image(torch.linalg.vector_norm(gradient.flatten(1), order, dim=1), gradient)
    return torch.where(length > 0, gradient / length, 0)


KEEP = ("last", "highest", "fewest")
NORMS = ("linf", "l2")
DIRECTIONS: dict[str, Direction] = {"sign": sign, "linf": unit_linf, "l2": unit_l2}
