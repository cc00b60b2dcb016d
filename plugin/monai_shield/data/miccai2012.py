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
"""The MICCAI 2012 multi-atlas set (OASIS T1, Neuromorphometrics labels): its label map."""

from __future__ import annotations

__all__ = ["MICCAI2012_STRUCTURES"]

_PAIRED = {
    "cerebral white matter": (45, 44),
    "cerebral cortex": (),  # filled below: every gyrus of one side
    "lateral ventricle": ((52, 50), (51, 49)),
    "cerebellar white matter": (41, 40),
    "cerebellar cortex": (39, 38),
    "thalamus": (60, 59),
    "caudate": (37, 36),
    "putamen": (58, 57),
    "pallidum": (56, 55),
    "hippocampus": (48, 47),
    "amygdala": (32, 31),
    "ventral DC": (62, 61),
}
_CORTEX = ((65, 67, *range(101, 208, 2)), (66, 68, *range(100, 207, 2)))


def _structures() -> dict[str, tuple[int, ...]]:
    structures: dict[str, tuple[int, ...]] = {}
    for name, values in _PAIRED.items():
        for side, value in zip(("left", "right"), values or _CORTEX):
            structures[f"{side} {name}"] = value if isinstance(value, tuple) else (value,)
    return structures | {"third ventricle": (4,), "fourth ventricle": (11,), "brain stem": (35,)}


#: The 27 structures of the whole-brain experiment (Roy et al. 2019, arXiv 1801.04161), each with its label values.
MICCAI2012_STRUCTURES = _structures()
