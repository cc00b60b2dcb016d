# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What every attack shares: its settings, how its problem is posed, and the result it hands back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from monai_shield.attacks.crafting import crafting
from monai_shield.attacks.criteria import Criterion, RemainingShare
from monai_shield.attacks.inputs import check_classes, check_image, label_of, plain, with_meta_of, without_channel
from monai_shield.attacks.problem import Outcome, Problem, logits_of, per_image
from monai_shield.attacks.settings import check_at_least
from monai_shield.attacks.targets import Target, adversarial_label, check_target
from monai_shield.info import Info
from monai_shield.transforms.intensity import intensity_window

Examples = Sequence[dict[str, Any]]
Pixels = Tensor | None  # a label or a mask, (B,1,spatial) or (B,spatial)
Index = Sequence[int] | None


@dataclass(frozen=True)
class AttackResult:
    """What an attack hands back, one entry for each image of the batch, none dropped.

    Attributes:
        image: adversarial image (B,C,spatial); the last iterate where the attack failed, never the clean image instead.
        steps: gradient steps taken (B,); 0 where the goal was met before the first.
        success: whether the criterion was met (B,). An image with nothing to attack has met it, in 0 steps and
            unchanged; leave it out of a rate with ``attacked > 0``.
        norm_linf: largest absolute change of a pixel (B,), in the image's own unit.
        norm_l2: Euclidean norm of the perturbation (B,), in the image's own unit.
        attacked: number of attacked pixels (B,).
        remaining: share of the attacked pixels that are not yet fooled (B,).
        window: intensity window (B,); ``norm_linf / window`` is in the unit of the budget.
    """

    image: Tensor
    steps: Tensor
    success: Tensor
    norm_linf: Tensor
    norm_l2: Tensor
    attacked: Tensor
    remaining: Tensor
    window: Tensor


@dataclass(eq=False, kw_only=True)
class Attack:
    """Base of the attacks: ``attack(network, image, label, mask)`` returns an :class:`AttackResult`.

    The network is attacked in evaluation mode; its modes, parameters and gradients, and the global random state, are
    afterward as they were. An image's result does not depend on the other images in the batch.

    Every attack has these settings, and tells only its further ones. A setting out of its range is refused with a
    ``ValueError``.

    Args:
        bounds: ``(low, high)`` that the adversarial image keeps to, None for each clean image's own minimum and
            maximum. [0, 1] is never assumed.
        window: unit of the budget. A number, in the image's unit: 1.0 when the pipeline has normalized the image to its
            window. ``"image"`` measures it on each clean image (:func:`window_width`).
        ignore_index: label of void pixels, which are never attacked; None for none.
        attack_background: whether pixels labeled 0 are attacked too.
        confine_to_mask: whether the perturbation too, not only the attacked pixels, keeps inside the mask.
        stop_share: the attack has succeeded when no more than this share of the attacked pixels is not yet fooled.
        criterion: what success is instead of that: one of :mod:`monai_shield.attacks.criteria`, or several combined.
        micro_batch: number of images that are attacked at a time, which bounds the memory; by default the whole batch.

    Attributes:
        info: where it comes from.
        examples: settings with which it attacks a small image in [0, 1], one for each branch of its own: tests run all.
        from_command_line: whether settings alone make it, so that a command line can.
        problem_type: what its problem is, which says when a pixel is fooled.
    """

    info: ClassVar[Info]
    examples: ClassVar[Examples]
    from_command_line: ClassVar[bool] = True
    problem_type: ClassVar[type[Problem]] = Problem

    bounds: Sequence[float] | None = None
    window: float | str = 1.0
    ignore_index: int | None = None
    attack_background: bool = True
    confine_to_mask: bool = False
    stop_share: float = 0.01
    criterion: Criterion | None = None
    micro_batch: int | None = None

    def __post_init__(self) -> None:
        if self.bounds is not None and not (len(self.bounds) == 2 and self.bounds[0] < self.bounds[1]):
            raise ValueError(f"bounds must be (low, high) with low < high, got {self.bounds}.")
        is_number = not isinstance(self.window, str) and math.isfinite(self.window) and self.window > 0
        if not is_number and self.window != "image":
            raise ValueError(f"window must be a positive number or 'image', got {self.window!r}.")
        if not 0 <= self.stop_share < 1:
            raise ValueError(f"stop_share must be in [0, 1), got {self.stop_share}.")
        check_target(getattr(self, "target", None))
        check_at_least(1, micro_batch=self.micro_batch)

    @classmethod
    def example(cls, network: nn.Module, image: Tensor, **settings: Any) -> Self:
        """One with these settings that is ready to attack a network on images like ``image`` (B,C,spatial)."""
        return cls(**settings)

    def __call__(
        self, network: nn.Module, image: Tensor, label: Pixels = None, mask: Pixels = None, *, index: Index = None
    ) -> AttackResult:
        """Attack a batch.

        Args:
            network: segmentation network, (B,C,spatial) to logits (B,K,spatial); one logit is read as a sigmoid head.
            image: clean image (B,C,H,W[,D]), on the network's device.
            label: class of each pixel, (B,1,spatial) or (B,spatial), whole numbers; by default the network's own
                prediction on the clean image.
            mask: pixels that may be attacked, (B,1,spatial) or (B,spatial); by default all.
            index: which image of the data set each one is, so that its random start is the same in whatever batch it
                comes; by default its place in the batch.

        Returns:
            the adversarial images (a MetaTensor when ``image`` is one), and what it took to make them.

        Raises:
            TypeError: when the network is not a module or does not return a tensor.
            ValueError: when the image, label, mask or logits have the wrong shape or values.
        """
        check_image(image)
        with crafting(self._attacked_network(network), image.device) as target:
            problem = self.pose(target, image, label, mask, index)
            places = torch.arange(len(problem.image), device=problem.image.device)
            parts = places.split(len(places) if self.micro_batch is None else self.micro_batch)
            outcome = Outcome.concatenate([self._run(target, problem.select(part)) for part in parts])
        perturbation = (outcome.image - problem.image).flatten(1)
        return AttackResult(
            image=with_meta_of(outcome.image, image),
            steps=outcome.steps,
            success=outcome.success | (problem.number == 0),
            norm_linf=torch.linalg.vector_norm(perturbation, math.inf, dim=1, dtype=torch.float64),
            norm_l2=torch.linalg.vector_norm(perturbation, 2, dim=1, dtype=torch.float64),
            attacked=problem.number,
            remaining=outcome.remaining,
            window=problem.window.flatten(),
        )

    def _attacked_network(self, network: nn.Module) -> nn.Module:
        """What is attacked of the network that was given."""
        return network

    def _run(self, network: nn.Module, problem: Problem) -> Outcome:
        """The attack itself."""
        raise NotImplementedError

    def success_criterion(self) -> Criterion:
        """What success is."""
        return RemainingShare(self.stop_share) if self.criterion is None else self.criterion

    def _adversarial_label(self, target: Target, label: Tensor, logits: Tensor) -> Tensor:
        """The label (B,spatial) that the attack wants instead of ``label`` (B,spatial)."""
        return adversarial_label(target, label, logits)

    def pose(self, network: nn.Module, image: Tensor, label: Pixels, mask: Pixels, index: Index) -> Problem:
        """What the attack is asked on a batch, checked; arguments as in :meth:`__call__`, within :func:`crafting`."""
        clean, target = plain(image), getattr(self, "target", None)  # only some attacks have one
        with torch.no_grad():
            # with a label and no target only the number of classes is asked for, and one image tells that
            logits = logits_of(network, clean if label is None or target is not None else clean[:1])
        classes = logits.shape[1]

        truth = logits.argmax(1) if label is None else label_of(label, clean, "label")
        void = torch.zeros_like(truth, dtype=torch.bool) if self.ignore_index is None else truth == self.ignore_index
        truth = truth.masked_fill(void, 0)
        check_classes(truth, classes, "label")

        adversarial = None
        attacked = ~void
        if target is not None:
            adversarial = label_of(self._adversarial_label(target, truth, logits), clean, "adversarial label")
            check_classes(adversarial, classes, "adversarial label")
            attacked = attacked & (adversarial != truth)
        if not self.attack_background:
            attacked = attacked & (truth != 0)
        support = None
        if mask is not None:
            inside = without_channel(mask, clean, "mask").bool()
            attacked = attacked & inside
            support = inside.unsqueeze(1) if self.confine_to_mask else None
        elif self.confine_to_mask:
            raise ValueError("confine_to_mask needs a mask.")

        places = torch.arange(len(clean)) if index is None else torch.as_tensor(index)
        if places.shape != (len(clean),):
            raise ValueError(f"index must name {len(clean)} images, got shape {tuple(places.shape)}.")
        low, high = self._bounds(clean)
        window = window_width(clean) if self.window == "image" else torch.full_like(low, float(self.window))
        where = (clean, truth, adversarial, void, attacked, support)
        return self.problem_type(*where, low, high, window, places.to(clean.device))

    def _bounds(self, image: Tensor) -> tuple[Tensor, Tensor]:
        pixels = image.flatten(1)
        low, high = per_image(pixels.amin(1), image), per_image(pixels.amax(1), image)
        if self.bounds is None:
            return low, high
        if bool((low < self.bounds[0]).any() or (high > self.bounds[1]).any()):
            raise ValueError(
                f"the clean image, {low.min():g} to {high.max():g}, lies outside the bounds {self.bounds}."
            )
        return torch.full_like(low, self.bounds[0]), torch.full_like(high, self.bounds[1])


def window_width(image: Tensor) -> Tensor:
    """Width of each image's own intensity window (B,1,...,1): see :func:`monai_shield.transforms.intensity_window`."""
    ends = torch.tensor([intensity_window(each) for each in image], dtype=image.dtype, device=image.device)
    return per_image(ends[:, 1] - ends[:, 0], image)
