# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What the tests of the attacks share: a segmenter on which the smallest perturbation is known."""

import pytest
import torch
from torch import nn


class LinearSegmenter(nn.Module):
    """Class 1 where the pixel is positive, with the logits 1 ∓ slope · x.

    The offset gives the logits more than one direction, which losses that are blind to their scale need.
    """

    def __init__(self, slope=1.0):
        super().__init__()
        self.slope = slope

    def forward(self, image):
        return torch.cat([1 - self.slope * image, 1 + self.slope * image], 1)

    @staticmethod
    def optimum(image, norm="linf", share=0.0):
        """Norm (B,) of the smallest perturbation of (B,1,spatial) after which at most a share of the pixels resists.

        A pixel of value v falls with a change of |v|: under L∞ an image needs the largest of those that must fall,
        under L2 their root sum of squares.
        """
        margins = image.abs().flatten(1).sort(dim=1).values
        margins = margins[:, : margins.shape[1] - int(share * margins.shape[1] + 1e-9)]
        return margins[:, -1] if norm == "linf" else margins.square().sum(1).sqrt()


@pytest.fixture(scope="session")
def linear_segmenter():
    """Makes a :class:`LinearSegmenter`."""
    return LinearSegmenter
