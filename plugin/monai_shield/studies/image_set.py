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
"""Images that are measured together."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "MEAN", "POOLED", "VARIANTS", "ImageSet"]

#: Sets of clean images.
KINDS = ("val", "clean", "whole")
#: In the column of the targets: the mean over them.
MEAN = "mean"
#: In the column of the attacks: the mean over those that are pooled.
POOLED = "pooled"

#: What a reader asks first comes first: an attack that was written to a file.
VARIANTS = ("exported", "raw")


@dataclass(frozen=True)
class ImageSet:
    """
    Images that are measured together.

    Args:
        kind: "val" for the clean validation slices, "clean" for the clean test slices, "whole" for all slices of the
            test scans, or an attack's name.
        target: whose predictions are looked at, and whom the attack was made for; None where nobody's are.
        variant: "raw" or "exported" for an attack.
    """

    kind: str
    target: str | None = None
    variant: str = ""

    @property
    def name(self) -> str:
        """A name for files and progress bars."""
        return ", ".join(part for part in (self.target, self.kind, self.variant) if part)
