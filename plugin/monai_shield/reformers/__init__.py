# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Reformers: networks, from image to image of the same shape, that pull an image toward the clean ones."""

from monai_shield.reformers.bit_depth import BitDepth
from monai_shield.reformers.training import ReformerBatch
