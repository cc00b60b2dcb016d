# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Images that are measured together."""

from dataclasses import dataclass

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
