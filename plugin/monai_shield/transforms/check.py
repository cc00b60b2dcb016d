# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Bad files are refused before they are loaded, each with one line that names it."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor
from monai.data.utils import compute_shape_offset, zoom_affine
from monai.transforms import Transform
from monai.utils import ImageMetaKey, TransformBackends
from nibabel.openers import ImageOpener

from monai_shield.transforms.each_key import EachKeyd
from monai_shield.utils import first_line

CHUNK = 1 << 24  # bytes read at once
BEYOND = 1 << 40  # voxels along an axis, or bytes of a file, that nothing has
#: Codes of the NIfTI header, in the three lowest bits of xyzt_units; where none is given it is mm by custom.
UNITS_OF_MM = (0, 2)
UNITS = {1: "meters", 3: "micrometers"}


class CheckNiftiFile(Transform):
    """
    Refuse a file that cannot be segmented rightly, before it is loaded: one that is missing, truncated or not NIfTI;
    one with complex or RGB voxels, or more than one volume; one that has neither sform nor qform, or whose two place
    the voxels differently, so that no one can say where left is; one whose voxel size is not in mm; one that would take
    more memory than there is. Everything is told from the header; of the voxels only the bytes are counted.

    What is no path (an image that was loaded elsewhere) is let through.

    Args:
        tolerance: largest distance in mm between the places that sform and qform give to a corner of the volume.
        max_extent: largest length of a side of the volume in mm. Voxels of 1000 µm read as 1000 mm would be resampled
            to more memory than there is.
        pixdim: voxel size in mm, by anatomical axis, that the image is resampled to; None where it is not.
        max_voxels: largest number of voxels after resampling.
        max_file_voxels: largest number of voxels in the file.
    """

    backend = [TransformBackends.NUMPY]  # noqa: RUF012
    only_checks = True

    def __init__(
        self,
        tolerance: float = 1.0,
        max_extent: float = 1000.0,
        pixdim: Sequence[float] | None = None,
        max_voxels: int = 2**28,
        max_file_voxels: int = 2**28,
    ) -> None:
        self.tolerance = tolerance
        self.max_extent = max_extent
        self.pixdim = pixdim
        self.max_voxels = max_voxels
        self.max_file_voxels = max_file_voxels

    def __call__(self, path: Any) -> Any:
        """
        Args:
            path: path of a file.

        Raises:
            FileNotFoundError: where there is no such file.
            ValueError: with the reason, naming the file.
        """
        if not isinstance(path, (str, os.PathLike)):
            return path
        if not Path(path).is_file():
            raise FileNotFoundError(f"'{path}': no such file.")
        try:
            image = nib.load(path)
        except Exception as error:
            raise ValueError(f"'{path}': not a NIfTI file, or a damaged one.") from error
        if not isinstance(image, nib.Nifti1Pair):
            raise ValueError(f"'{path}': not a NIfTI file but {type(image).__name__}.")
        try:
            self._check_voxels(image)
            self._check_place(image)
            self._check_size(image)
            self._check_whole(image)
        except ValueError as error:
            raise ValueError(f"'{path}': {first_line(error)}") from error
        return path

    def _check_voxels(self, image: nib.Nifti1Pair) -> None:
        dtype, shape = image.get_data_dtype(), image.shape
        if dtype.fields is not None:
            raise ValueError("its voxels are colors (RGB); expected one gray value a voxel.")
        if np.issubdtype(dtype, np.complexfloating):
            raise ValueError("its voxels are complex numbers; expected magnitudes.")
        if max(shape) > BEYOND:
            raise ValueError("its header tells of a shape that no volume has.")
        if len(shape) < 3 or shape[3:] not in ((), (1,)):
            raise ValueError(f"has shape {shape}; expected one volume of three dimensions.")
        if min(shape[:3]) < 2:
            raise ValueError(f"has shape {shape[:3]}; a volume needs at least two voxels along each axis.")
        if math.prod(shape) > self.max_file_voxels:
            raise ValueError(f"has {math.prod(shape):.2g} voxels, more than {self.max_file_voxels:.2g}.")

    def _check_place(self, image: nib.Nifti1Pair) -> None:
        header, axes = image.header, image.affine[:3, :3]
        if header["sform_code"] == 0 and header["qform_code"] == 0:
            raise ValueError("has neither sform nor qform: which side is left cannot be known.")
        if not np.isfinite(image.affine).all() or abs(np.linalg.det(axes)) < 1e-6:
            raise ValueError("its affine cannot be inverted: the size of a voxel is unknown.")
        unit = int(header["xyzt_units"]) % 8
        if unit not in UNITS_OF_MM:
            raise ValueError(
                f"its voxel size is in {UNITS.get(unit, f'a unit of the unknown code {unit}')}; expected mm."
            )
        if header["sform_code"] > 0 and header["qform_code"] > 0:
            try:
                qform = header.get_qform()
            except ValueError as error:
                raise ValueError("its qform is not a rotation.") from error
            apart = np.linalg.norm((_corners(image.shape) @ (header.get_sform() - qform).T)[:, :3], axis=1).max()
            if not apart <= self.tolerance:  # NaN too
                raise ValueError(f"sform and qform disagree by up to {_number(apart)} mm.")

    def _check_size(self, image: nib.Nifti1Pair) -> None:
        """What the image comes to in mm and, resampled, in voxels, before any of it is allocated."""
        affine, shape = image.affine, image.shape[:3]
        extent = (np.linalg.norm(affine[:3, :3], axis=0) * shape).max()
        if extent > self.max_extent:
            raise ValueError(f"is {_number(round(extent))} mm long, more than {self.max_extent:.0f}: is its unit mm?")
        # in float32, as headers and many programs hold it, such an origin would swallow the voxels
        far, limit = np.abs(_corners(shape) @ affine.T).max(), 10 * self.max_extent
        if far > limit:
            raise ValueError(f"lies {far:.2g} mm from the origin, more than {limit:.0f}.")
        if self.pixdim is None:
            return
        order = np.argsort(nib.io_orientation(affine)[:, 0])
        turned = np.eye(4)
        turned[:3, :3] = affine[:3, order]
        try:
            resampled, _ = compute_shape_offset(
                np.array(shape)[order], turned, zoom_affine(turned, self.pixdim, diagonal=False)
            )
        except (ValueError, np.linalg.LinAlgError) as error:
            raise ValueError("its affine cannot be inverted: the size of a voxel is unknown.") from error
        # Python's numbers: those of an affine that is nearly flat go beyond 64 bits
        voxels = math.prod(max(1, int(size)) for size in resampled)
        if voxels > self.max_voxels:
            raise ValueError(f"has {voxels:.2g} voxels once resampled, more than {self.max_voxels:.2g}.")

    @staticmethod
    def _check_whole(image: Any) -> None:
        """Read to the end: whatever is compressed brings its own check sum, which nibabel alone does not get to."""
        expected = image.dataobj.offset + math.prod(image.shape) * image.get_data_dtype().itemsize
        if expected > BEYOND:
            raise ValueError("its header tells of more bytes than a file has.")
        found = 0
        try:
            with ImageOpener(image.file_map["image"].filename) as stream:
                while found <= 2 * expected + CHUNK and (chunk := stream.read(CHUNK)):
                    found += len(chunk)
        except Exception as error:
            raise ValueError(f"is damaged: {first_line(error)}") from error
        if found < expected:
            raise ValueError(f"is truncated: {found} of {_number(expected)} bytes are there.")
        if found > 2 * expected + CHUNK:
            raise ValueError(f"holds far more than the {_number(expected)} bytes that its header tells of.")


def _number(value: float) -> str:
    """A number as a person reads it: a header may hold 1e38."""
    if not abs(value) < 1e12:
        return f"{value:.2g}"
    return str(value) if isinstance(value, int) else f"{value:.1f}"


def _corners(shape: Sequence[int]) -> np.ndarray:
    """The corner voxels of a volume, (8, 4), homogeneous."""
    far = np.array(shape[:3]) - 1
    return np.array([[*(far * pick), 1] for pick in np.ndindex(2, 2, 2)], dtype=float)


class CheckVolume(Transform):
    """
    Refuse a loaded image that has no right segmentation: another number of channels than the network's, complex voxels,
    voxels that are not finite, or all alike.

    Args:
        channels: number of channels the network takes.
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012
    only_checks = True

    def __init__(self, channels: int = 1) -> None:
        self.channels = channels

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """
        Args:
            img: channel first image, (C, H, W[, D]).

        Raises:
            ValueError: with the reason, naming the file where the meta data knows it.
        """
        name = f"'{img.meta.get(ImageMetaKey.FILENAME_OR_OBJ, 'image')}': " if isinstance(img, MetaTensor) else ""
        if img.ndim not in (3, 4):
            raise ValueError(f"{name}has shape {tuple(img.shape)}; expected (C, H, W[, D]).")
        if img.shape[0] != self.channels:
            raise ValueError(f"{name}has {img.shape[0]} channels; expected {self.channels}.")
        values = torch.as_tensor(img)
        if values.numel() == 0:
            raise ValueError(f"{name}is empty: it has shape {tuple(img.shape)}.")
        if values.is_complex():
            raise ValueError(f"{name}has complex voxels; expected magnitudes.")
        if not bool(torch.isfinite(values).all()):
            raise ValueError(f"{name}has NaN or infinite voxels.")
        if bool(values.max() == values.min()):
            raise ValueError(f"{name}is empty: every voxel has the same value.")
        return img


class CheckNiftiFiled(EachKeyd):
    """Dictionary form of :class:`CheckNiftiFile`; the keys are those of paths."""

    array, held_as = CheckNiftiFile, "check"
    only_checks = True


class CheckVolumed(EachKeyd):
    """Dictionary form of :class:`CheckVolume`."""

    array, held_as = CheckVolume, "check"
    only_checks = True
