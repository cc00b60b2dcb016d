# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Inferers: the shield around a target."""

from monai_shield.inferers.decisions import ImageDecision, VolumeDecision
from monai_shield.inferers.shield import RejectedImageError, ShieldInferer
from monai_shield.inferers.stitching import LostDecisionError
