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
"""Backward pass differentiable approximation: a way around a preprocessing that has no useful gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor, nn

__all__ = ["BPDA"]


class BPDA(nn.Module):
    """Backward pass differentiable approximation (Athalye et al. 2018, arXiv 1802.00420).

    The value is that of ``function``, to the last bit; the gradient is that of ``surrogate`` at the same image::

        forward   y = g(x)
        backward  ∂L/∂x = (∂h/∂x)ᵀ ∂L/∂y

    ``nn.Sequential(BPDA(preprocessing), network)`` is the network to attack.

    Args:
        function: g, from (B,C,spatial) to (B,K,spatial); it is called without gradients, on a copy of the image.
        surrogate: h, differentiable, with an output of the same shape; by default the identity.
    """

    def __init__(
        self, function: Callable[[Tensor], Tensor], surrogate: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.function = function
        self.surrogate = surrogate

    def forward(self, image: Tensor) -> Tensor:
        """g of an image (B,C,spatial), in the floating point type of the surrogate.

        Raises:
            ValueError: when the function and its surrogate differ in shape.
        """
        with torch.no_grad():
            # a copy, as a preprocessing may work in place
            value = self.function(image.detach().clone())
        approximation = image if self.surrogate is None else self.surrogate(image)
        if value.shape != approximation.shape:
            raise ValueError(f"the function returns {tuple(value.shape)}, its surrogate {tuple(approximation.shape)}.")
        value = value.as_tensor() if isinstance(value, MetaTensor) else value
        return _Substitute.apply(value.to(approximation), approximation)


class _Substitute(torch.autograd.Function):
    """The first tensor, with the history of the second; an approximation + (value − approximation) would round."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, approximation: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient
