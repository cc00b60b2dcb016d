# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The MICCAI 2012 multi-atlas set (OASIS T1, Neuromorphometrics labels): its label map."""

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
