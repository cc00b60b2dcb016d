# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""ALMA prox: the smallest perturbation that changes a share of the pixels."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from monai_shield.attacks.base import Attack, Examples
from monai_shield.attacks.criteria import RemainingShare
from monai_shield.attacks.loop import StepRule, ascend
from monai_shield.attacks.problem import Outcome, Problem, per_image
from monai_shield.attacks.settings import check_at_least, check_positive
from monai_shield.attacks.targets import Target
from monai_shield.info import Info


@dataclass(eq=False)
class ALMAProx(Attack):
    """ALMA prox (Rony et al. 2023, arXiv 2206.07179): the smallest perturbation r with which the attack succeeds::

        minimize ‖r‖∞   subject to   c_t(x₀ + r) ≤ 0   at the attacked pixels t, and to the bounds

    with c_t the margin by which pixel t resists (:func:`constraints`). The constraints enter an augmented Lagrangian
    with a multiplier and a penalty parameter of their own for each pixel, weighted alike in each image by a scale that
    falls while the attack succeeds and rises while it does not (:class:`Lagrangian`). Its gradient is followed by a
    step in a diagonal metric H, the root of a running mean of squared gradients, and the proximal operator of the norm
    in that metric (variable metric forward-backward). An image keeps the smallest iterate that succeeded; if none did,
    the last of those with the fewest pixels not yet fooled.

    The share of the attacked pixels that may resist need not be paid for: as many of the largest constraints are left
    out, none at first and all of them at the end. That share is ``stop_share``, or that of a criterion
    :class:`~monai_shield.attacks.criteria.RemainingShare`. For any other criterion none is left out, and only the scale
    hears of success.

    Where the paper leaves a choice, or is not followed:

    - Perturbations are in units of the window, so the settings do not depend on the unit of intensity.
    - The proximal operator of the L∞ norm is solved exactly, by sorting, not by a ternary search.
    - The ratio of logit differences needs three classes; with two the margin is divided by its mean on the clean image.
    - The multipliers start at 10 over the number of attacked pixels, 1 at most, as at a solution it is their sum that
      weighs as much as the norm. The authors' code starts with 1, but takes μ c for μ in P′ at c ≥ 0.
    - The penalty parameters stop growing at 1e6, before float32 overflows.
    - A pixel is to come 1e-4 beyond the boundary, counted after the ratio.

    Args:
        max_steps: number of steps.
        step: length of the steps up to the first success, as a fraction of the window.
        last_step: length of the last step, as a fraction of the first; between, it falls as a hyperbola.
        target: adversarial label as in :class:`~monai_shield.attacks.dag.DAG`; None for an untargeted attack.
    """

    info: ClassVar[Info] = Info(
        "ALMA prox", "Rony et al., Proximal Splitting Adversarial Attack for Semantic Segmentation", 2023, "2206.07179"
    )
    examples: ClassVar[Examples] = (
        {"step": 0.02, "max_steps": 12},
        {"step": 0.02, "max_steps": 12, "target": "runner_up", "stop_share": 0.3},
    )

    max_steps: int = 500
    step: float = 0.001
    last_step: float = 0.1
    target: Target | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(step=self.step)
        check_at_least(1, max_steps=self.max_steps)
        if not 0 < self.last_step <= 1:
            raise ValueError(f"last_step must be in (0, 1], got {self.last_step}.")

    def _run(self, network: nn.Module, problem: Problem) -> Outcome:
        lagrangian = Lagrangian(self)
        return ascend(
            network,
            problem,
            loss=lagrangian.loss,
            rule=lagrangian,
            criterion=self.success_criterion(),
            max_steps=self.max_steps,
            stop_early=False,
            keep="smallest",
        )


@dataclass
class Lagrangian(StepRule):
    """The augmented Lagrangian of one run, as a loss, and the forward-backward step on it, as a step rule.

    At an iterate, with c the constraints times the scale w of their image, the multipliers μ and penalty parameters ρ
    of each pixel::

        w ← w / (1 + 0.02)   where the attack succeeds, else w / (1 − 0.02); kept in [0.1, 1]
        ρ ← 2 ρ   every 10 steps, where c did not fall below 0.95 of what it was and the pixel never gave way meanwhile
        μ ← 0.8 μ + 0.2 P′(c, ρ, μ), kept in [1e-12, 1]
        L = −Σ P(c, ρ, μ)

        P′(c, ρ, μ) = μ + 2 μ ρ c + ρ² c² / 2      where c ≥ 0
                      μ / (1 − max(ρ, 1) c)²       where c < 0

    the derivative of the penalty P2 of the paper, which is all of P that the gradient of L needs. Then, with g = −∇L by
    δ = r / window, and the running mean s of its squares::

        s ← 0.8 s + 0.2 g²,   H = √(s / (1 − 0.8ⁿ))    at step n
        δ ← prox(δ − λ g / H),   prox(δ) = argmin_p λ ‖p‖∞ + ½ Σ H (p − δ)²,   p within the bounds

    with λ the length of a step.

    Args:
        attack: whose settings it takes. A success that never comes counts as come after half of all steps.
    """

    attack: ALMAProx

    def loss(self, logits: Tensor, problem: Problem, not_fooled: Tensor, progress: float) -> Tensor:
        """L (B,), as far as its gradient goes."""
        criterion = self.attack.success_criterion()
        margin = constraints(logits, problem)
        if self.taken == 0:
            self._begin(margin.detach(), problem, logits.shape[1])
        now = self.memory
        met = criterion(logits.detach().max(1).indices, not_fooled, problem)
        now["first"] = torch.where(met, now["first"].clamp(max=self.taken), now["first"])
        now["scale"] = (now["scale"] / torch.where(met, 1 + SCALE_RATE, 1 - SCALE_RATE)).clamp(*SCALES)
        now["gave_way"] = now["gave_way"] | ~not_fooled

        scaled = (margin / per_image(now["unit"], margin) + TOLERANCE) * per_image(now["scale"], margin)
        violation = scaled.detach().double()
        spared = criterion.at_most if isinstance(criterion, RemainingShare) else 0.0
        counted = _all_but_largest(violation, problem, spared * progress)
        if self.taken == 0:
            now["before"] = violation
        elif (self.taken + 1) % CHECK_EVERY == 0:
            stuck = ~now["gave_way"] & counted & (violation > IMPROVEMENT * now["before"])
            now["penalty"] = torch.where(stuck, (GROWTH * now["penalty"]).clamp(max=LARGEST_PENALTY), now["penalty"])
            now["before"] = violation
            now["gave_way"] = torch.zeros_like(now["gave_way"])
        if self.taken > 0:
            toward = penalty_slope(violation, now["penalty"], now["multiplier"])
            now["multiplier"] = (MEMORY * now["multiplier"] + (1 - MEMORY) * toward * counted).clamp(1e-12, 1)
        slope = penalty_slope(violation, now["penalty"], now["multiplier"]) * counted
        return -(slope.to(scaled) * scaled).flatten(1).sum(1)

    def __call__(self, image: Tensor, gradient: Tensor, value: Tensor, problem: Problem) -> Tensor:
        now = self.memory
        perturbation = (image - problem.image) / problem.window
        descent = -gradient * problem.window
        self.taken += 1
        square = MEMORY * now.get("square", torch.zeros_like(image)) + (1 - MEMORY) * descent.square()
        now["square"] = square
        metric = (square / (1 - MEMORY**self.taken)).sqrt().clamp(min=1e-8)
        weight = per_image(self._step(), image).to(image)
        low, high = ((bound - problem.image) / problem.window for bound in (problem.low, problem.high))
        smaller = shrink_linf(perturbation - weight * descent / metric, weight, metric, low, high)
        return problem.clamp(problem.image + problem.window * smaller)

    def _begin(self, margin: Tensor, problem: Problem, classes: int) -> None:
        pixels, images = torch.zeros_like(margin, dtype=torch.float64), torch.ones_like(margin.flatten(1)[:, 0])
        mean = problem.mean(margin.abs())
        self.memory = {
            "multiplier": pixels + per_image((FIRST_MULTIPLIERS / problem.number).clamp(max=1), pixels),
            "penalty": pixels + FIRST_PENALTY,
            "gave_way": torch.zeros_like(problem.attacked),
            "scale": images,
            "unit": mean.clamp(min=torch.finfo(mean.dtype).tiny) if classes == 2 else images,
            "first": torch.full_like(images, self.attack.max_steps // 2),
        }

    def _step(self) -> Tensor:
        """λ of each image (B,): constant up to its first success, then a hyperbola down to the last step."""
        first = self.memory["first"]
        since = (self.taken - 1 - first).clamp(min=0) / (self.attack.max_steps - first)
        return self.attack.step / (1 + (1 / self.attack.last_step - 1) * since)


def constraints(logits: Tensor, problem: Problem) -> Tensor:
    """Margin c (B,spatial) by which each pixel resists, at most 0 where it has given way, of logits (B,K,spatial).

    The difference of the label's logit from the highest other one, or of the highest other one from the target's, over
    that of the highest logit from the third; from the mean of the third and the fourth with a target, where there are
    four (the ratio of Croce and Hein 2020, arXiv 2003.01690). Of two classes it is the difference itself.
    """
    wanted = (problem.label if problem.target is None else problem.target).unsqueeze(1)
    margin = (logits.gather(1, wanted) - logits.scatter(1, wanted, -math.inf).amax(1, keepdim=True)).squeeze(1)
    if problem.target is not None:
        margin = -margin
    if logits.shape[1] == 2:
        return margin
    highest = logits.topk(min(logits.shape[1], 3 if problem.target is None else 4), dim=1).values
    return margin / (highest[:, 0] - highest[:, 2:].mean(1) + 1e-8)


def penalty_slope(violation: Tensor, penalty: Tensor, multiplier: Tensor) -> Tensor:
    """P′(c, ρ, μ) of :class:`Lagrangian`, element by element."""
    above = multiplier + 2 * multiplier * penalty * violation + penalty.square() * violation.square() / 2
    below = multiplier / (1 - penalty.clamp(min=1) * violation.clamp(max=0)).square()
    return torch.where(violation >= 0, above, below)


def shrink_linf(point: Tensor, weight: Tensor, metric: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """argmin_p weight · ‖p‖∞ + ½ Σ metric · (p − point)² over low ≤ p ≤ high, per image.

    p is the point, clamped to the bounds and to some [−t, t]. For a given t, with a = |clamped point|, the cost falls
    as long as Σ_{a > t} metric · (|point| − t) > weight. Over the k largest of a that sum alone reaches the weight at
    t_k = (Σ metric · |point| − weight) / Σ metric, so that t is the largest of all min(t_k, a_k), or 0.

    The point and the diagonal of the metric are (B,C,spatial), the weight of the norm is (B,1,...,1); metric and weight
    are positive. The lower bounds are at most 0, the upper ones at least 0, of a shape that broadcasts.
    """
    inside = torch.clamp(point, low, high)
    size, order = inside.abs().flatten(1).sort(dim=1, descending=True)
    heavy = metric.flatten(1).gather(1, order).double()
    pull = (heavy * point.abs().flatten(1).gather(1, order)).cumsum(1)
    level = (pull - weight.flatten(1)) / heavy.cumsum(1)
    limit = per_image(torch.minimum(level, size).amax(1).clamp(min=0), point).to(point)
    return torch.clamp(inside, -limit, limit)


def _all_but_largest(violation: Tensor, problem: Problem, share: float) -> Tensor:
    """The attacked pixels (B,spatial) but for this share of them, those with the largest violation (B,spatial)."""
    number = (share * problem.number + 1e-9).long().unsqueeze(1)  # whole numbers are not to be rounded down
    if not bool(number.any()):
        return problem.attacked
    sizes = violation.masked_fill(~problem.attacked, -math.inf).flatten(1).sort(dim=1, descending=True).values
    return problem.attacked & (violation <= per_image(sizes.gather(1, number), violation))


FIRST_MULTIPLIERS = 10.0  # of all the pixels of an image together
FIRST_PENALTY, LARGEST_PENALTY, GROWTH = 0.01, 1e6, 2.0
CHECK_EVERY, IMPROVEMENT = 10, 0.95
SCALES, SCALE_RATE = (0.1, 1.0), 0.02
MEMORY = 0.8  # of the multipliers and of the metric
TOLERANCE = 1e-4  # how far beyond the boundary a pixel is to come
