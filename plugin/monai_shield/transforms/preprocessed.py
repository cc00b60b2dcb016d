# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A file as a preprocessing makes it, and the way back for a perturbation: geometry inverted, intensity divided out."""

import copy
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    InvertibleTransform,
    MapTransform,
    allow_missing_keys_mode,
    apply_transform,
)
from monai.transforms.traits import RandomizableTrait

from monai_shield.transforms.affine_intensity import AffineIntensity, fit_affine_intensity
from monai_shield.transforms.nifti import load_nifti, read_values
from monai_shield.utils import first_line

GEOMETRY_MODULES = ("monai.transforms.spatial", "monai.transforms.croppad")


class PreprocessedFile:
    """
    A file as a preprocessing makes it, and the way back for a perturbation of it.

    The preprocessing runs transform by transform, never lazily. Each one that leaves shape and affine alone but not the
    voxels is an *intensity step*, and has to be affine on this image (:func:`fit_affine_intensity`); each one that
    moves voxels is a *geometry step*, and has to be one of MONAI's own that can be inverted, or derived from one. The
    way back takes the steps in reverse: a geometry step is undone by its own ``inverse``, as ``Invertd`` does it, an
    intensity step by dividing by its scale. Statistics that a transform measures on the image (a window, mean and
    deviation) are taken as they were on the clean one; whether that was good enough shows when the file is read back.

    Args:
        file: the file, or a data dictionary that has it under ``key``.
        preprocessing: from the file to the network, of MONAI's dictionary transforms.
        key: key of the image.

    Attributes:
        file: the file.
        image: the preprocessed image, (C,spatial).
        scale: from an intensity of the file to one of the image, a factor for each channel (C,).
        offset: and what is added, (C,).
        low: intensity of the file below which voxels are clipped, (C,); -inf where they are not.
        high: intensity of the file above which voxels are clipped, (C,); inf where they are not.

    Raises:
        ValueError: where the way back is not known, naming the transform: a random one, one that is not affine, one
            that moves voxels in a way of its own.
    """

    def __init__(self, file: str | Path | Mapping[Any, Any], preprocessing: Compose, key: str = "image") -> None:
        self.preprocessing = preprocessing
        self.key = key
        data: Any = {key: str(file)} if isinstance(file, str | Path) else dict(file)
        self.file = Path(data[key])
        self._data = data
        self._layout: str | None = None
        self._way_back: list[Callable[[MetaTensor], MetaTensor]] = []
        steps = preprocessing.flatten().transforms if isinstance(preprocessing, Compose) else [preprocessing]
        strange = [step for step in steps if isinstance(step, MapTransform) and not hasattr(step, "allow_missing_keys")]
        if strange:
            raise ValueError(f"{type(strange[0]).__name__} is not supported: it wants more than one image.")
        with allow_missing_keys_mode(preprocessing):  # type: ignore[no-untyped-call]  # it may be made for labels too
            for step in steps:
                data = self._take(step, data)
        image = data.get(key)
        if not isinstance(image, MetaTensor):
            raise ValueError(f"the preprocessing leaves a {type(image).__name__} under '{key}', not a MetaTensor.")
        if self._layout is None:
            self._start(image)
        self.image = image

    def values(self) -> np.ndarray:
        """The voxels of the file, slope applied, float64, in its own shape."""
        return read_values(self.file)

    def read_back(self, file: str | Path) -> MetaTensor:
        """What the preprocessing makes of another file in the place of this one, (C,spatial)."""
        with allow_missing_keys_mode(self.preprocessing):  # type: ignore[no-untyped-call]
            return self.preprocessing({**self._data, self.key: str(file)})[self.key]

    def clip_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end between which the preprocessing tells voxels apart, to broadcast over the file."""
        shape = (-1, *[1] * (self.image.ndim - 1))
        low, high = (self._in_file_layout(end.reshape(shape).numpy()) for end in (self.low, self.high))
        return low, high

    def perturbation_in_file(self, perturbation: torch.Tensor) -> np.ndarray:
        """
        A perturbation of the image as one of the file.

        Args:
            perturbation: (C,spatial), in the space and unit of the network.

        Returns:
            in the shape and unit of the file, float64; 0 where it cannot reach.

        Raises:
            ValueError: where it has another shape than the image.
        """
        if perturbation.shape != self.image.shape:
            raise ValueError(f"perturbation {tuple(perturbation.shape)} of an image {tuple(self.image.shape)}.")
        plain = torch.as_tensor(perturbation).detach().cpu().as_subclass(torch.Tensor).float()  # type: ignore[arg-type]
        # a deep copy: CropForeground takes its own record apart while it is undone
        operations = copy.deepcopy(self.image.applied_operations)
        value = MetaTensor(plain, meta=copy.deepcopy(self.image.meta), applied_operations=operations)
        with allow_missing_keys_mode(self.preprocessing):  # type: ignore[no-untyped-call]
            for undone in reversed(self._way_back):
                value = undone(value)
        return self._in_file_layout(value.as_tensor().double().numpy())

    def _take(self, step: Any, data: Any) -> Any:
        """One transform."""
        name = type(step).__name__
        if isinstance(step, RandomizableTrait) and self.key in getattr(step, "keys", [self.key]):
            raise ValueError(f"{name} is random: an attack cannot be brought back through it.")
        before = data.get(self.key)
        loaded = isinstance(before, torch.Tensor)
        kept = before.clone() if loaded else before  # some transforms work in place
        try:
            after_data = apply_transform(step, data, lazy=False)
        except Exception as error:
            raise _told(name, error) from error
        if not isinstance(after_data, Mapping):
            raise ValueError(f"{name} makes several images of one: an attack cannot be brought back through it.")
        after = after_data.get(self.key)
        if not loaded or (isinstance(step, EnsureChannelFirstd) and self._layout is None):
            return after_data
        if not isinstance(kept, MetaTensor) or not isinstance(after, MetaTensor):
            raise ValueError(f"{name} leaves no MetaTensor under '{self.key}': where its voxels lie is not known.")
        pushed = len(after.applied_operations) - len(kept.applied_operations)
        moved = after.shape != kept.shape or not torch.allclose(after.affine.double(), kept.affine.double())
        changed = moved or not _same_values(kept, after)
        if (changed or pushed) and self._layout is None:
            self._start(kept)
        if moved:
            ours = any(base.__module__.startswith(GEOMETRY_MODULES) for base in type(step).__mro__)
            if not (ours and pushed and isinstance(step, InvertibleTransform)):
                raise ValueError(f"{name} changes the geometry and is none of MONAI's transforms that can be inverted.")
            self._way_back.append(lambda value: step.inverse({self.key: value})[self.key])
        elif changed:
            intensity = fit_affine_intensity(kept.as_tensor(), after.as_tensor())
            if intensity is None:
                raise ValueError(f"{name} is not affine on '{self.file}': an attack cannot be brought back through it.")
            self._follow(intensity)
            self._way_back.append(partial(_intensity_undone, pushed=pushed, intensity=intensity))
        elif pushed:
            self._way_back.append(partial(_intensity_undone, pushed=pushed))
        return after_data

    def _start(self, loaded: torch.Tensor) -> None:
        """Find out how the loaded image (C,spatial) lies in the file; from here on the steps count."""
        values = self.values()
        there = loaded.as_subclass(torch.Tensor).cpu().double().numpy()  # type: ignore[arg-type]
        spread = float(there.max() - there.min()) if there.size else 0.0
        for layout, view in (("none", values[None]), ("last", np.moveaxis(values, -1, 0)), ("first", values)):
            if view.shape == there.shape and np.allclose(view, there, rtol=1e-5, atol=1e-5 * spread, equal_nan=True):
                self._layout = layout
                break
        else:
            raise ValueError(f"the image is not loaded from '{self.file}' with the voxels as they are there.")
        affine = load_nifti(self.file).affine
        if isinstance(loaded, MetaTensor) and not np.allclose(loaded.affine.numpy(), affine, rtol=1e-4, atol=1e-3):
            raise ValueError(f"the image is not loaded from '{self.file}' in its place: see StandardNibabelReader.")
        channels = len(loaded)
        self.scale = torch.ones(channels, dtype=torch.float64)
        self.offset = torch.zeros(channels, dtype=torch.float64)
        self.low = torch.full((channels,), -math.inf, dtype=torch.float64)
        self.high = torch.full((channels,), math.inf, dtype=torch.float64)

    def _follow(self, step: AffineIntensity) -> None:
        """Compose the map from the file so far with that of a further step."""
        ends = torch.stack([(end - self.offset) / self.scale for end in (step.low, step.high)])
        self.low = torch.maximum(self.low, ends.amin(0))
        self.high = torch.minimum(self.high, ends.amax(0))
        self.scale = step.scale * self.scale
        self.offset = step.scale * self.offset + step.offset

    def _in_file_layout(self, values: np.ndarray) -> np.ndarray:
        """From (C,spatial) to the axes of the file."""
        if self._layout == "none":
            return values[0]
        return np.moveaxis(values, 0, -1) if self._layout == "last" else values


def _told(name: str, error: Exception) -> Exception:
    """The error of a transform with the name of the transform, unless its message is one for users."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, KeyError):
        return ValueError(f"{name} wants {cause}: supported is one image in one file, under one key.")
    return error if isinstance(cause, ValueError | OSError) else ValueError(f"{name}: {first_line(cause)}")


def _intensity_undone(value: MetaTensor, pushed: int, intensity: AffineIntensity | None = None) -> MetaTensor:
    """A perturbation (C,spatial) as it was before a transform, which left as many records of itself as `pushed`."""
    plain = value.as_tensor()
    if intensity is not None:
        plain = plain / intensity.scale.to(plain.dtype).reshape(-1, *[1] * (plain.ndim - 1))
        if intensity.lost is not None:
            plain[intensity.lost] = 0
    operations = value.applied_operations
    return MetaTensor(plain, meta=value.meta, applied_operations=operations[: len(operations) - pushed])


def _same_values(before: torch.Tensor, after: torch.Tensor) -> bool:
    """Whether a transform left the voxels as they are, but perhaps for the precision they are held in."""
    first, second = before.as_subclass(torch.Tensor), after.as_subclass(torch.Tensor)  # type: ignore[arg-type]
    if second.is_floating_point():
        return torch.equal(first.to(second), second)
    return torch.equal(first.double(), second.double())
