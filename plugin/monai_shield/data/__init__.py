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
"""Datalists, label maps and slices."""

from .cohort import COHORT_TISSUES, cohort_person, embedded_cohort
from .datalist import volume_datalist
from .miccai2012 import MICCAI2012_STRUCTURES
from .reader import StandardNibabelReader
from .slices import SliceDataset, body_share, evenly_spaced, slices_of

__all__ = [
    "COHORT_TISSUES",
    "MICCAI2012_STRUCTURES",
    "SliceDataset",
    "StandardNibabelReader",
    "body_share",
    "cohort_person",
    "embedded_cohort",
    "evenly_spaced",
    "slices_of",
    "volume_datalist",
]
