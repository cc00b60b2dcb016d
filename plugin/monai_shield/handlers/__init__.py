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
"""Ignite handlers for MONAI's engines."""

from monai_shield.handlers.attack import AttackHandler
from monai_shield.handlers.training import EpochSeed, LearningCurve, ResumableCheckpoint, TrainingProgress

__all__ = ["AttackHandler", "EpochSeed", "LearningCurve", "ResumableCheckpoint", "TrainingProgress"]
