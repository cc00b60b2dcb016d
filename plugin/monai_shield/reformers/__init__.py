# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Reformers: image to image, nearer to the clean ones. One file each; tests and docs go through the list below."""

from monai_shield.reformers.base import Reformer
from monai_shield.reformers.bit_depth import BitDepth
from monai_shield.reformers.learned import LearnedReformer, ReformerBatch
from monai_shield.reformers.median import Median

REFORMERS: tuple[type[Reformer], ...] = (LearnedReformer, Median, BitDepth)
