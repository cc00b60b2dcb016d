# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What an attack is asked on a batch, and how far it got."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import Self

from monai_shield.networks.heads import Head, class_logits, single_output


@dataclass(frozen=True)
class Problem:
    """What is asked of an attack on a batch, checked and on one device; a dimension of 1 broadcasts."""

    image: Tensor  # clean image (B,C,spatial)
    label: Tensor  # class of each pixel (B,spatial), void pixels as background
    target: Tensor | None  # adversarial label (B,spatial), None when the attack is untargeted
    void: Tensor  # pixels whose label is unknown (B,spatial)
    attacked: Tensor  # pixels whose prediction the attack wants to change (B,spatial)
    support: Tensor | None  # pixels that the perturbation may touch (B,1,spatial), None for all
    low: Tensor  # lower bound of intensity per image (B,1,...,1)
    high: Tensor  # upper bound of intensity per image (B,1,...,1)
    window: Tensor  # intensity window per image (B,1,...,1), the unit of every budget
    index: Tensor  # which image of the data set each one is (B,); seeds its random start

    def select(self, rows: Tensor) -> Self:
        """The same problem for the images ``rows`` (b,) only."""
        if len(rows) == len(self.image) and torch.equal(rows, torch.arange(len(rows), device=rows.device)):
            return self  # a volume's label alone takes twice the memory of the volume
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        selected: dict[str, Any] = {name: None if value is None else value[rows] for name, value in values.items()}
        return replace(self, **selected)

    def confine(self, perturbation: Tensor) -> Tensor:
        """Zero what lies outside the support (B,C,spatial)."""
        return perturbation if self.support is None else perturbation * self.support

    def clamp(self, image: Tensor) -> Tensor:
        """Bring an image (B,C,spatial) into the bounds."""
        return torch.clamp(image, self.low, self.high)

    def not_fooled(self, prediction: Tensor) -> Tensor:
        """Attacked pixels (B,spatial) that are not yet fooled by a prediction (B,spatial): still predicted as their
        label or, with a target, not yet as their adversarial label."""
        if self.target is None:
            return self.attacked & (prediction == self.label)
        return self.attacked & (prediction != self.target)

    @property
    def number(self) -> Tensor:
        """Number of attacked pixels (B,)."""
        return self.attacked.flatten(1).sum(1)

    def share(self, pixels: Tensor) -> Tensor:
        """Share (B,) of the attacked pixels that some of them (B,spatial) are; 0 where none is attacked."""
        return pixels.flatten(1).sum(1).double() / self.number.clamp(min=1)

    def mean(self, values: Tensor) -> Tensor:
        """Mean (B,) over the attacked pixels of a value of each (B,spatial); 0 where none is attacked."""
        return (values * self.attacked).flatten(1).sum(1) / self.number.clamp(min=1)


class AnyOtherClass(Problem):
    """One that has a target, but where a pixel counts as fooled by every class other than its label."""

    def not_fooled(self, prediction: Tensor) -> Tensor:
        return self.attacked & (prediction == self.label)


@dataclass(frozen=True)
class Outcome:
    """How far an attack got with each image of a problem."""

    image: Tensor  # adversarial image (B,C,spatial)
    steps: Tensor  # steps taken (B,)
    remaining: Tensor  # share of the attacked pixels that are not yet fooled (B,)
    success: Tensor  # whether the criterion was met (B,)

    @classmethod
    def before(cls, problem: Problem) -> Self:
        """The clean images, before anything was tried."""
        steps = torch.zeros_like(problem.index, dtype=torch.long)
        return cls(problem.image.clone(), steps, steps.double(), steps.bool())

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """The outcomes of the parts of a batch as one."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def take_stronger(self, rows: Tensor, other: Self) -> None:
        """Of the images ``rows`` (b,) take over, in place, those with which ``other`` got further.

        That is where it alone succeeded or, where both did or neither, fewer pixels resist. The steps stay.
        """
        fewer = other.remaining < self.remaining[rows]
        stronger = (other.success & ~self.success[rows]) | ((other.success == self.success[rows]) & fewer)
        for name in ("image", "remaining", "success"):
            getattr(self, name)[rows[stronger]] = getattr(other, name)[stronger]


def logits_of(network: nn.Module, image: Tensor, head: Head | None = None) -> Tensor:
    """Logits (B,K,spatial) of classes that exclude each other, for an image (B,C,spatial), K >= 2: the one logit z of a
    sigmoid head becomes (0, z), see :func:`~monai_shield.networks.class_logits`.

    Raises:
        TypeError: when the network does not return a tensor.
        ValueError: when the logits do not lie on the image's pixels, or are not those of the head.
    """
    logits = single_output(network(image))
    if logits.shape[:1] + logits.shape[2:] != image.shape[:1] + image.shape[2:]:
        raise ValueError(f"logits {tuple(logits.shape)} do not lie on the image {tuple(image.shape)}.")
    return class_logits(logits, head)


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """Shape one value an image (B,) so that it broadcasts over ``like`` (B,C,spatial)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def image_generator(seed: int, index: int, stream: int = 0) -> torch.Generator:
    """Generator on the CPU that belongs to the image ``index`` of a data set, whatever batch it comes in; ``stream``
    sets apart draws that must not be the same."""
    state = np.random.SeedSequence([seed, index, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
