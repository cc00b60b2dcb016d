# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a targeted attack wants to see instead of the label: the target rules of DAG.

A rule is any callable ``rule(label, logits)`` with the label (B,spatial) and the network's logits on the clean image
(B,K,spatial), which returns the adversarial label (B,spatial). Each image is treated by itself. Where the adversarial
label equals the label there is nothing to attack.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

TargetRule = Callable[[Tensor, Tensor], Tensor]
Target = str | Tensor | TargetRule
"""A rule by its name in :data:`TARGETS`, an adversarial label (B,1,spatial) or (B,spatial), or a rule."""


@dataclass(frozen=True)
class Background:
    """Rule A: everything is background."""

    def __call__(self, label: Tensor, logits: Tensor) -> Tensor:
        return torch.zeros_like(label)


@dataclass(frozen=True)
class Exchange:
    """Rule B: two classes change places.

    Args:
        classes: the pair; by default the two most frequent foreground classes of each image (of equally frequent ones
            the lower). An image with fewer than two foreground classes stays as it is.
    """

    classes: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.classes is not None and (len(self.classes) != 2 or self.classes[0] == self.classes[1]):
            raise ValueError(f"classes must be two different ones, got {self.classes}.")

    def __call__(self, label: Tensor, logits: Tensor) -> Tensor:
        adversarial = label.clone()
        for image, changed in zip(label, adversarial):
            pair = _most_frequent(image, 2) if self.classes is None else list(self.classes)
            if len(pair) == 2:
                changed[image == pair[0]] = pair[1]
                changed[image == pair[1]] = pair[0]
        return adversarial


@dataclass(frozen=True)
class Dilate:
    """Rule C: one class grows over its neighbors, by a 3x3(x3) maximum at each iteration.

    It grows into the background only where the attack is allowed to change background pixels.

    Args:
        structure: the class; by default the most frequent foreground class of each image (of equally frequent ones the
            lower). An image without foreground stays as it is.
        iterations: pixels to grow by.
    """

    structure: int | None = None
    iterations: int = 6

    def __call__(self, label: Tensor, logits: Tensor) -> Tensor:
        pool = functional.max_pool2d if label.ndim == 3 else functional.max_pool3d
        adversarial = label.clone()
        for image, changed in zip(label, adversarial):
            for structure in _most_frequent(image, 1) if self.structure is None else [self.structure]:
                grown = (image == structure).float()[None, None]
                for _ in range(self.iterations):
                    grown = pool(grown, kernel_size=3, stride=1, padding=1)
                changed[grown[0, 0] > 0] = structure
        return adversarial


@dataclass(frozen=True)
class RunnerUp:
    """The class with the highest clean logit but for the label: the second best wherever the network is right."""

    def __call__(self, label: Tensor, logits: Tensor) -> Tensor:
        return logits.scatter(1, label.unsqueeze(1), -math.inf).max(1).indices  # argmax takes twice as long


TARGETS: dict[str, Callable[[], TargetRule]] = {
    "background": Background,
    "exchange": Exchange,
    "dilate": Dilate,
    "runner_up": RunnerUp,
}


def adversarial_label(target: Target, label: Tensor, logits: Tensor) -> Tensor:
    """Adversarial label of the label (B,spatial) under logits on the clean image (B,K,spatial): (B,spatial), or as it
    is where the target is an adversarial label itself."""
    if isinstance(target, Tensor):
        return target
    check_target(target)
    rule = TARGETS[target]() if isinstance(target, str) else target
    return rule(label, logits)


def check_target(target: Target | None) -> None:
    """Refuse, with a ``ValueError``, the name of a rule that is not there."""
    if isinstance(target, str) and target not in TARGETS:
        raise ValueError(f"no target rule {target!r}; there are {', '.join(sorted(TARGETS))}.")


def _most_frequent(label: Tensor, number: int) -> list[int]:
    """Up to ``number`` foreground classes of one image (spatial), the most frequent first."""
    counts = label.flatten().bincount()
    counts[0] = 0
    order = counts.argsort(descending=True, stable=True)
    return [int(structure) for structure in order[:number] if counts[structure] > 0]
