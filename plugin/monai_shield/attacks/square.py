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
"""The Square attack: a random search that needs nothing but the network's answers."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from monai_shield.attacks.base import Attack, AttackInfo
from monai_shield.attacks.loop import NORMS, into_ball, still_label, unit_l2
from monai_shield.attacks.problem import Outcome, Problem, image_generator, logits_of, per_image, share_held

__all__ = ["Square", "bump", "margin", "square_side"]

#: Shares of the schedule, in ten thousandths, after each of which the squares have half the pixels of before.
HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@dataclass(eq=False)
class Square(Attack):
    """Square attack (Andriushchenko et al. 2020, arXiv 1912.00049), for masks: squares (3D: cubes) of noise at random
    places, each kept only if the loss rises. It takes no gradient, so that a network cannot hide one from it.

    It grows L, minus the :func:`margin` of the label over the attacked pixels that hold out. A square covers one of
    those pixels, drawn at random; at a place drawn at random around it. Its side comes from :func:`square_side`.

    - Under "linf" all pixels of a square get the perturbation ±epsilon · window, with a sign drawn for each channel
      such that the drawn pixel changes. The search starts from lines of ±epsilon along the first spatial axis.
    - Under "l2" a square gets two bumps of opposite sign (:func:`bump`) on top of what it has, and with them the
      length that a second square, set to zero, gives up and all that is left of the ball. The search starts from bumps
      side by side.

    A step is a query: one forward pass, the start included. A proposal is taken over where L rises, where L is the same
    and fewer pixels hold out, or where it meets the criterion, which ends the search. Success is that of an untargeted
    attack. Other settings are those of :class:`~monai_shield.attacks.base.Attack`.

    Args:
        epsilon: radius of the ball, as a fraction of the window.
        max_steps: queries at most.
        norm: norm of the ball, "linf" or "l2".
        p: share of the image's pixels that the first squares have.
        schedule: number of queries over which the squares shrink; by default ``max_steps``. A search of more queries
            over the same schedule goes on where one of fewer ends.
        seed: the draws of an image come from (seed, its index).

    Raises:
        ValueError: when a setting is out of its range.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="Square",
        paper="Andriushchenko et al., Square Attack: A Query-Efficient Black-Box Adversarial Attack via Random Search",
        year=2020,
        arxiv="1912.00049",
    )

    epsilon: float
    max_steps: int = 1000
    norm: str = "linf"
    p: float = 0.05
    schedule: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {NORMS}, got {self.norm!r}.")
        if not self.epsilon >= 0:
            raise ValueError(f"epsilon must not be negative, got {self.epsilon}.")
        if self.max_steps < 1 or (self.schedule is not None and self.schedule < 1):
            raise ValueError(f"max_steps and schedule must be positive, got {self.max_steps} and {self.schedule}.")
        if not 0 < self.p <= 1:
            raise ValueError(f"p must be in (0, 1], got {self.p}.")

    @torch.no_grad()
    def _run(self, network: nn.Module, problem: Problem) -> Outcome:
        found = Outcome(
            problem.image.clone(),
            torch.zeros_like(problem.index),
            torch.zeros_like(problem.index, dtype=torch.float64),
            torch.zeros_like(problem.index, dtype=torch.bool),
        )
        criterion = self._met()
        rows = problem.attacked.flatten(1).any(1).nonzero().squeeze(1)  # images that are still searched
        part = problem.select(rows)
        draws = [image_generator(self.seed, index) for index in part.index.tolist()]
        holding = part.attacked
        highest = torch.full_like(rows, -math.inf, dtype=torch.float64)
        for taken in range(self.max_steps):
            if len(rows) == 0:
                break
            image = found.image[rows]
            proposal = self._start(part, draws) if taken == 0 else self._step(image, holding, part, draws, taken)
            logits = logits_of(network, proposal)
            prediction = logits.argmax(1)
            held = still_label(prediction, part)
            loss = -margin(logits, part, held)
            share = share_held(held, part.attacked)
            met = criterion(prediction, held, part)

            # what another order of summation may add is no rise, or the batch mates of an image could decide
            rise = loss - highest
            noise = 1e-12 * highest.abs().nan_to_num(posinf=0)
            better = met | (rise > noise) | ((rise >= -noise) & (share < found.remaining[rows]))
            kept = rows[better]
            found.image[kept] = proposal[better]
            found.remaining[kept] = share[better]
            found.success[kept] = met[better]
            found.steps[rows] = taken + 1
            highest = torch.where(better, loss, highest)
            holding = torch.where(per_image(better, held.unsqueeze(1)).squeeze(1), held, holding)
            if bool(met.any()):
                stay = (~met).nonzero().squeeze(1)
                rows, part, holding, highest = rows[stay], part.select(stay), holding[stay], highest[stay]
                draws = [draws[i] for i in stay.tolist()]
        return found

    def _start(self, problem: Problem, draws: Sequence[Generator]) -> Tensor:
        """The first proposal (B,C,spatial)."""
        pattern = _lines if self.norm == "linf" else _bumps
        noise = torch.stack([pattern(problem.image.shape[1:], draw) for draw in draws]).to(problem.image)
        return self._filled(noise, problem)

    def _step(
        self, image: Tensor, holding: Tensor, problem: Problem, draws: Sequence[Generator], taken: int
    ) -> Tensor:
        """The next proposal (B,C,spatial) from the best image (B,C,spatial) so far, on which ``holding`` hold out."""
        side = square_side(self.p, image.shape[2:], taken / (self.schedule or self.max_steps))
        # where no pixel holds out and the criterion wants more, any attacked one
        places = torch.where(holding.flatten(1).any(1).reshape(-1, *[1] * (holding.ndim - 1)), holding, problem.attacked)
        if self.norm == "linf":
            ends = [self._filled(torch.full_like(image, sign), problem) for sign in (-1.0, 1.0)]
            proposals = [
                _square(each, low, high, pixels.cpu(), side, draw)
                for each, low, high, pixels, draw in zip(image, *ends, places, draws, strict=True)
            ]
            return torch.stack(proposals)
        perturbation = (image - problem.image) / problem.window
        moved = [
            _moved(each, pixels.cpu(), side, self.epsilon, draw)
            for each, pixels, draw in zip(perturbation, places, draws, strict=True)
        ]
        return self._filled(torch.stack(moved), problem)

    def _filled(self, direction: Tensor, problem: Problem) -> Tensor:
        """The clean image plus a perturbation (B,C,spatial) of a given direction that fills the ball, within bounds."""
        direction = problem.confine(direction)
        if self.norm == "l2":
            direction = unit_l2(direction)
        filled = problem.image + direction * (self.epsilon * problem.window)
        return into_ball(filled, problem, epsilon=self.epsilon, norm=self.norm)


def margin(logits: Tensor, problem: Problem, held: Tensor) -> Tensor:
    """What the attacked pixels that hold out have left, Σ (z_label − max of the other z) over them, over the number of
    all attacked pixels, (B,).

    It is 0 when no pixel is left, also of networks without a useful gradient; of one-hot answers it is the share of the
    pixels that hold out.

    Args:
        logits: logits (B,K,spatial).
        problem: what is asked.
        held: attacked pixels still predicted as their label (B,spatial).
    """
    label = problem.label.unsqueeze(1)
    other = logits.scatter(1, label, -math.inf).amax(1)
    left = (logits.gather(1, label).squeeze(1) - other).double() * held
    return left.flatten(1).sum(1) / problem.attacked.flatten(1).sum(1)


def square_side(p: float, shape: Sequence[int], progress: float) -> int:
    """Side of a square (3D: cube) that has the share p of the pixels at first, and half of them after 0.1 %, 0.5 %, 2 %,
    5 %, 10 %, 20 %, 40 %, 60 % and 80 % of the schedule each; one pixel at least.

    Args:
        p: share of the pixels of the first squares.
        shape: size of the image (spatial).
        progress: share of the schedule that is over.
    """
    halvings = bisect_left(HALVED_AFTER, int(1e4 * progress))
    return max(round((p / 2**halvings * math.prod(shape)) ** (1 / len(shape))), 1)


def bump(shape: Sequence[int], axis: int) -> Tensor:
    """Two pyramids of opposite sign, the halves of a box along ``axis``, of length 1 under L2, in float64.

    At a distance of m pixels from its center (the largest along an axis) a pyramid has the height Σ_{k ≥ m} 1/(k + 1)².

    Args:
        shape: size of the box (spatial); where it is 1 along the axis there is one pyramid.
        axis: the axis.
    """
    sizes = [shape[axis] // 2, shape[axis] - shape[axis] // 2]
    halves = [
        sign * _pyramid([size if i == axis else each for i, each in enumerate(shape)])
        for sign, size in zip((-1, 1), sizes, strict=True)
        if size > 0
    ]
    both = torch.cat(halves, dim=axis)
    return both / torch.linalg.vector_norm(both)


def _pyramid(shape: Sequence[int]) -> Tensor:
    distances = torch.meshgrid(*((torch.arange(size) - size // 2).abs() for size in shape), indexing="ij")
    distance = torch.stack(distances).amax(0)
    layers = 1 / torch.arange(1, int(distance.max()) + 2, dtype=torch.float64).square()
    return layers.flip(0).cumsum(0).flip(0)[distance]


def _lines(shape: torch.Size, draw: Generator) -> Tensor:
    """Lines of one sign each along the first spatial axis, (C,spatial)."""
    return _signs([shape[0], 1, *shape[2:]], draw).expand(shape)


def _bumps(shape: torch.Size, draw: Generator) -> Tensor:
    """Bumps side by side, five along an axis, each of a random sign in each channel, (C,spatial)."""
    sides = [max(size // 5, 1) for size in shape[1:]]
    counts = [-(-size // side) for size, side in zip(shape[1:], sides, strict=True)]
    tiles = bump(sides, _one_of(len(sides), draw)).repeat(counts) * _enlarged(_signs([shape[0], *counts], draw), sides)
    return tiles[(slice(None), *(slice(size) for size in shape[1:]))]


def _enlarged(values: Tensor, sides: Sequence[int]) -> Tensor:
    """Each value (C,spatial) repeated ``sides`` times along the spatial axes."""
    for axis, side in enumerate(sides, start=1):
        values = values.repeat_interleave(side, dim=axis)
    return values


def _square(image: Tensor, low: Tensor, high: Tensor, places: Tensor, side: int, draw: Generator) -> Tensor:
    """The image (C,spatial) with a square taken, in each channel, from one end of the ball: ``low`` or ``high``."""
    place, box = _box_on(places, side, draw)
    upper = _signs([len(image), *[1] * places.ndim], draw).to(image) > 0
    pixel = (slice(None), *(slice(at, at + 1) for at in place))
    if torch.equal(torch.where(upper, high[pixel], low[pixel]), image[pixel]):
        upper = ~upper
    proposal = image.clone()
    proposal[box] = torch.where(upper, high[box], low[box])
    return proposal


def _moved(perturbation: Tensor, places: Tensor, side: int, epsilon: float, draw: Generator) -> Tensor:
    """The perturbation (C,spatial) with a bump more in one square, at the expense of another one, now zero."""
    _, box = _box_on(places, side, draw)
    _, other = _box_on(torch.ones_like(places), side, draw)
    inside = perturbation[box]
    bumps = bump(inside.shape[1:], _one_of(places.ndim, draw)) * _signs([len(inside), *[1] * places.ndim], draw)
    bumps = bumps.to(perturbation)

    rest = perturbation.clone()
    rest[box] = rest[other] = 0
    before, after = (each.flatten(1).square().sum(1) for each in (perturbation, rest))
    free = max(epsilon**2 - float(before.sum()), 0) / len(before) + (before - after)
    direction = bumps + unit_l2(inside)
    # a bump that cancels what is there stands alone
    direction = torch.where(direction.flatten(1).any(1).reshape(-1, *[1] * places.ndim), direction, bumps)
    rest[box] = unit_l2(direction) * free.clamp(min=0).sqrt().reshape(-1, *[1] * places.ndim)
    return rest


def _box_on(places: Tensor, side: int, draw: Generator) -> tuple[list[int], tuple[slice, ...]]:
    """A pixel drawn from the ``places`` (spatial), and a box (channels, spatial) inside the image drawn around it."""
    candidates = places.nonzero()
    place = candidates[_one_of(len(candidates), draw)].tolist()
    box = [slice(None)]
    for at, size in zip(place, places.shape, strict=True):
        width = min(side, size)
        first, last = max(at - width + 1, 0), min(at, size - width)
        begin = first + _one_of(last - first + 1, draw)
        box.append(slice(begin, begin + width))
    return place, tuple(box)


def _signs(shape: Sequence[int], draw: Generator) -> Tensor:
    return 2.0 * torch.randint(2, tuple(shape), generator=draw, dtype=torch.float64) - 1


def _one_of(count: int, draw: Generator) -> int:
    return int(torch.randint(count, (), generator=draw))
