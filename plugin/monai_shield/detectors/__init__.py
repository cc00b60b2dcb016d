# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Detectors: score, calibrate, decide. One file each; the list below is what tests, tables and docs go through."""

from monai_shield.detectors.base import Detector, UncalibratedError
from monai_shield.detectors.baselines import HighFrequencyEnergy, LaplacianNoise, ZeroShare
from monai_shield.detectors.batches import ViewBatches
from monai_shield.detectors.calibration import Calibration, threshold_of
from monai_shield.detectors.combined import CombinedDetector
from monai_shield.detectors.composite import CompositeDetector
from monai_shield.detectors.consistency import PredictionConsistency, jensen_shannon
from monai_shield.detectors.entropy import MeanEntropy, entropy
from monai_shield.detectors.plausibility import Judgement, Plausibility
from monai_shield.detectors.radial_power import RadialLogPower
from monai_shield.detectors.reconstruction import ReconstructionBatch, ReconstructionDetector
from monai_shield.detectors.record import Record, differences, module_record, settings_of, shield_record, weights_sum
from monai_shield.detectors.sequential import SequentialDetector, sequential_score
from monai_shield.detectors.spectrum_norm import SpectrumNorm
from monai_shield.detectors.statistics import number_of_classes, predicted_label, subject_statistics
from monai_shield.detectors.views import Views

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
