# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""How a bundle's inferer runs its network."""

from dataclasses import dataclass

from monai.inferers import Inferer, SimpleInferer, SliceInferer, SlidingWindowInferer, SlidingWindowInfererAdapt
from torch import nn

from monai_shield.attacks import SelectOutput, SlidingWindowNetwork
from monai_shield.errors import BundleError
from monai_shield.inferers import ShieldInferer

SUPPORTED = "SimpleInferer, SliceInferer, SlidingWindowInferer, SlidingWindowInfererAdapt, ShieldInferer"


@dataclass(frozen=True)
class Inference:
    """
    A network as an inferer runs it.

    Args:
        network: (B,C,spatial) to logits (B,K,spatial), whatever windows the inferer cuts.
        slice_axis: spatial axis of a volume along which a 2D network gets its slices; None where it gets the image
            whole.
        batch_size: slices at once.
    """

    network: nn.Module
    slice_axis: int | None = None
    batch_size: int = 1


def inference_of(inferer: Inferer, network: nn.Module) -> Inference:
    """
    How an inferer runs a network; a shield is left aside.

    Raises:
        BundleError: for an inferer that is not supported.
    """
    plain = SelectOutput(network)
    if isinstance(inferer, ShieldInferer):
        return Inference(plain, inferer.slice_axis, inferer.batch_size)
    if type(inferer) is SimpleInferer:
        return Inference(plain)
    if type(inferer) is SliceInferer:
        names = ("sw_batch_size", "overlap", "mode", "sigma_scale", "padding_mode", "cval")
        settings = {name: getattr(inferer, name) for name in names}
        return Inference(SlidingWindowNetwork(plain, inferer.orig_roi_size, **settings), inferer.spatial_dim, 8)
    if isinstance(inferer, SlidingWindowInferer) and type(inferer) in (SlidingWindowInferer, SlidingWindowInfererAdapt):
        try:
            return Inference(SlidingWindowNetwork.from_inferer(plain, inferer))
        except ValueError as error:
            raise BundleError(str(error)) from error
    raise BundleError(f"no attack goes through a {type(inferer).__name__}; supported are {SUPPORTED}.")
