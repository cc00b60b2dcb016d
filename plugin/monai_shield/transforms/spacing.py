# Copyright (c) The monai-shield authors.
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""MONAI's ``Spacingd``, kept to its own keys."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.transforms import Spacingd

__all__ = ["OwnSpacingD", "OwnSpacingDict", "OwnSpacingd"]


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


OwnSpacingD = OwnSpacingDict = OwnSpacingd
