# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""MONAI's ``Spacingd``, kept to its own keys."""

from collections.abc import Hashable, Mapping

import torch
from monai.transforms import Spacingd


class OwnSpacingd(Spacingd):
    """
    ``monai.transforms.Spacingd`` that sees nothing but its keys.

    MONAI's own takes whatever else is named after a key for a dictionary of meta data, and fails on MONAI Label's
    "image_path" beside "image" ('str' object has no attribute 'update'; MONAI 1.6.1, MONAI Label 0.8.5).
    """

    def __call__(self, data: Mapping[Hashable, torch.Tensor], lazy: bool | None = None) -> dict[Hashable, torch.Tensor]:
        """
        Args:
            data: a dictionary; the tensors under ``keys`` are channel first, (C, H[, W[, D]]).
            lazy: as in MONAI.
        """
        return {**data, **super().__call__({key: data[key] for key in self.key_iterator(dict(data))}, lazy)}
