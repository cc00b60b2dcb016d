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
"""Scores in full precision, whatever autocast does around them."""

from __future__ import annotations

from collections.abc import Callable

import torch

__all__ = ["CallerAutocast", "at_least_float32", "full_precision", "in_own_type"]

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
