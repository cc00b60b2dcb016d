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
"""What every attack shares: the problem it is given, the guard around the network, and the result it hands back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from monai_shield.transforms.intensity import intensity_window

__all__ = [
    "Attack",
    "AttackInfo",
    "AttackResult",
    "Problem",
    "crafting",
    "image_generator",
    "logits_of",
    "per_image",
    "share_held",
    "window_width",
    "with_meta_of",
]


@dataclass(frozen=True)
class AttackInfo:
    """Where an attack comes from; tables and documentation are made from it.

    Args:
        name: what the attack is called in tables.
        paper: authors and title.
        year: year of publication.
        arxiv: arXiv id, None where there is none.
    """

    name: str
    paper: str
    year: int | None = None
    arxiv: str | None = None


@dataclass(frozen=True)
class AttackResult:
    """What an attack hands back, one entry for each image of the batch, none dropped.

    Args:
        image: adversarial image (B,C,spatial); the last iterate where the attack failed, never the clean image instead.
        steps: gradient steps taken (B,); 0 where the goal was met before the first.
        success: whether the goal was met (B,). An image with nothing to attack has met it, in 0 steps and unchanged;
            leave it out of a rate with ``attacked > 0``.
        norm_linf: largest absolute change of a pixel (B,), in the image's own unit.
        norm_l2: Euclidean norm of the perturbation (B,), in the image's own unit.
        attacked: number of attacked pixels (B,).
        remaining: share of the attacked pixels that still hold out against the attack (B,).
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


@dataclass(frozen=True)
class Problem:
    """What is asked of an attack on a batch, checked and on one device; a dimension of 1 broadcasts.

    Args:
        image: clean image (B,C,spatial).
        label: class of each pixel (B,spatial), void pixels as background.
        target: adversarial label (B,spatial), None when the attack is untargeted.
        attacked: pixels whose prediction the attack wants to change (B,spatial).
        support: pixels the perturbation may touch (B,1,spatial), None for all.
        low: lower bound of intensity per image (B,1,...,1).
        high: upper bound of intensity per image (B,1,...,1).
        window: intensity window per image (B,1,...,1), the unit of every budget.
        index: which image of the data set each one is (B,); seeds its random start.
    """

    image: Tensor
    label: Tensor
    target: Tensor | None
    attacked: Tensor
    support: Tensor | None
    low: Tensor
    high: Tensor
    window: Tensor
    index: Tensor

    def select(self, rows: Tensor) -> Problem:
        """The same problem for the images ``rows`` (b,) only."""
        selected: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            selected[field.name] = None if value is None else value[rows]
        return Problem(**selected)

    def confine(self, perturbation: Tensor) -> Tensor:
        """Zero what lies outside the support (B,C,spatial)."""
        return perturbation if self.support is None else perturbation * self.support

    def clamp(self, image: Tensor) -> Tensor:
        """Bring an image (B,C,spatial) into the bounds."""
        return torch.clamp(image, self.low, self.high)


@dataclass(eq=False, kw_only=True)
class Attack:
    """Base of the attacks: ``attack(network, image, label, mask)`` returns an :class:`AttackResult`.

    The network is attacked in evaluation mode; its modes, parameters and gradients, and the global random state, are
    afterward as they were. An image's result does not depend on the other images in the batch.

    Args:
        bounds: ``(low, high)`` that the adversarial image keeps to, None for each clean image's own minimum and
            maximum. [0, 1] is never assumed.
        window: unit of the budget. A number, in the image's unit: 1.0 when the pipeline has normalized the image to its
            window. ``"image"`` measures it on each clean image (:func:`window_width`).
        ignore_index: label of void pixels, which are never attacked; None for none.
        attack_background: whether pixels labeled 0 are attacked too.
        confine_to_mask: whether the perturbation too, not only the attacked pixels, keeps inside the mask.
        stop_share: the attack has succeeded when no more than this share of the attacked pixels holds out.

    Raises:
        ValueError: when a setting is out of its range.
    """

    info: ClassVar[AttackInfo]

    bounds: Sequence[float] | None = None
    window: float | str = 1.0
    ignore_index: int | None = None
    attack_background: bool = True
    confine_to_mask: bool = False
    stop_share: float = 0.01

    def __post_init__(self) -> None:
        if self.bounds is not None and not (len(self.bounds) == 2 and self.bounds[0] < self.bounds[1]):
            raise ValueError(f"bounds must be (low, high) with low < high, got {self.bounds}.")
        if isinstance(self.window, str):
            if self.window != "image":
                raise ValueError(f"window must be a positive number or 'image', got {self.window!r}.")
        elif not (math.isfinite(self.window) and self.window > 0):
            raise ValueError(f"window must be a positive number or 'image', got {self.window}.")
        if not 0 <= self.stop_share < 1:
            raise ValueError(f"stop_share must be in [0, 1), got {self.stop_share}.")

    def __call__(
        self,
        network: nn.Module,
        image: Tensor,
        label: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        index: Sequence[int] | None = None,
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
        _check_image(image)
        with crafting(network, image.device) as target:
            problem = self._pose(target, image, label, mask, index)
            adversarial, steps, remaining = self._run(target, problem)
        perturbation = (adversarial - problem.image).flatten(1)
        return AttackResult(
            image=with_meta_of(adversarial, image),
            steps=steps,
            success=remaining <= self.stop_share,
            norm_linf=torch.linalg.vector_norm(perturbation, math.inf, dim=1, dtype=torch.float64),
            norm_l2=torch.linalg.vector_norm(perturbation, 2, dim=1, dtype=torch.float64),
            attacked=problem.attacked.flatten(1).sum(1),
            remaining=remaining,
            window=problem.window.flatten(),
        )

    def _run(self, network: nn.Module, problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
        """The attack itself: adversarial image (B,C,spatial), steps (B,), share of attacked pixels left (B,)."""
        raise NotImplementedError

    def _adversarial_label(self, label: Tensor, logits: Tensor) -> Tensor | None:
        """The label (B,spatial) the attack wants instead of ``label`` (B,spatial); None when any other one will do."""
        return None

    def _pose(
        self,
        network: nn.Module,
        image: Tensor,
        label: Tensor | None,
        mask: Tensor | None,
        index: Sequence[int] | None,
    ) -> Problem:
        clean = _plain(image)
        with torch.no_grad():
            logits = logits_of(network, clean)
        classes = logits.shape[1]

        truth = logits.argmax(1) if label is None else _whole_numbers(_without_channel(label, clean, "label"))
        void = torch.zeros_like(truth, dtype=torch.bool) if self.ignore_index is None else truth == self.ignore_index
        truth = truth.masked_fill(void, 0)
        _check_classes(truth, classes, "label")

        adversarial = self._adversarial_label(truth, logits)
        attacked = ~void
        if adversarial is not None:
            adversarial = _whole_numbers(_without_channel(adversarial, clean, "adversarial label"))
            _check_classes(adversarial, classes, "adversarial label")
            attacked = attacked & (adversarial != truth)
        if not self.attack_background:
            attacked = attacked & (truth != 0)
        support = None
        if mask is not None:
            inside = _without_channel(mask, clean, "mask").bool()
            attacked = attacked & inside
            support = inside.unsqueeze(1) if self.confine_to_mask else None
        elif self.confine_to_mask:
            raise ValueError("confine_to_mask needs a mask.")

        places = torch.arange(len(clean)) if index is None else torch.as_tensor(index)
        if places.shape != (len(clean),):
            raise ValueError(f"index must name {len(clean)} images, got shape {tuple(places.shape)}.")
        low, high = self._bounds(clean)
        window = window_width(clean) if self.window == "image" else torch.full_like(low, float(self.window))
        return Problem(clean, truth, adversarial, attacked, support, low, high, window, places.to(clean.device))

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


@contextmanager
def crafting(network: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """Within it the network is in evaluation mode, its parameters take no gradient and gradients are enabled.

    On the way out, also after an exception, each module has its own mode and each parameter its own ``requires_grad``
    again, and the global random state is what it was. A network wrapped for distributed training is handed out
    unwrapped, as the wrapper would wait for a backward pass that never comes.

    Args:
        network: network to attack.
        device: device it is attacked on.

    Raises:
        TypeError: when ``network`` is not a module, as nothing else can be put in evaluation mode.
    """
    if not isinstance(network, nn.Module):
        raise TypeError(f"network must be a torch.nn.Module, got {type(network).__name__}.")
    target = network.module if isinstance(network, DistributedDataParallel) else network
    modes = [(module, module.training) for module in target.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in target.parameters()]
    try:
        # set flag by flag: a network's own train() may do more than can be undone
        for module, _ in modes:
            module.training = False
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        devices = [device] if device.type == "cuda" else []
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices):
            yield target
    finally:
        for module, training in modes:
            module.training = training
        for parameter, requires_grad in wanted:
            parameter.requires_grad_(requires_grad)


def logits_of(network: nn.Module, image: Tensor) -> Tensor:
    """Logits (B,K,spatial) of an image (B,C,spatial), K >= 2: the one logit z of a sigmoid head becomes (0, z).

    Raises:
        TypeError: when the network does not return a tensor.
        ValueError: when the logits do not lie on the image's pixels.
    """
    logits = network(image)
    if not isinstance(logits, Tensor):
        raise TypeError(f"the network must return a tensor of logits, got {type(logits).__name__}.")
    if logits.shape[:1] + logits.shape[2:] != image.shape[:1] + image.shape[2:]:
        raise ValueError(f"logits {tuple(logits.shape)} do not lie on the image {tuple(image.shape)}.")
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits


def window_width(image: Tensor) -> Tensor:
    """Width of each image's own intensity window (B,1,...,1): see :func:`monai_shield.transforms.intensity_window`."""
    ends = torch.tensor([intensity_window(each) for each in image], dtype=image.dtype, device=image.device)
    return per_image(ends[:, 1] - ends[:, 0], image)


def share_held(held: Tensor, attacked: Tensor) -> Tensor:
    """Share (B,) of the attacked pixels (B,spatial) that hold out, ``held`` (B,spatial); 0 where none is attacked."""
    return held.flatten(1).sum(1).double() / attacked.flatten(1).sum(1).clamp(min=1)


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """Shape one value an image (B,) so that it broadcasts over ``like`` (B,C,spatial)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def image_generator(seed: int, index: int, stream: int = 0) -> torch.Generator:
    """Generator on the CPU that belongs to one image of a data set, whatever batch it comes in.

    Args:
        seed: seed of the whole run.
        index: which image.
        stream: set apart draws that must not be the same.
    """
    state = np.random.SeedSequence([seed, index, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def with_meta_of(image: Tensor, like: Tensor) -> Tensor:
    """``image`` with the meta information of ``like`` when that is a MetaTensor, else as it is."""
    return MetaTensor(image).copy_meta_from(like) if isinstance(like, MetaTensor) else image


def _plain(tensor: Tensor) -> Tensor:
    """The tensor without meta information, history or storage shared with the caller's, fit for gradients."""
    plain = tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
    return plain.detach().clone()


def _check_image(image: Tensor) -> None:
    if image.ndim not in (4, 5) or not image.is_floating_point() or image.numel() == 0:
        raise ValueError(f"image must be (B,C,H,W[,D]) of floats, got {tuple(image.shape)} of {image.dtype}.")
    if not bool(image.isfinite().all()):
        raise ValueError("image has values that are not finite.")


def _without_channel(tensor: Tensor, image: Tensor, name: str) -> Tensor:
    """(B,1,spatial) or (B,spatial) to (B,spatial), on the image's device."""
    pixels = _plain(tensor).to(image.device)
    if pixels.ndim == image.ndim and pixels.shape[1] == 1:
        pixels = pixels.squeeze(1)
    if pixels.shape != image.shape[:1] + image.shape[2:]:
        raise ValueError(
            f"{name} must be (B,1,spatial) or (B,spatial) for an image {tuple(image.shape)}, got {tuple(tensor.shape)}."
        )
    return pixels


def _whole_numbers(label: Tensor) -> Tensor:
    """A label of whole numbers, also when read from a file as floats, as int64."""
    whole = label.long()
    if label.is_floating_point() and not torch.equal(whole.to(label.dtype), label):
        raise ValueError("a label must hold whole numbers.")
    return whole


def _check_classes(label: Tensor, classes: int, name: str) -> None:
    low, high = int(label.min()), int(label.max())
    if low < 0 or high >= classes:
        raise ValueError(f"{name} holds {low} to {high}, but the network has the classes 0 to {classes - 1}.")
