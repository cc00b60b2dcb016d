# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A reformer that learns from clean images to give back what it was given."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from monai.networks.blocks import Convolution
from torch import nn
from tqdm import tqdm
from typing_extensions import Self

from monai_shield.info import Info
from monai_shield.reformers.base import Reformer


class ReformerBatch:
    """
    A ``prepare_batch`` for MONAI's trainer: the label of an image is the image.

    Args:
        key: key of the image in a batch.
        noise_std: deviation of Gaussian noise added to the input alone; 0 leaves all the work to the bottleneck.
        seed: of the noise.
    """

    def __init__(self, key: str = "image", noise_std: float = 0.0, seed: int = 0) -> None:
        if noise_std < 0:
            raise ValueError(f"noise_std must not be negative, got {noise_std}.")
        self.key = key
        self.noise_std = noise_std
        self.generator = torch.Generator()
        self.set_random_state(seed)

    def set_random_state(self, seed: int) -> Self:
        """Draw the noise of another seed from now on."""
        self.generator.manual_seed(seed)
        return self

    def __call__(
        self, batchdata: Mapping[str, Any], device: Any = None, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        image = batchdata[self.key].to(device=device, non_blocking=non_blocking, **kwargs)
        if self.noise_std == 0:
            return image, image
        noise = torch.randn(image.shape, generator=self.generator, dtype=image.dtype).to(image.device)
        return image + self.noise_std * noise, image


class LearnedReformer(Reformer):
    """
    A network of its own that is trained to take noise from clean images, with the mean squared error.

    In evaluation mode it refuses to work until it is trained, by :meth:`fit` or from a file of weights.

    Args:
        network: from and to (B, C, H, W[, D]).
        noise_std: deviation of the noise, in units of the intensity window.
        epochs: how often each image is seen in training.
        batch_size: images at once in training.
        learning_rate: of Adam.
        seed: of the noise and the order of the images.
    """

    info = Info("learned", "Meng and Chen, MagNet: a Two-Pronged Defense", 2017, "1705.09064")
    trained: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        noise_std: float = 0.05,
        epochs: int = 20,
        batch_size: int = 8,
        learning_rate: float = 1e-3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network = network
        self.noise_std = noise_std
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.seed = seed
        self.register_buffer("trained", torch.tensor(False))

    @classmethod
    def example(cls, spatial_dims: int) -> Self:
        return cls(Convolution(spatial_dims, 1, 1, conv_only=True), epochs=2)

    @torch.enable_grad()
    def fit(self, images: Iterable[torch.Tensor]) -> Self:
        """
        Train the network, unless :meth:`fit` or a file of weights has done so.

        Args:
            images: clean training images of one size, (C, H, W[, D]).

        Raises:
            ValueError: for no images.
        """
        if self.trained:
            return self
        clean = [torch.as_tensor(image).as_subclass(torch.Tensor) for image in images]  # type: ignore[arg-type]
        if not clean:
            raise ValueError("there are no images that the reformer could learn from.")
        prepare, generator = ReformerBatch(noise_std=self.noise_std, seed=self.seed), torch.Generator()
        optimizer = torch.optim.Adam(self.network.parameters(), self.learning_rate)
        self.network.train()
        for epoch in tqdm(range(self.epochs), desc="training the reformer", unit="epoch"):
            order = torch.randperm(len(clean), generator=generator.manual_seed(self.seed + epoch))
            for rows in order.split(self.batch_size):
                given, wanted = prepare({"image": torch.stack([clean[row] for row in rows])}, self.trained.device)
                optimizer.zero_grad()
                nn.functional.mse_loss(self.network(given), wanted).backward()
                optimizer.step()
        self.trained.fill_(True)
        return self.eval()

    def reform(self, image: torch.Tensor) -> torch.Tensor:
        if not self.training and not self.trained:
            raise RuntimeError("the reformer is not trained: fit it on clean images or load its weights first.")
        return self.network(image)
