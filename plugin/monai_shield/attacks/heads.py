# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Adapters for networks that do not return plain logits of classes that exclude each other."""

import torch
from torch import Tensor, nn

from monai_shield.networks.heads import check_channels, class_logits


class SelectOutput(nn.Module):
    """One of the outputs of a network that returns several, as with deep supervision.

    Args:
        network: network (B,C,spatial) to a list, a tuple or a dictionary of logits (B,K,spatial), or to one tensor with
            the outputs along its second dimension (B,outputs,K,spatial). Plain logits are passed on: some networks
            return several outputs in training only, and an attack runs in evaluation mode.
        output: which one, by its place or, in a dictionary, its key; by default the first, the one of full resolution
            in nnU-Net, DynUNet and SegResNetDS.
    """

    def __init__(self, network: nn.Module, output: int | str = 0) -> None:
        super().__init__()
        self.network = network
        self.output = output

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B,K,spatial) of an image (B,C,spatial); a ``TypeError`` or ``ValueError`` where there is no such
        output."""
        outputs = self.network(image)
        if isinstance(outputs, Tensor):
            if outputs.ndim == image.ndim:
                return outputs
            if outputs.ndim != image.ndim + 1:
                raise ValueError(f"{tuple(outputs.shape)} are not the logits of an image {tuple(image.shape)}.")
            outputs = outputs.unbind(1)
        if not isinstance(outputs, list | tuple | dict):
            raise TypeError(f"the network must return tensors, got {type(outputs).__name__}.")
        try:
            return outputs[self.output]  # type: ignore[index, call-overload]
        except (KeyError, IndexError, TypeError):
            there = list(outputs) if isinstance(outputs, dict) else range(len(outputs))
            raise ValueError(f"no output {self.output!r}; there are {', '.join(map(str, there))}.") from None


class MultiLabel(nn.Module):
    """A network with K sigmoid channels, whose structures may overlap, as one with 2^K classes that exclude each other.

    A class is a combination of structures: bit k of its number says whether structure k is there, and its logit is the
    sum of the channels' logits z_k over the structures that are. Nothing is lost or approximated by that::

        softmax(logits)[c] = Π_k σ(z_k)^{c_k} · (1 − σ(z_k))^{1 − c_k}
        cross entropy      = Σ_k binary cross entropy of channel k
        argmax             = the combination of all channels with z_k > 0

    So every attack, target rule and criterion applies as it is: a pixel is not yet fooled while all its channels
    are as labeled, class 0 is background, and one channel gives the two classes (0, z) of any sigmoid head.

    Args:
        network: network (B,C,spatial) to logits (B,K,spatial), one channel for each structure. K is at most 8, as 2^K
            classes would not fit into memory.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B,2^K,spatial) of an image (B,C,spatial); a ``ValueError`` for more than 8 channels."""
        return class_logits(self.network(image), "sigmoid")

    @staticmethod
    def encode(label: Tensor) -> Tensor:
        """The class (B,1,spatial) of each pixel, for a label with one binary channel for each structure (B,K,spatial);
        a ``ValueError`` for more than 8 channels, or values other than 0 and 1."""
        check_channels(label.shape[1])
        if not bool(((label == 0) | (label == 1)).all()):
            raise ValueError("a label with a channel for each structure must hold 0 and 1 only.")
        bits = 2 ** torch.arange(label.shape[1], device=label.device)
        return (label.long() * bits.reshape(-1, *[1] * (label.ndim - 2))).sum(1, keepdim=True)

    @staticmethod
    def decode(label: Tensor, channels: int) -> Tensor:
        """The binary channels (B,K,spatial) of the class of each pixel (B,1,spatial), K = ``channels``."""
        bits = torch.arange(channels, device=label.device).reshape(-1, *[1] * (label.ndim - 2))
        return (label.long() >> bits) & 1
