# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Transforms: arrays and dictionaries, 2D and 3D."""

from monai_shield.transforms.affine_intensity import AffineIntensity, fit_affine_intensity
from monai_shield.transforms.border import MeasureBorder, MeasureBorderd, anatomical_axes, border_shares
from monai_shield.transforms.check import CheckNiftiFile, CheckNiftiFiled, CheckVolume, CheckVolumed
from monai_shield.transforms.export import border_background, export_attack
from monai_shield.transforms.foreground import DEFAULT_FOREGROUND, Foreground
from monai_shield.transforms.fourier import (
    FourierTransform,
    FourierTransformd,
    FrequencyConverter,
    FrequencyConverterd,
    FrequencyShift,
    FrequencyShiftd,
    SpectrumPart,
    SpectrumPartd,
)
from monai_shield.transforms.intensity import ScaleToWindow, ScaleToWindowd, intensity_window
from monai_shield.transforms.label import LogitsToLabeld, MergeLabels, MergeLabelsd
from monai_shield.transforms.nifti import read_values, write_like, write_nifti
from monai_shield.transforms.preprocessed import PreprocessedFile
from monai_shield.transforms.reject import ApplyShieldd, empty_rejected, shield_decision
from monai_shield.transforms.spacing import OwnSpacingd
from monai_shield.transforms.spectrum import (
    fourier_transform,
    frequency_magnitude,
    frequency_radius,
    shift_zero_frequency,
)
from monai_shield.transforms.standardize import StandardizeFrequency, StandardizeFrequencyd
