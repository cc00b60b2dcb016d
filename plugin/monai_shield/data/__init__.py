# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Datalists, label maps and slices."""

from monai_shield.data.cohort import COHORT_TISSUES, cohort_subject, embedded_cohort
from monai_shield.data.datalist import companion_split, dataset_title, volume_datalist
from monai_shield.data.miccai2012 import MICCAI2012_STRUCTURES
from monai_shield.data.reader import StandardNibabelReader
from monai_shield.data.slices import SliceDataset, evenly_spaced, slices_of
