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
"""Transforms: arrays and dictionaries, 2D and 3D."""

from .border import (
    MeasureBorder,
    MeasureBorderD,
    MeasureBorderd,
    MeasureBorderDict,
    anatomical_axes,
    border_shares,
)
from .check import (
    CheckNiftiFile,
    CheckNiftiFileD,
    CheckNiftiFiled,
    CheckNiftiFileDict,
    CheckVolume,
    CheckVolumeD,
    CheckVolumed,
    CheckVolumeDict,
)
from .export import border_background, export_attack, write_like
from .fourier import (
    FourierTransform,
    FourierTransformD,
    FourierTransformd,
    FourierTransformDict,
    FrequencyConverter,
    FrequencyConverterD,
    FrequencyConverterd,
    FrequencyConverterDict,
    FrequencyShift,
    FrequencyShiftD,
    FrequencyShiftd,
    FrequencyShiftDict,
    SpectrumPart,
    SpectrumPartD,
    SpectrumPartd,
    SpectrumPartDict,
)
from .intensity import ScaleToWindow, ScaleToWindowD, ScaleToWindowd, ScaleToWindowDict, intensity_window
from .label import MergeLabels, MergeLabelsD, MergeLabelsd, MergeLabelsDict
from .preprocessed import AffineIntensity, PreprocessedFile, fit_affine_intensity, read_values
from .reject import ApplyShieldD, ApplyShieldd, ApplyShieldDict, empty_rejected, shield_decision
from .spacing import OwnSpacingD, OwnSpacingd, OwnSpacingDict
from .spectrum import fourier_transform, frequency_magnitude, frequency_radius, shift_zero_frequency
from .standardize import (
    StandardizeFrequency,
    StandardizeFrequencyD,
    StandardizeFrequencyd,
    StandardizeFrequencyDict,
)
