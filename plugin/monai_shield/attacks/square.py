# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The Square attack: a random search that needs nothing but the network's answers."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from monai_shield.attacks.ball import Ball
from monai_shield.attacks.base import Attack, Examples
from monai_shield.attacks.problem import Outcome, Problem, image_generator, logits_of, per_image
from monai_shield.attacks.settings import check_at_least
from monai_shield.info import Info


@dataclass(eq=False)
class Square(Attack):
    """Square attack (Andriushchenko et al. 2020, arXiv 1912.00049): squares of noise, each kept only if the loss rises.

    It takes no gradient, so that a network cannot hide one from it. What is to rise is minus the :func:`margin` of the
    labels. A square, in 3D a cube, lies at random around a pixel drawn from those not yet fooled. It takes each channel
    to one end of the L∞ ball, x₀ ± epsilon · window within the bounds, with signs drawn such that this pixel changes.
    Its side comes from :func:`square_side`. The search starts from lines along the first spatial axis, each at one end.

    A step is a query: one forward pass, the start included. A proposal is kept where the loss rises, where it is the
    same and fewer pixels are not yet fooled, or where it meets the criterion, which ends the search. Success is that of
    an untargeted attack.

    Args:
        epsilon: radius of the ball, as a fraction of the window.
        max_steps: queries at most.
        p: share of the image's pixels that the first squares have.
        schedule: number of queries in which the squares shrink; by default ``max_steps``. With one schedule, a search
            of more queries goes on where one of fewer ends.
        seed: the draws of an image come from (seed, its index).
    """

    info: ClassVar[Info] = Info(
        "Square",
        "Andriushchenko et al., Square Attack: A Query-Efficient Black-Box Adversarial Attack via Random Search",
        2020,
        "1912.00049",
    )
    examples: ClassVar[Examples] = (
        {"epsilon": 0.1, "max_steps": 12},
        {"epsilon": 0.2, "max_steps": 12, "p": 0.5, "stop_share": 0.4},
    )

    epsilon: float
    max_steps: int = 1000
    p: float = 0.05
    schedule: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0, epsilon=self.epsilon)
        check_at_least(1, max_steps=self.max_steps, schedule=self.schedule)
        if not 0 < self.p <= 1:
            raise ValueError(f"p must be in (0, 1], got {self.p}.")

    @torch.no_grad()
    def _run(self, network: nn.Module, problem: Problem) -> Outcome:
        criterion, ball = self.success_criterion(), Ball(self.epsilon, "linf")
        radius = problem.confine(torch.ones_like(problem.image)) * (self.epsilon * problem.window)
        # the ends of the ball, within bounds and support
        lower, upper = (ball.project(problem.image + way * radius, problem) for way in (-1, 1))
        draws = [image_generator(self.seed, index) for index in problem.index.tolist()]
        best = Outcome.before(problem)
        highest = torch.full_like(best.remaining, -math.inf)
        places = problem.attacked.clone()  # where a square may lie: what is not yet fooled by the best image

        rows = problem.attacked.flatten(1).any(1).nonzero().squeeze(1)  # images that are still searched
        for taken in range(self.max_steps):
            if len(rows) == 0:
                break
            side = square_side(self.p, problem.image.shape[2:], taken / (self.schedule or self.max_steps))
            proposal = torch.stack(
                [
                    _lines(lower[row], upper[row], draws[row])
                    if taken == 0
                    else _with_square(best.image[row], lower[row], upper[row], places[row].cpu(), side, draws[row])
                    for row in rows.tolist()
                ]
            )
            part = problem.select(rows)
            logits = logits_of(network, proposal)
            prediction = logits.argmax(1)
            not_fooled = part.not_fooled(prediction)
            share = part.share(not_fooled)
            met = criterion(prediction, not_fooled, part)
            loss = -margin(logits, part, not_fooled)

            # what another order of a sum may add is no rise, or an image's batch mates could decide
            rise, noise = loss - highest[rows], 1e-12 * loss.abs()
            kept = met | (rise > noise) | ((rise.abs() <= noise) & (share < best.remaining[rows]))
            better = rows[kept]
            for name, value in (("image", proposal), ("remaining", share), ("success", met)):
                getattr(best, name)[better] = value[kept]
            best.steps[rows] = taken + 1
            highest[better] = loss[kept]
            # on any attacked pixel where all are fooled but the criterion wants more
            none = per_image(~not_fooled.flatten(1).any(1), not_fooled)
            places[better] = (not_fooled | (part.attacked & none))[kept]
            rows = rows[~met]
        return best


def margin(logits: Tensor, problem: Problem, not_fooled: Tensor) -> Tensor:
    """Σ (z_label − the largest of the other z) over the pixels not yet fooled (B,spatial), over the number of attacked
    ones, (B,); logits (B,K,spatial). Of one-hot answers it is the share of the pixels not yet fooled."""
    label = problem.label.unsqueeze(1)
    other = logits.scatter(1, label, -math.inf).amax(1)
    return problem.mean((logits.gather(1, label).squeeze(1) - other).double() * not_fooled)


def square_side(p: float, shape: Sequence[int], progress: float) -> int:
    """Side of a square (in 3D a cube), one pixel at least. It has the share p of the pixels of an image (spatial); that
    is halved after 0.1, 0.5, 2, 5, 10, 20, 40, 60 and 80 % of the schedule. ``progress`` is the share that is over."""
    halvings = bisect_left((10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000), int(1e4 * progress))
    return max(round((p / 2**halvings * math.prod(shape)) ** (1 / len(shape))), 1)


def _lines(lower: Tensor, upper: Tensor, draw: Generator) -> Tensor:
    """Lines along the first spatial axis, each from ``lower`` or ``upper``; all (C,spatial)."""
    up = _coins((lower.shape[0], 1, *lower.shape[2:]), draw).to(lower.device)
    return torch.where(up, upper, lower)


def _with_square(image: Tensor, lower: Tensor, upper: Tensor, places: Tensor, side: int, draw: Generator) -> Tensor:
    """The image with a square around one of the ``places`` (spatial) from ``lower`` or ``upper``; all (C,spatial)."""
    candidates = places.nonzero()
    place = candidates[_below(len(candidates), draw)].tolist()
    pixel, square = [slice(None)], [slice(None)]
    for at, size in zip(place, places.shape, strict=True):
        width = min(side, size)
        first, last = max(at - width + 1, 0), min(at, size - width)
        begin = first + _below(last - first + 1, draw)
        pixel.append(slice(at, at + 1))
        square.append(slice(begin, begin + width))

    def filling(box: list[slice]) -> Tensor:
        return torch.where(up, upper[tuple(box)], lower[tuple(box)])

    up = _coins((len(image), *[1] * places.ndim), draw).to(image.device)
    if torch.equal(filling(pixel), image[tuple(pixel)]):
        up = ~up
    proposal = image.clone()
    proposal[tuple(square)] = filling(square)
    return proposal


def _coins(shape: Sequence[int], draw: Generator) -> Tensor:
    return torch.randint(2, tuple(shape), generator=draw, dtype=torch.uint8).bool()


def _below(count: int, draw: Generator) -> int:
    return int(torch.randint(count, (), generator=draw))
