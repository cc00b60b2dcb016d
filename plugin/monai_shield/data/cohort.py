# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The embedded cohort: subjects made from the brain template that nilearn's wheel carries; nothing is downloaded."""

import itertools
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.networks.layers import GaussianFilter, separable_filtering
from monai.transforms import RandBiasField
from monai.transforms.utils import create_rotate, create_scale
from torch.nn.functional import grid_sample, interpolate
from tqdm import tqdm

from monai_shield.transforms import write_nifti
from monai_shield.utils import atomic_path

#: The tissues of the embedded cohort, each with its label values.
COHORT_TISSUES: dict[str, tuple[int, ...]] = {
    "cerebrospinal fluid": (1,),
    "gray matter": (2,),
    "white matter": (3,),
}

#: Raised whenever a subject of the same number and seed comes out otherwise.
_RECIPE = 1
_WINDOW = (1400.0, 1600.0)  # 99.5th percentile inside the foreground
_ENDINGS = {"image": "SS", "label": "glm"}
_SHAPE = (160, 208, 168)
#: Each split numbers its own subjects, so that no subject changes its split when one grows.
_FIRST_NUMBERS = {"train": 0, "val": 500, "test": 700}
_END = 1000

# Ranges a subject is drawn from; those marked * were fitted to 15 real scans, see `cohort_subject`.
_SCALES = ((0.91, 0.99), (0.93, 0.99), (0.86, 0.94))  # * size of the brain, in sizes of the template's
_ROTATION = 0.1  # radians, either way, about each axis
_DEFORMATIONS = ((20.0, 3.0), (8.0, 1.2), (3.0, 0.8))  # (smoothness, standard deviation), mm
_INTENSITIES = ((0.12, 0.20), (0.46, 0.52), (0.88, 0.94))  # * of the three tissues
_SHARPNESS = 2.0  # * exponent that makes a subject's tissues of the template's probabilities
_BIAS = 0.03
_NOISE = (0.045, 0.065)  # * Rician, in intensities
_NOISE_KERNEL = (0.2, 0.6, 0.2)  # * along each axis: scanners' software interpolates

_README = """\
These subjects do not exist. monai_shield.data.embedded_cohort made them from one brain, the MNI152 template (ICBM
2009a, nonlinear, symmetric), by random deformation, contrast, bias field and noise. They serve to try software
out. They have one anatomy among them, no disease and no atrophy: a number measured on them says nothing of patients.

The template comes with nilearn, which states no license for it; its makers' terms are with the template, at
https://www.bic.mni.mcgill.ca/ServicesAtlases/ICBM152NLin2009

volumes/<id>_SS.nii.gz   skull-stripped T1-weighted image, 1 mm, background 0
volumes/<id>_glm.nii.gz  1 cerebrospinal fluid, 2 gray matter, 3 white matter, background 0
splits.json              the subjects of train, val and test; the seed they were made with
"""


@lru_cache(maxsize=1)
def _template() -> tuple[torch.Tensor, tuple[float, ...]]:
    """
    The template, cropped to the brain.

    Returns:
        (4, H, W, D) in RAS: what the T1 template has beyond a mean intensity a tissue (0 outside the brain), the
        probabilities of gray and of white matter, and the brain mask; and the mm coordinates of the crop's center.

    Raises:
        ImportError: where nilearn is missing.
    """
    try:
        from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template
    except ImportError as error:
        raise ImportError(f"the embedded cohort needs nilearn: pip install 'monai-shield[demo]' ({error}).") from error
    scan = load_mni152_template(resolution=1)
    maps = [scan, load_mni152_gm_template(resolution=1), load_mni152_wm_template(resolution=1)]
    t1, gray, white = (np.asarray(each.dataobj, dtype=np.float32) for each in maps)
    inside = np.argwhere(t1 > 0)
    low, high = inside.min(0), inside.max(0) + 1
    t1, gray, white = (np.pad(each[tuple(map(slice, low, high))], 2) for each in (t1, gray, white))
    brain = t1 > 0
    tissues = np.stack([np.clip(1 - gray - white, 0, 1), gray, white])
    means = np.linalg.lstsq(tissues[:, brain].T, t1[brain], rcond=None)[0]
    beyond = np.where(brain, t1 - np.tensordot(means, tissues, 1), 0)
    center = scan.affine @ [*((low + high - 1) / 2), 1]
    channels = np.stack([beyond, gray, white, brain]).astype(np.float32)
    return torch.from_numpy(channels), tuple(center[:3].tolist())


def _smooth_noise(random: np.random.RandomState, channels: int, smoothness: float) -> torch.Tensor:
    """Unit normal noise (channels, h, w, d) on a coarse grid that spans the full one, smooth over `smoothness` mm."""
    every = 2 if smoothness < 8 else 4
    noise = torch.from_numpy(random.standard_normal((1, channels, *(n // every + 1 for n in _SHAPE))))
    noise = GaussianFilter(3, smoothness / every, truncated=3.0)(noise.float())[0]
    return noise / torch.from_numpy(noise.numpy().std(axis=(1, 2, 3), keepdims=True))


def _full_size(field: torch.Tensor) -> torch.Tensor:
    """A coarse field (C, h, w, d), on the full grid (C, H, W, D)."""
    return interpolate(field[None], size=_SHAPE, mode="trilinear", align_corners=True)[0]


def _deformed(random: np.random.RandomState, template: torch.Tensor) -> torch.Tensor:
    """The template (C, h, w, d) in a subject's shape (C, H, W, D): affine and smooth, sampled once."""
    scale = [1 / random.uniform(*bounds) for bounds in _SCALES]
    rotation = create_rotate(3, random.uniform(-_ROTATION, _ROTATION, 3).tolist())
    affine = torch.as_tensor(rotation @ create_scale(3, scale), dtype=torch.float32)[:3, :3]
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in _SHAPE]
    position = torch.zeros(3, *_SHAPE)
    for smoothness, amplitude in _DEFORMATIONS:
        position += _full_size(amplitude * _smooth_noise(random, 3, smoothness))
    for axis, coordinate in enumerate(axes):
        shape = [-1 if axis == other else 1 for other in range(3)]
        position += affine[:, axis].reshape(3, 1, 1, 1) * coordinate.reshape(shape)
    half = torch.tensor([(n - 1) / 2 for n in template.shape[1:]])
    grid = (position / half.reshape(3, 1, 1, 1)).flip(0).movedim(0, -1)
    return grid_sample(template[None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=True)[0]


def _tissues(gray: torch.Tensor, white: torch.Tensor) -> torch.Tensor:
    """The template's probabilities (N,) of two of its tissues, as a subject's three (3, N): sharper."""
    powers = torch.stack([1 - gray - white, gray, white]).clamp(min=0) ** _SHARPNESS
    return powers / powers.sum(dim=0).clamp(min=1e-6)


def _noisy(random: np.random.RandomState, clean: torch.Tensor, foreground: torch.Tensor, level: float) -> torch.Tensor:
    """A Rician scan (N,) of clean intensities (N,) in the foreground; the noise is correlated between neighbors."""
    noise = torch.from_numpy(random.standard_normal((1, 2, *_SHAPE)).astype(np.float32))
    real, imaginary = separable_filtering(noise, [torch.tensor(_NOISE_KERNEL)] * 3)[0, :, foreground] * level
    return ((clean + real) ** 2 + imaginary**2).sqrt()


def cohort_subject(number: int, seed: int = 0) -> dict[str, Any]:
    """
    One made-up subject: a skull-stripped T1-weighted scan, 1 mm, and the tissues of its brain.

    The MNI152 template (nonlinear, symmetric, 2009a) is deformed smoothly and sampled once. Its tissue probabilities,
    made sharper, are the label and, with an intensity a tissue, the image; what the template shows beyond tissues is
    added. A bias field and Rician noise follow.

    Matched to the 15 training and validation scans of the MICCAI 2012 multi-atlas set (OASIS), intensities in units
    of the 99.5th percentile inside the foreground, real first, then subjects 0, 500 and 700 of seed 0:

    - noise, as the robust deviation of the Laplacian over the square root of 42: 0.0078 to 0.0111 and 0.0081 to 0.0096
      in the inside of white matter, 0.016 to 0.020 and 0.017 to 0.019 in the inside of the brain; its correlation
      between neighbors in white matter: 0.52 to 0.66 and 0.55 to 0.60 (subject 0);
    - median intensity: cortex 0.52 to 0.55, white matter 0.87 to 0.89, ventricles 0.13 to 0.26 (four of the scans);
      gray matter 0.52 to 0.55, white matter 0.92 to 0.93, cerebrospinal fluid 0.24 to 0.28;
    - size of the brain: 1.2 to 1.6 and 1.5 to 1.6 liters;
    - radial power spectrum of the coronal slices: 0.8 to 1.3 times the real mean below 0.4 cycles/mm, where single
      real scans differ from that mean by 4 to 9 %.

    Not matched: the spectrum above 0.4 cycles/mm (0.6 to 0.9 times the real one; most of it is the edge of the brain
    mask, sharper in real sets); folds (all subjects have the template's); atrophy, lesions, vessels and artifacts; the
    lower brain stem, which the template cuts flat; thalamus, pallidum and brain stem, which the template's maps give
    partly to either matter.

    Args:
        number: which subject, from 0; the same whatever else was made.
        seed: of the whole cohort.

    Returns:
        "image", int16, 0 in the background and above 0 in the brain, and "label", uint8, the values of
        `COHORT_TISSUES` in the brain; each (1, H, W, D) with its affine, LAS.

    Raises:
        ImportError: where nilearn is missing.
        ValueError: for a negative number or seed.
    """
    random = np.random.RandomState(np.random.SeedSequence((seed, number)).generate_state(4))
    template, center = _template()
    beyond, gray, white, brain = _deformed(random, template)
    foreground = brain > 0.5
    tissues = _tissues(gray[foreground], white[foreground])
    intensities = torch.tensor([random.uniform(*bounds) for bounds in _INTENSITIES], dtype=torch.float32)
    bias = RandBiasField(prob=1.0, coeff_range=(-_BIAS, _BIAS))
    bias.set_random_state(state=random)
    field = _full_size(torch.as_tensor(bias(torch.ones(1, *(n // 8 + 1 for n in _SHAPE)))).float())[0, foreground]
    clean = ((intensities[:, None] * tissues).sum(dim=0) + beyond[foreground]) * field
    scan = _noisy(random, clean.clamp(min=0), foreground, random.uniform(*_NOISE))
    scan *= random.uniform(*_WINDOW) / np.percentile(scan.numpy(), 99.5)
    image = torch.zeros(_SHAPE, dtype=torch.int16)
    image[foreground] = scan.round().clamp(min=1).to(torch.int16)
    label = torch.zeros(_SHAPE, dtype=torch.uint8)
    label[foreground] = tissues.argmax(dim=0).to(torch.uint8) + 1
    direction = np.diag([-1.0, 1.0, 1.0])
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = torch.from_numpy(direction)
    affine[:3, 3] = torch.from_numpy(np.array(center) - direction @ ((np.array(_SHAPE) - 1) / 2))
    return {key: MetaTensor(value.flip(0)[None], affine=affine) for key, value in (("image", image), ("label", label))}


def _write_text(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text() != text:
        with atomic_path(path) as temporary:
            temporary.write_text(text)


def _settle(root: Path, official: Mapping[str, list[str]], seed: int) -> None:
    """Write the splits, first of all, with what the subjects are made of, and refuse a folder of other subjects."""
    made_of = {"seed": seed, "recipe": _RECIPE}
    splits_file = root / "splits.json"
    if splits_file.is_file():
        found = json.loads(splits_file.read_text()).get("embedded_cohort")
        if found != made_of:
            raise ValueError(f"'{root}' was made with other settings ({found}, not {made_of}): choose another root.")
    elif any(root.glob("volumes/*_SS.nii.gz")):
        raise ValueError(f"'{root}' holds scans but no splits.json: choose another root.")
    _write_text(splits_file, json.dumps({"official": official, "embedded_cohort": made_of}, indent=1) + "\n")
    _write_text(root / "README.txt", _README)


def embedded_cohort(
    root: str | Path = "runs/embedded_cohort",
    train: int = 12,
    val: int = 3,
    test: int = 3,
    seed: int = 0,
    progress: bool = True,
) -> str:
    """
    A data set of made-up subjects in a folder, laid out for `volume_datalist`; made where it is missing.

    It is there to run, test and show everything without a download, not to judge a method by: see `cohort_subject`.
    Each file is written whole or not at all, and those that exist are kept, so that it can be killed, and called again
    at no cost. With larger numbers subjects are added, and none changes its split: each has its own numbers (train from
    p000, val from p500, test from p700). With smaller ones files stay, and splits.json lists what was asked for.

    Args:
        root: the folder.
        train: subjects to train on, 500 at most.
        val: subjects to validate on, 200 at most.
        test: subjects to test on, 300 at most.
        seed: of the whole cohort.
        progress: show a progress bar while subjects are made.

    Returns:
        the folder.

    Raises:
        ImportError: where a subject is to be made and nilearn is missing.
        ValueError: for an impossible number of subjects, or a folder that was made with other settings.
    """
    ends = dict(zip(_FIRST_NUMBERS, (*list(_FIRST_NUMBERS.values())[1:], _END)))
    numbers: dict[str, range] = {}
    for (split, first), wanted in zip(_FIRST_NUMBERS.items(), (train, val, test)):
        if not 0 <= wanted <= ends[split] - first:
            raise ValueError(f"'{split}' must be from 0 to {ends[split] - first} subjects, got {wanted}.")
        numbers[split] = range(first, first + wanted)
    folder = Path(root)
    _settle(folder, {split: [f"p{number:03d}" for number in each] for split, each in numbers.items()}, seed)
    missing: dict[int, dict[str, Path]] = {}
    for number in itertools.chain(*numbers.values()):
        files = {key: folder / "volumes" / f"p{number:03d}_{end}.nii.gz" for key, end in _ENDINGS.items()}
        if absent := {key: file for key, file in files.items() if not file.is_file()}:
            missing[number] = absent
    if missing:
        for number, files in tqdm(missing.items(), desc="making subjects", unit="subject", disable=not progress):
            made = cohort_subject(number, seed)
            for key, file in files.items():
                write_nifti(made[key][0].numpy(), made[key].affine, file)
        _template.cache_clear()
    return str(folder)
