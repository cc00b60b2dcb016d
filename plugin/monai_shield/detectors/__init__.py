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
"""Detectors: score, calibrate, decide. One file each; the list below is what tests, tables and docs go through."""

from .base import Detector, UncalibratedError
from .baselines import HighFrequencyEnergy, LaplacianNoise, ZeroShare
from .calibration import Calibration, threshold_of
from .combined import CombinedDetector
from .consistency import PredictionConsistency, jensen_shannon
from .entropy import MeanEntropy, entropy
from .plausibility import Judgement, Plausibility
from .radial_power import RadialLogPower
from .reconstruction import ReconstructionBatch, ReconstructionDetector
from .record import Record, differences, module_record, settings_of, shield_record, weights_sum
from .sequential import SequentialDetector, sequential_score
from .spectrum_norm import SpectrumNorm
from .statistics import number_of_classes, predicted_label, subject_statistics
from .views import Views

DETECTORS: tuple[type[Detector], ...] = (
    ReconstructionDetector,
    PredictionConsistency,
    CombinedDetector,
    MeanEntropy,
    RadialLogPower,
    SpectrumNorm,
    SequentialDetector,
    HighFrequencyEnergy,
    LaplacianNoise,
    ZeroShare,
)

__all__ = [
    "DETECTORS",
    "Calibration",
    "CombinedDetector",
    "Detector",
    "HighFrequencyEnergy",
    "Judgement",
    "LaplacianNoise",
    "MeanEntropy",
    "Plausibility",
    "PredictionConsistency",
    "RadialLogPower",
    "ReconstructionBatch",
    "ReconstructionDetector",
    "Record",
    "SequentialDetector",
    "SpectrumNorm",
    "UncalibratedError",
    "Views",
    "ZeroShare",
    "differences",
    "entropy",
    "jensen_shannon",
    "module_record",
    "number_of_classes",
    "predicted_label",
    "sequential_score",
    "settings_of",
    "shield_record",
    "subject_statistics",
    "threshold_of",
    "weights_sum",
]
