# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Scores in full precision, whatever autocast does around them."""

from collections.abc import Callable
from functools import partial

import torch

HALVES = {torch.bfloat16, torch.float16}


def at_least_float32(values: torch.Tensor) -> torch.Tensor:
    """The values in float32, or in float64 where they are in that."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def full_precision(like: torch.Tensor) -> torch.autocast:
    """Within it autocast is off on the device of `like`."""
    return torch.autocast(like.device.type, enabled=False)


def in_own_type(network: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor) -> torch.Tensor:
    """
    Image to image of a network, computed in the type of its weights where that or the image's is half precision:
    without autocast nobody else would bring the two together.
    """
    weights = network.parameters() if isinstance(network, torch.nn.Module) else ()
    own = next((each.dtype for each in weights if each.is_floating_point()), image.dtype)
    if own == image.dtype or not HALVES & {own, image.dtype}:
        return network(image)
    return network(image.to(own)).to(image.dtype)


def caller_autocast(device_type: str) -> Callable[[], torch.autocast]:
    """What autocast is set to where this is called, to be entered again later."""
    enabled, dtype = torch.is_autocast_enabled(device_type), torch.get_autocast_dtype(device_type)
    return partial(torch.autocast, device_type, dtype=dtype, enabled=enabled)
