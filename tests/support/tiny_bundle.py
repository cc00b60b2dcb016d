# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A bundle with tiny networks, brains that do not exist to calibrate it on, and a run of it."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser
from scipy.ndimage import gaussian_filter

from monai_shield.bundle import ShieldCalibrator, save_weights
from monai_shield.data import SliceDataset

REPOSITORY = Path(__file__).parents[2]
LAS = np.diag([-1.0, 1.0, 1.0, 1.0])
#: In-plane size of the tiny bundle's networks; the shipped ones have 192.
TINY_SIZE = 96
#: Deviation of the noise in one of the brains a shield is calibrated on.
NOISE = 5.0


def brain_values(seed: int = 0, shape: tuple[int, int, int] = (64, 72, 60)) -> np.ndarray:
    """
    A "brain" in LAS: a smooth texture of whole numbers 20 to 100 in an ellipsoid off the center, 0 outside.

    Whole numbers below 128 are the same in every type a file may have. It is symmetric in no axis.
    """
    generator = np.random.default_rng(seed)
    grid = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    foreground = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, (0.04, -0.03, 0.06), (0.84, 0.88, 0.80))) < 1
    texture = sum(weight * _standard_noise(generator, shape, sigma) for weight, sigma in ((1.0, 6.0), (0.7, 2.0)))
    values = 58 + 12 * texture + 10 * grid[0] - 6 * grid[1] + 8 * grid[2]
    return np.where(foreground, np.clip(np.rint(values), 20, 100), 0)


def _standard_noise(generator: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    noise = gaussian_filter(generator.standard_normal(shape), sigma)
    return noise / noise.std()


def write_nifti(path: Path, values: np.ndarray, affine: np.ndarray = LAS, dtype: Any = np.int16) -> Path:
    """Write raw voxels with an affine, centered unless it says where the first voxel lies."""
    affine = np.array(affine, dtype=float)
    if not affine[:3, 3].any():
        affine[:3, 3] = -affine[:3, :3] @ ((np.array(values.shape[:3]) - 1) / 2)
    image = nib.Nifti1Image(values.astype(dtype), affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nib.save(image, path)
    return path


def shrink(config: Any, size: int = TINY_SIZE) -> Any:
    """The same config with networks of a few channels on small slices."""
    if isinstance(config, list):
        return [shrink(entry, size) for entry in config]
    if not isinstance(config, dict):
        return config
    small = {key: shrink(value, size) for key, value in config.items()}
    if "features" in small:
        small["features"] = [4, 4, 8, 8, 8, 4]
    for key in {"spatial_size", "spatial_shape"} & small.keys():
        if isinstance(small[key], list):
            small[key] = [size if length == 192 else length for length in small[key]]
    return small


def noisy(values: np.ndarray, low: float, high: float, deviation: float = NOISE) -> np.ndarray:
    """A brain with noise in its foreground, in whole numbers from `low` to `high`."""
    noise = np.random.default_rng(0).normal(0, deviation, values.shape)
    return np.where(values > 0, np.clip(np.rint(values + noise), low, high), 0)


def calibration_brains(folder: Path) -> list[Path]:
    """What a tiny bundle is calibrated on, written to a folder: the brains of seed 0 and 1, and a noisier one."""
    files = [write_nifti(folder / f"{seed}.nii", brain_values(seed)) for seed in (0, 1)]
    return [*files, write_nifti(folder / "noisy.nii", noisy(brain_values(2), 20, 100))]


def make_brain_folder(root: Path, seed: int = 0) -> Path:
    """A data set of four small brains from this seed on in an empty folder: two to train on, one val, one test."""
    (root / "volumes").mkdir()
    for number in range(4):
        values = brain_values(seed + number, (48, 32, 48))
        write_nifti(root / "volumes" / f"b{number}_SS.nii.gz", values)
        write_nifti(root / "volumes" / f"b{number}_glm.nii.gz", np.digitize(values, (1, 50, 65)), dtype=np.uint8)
    splits = {"train": ["b0", "b1"], "val": ["b2"], "test": ["b3"]}
    (root / "splits.json").write_text(json.dumps({"official": splits}))
    return root


def make_tiny_bundle(
    root: Path, files: Sequence[Path], source: str = "brains that do not exist", size: int = TINY_SIZE
) -> Path:
    """
    The brain bundle in `root`, its networks tiny and random, its shield calibrated on these files, which it accepts.

    One of them should be :func:`noisy`: it has most of the scores above the threshold, and sets the limit. Then the
    others have room, also where they lie otherwise in their file, and no score of theirs is the threshold itself, which
    would fall on either side of it, depending on who shares its batch.

    Args:
        root: folder of the bundle, which is not there yet.
        files: clean volumes, at least two.
        source: what they are, in words.
        size: in-plane size of its networks.
    """
    shutil.copytree(REPOSITORY / "bundles" / "brain_mri_shield", root, ignore=shutil.ignore_patterns("*.pt", "SHA*"))
    for path in (root / "configs" / "inference.json", root / "configs" / "metadata.json"):
        path.write_text(json.dumps(shrink(json.loads(path.read_text()), size), indent=4))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parser = ConfigParser()
        parser.read_config(root / "configs" / "inference.json")
        network, reformer, detector, preprocessing = (
            parser.get_parsed_content(name) for name in ("network_def", "reformer_def", "detector_def", "preprocessing")
        )
    slices = SliceDataset([{"image": str(file)} for file in files], preprocessing, keys=("image",), progress=False)
    _spread(network, reformer, torch.stack([item["image"] for item in slices]))
    calibrator = ShieldCalibrator(network, detector, reformer, head="softmax")
    calibrator.fit(slices)
    calibrator.calibrate(slices, source=source)
    save_weights(network, root / "models" / "model.pt")
    save_weights(detector, root / "models" / "shield" / "detector.pt")
    save_weights(reformer, root / "models" / "shield" / "reformer.pt")
    return root


@torch.no_grad()
def _spread(network: torch.nn.Module, reformer: torch.nn.Module, images: torch.Tensor) -> None:
    """Set a random network's last layer so that in the foreground every class comes up."""
    network.train()
    network(images)  # the statistics of its batch normalization
    network.eval()
    logits = network(reformer.eval()(images)).movedim(1, 0)
    inside = logits[:, images[:, 0] > 0]
    mean, deviation = inside.mean(dim=1), inside.std(dim=1)
    last = network.final_conv
    last.weight.div_(deviation[:, None, None, None])
    last.bias.sub_(mean).div_(deviation)
