# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What is given to an attack, brought into one form. What is refused raises a ``ValueError``."""

from collections.abc import Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor


def plain(tensor: Tensor) -> Tensor:
    """The tensor without meta information, history or storage shared with the caller's, fit for gradients."""
    values = tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
    return values.detach().clone()


def with_meta_of(image: Tensor, like: Tensor) -> Tensor:
    """``image`` with the meta information of ``like`` when that is a MetaTensor, else as it is."""
    return MetaTensor(image).copy_meta_from(like) if isinstance(like, MetaTensor) else image


def check_image(image: Tensor) -> None:
    """Refuse an image that is not (B,C,H,W[,D]) of finite floats."""
    if image.ndim not in (4, 5) or not image.is_floating_point() or image.numel() == 0:
        raise ValueError(f"image must be (B,C,H,W[,D]) of floats, got {tuple(image.shape)} of {image.dtype}.")
    if not bool(image.isfinite().all()):
        raise ValueError("image has values that are not finite.")


def without_channel(pixels: Tensor, image: Tensor, name: str) -> Tensor:
    """A label or mask (B,1,spatial) or (B,spatial) as (B,spatial), plain and on the device of the image."""
    values = plain(pixels).to(image.device)
    if values.ndim == image.ndim and values.shape[1] == 1:
        values = values.squeeze(1)
    if values.shape != image.shape[:1] + image.shape[2:]:
        raise ValueError(
            f"{name} must be (B,1,spatial) or (B,spatial) for an image {tuple(image.shape)}, got {tuple(pixels.shape)}."
        )
    return values


def label_of(pixels: Tensor, image: Tensor, name: str) -> Tensor:
    """A label as :func:`without_channel`, of whole numbers in int64, also when it was read from a file as floats."""
    values = without_channel(pixels, image, name)
    whole = values.long()
    if values.is_floating_point() and not torch.equal(whole.to(values.dtype), values):
        raise ValueError(f"{name} must hold whole numbers.")
    return whole


def check_classes(label: Tensor, classes: int, name: str) -> None:
    """Refuse a label of other classes than the network's."""
    low, high = int(label.min()), int(label.max())
    if low < 0 or high >= classes:
        raise ValueError(f"{name} holds {low} to {high}, but the network has the classes 0 to {classes - 1}.")


def entry_of(batch: Mapping[str, Any], key: str | None) -> Any:
    """What a batch has under a key, None where the key is None; a ``KeyError`` where it lacks the key."""
    if key is not None and key not in batch:
        raise KeyError(f"no {key!r} in the batch, which has {', '.join(map(str, batch))}.")
    return None if key is None else batch[key]
