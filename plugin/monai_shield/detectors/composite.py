# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What detectors share that are made of others."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from typing_extensions import Self

from monai_shield.detectors.base import Detector
from monai_shield.detectors.baselines import HighFrequencyEnergy
from monai_shield.detectors.entropy import MeanEntropy
from monai_shield.detectors.views import Views


class CompositeDetector(Detector):
    """
    Base of detectors that make one score out of those of others, their parts. A subclass gives
    :meth:`score_with_parts`.

    Args:
        detectors: name to detector, in order.

    Raises:
        ValueError: for no detectors.
    """

    def __init__(self, detectors: Mapping[str, Detector]) -> None:
        super().__init__()
        if not detectors:
            raise ValueError(f"a {type(self).__name__} needs at least one detector.")
        self.detectors = torch.nn.ModuleDict(detectors)

    @classmethod
    def example(cls, spatial_size: Sequence[int]) -> Self:
        return cls({"energy": HighFrequencyEnergy(), "entropy": MeanEntropy()})

    @property
    def parts(self) -> Mapping[str, Detector]:
        return cast("Mapping[str, Detector]", self.detectors)

    def single_scores(self, views: Views) -> dict[str, torch.Tensor]:
        """The score of each part by name, each (B,), on its own scale."""
        return {name: detector(views) for name, detector in self.parts.items()}

    def score_with_parts(self, views: Views) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        raise NotImplementedError

    def forward(self, views: Views) -> torch.Tensor:
        return self.score_with_parts(views)[0]
