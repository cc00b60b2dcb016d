# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Images that are measured together."""

from dataclasses import dataclass

#: Sets of clean images.
KINDS = ("val", "clean", "whole")
#: Name of the mean over the targets.
MEAN = "mean"
#: Name of the mean over the pooled attacks.
POOLED = "pooled"

#: The first one is the attack that was written to a file: a real attack must be.
VARIANTS = ("exported", "raw")


@dataclass(frozen=True)
class ImageSet:
    """
    Images that are measured together.

    Args:
        kind: "val" for the clean validation slices, "clean" for the clean test slices, "whole" for all slices of the
            test scans, or an attack's name.
        target: the target that predicts, and that the attack was made for; None where no prediction is needed.
        variant: "raw" or "exported" for an attack.
    """

    kind: str
    target: str | None = None
    variant: str = ""

    @property
    def name(self) -> str:
        """A name for files and progress bars."""
        return ", ".join(part for part in (self.target, self.kind, self.variant) if part)
