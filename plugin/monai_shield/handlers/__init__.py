# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Ignite handlers for MONAI's engines."""

from monai_shield.handlers.attack import AttackHandler
from monai_shield.handlers.training import EpochSeed, LearningCurve, ResumableCheckpoint, TrainingProgress
