# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Scores in full precision, whatever autocast does around them."""

from collections.abc import Callable

import torch

HALVES = {torch.bfloat16, torch.float16}


def at_least_float32(values: torch.Tensor) -> torch.Tensor:
    """The values in float32, or in float64 where they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def full_precision(like: torch.Tensor) -> torch.autocast:
    """Within it autocast is off on the device of `like`."""
    return torch.autocast(like.device.type, enabled=False)


def in_own_type(network: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor) -> torch.Tensor:
    """
    Image to image, in the type of the network's weights where that or the image's is half precision.

    Without autocast nobody else would bring the two together.

    Args:
        network: image to image.
        image: (B, C, H, W[, D]).

    Returns:
        what the network returns, then in the image's type.
    """
    weights = network.parameters() if isinstance(network, torch.nn.Module) else ()
    own = next((each.dtype for each in weights if each.is_floating_point()), image.dtype)
    if own == image.dtype or not HALVES & {own, image.dtype}:
        return network(image)
    return network(image.to(own)).to(image.dtype)


class CallerAutocast:
    """
    What autocast is set to where this is made, to be entered again later.

    Args:
        device_type: of the device it is asked about.
    """

    def __init__(self, device_type: str) -> None:
        self.device_type = device_type
        self.enabled = torch.is_autocast_enabled(device_type)
        self.dtype = torch.get_autocast_dtype(device_type)

    def __call__(self) -> torch.autocast:
        """Within it autocast is as it was."""
        return torch.autocast(self.device_type, dtype=self.dtype, enabled=self.enabled)
