# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The whole shield as one network, for an attack to go through."""

import torch
from torch import Tensor, nn

from monai_shield.attacks import MultiLabel
from monai_shield.detectors import Detector, Views
from monai_shield.networks.heads import Head, class_logits
from monai_shield.transforms.foreground import DEFAULT_FOREGROUND, Foreground


class ShieldedNetwork(nn.Module):
    """
    Reformer and target as one network, which remembers its ``views`` of the last batch.

    Args:
        target: the network that is defended. One with a declared head "sigmoid" is given as it is, not as a
            :class:`~monai_shield.attacks.MultiLabel`, whose classes the shield's detector never sees.
        detector: scores the image.
        reformer: image to image; None for none.
        head: what the target's channels stand for; None to read it, see :func:`~monai_shield.networks.head_of`.
        foreground: which pixels are foreground to the detector.
    """

    views: Views

    def __init__(
        self,
        target: nn.Module,
        detector: Detector,
        reformer: nn.Module | None,
        head: Head | None = None,
        foreground: Foreground = DEFAULT_FOREGROUND,
    ) -> None:
        super().__init__()
        if head == "sigmoid" and isinstance(target, MultiLabel):
            raise ValueError("head 'sigmoid' is declared: give the network itself, not a MultiLabel around it.")
        self.target, self.detector, self.reformer = target, detector, reformer
        self.head, self.foreground = head, foreground

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B,K,spatial) of the reformed image (B,C,spatial), of classes that exclude each other: see
        :func:`~monai_shield.networks.class_logits`."""
        self.views = Views(image, self.target, self.reformer, self.foreground, self.head)
        return class_logits(self.views.reformed_prediction, self.head)

    def check_gradients(self, image: Tensor, scores: bool) -> None:
        """
        Check, in one pass forward and backward, that a gradient reaches an image (B,C,spatial) through the reformer
        and, where ``scores`` is true, from each score of the detector.

        Raises:
            ValueError: naming the part that lets none through.
        """
        image = image.detach().requires_grad_()
        with torch.random.fork_rng([image.device] if image.is_cuda else []):  # an attack draws as without the check
            self(image)
            excesses = self.detector.excesses(self.views) if scores else {}
        if self.reformer is not None and not _reaches(image, self.views.reformed):
            raise ValueError(f"reformer {type(self.reformer).__name__} passes no gradient: wrap it in BPDA.")
        for name, excess in excesses.items():
            if not _reaches(image, excess):
                raise ValueError(f"the score of {name} has no gradient: wrap the part that lacks one in BPDA.")


def _reaches(image: Tensor, output: Tensor) -> bool:
    """Whether any of the gradient of an output by the image is not zero."""
    if not output.requires_grad:
        return False
    # along a random direction, as a sum can be constant though its terms are not
    direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(0)).to(output)
    (gradient,) = torch.autograd.grad(output, image, direction, retain_graph=True, allow_unused=True)
    return gradient is not None and bool((gradient != 0).any())
