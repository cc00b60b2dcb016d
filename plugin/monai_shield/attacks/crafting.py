# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The guard around a network that is attacked."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel


@contextmanager
def crafting(network: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """Within it the network is in evaluation mode, its parameters take no gradient and gradients are enabled.

    On the way out, also after an exception, each module has its own mode and each parameter its own ``requires_grad``
    again, and the global random state, that of ``device`` included, is what it was. A network wrapped for distributed
    training is handed out unwrapped, as the wrapper would wait for a backward pass that never comes. What is no module
    is refused with a ``TypeError``, as nothing else can be put in evaluation mode.
    """
    if not isinstance(network, nn.Module):
        raise TypeError(f"network must be a torch.nn.Module, got {type(network).__name__}.")
    target = network.module if isinstance(network, DistributedDataParallel) else network
    modes = [(module, module.training) for module in target.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in target.parameters()]
    try:
        # set flag by flag: a network's own train() may do more than can be undone
        for module, _ in modes:
            module.training = False
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        devices = [device] if device.type == "cuda" else []
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices):
            yield target
    finally:
        for module, training in modes:
            module.training = training
        for parameter, requires_grad in wanted:
            parameter.requires_grad_(requires_grad)
