# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The one gradient loop: an attack hands it a loss and a step rule."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from monai_shield.attacks.ball import over_norm, unit_linf
from monai_shield.attacks.criteria import Criterion
from monai_shield.attacks.problem import Outcome, Problem, logits_of

Loss = Callable[[Tensor, Problem, Tensor, float], Tensor]
"""(logits (B,K,spatial), problem, pixels not yet fooled (B,spatial), share of the steps taken) -> what is to grow, per
image (B,)."""
Direction = Callable[[Tensor], Tensor]
"""Gradient (B,C,spatial) -> where to go (B,C,spatial); zero where the gradient is zero."""
Projection = Callable[[Tensor, Problem], Tensor]
"""(image (B,C,spatial), problem) -> the nearest image that is allowed (B,C,spatial)."""

KEEP = ("last", "highest", "fewest")


@dataclass
class StepRule:
    """Base of the step rules, from an iterate to the next one. Every run has a rule of its own.

    Attributes:
        taken: number of steps taken, for rules that count them.
        memory: what the rule remembers of each image, tensors (B,...) by name.
    """

    taken: int = field(default=0, init=False)
    memory: dict[str, Tensor] = field(default_factory=dict, init=False)

    def __call__(self, image: Tensor, gradient: Tensor, value: Tensor, problem: Problem) -> Tensor:
        """The next image (B,C,spatial), within what is allowed, of an iterate (B,C,spatial), the gradient of the loss
        (B,C,spatial), zero outside the support, and the tracked loss (B,)."""
        raise NotImplementedError

    def select(self, rows: Tensor) -> None:
        """Go on with the images ``rows`` (b,) only; the others have left the batch."""
        self.memory = {name: value[rows] for name, value in self.memory.items()}


@dataclass
class Steepest(StepRule):
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

    def __call__(self, image: Tensor, gradient: Tensor, value: Tensor, problem: Problem) -> Tensor:
        if self.momentum > 0:
            # first to a largest entry of 1, as the sum of many vanishing entries would be zero
            gradient = over_norm(unit_linf(gradient), 1)
            if "velocity" in self.memory:
                gradient = gradient + self.momentum * self.memory["velocity"]
            self.memory["velocity"] = gradient
        return self.project(image + self.step * problem.window * self.direction(gradient), problem)


def ascend(
    network: nn.Module,
    problem: Problem,
    *,
    loss: Loss,
    rule: StepRule,
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
        criterion: when an image is done.
        max_steps: steps at most.
        start: where to begin (B,C,spatial), by default at the clean image.
        stop_early: whether an image leaves the batch as soon as it is done, instead of taking all the steps.
        keep: which iterate to return: the "last"; the one with the "highest" tracked loss; the last of those with the
            "fewest" pixels not yet fooled, first of all among those that are done; or of those that are done the one
            with the "smallest" perturbation under L∞, else the last of those with the fewest. With "smallest" an image
            that is done when it is clean leaves.
        track: loss by which iterates are compared, here and by the step rule; by default ``loss``.

    Returns:
        the iterate that was kept of each image, and the steps taken.

    Raises:
        ValueError: when a gradient is not finite.
    """
    best = Outcome.before(problem)
    highest = torch.full_like(best.remaining, -math.inf)
    fewest, smallest = (torch.full_like(best.remaining, math.inf) for _ in range(2))

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
        not_fooled = part.not_fooled(prediction)
        progress = taken / max(max_steps, 1)
        value = loss(logits, part, not_fooled, progress)
        tracked = (value if track is None else track(logits.detach(), part, not_fooled, progress)).detach()

        share = part.share(not_fooled)
        met = criterion(prediction, not_fooled, part)
        done = met & stop_early
        no_worse = (met & ~best.success[rows]) | ((met == best.success[rows]) & (share <= fewest[rows]))
        if keep == "smallest":
            size = (image.detach() - part.image).flatten(1).abs().amax(1).double()
            no_worse = torch.where(met, size < smallest[rows], no_worse)
            smallest[rows] = torch.where(met, torch.minimum(size, smallest[rows]), smallest[rows])
            done = done | (met & (size == 0))
        better = {"last": torch.ones_like(met), "highest": tracked > highest[rows]}
        kept = done | better.get(keep, no_worse)
        best.image[rows[kept]] = image.detach()[kept]
        best.remaining[rows[kept]] = share[kept]
        best.success[rows[kept]] = met[kept]
        best.steps[rows] = taken
        highest[rows] = torch.maximum(highest[rows], tracked.double())
        fewest[rows[kept]] = share[kept]
        if last or bool(done.all()):
            break

        gradient = finite_gradient(value, image)
        image = image.detach()
        if bool(done.any()):
            stay = (~done).nonzero().squeeze(1)
            rows, part = rows[stay], part.select(stay)
            image, gradient, tracked = image[stay], gradient[stay], tracked[stay]
            rule.select(stay)
        image = rule(image, part.confine(gradient), tracked, part)
    return best


def finite_gradient(value: Tensor, image: Tensor) -> Tensor:
    """Gradient (B,C,spatial) of the values (B,) by the image (B,C,spatial); a ``ValueError`` if it is not finite."""
    (gradient,) = torch.autograd.grad(value.sum(), image)
    if not bool(gradient.isfinite().all()):
        raise ValueError("the network's gradient is not finite.")
    return gradient


def outcome_at(
    network: nn.Module, image: Tensor, problem: Problem, criterion: Criterion, steps: Tensor | None = None
) -> Outcome:
    """How far an image (B,C,spatial) gets, for an attack that did not look on its way; ``steps`` (B,), 0 by default."""
    with torch.no_grad():
        prediction = logits_of(network, image).argmax(1)
    not_fooled = problem.not_fooled(prediction)
    if steps is None:
        steps = torch.zeros(len(image), dtype=torch.long, device=image.device)
    return Outcome(image.clone(), steps, problem.share(not_fooled), criterion(prediction, not_fooled, problem))


def into_bounds(image: Tensor, problem: Problem) -> Tensor:
    """Nearest image (B,C,spatial) within the bounds."""
    return problem.clamp(image)
