# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A network made ready to be attacked for long."""

import copy
import itertools

import torch
from torch import Tensor, nn


class FrozenNetwork(nn.Module):
    """A copy of a network for evaluation only, that computes the same faster, forward and backward.

    Its parameters take no gradient, a batch normalization that follows a convolution is folded into its weights
    (W ← γ W / σ, b ← γ (b − μ) / σ + β), and the weights of a 2D network lie channels last. The logits differ from the
    network's by rounding. The copy is made once: it does not follow a network that is trained on.

    Args:
        network: network (B,C,spatial) to logits (B,K,spatial).
        channels_last: whether the weights lie channels last, which suits convolutions but no normalization over
            channels of one image; by default in 2D, where no such normalization is left.
    """

    def __init__(self, network: nn.Module, channels_last: bool | None = None) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        _fold(self.network)
        if channels_last is None:  # what is against it would turn the layout around and back
            channels_last = not any(isinstance(module, _AGAINST_CHANNELS_LAST) for module in self.network.modules())
        if channels_last:
            formats = {4: torch.channels_last, 5: torch.channels_last_3d}
            for parameter in self.network.parameters():
                if parameter.ndim in formats:
                    parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B,K,spatial) of an image (B,C,spatial)."""
        return self.network(image)


def _fold(network: nn.Module) -> None:
    """Fold each batch normalization into the convolution before it, where both stand in a row of modules."""
    for module in network.modules():
        if not _is_row(module):
            continue
        places = _places(module)
        for (parent, name), (after, after_name) in itertools.pairwise(places):
            convolution, norm = getattr(parent, name), getattr(after, after_name)
            if isinstance(convolution, _CONVOLUTIONS) and isinstance(norm, _NORMS) and norm.running_mean is not None:
                transposed = isinstance(convolution, nn.ConvTranspose2d | nn.ConvTranspose3d)
                setattr(parent, name, nn.utils.fuse_conv_bn_eval(convolution, norm, transposed))
                setattr(after, after_name, nn.Identity())


def _places(row: nn.Module) -> list[tuple[nn.Module, str]]:
    """Where the modules that a row runs one after the other are, rows within it unrolled: parent and name."""
    places: list[tuple[nn.Module, str]] = []
    for name, child in row.named_children():
        places += _places(child) if _is_row(child) else [(row, name)]
    return places


def _is_row(module: nn.Module) -> bool:
    """Whether a module does nothing but run its children one after the other."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
_AGAINST_CHANNELS_LAST = (nn.Conv3d, nn.ConvTranspose3d, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)
