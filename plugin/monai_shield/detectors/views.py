# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a shield has of an image, each computed once, when first asked for."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch

from monai_shield.detectors.precision import at_least_float32, caller_autocast, full_precision, in_own_type
from monai_shield.networks.heads import Head, check_head, head_of, single_output
from monai_shield.transforms.foreground import DEFAULT_FOREGROUND, Foreground
from monai_shield.transforms.spectrum import fourier_transform, frequency_magnitude, shift_zero_frequency

Network = Callable[[torch.Tensor], torch.Tensor]


class Views:
    """
    The views of a batch of images that detectors score and the final answer is taken from.

    Gradients flow where they are enabled, so that an adaptive attack can go through the very same object.

    The target runs under the autocast that is on where the views are made, whoever asks for its prediction first: a
    detector and the final answer share it. Everything else is computed with autocast off.

    Args:
        image: (B, C, H, W[, D]).
        target: the network that is defended, image to logits.
        reformer: image to image; the identity where there is none.
        foreground: which pixels are foreground.
        head: what the target's channels stand for; None to read it, see :func:`~monai_shield.networks.head_of`.

    Raises:
        ValueError: for an unknown head.
    """

    def __init__(
        self,
        image: torch.Tensor,
        target: Network | None = None,
        reformer: Network | None = None,
        foreground: Foreground = DEFAULT_FOREGROUND,
        head: Head | None = None,
    ) -> None:
        self.image = image
        self._foreground = foreground
        self._target = target
        self._reformer = reformer
        self._head = check_head(head)
        self._autocast = caller_autocast(image.device.type)
        self._made: dict[Any, torch.Tensor] = {}

    def _once(self, name: Any, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def magnitude(self, shift: bool = True) -> torch.Tensor:
        """Magnitude of the discrete Fourier transform, zero frequency in the center or not, (B, C, H, W[, D])."""
        return self._once(("magnitude", shift), lambda: frequency_magnitude(self.image, self.image.ndim - 2, shift))

    def spectrum(self, shift: bool = True) -> torch.Tensor:
        """The discrete Fourier transform itself, complex, zero frequency in the center or not, (B, C, H, W[, D])."""
        dims = self.image.ndim - 2
        if shift:
            return self._once("shifted", lambda: shift_zero_frequency(self.spectrum(shift=False), dims))
        return self._once("spectrum", lambda: fourier_transform(self.image, dims))

    @cached_property
    def foreground(self) -> torch.Tensor:
        """Which pixels belong to the foreground, (B, H, W[, D])."""
        return self._foreground(self.image)

    @cached_property
    def foreground_share(self) -> torch.Tensor:
        """Share of the pixels that belong to the foreground, (B,)."""
        return self._foreground.share(self.image)

    def mean_over_foreground(self, values: torch.Tensor) -> torch.Tensor:
        """Mean of values (B, H, W[, D]) over the pixels of the foreground, (B,); 0 where there is no foreground."""
        values = at_least_float32(values).flatten(1)
        foreground = self.foreground.flatten(1).to(values.dtype)
        return (values * foreground).sum(dim=1) / foreground.sum(dim=1).clamp_min(1)

    @cached_property
    def prediction(self) -> torch.Tensor:
        """Logits of the target on the image as it came, (B, K, H, W[, D])."""
        return self._segment(self.image)

    @property
    def head(self) -> Head:
        """
        What the target's channels stand for.

        Raises:
            ValueError: where a softmax is declared of a target with one channel.
        """
        return head_of(self.prediction, self._head)

    @cached_property
    def reformed(self) -> torch.Tensor:
        """The reformed image, (B, C, H, W[, D])."""
        return self.image if self._reformer is None else self._reform(self._reformer)

    @cached_property
    def reformed_prediction(self) -> torch.Tensor:
        """Logits of the target on the reformed image, (B, K, H, W[, D])."""
        return self.prediction if self._reformer is None else self._segment(self.reformed)

    def prediction_under(self, reformer: Network) -> torch.Tensor:
        """Logits of the target on the image as another reformer leaves it, (B, K, H, W[, D])."""
        return self._once(reformer, lambda: self._segment(self._reform(reformer)))

    def _reform(self, reformer: Network) -> torch.Tensor:
        with full_precision(self.image):
            return in_own_type(reformer, self.image)

    def _segment(self, image: torch.Tensor) -> torch.Tensor:
        if self._target is None:
            raise ValueError("these views hold no target network: a prediction was asked for.")
        with self._autocast():
            return single_output(self._target(image))
