# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Backward pass differentiable approximation: a way around a preprocessing that has no useful gradient."""

from collections.abc import Callable
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor, nn


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
        """g of an image (B,C,spatial), in the surrogate's floating point type; a ``ValueError`` where g and h differ in
        shape."""
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
