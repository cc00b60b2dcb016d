# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Expectation over transformation: a network that draws at random, attacked through its mean."""

import torch
from torch import Tensor, nn

from monai_shield.attacks.problem import image_generator
from monai_shield.utils import seed_torch

DRAW_STREAM = 2  # set apart from the random starts of the attacks, which may have the same seed


class ExpectationNetwork(nn.Module):
    """Mean logits of a random network over n draws (EOT: Athalye et al. 2018, arXiv 1707.07397)::

        z(x) = 1/n Σ_i f_i(x),    f_1, ..., f_n the network under n random states

    A random transform before a network is a random network: ``nn.Sequential(transform, network)``.

    The mean is that of the logits, not of the softmax: its gradient is the mean of the draws' gradients, so that the
    logit loss of DAG is the expectation as published, and it does not vanish where every draw is certain. The logarithm
    of the mean softmax would let a few draws speak for all.

    The draws are the same at each call and for each image: the result is a function of the image, whatever batch it
    comes in and however often it is computed. An attack fits those n draws, so judge it on the random network itself,
    which draws others. Each image is computed by itself, n · B passes, as draws for a batch would change when an image
    leaves it.

    Args:
        network: network (B,C,spatial) to logits (B,K,spatial) that draws from torch's random state, and from no other;
            one that draws in training mode only (dropout) draws nothing under attack.
        draws: number of draws n.
        seed: draw i comes from (seed, i); the global random state is left as it is.
    """

    def __init__(self, network: nn.Module, draws: int = 16, seed: int = 0) -> None:
        super().__init__()
        if draws < 1:
            raise ValueError(f"draws must be positive, got {draws}.")
        self.network, self.draws, self.seed = network, draws, seed

    def forward(self, image: Tensor) -> Tensor:
        """Mean logits (B,K,spatial) of an image (B,C,spatial)."""
        seeds = [image_generator(self.seed, i, DRAW_STREAM).initial_seed() for i in range(self.draws)]
        with torch.random.fork_rng([image.device] if image.is_cuda else []):
            return torch.cat([self._mean(image[i : i + 1], seeds) for i in range(len(image))])

    def _mean(self, image: Tensor, seeds: list[int]) -> Tensor:
        logits = []
        for seed in seeds:
            seed_torch(seed, image.device)
            logits.append(self.network(image))
        return torch.stack(logits).mean(0)
