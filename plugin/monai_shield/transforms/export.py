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
"""From the network's space back into the file: what an attacker can really hand over."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, allow_missing_keys_mode

from monai_shield.utils import atomic_path

__all__ = ["export_attack", "write_like"]


def write_like(values: np.ndarray, reference: str | Path, path: str | Path) -> None:
    """
    Write voxels as another file has them: its data type, slope, affine and header; rounded and clipped to its type.

    Args:
        values: real voxel values (slope applied), in the space of the file.
        reference: NIfTI file to write like.
        path: file to write, whole or not at all.

    Raises:
        ValueError: where the shapes disagree.
    """
    image = _load(reference)
    if values.shape != image.shape:
        raise ValueError(f"values of shape {values.shape} for '{reference}' of shape {image.shape}.")
    slope, inter = image.dataobj.slope, image.dataobj.inter
    raw = (values.astype(np.float64) - inter) / slope
    dtype = image.get_data_dtype()
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        raw = np.clip(np.rint(raw), limits.min, limits.max)
    out = type(image)(raw.astype(dtype), image.affine, image.header)
    # With the slope set nibabel writes the numbers as they are; left unset it would scale them anew.
    out.header.set_slope_inter(slope, inter)
    with atomic_path(path) as temporary:
        nib.save(out, temporary)


def _load(path: str | Path) -> Any:
    return nib.load(path)


def export_attack(
    perturbation: torch.Tensor,
    clean: MetaTensor,
    preprocessing: Compose,
    clean_file: str | Path,
    path: str | Path,
    key: str = "image",
    background: float = 0.0,
) -> None:
    """
    Write an attacked volume: undo geometry and window of the perturbation, add it to the clean file's own voxels, round
    to the file's type, and restore the background, which an attacker does for free.

    Args:
        perturbation: adversarial minus clean image, (1, H, W, D), in the space and unit of the network.
        clean: the preprocessed clean image; its meta data know the geometry and the intensity window.
        preprocessing: what made it, of invertible MONAI transforms and one ScaleToWindowd.
        clean_file: the clean file.
        path: file to write.
        key: key of the image in the preprocessing.
        background: value of the voxels that are restored.
    """
    low, high = clean.meta["intensity_window"]
    in_network = MetaTensor(torch.as_tensor(perturbation) * (high - low), meta=clean.meta.copy())
    # a deep copy: CropForeground takes its own record apart while it is undone
    in_network.applied_operations = copy.deepcopy(clean.applied_operations)
    with allow_missing_keys_mode(preprocessing):  # type: ignore[no-untyped-call]  # it may have been made for labels too
        undone = preprocessing.inverse({key: in_network})
    in_file = undone[key][0].detach().cpu().numpy().astype(np.float64)
    values = np.asarray(_load(clean_file).dataobj, dtype=np.float64)
    attacked = values + in_file.reshape(values.shape)
    attacked[values == background] = background
    write_like(attacked, clean_file, path)
