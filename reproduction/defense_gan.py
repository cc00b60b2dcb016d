# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Defense-GAN: the image of a generator of clean images that comes nearest to the given one."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.utils import eval_mode
from monai.utils import convert_to_dst_type
from torch import Tensor, nn


def resample(image: Tensor, size: Sequence[int]) -> Tensor:
    """
    An image at another size: bilinear, and antialiased where it shrinks.

    Args:
        image: (B, C, H, W).
        size: height and width.

    Returns:
        (B, C, height, width).
    """
    return F.interpolate(image, tuple(size), mode="bilinear", antialias=True)


class DefenseGAN(nn.Module):
    r"""
    A reformer that replaces an image x by the nearest one that a generator G of clean images can make.

    The latent vector is searched by gradient descent with momentum from several random starts,

    .. math:: z^* = \arg\min_z \frac{1}{n} \lVert G(z) - x \rVert_2^2,

    n the number of values of x, at the generator's own size, to which the image is resampled before and from which
    :math:`G(z^*)` is resampled after the search. The best iterate of all starts is kept, so that more steps never make
    it worse. What is left of the error is high for what no clean image looks like: it is a detector's score.

    Every image is searched from the same starts: its result does not depend on its place in a batch. No gradient
    passes from the result to the image; an attack on it needs another backward pass (BPDA, arXiv 1802.00420).

    Samangouei et al. (2018), "Defense-GAN: Protecting Classifiers Against Adversarial Attacks Using Generative
    Models", https://arxiv.org/abs/1805.06605

    Args:
        generator: latent vectors (B, latent) to images (B, C, `size`). It is searched in evaluation mode.
        latent: length of a latent vector.
        steps: steps of gradient descent from every start (L in the paper).
        restarts: number of starts, drawn from the standard normal distribution (R in the paper).
        learning_rate: of the descent, for the error above.
        momentum: of the descent.
        size: height and width of the generator's images.
        seed: of the starts.

    Raises:
        ValueError: for a latent length, a number of steps or restarts, or a size below 1, a learning rate that is not
            positive, or a momentum outside [0, 1).
    """

    starts: Tensor

    def __init__(
        self,
        generator: nn.Module,
        latent: int,
        steps: int = 200,
        restarts: int = 2,
        learning_rate: float = 10.0,
        momentum: float = 0.7,
        size: Sequence[int] = (64, 64),
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(latent, steps, restarts, *size) < 1 or len(size) != 2:
            raise ValueError(
                f"latent, steps, restarts and the two sizes must be at least 1, got {latent}, {steps}, {restarts} and "
                f"{tuple(size)}."
            )
        if not learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {learning_rate}.")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {momentum}.")
        self.generator = generator
        self.steps = steps
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.size = tuple(size)
        starts = torch.randn(restarts, latent, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("starts", starts, persistent=False)

    def reconstruct(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """
        Search the generator's range.

        Args:
            image: (B, C, H, W).

        Returns:
            the nearest images found, (B, C, `size`), and their mean squared errors at that size, (B,). Where every
            iterate of an image was NaN, its reconstruction is NaN and its error infinite.

        Raises:
            ValueError: for an image that is not 2D, is smaller than the generator's, or has another number of channels.
        """
        if image.ndim != 4 or image.shape[2] < self.size[0] or image.shape[3] < self.size[1]:
            raise ValueError(f"expected (B, C, H, W) of at least {self.size} pixels, got {tuple(image.shape)}.")
        # The caller may have turned gradients off; a tensor born in inference mode could not take part in them.
        with torch.inference_mode(False), eval_mode(self.generator):
            goal = resample(image.as_subclass(Tensor).detach().clone().to(self.starts), self.size)
            batch, restarts = len(goal), len(self.starts)
            found, error = self._search(goal.repeat_interleave(restarts, dim=0), self.starts.repeat(batch, 1))
            error, best = error.view(batch, restarts).min(dim=1)
            return found.view(batch, restarts, *goal.shape[1:])[torch.arange(batch), best], error

    def forward(self, image: Tensor) -> Tensor:
        """
        Args:
            image: (B, C, H, W); see :meth:`reconstruct` for what is refused.

        Returns:
            reformed image, (B, C, H, W).
        """
        return convert_to_dst_type(resample(self.reconstruct(image)[0], image.shape[2:]), image)[0]

    def _search(self, goal: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """The best iterate's image, (N, C, `size`), and error, (N,), for each goal, (N, C, `size`), and its start."""
        latent = start.clone().requires_grad_()
        optimizer = torch.optim.SGD([latent], self.learning_rate, self.momentum)
        best, best_error = torch.full_like(goal, torch.nan), torch.full_like(goal[:, 0, 0, 0], torch.inf)
        for step in range(self.steps + 1):
            with torch.enable_grad():
                image = self.generator(latent)
                if image.shape != goal.shape:
                    raise ValueError(
                        f"the generator makes images of shape {tuple(image.shape[1:])}, not {tuple(goal.shape[1:])}."
                    )
                error = (image - goal).square().flatten(1).mean(dim=1)
                total = error.sum()
            better = error.detach() < best_error
            best = torch.where(better[:, None, None, None], image.detach(), best)
            best_error = torch.where(better, error.detach(), best_error)
            if step < self.steps:
                # Only the latent vectors' gradient: the generator's parameters keep theirs.
                (latent.grad,) = torch.autograd.grad(total, latent)
                optimizer.step()
        return best, best_error

    def extra_repr(self) -> str:
        return f"steps={self.steps}, restarts={len(self.starts)}, learning_rate={self.learning_rate}"
