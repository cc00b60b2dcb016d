# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""When an attack has succeeded: criteria, and their combinations with ``&`` and ``|``."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.metrics import compute_dice
from monai.networks import one_hot
from torch import Tensor

from monai_shield.attacks.problem import Problem


class Criterion:
    """Base of the criteria, which say with which images an attack is done. A setting out of its range is refused with a
    ``ValueError``."""

    def __call__(self, prediction: Tensor, not_fooled: Tensor, problem: Problem) -> Tensor:
        """Whether the attack has succeeded (B,).

        Args:
            prediction: predicted class of each pixel (B,spatial).
            not_fooled: attacked pixels that are not yet fooled (B,spatial).
            problem: what is asked.
        """
        raise NotImplementedError

    def __and__(self, other: "Criterion") -> "AllOf":
        return AllOf((self, other))

    def __or__(self, other: "Criterion") -> "AnyOf":
        return AnyOf((self, other))


@dataclass(frozen=True)
class RemainingShare(Criterion):
    """No more than a share of the attacked pixels, in [0, 1), is not yet fooled: still predicted as its label or, under
    a targeted PGD, not yet as its adversarial label."""

    at_most: float = 0.01

    def __post_init__(self) -> None:
        _check_at_most(self.at_most)

    def __call__(self, prediction: Tensor, not_fooled: Tensor, problem: Problem) -> Tensor:
        return problem.share(not_fooled) <= self.at_most


@dataclass(frozen=True)
class StructureDice(Criterion):
    """The Dice of prediction and label has fallen.

    A structure that the label lacks has Dice 0 where it is hallucinated, 1 where it is not. Void pixels do not count.

    Args:
        at_most: the Dice, in [0, 1).
        structure: class of the structure; by default the mean over all foreground classes that label or prediction has.
    """

    at_most: float
    structure: int | None = None

    def __post_init__(self) -> None:
        _check_at_most(self.at_most)
        _check_structure(self.structure)

    def __call__(self, prediction: Tensor, not_fooled: Tensor, problem: Problem) -> Tensor:
        return _dice(prediction, problem.label, problem.void, self.structure) <= self.at_most


@dataclass(frozen=True)
class TargetDice(Criterion):
    """The Dice of prediction and adversarial label has risen, for a targeted attack; an untargeted one is refused.

    Args:
        at_least: the Dice, in (0, 1].
        structure: class of the structure; by default the mean over all foreground classes that either of both has.
    """

    at_least: float
    structure: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.at_least <= 1:
            raise ValueError(f"at_least must be in (0, 1], got {self.at_least}.")
        _check_structure(self.structure)

    def __call__(self, prediction: Tensor, not_fooled: Tensor, problem: Problem) -> Tensor:
        if problem.target is None:
            raise ValueError("TargetDice needs a targeted attack.")
        return _dice(prediction, problem.target, problem.void, self.structure) >= self.at_least


@dataclass(frozen=True)
class _Combination(Criterion):
    criteria: Sequence[Criterion]

    def __post_init__(self) -> None:
        if len(self.criteria) == 0:
            raise ValueError("criteria must name one at least.")

    def _each(self, prediction: Tensor, not_fooled: Tensor, problem: Problem) -> Tensor:
        """Which of the criteria are met, (criteria, B)."""
        return torch.stack([criterion(prediction, not_fooled, problem) for criterion in self.criteria])


class AllOf(_Combination):
    """Every one of the criteria, at least one, is met."""

    def __call__(self, prediction: Tensor, not_fooled: Tensor, problem: Problem) -> Tensor:
        return self._each(prediction, not_fooled, problem).all(0)


class AnyOf(_Combination):
    """One of the criteria, at least one, is met."""

    def __call__(self, prediction: Tensor, not_fooled: Tensor, problem: Problem) -> Tensor:
        return self._each(prediction, not_fooled, problem).any(0)


def _dice(prediction: Tensor, label: Tensor, void: Tensor, structure: int | None) -> Tensor:
    """Dice (B,) of two maps of classes (B,spatial), of one structure or the mean of those that either has."""
    pair = [each.masked_fill(void, 0).unsqueeze(1) for each in (prediction, label)]
    if structure is not None:
        found, wanted = ((each == structure).float() for each in pair)
        return compute_dice(found, wanted, ignore_empty=False)[:, 0]
    classes = 1 + int(max(each.max() for each in pair))
    if classes == 1:
        return torch.ones(len(label), device=label.device)
    # without the background; a foreground class that neither has is left out of the mean
    found, wanted = (one_hot(each, classes)[:, 1:] for each in pair)
    there = (found + wanted).flatten(2).any(2)
    dice = compute_dice(found, wanted, ignore_empty=False)
    mean = (dice * there).sum(1) / there.sum(1).clamp(min=1)
    return torch.where(there.any(1), mean, 1)


def _check_at_most(share: float) -> None:
    if not 0 <= share < 1:
        raise ValueError(f"at_most must be in [0, 1), got {share}.")


def _check_structure(structure: int | None) -> None:
    if structure is not None and structure < 1:
        raise ValueError(f"structure must be a foreground class, got {structure}.")
