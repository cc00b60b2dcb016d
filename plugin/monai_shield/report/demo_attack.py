# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What the demo does without the shield: open the bundle's target, segment a scan with it, attack a slab of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd
from tqdm import tqdm

from monai_shield.attacks import DAG
from monai_shield.data import slices_of
from monai_shield.transforms import DEFAULT_FOREGROUND, PreprocessedFile, export_attack
from monai_shield.utils import atomic_path, load_weights

_MIN_FOREGROUND = 0.02  # slices with less are no unit of a score


@dataclass(frozen=True)
class BareTarget:
    """
    A bundle's target as its inference config describes it, but without the shield.

    Args:
        network: the target, with its weights.
        preprocessing: from a file to the network.
        structures: names of the classes, background left out.
        spatial_size: of the slices the network sees.
        slice_axis: spatial axis of the preprocessed volume along which they lie.
        device: where to compute.
        batch_size: slices at once.
    """

    network: torch.nn.Module
    preprocessing: Compose
    structures: list[str]
    spatial_size: tuple[int, int]
    slice_axis: int
    device: torch.device
    batch_size: int = 8

    @classmethod
    def open(cls, config_file: str | Path, models_dir: str | Path) -> BareTarget:
        """
        Build it from an inference config and a folder of weights.

        Raises:
            FileNotFoundError: where the weights are missing.
            ValueError: where they were altered.
        """
        parser = ConfigParser(ConfigParser.load_config_file(str(config_file)))
        parser["models_dir"] = str(models_dir)
        network = load_weights(parser.get_parsed_content("network_def"), parser.get_parsed_content("target_weights"))
        device = parser.get_parsed_content("device")
        height, width = parser["spatial_size"]
        return cls(
            network.to(device).eval(),
            parser.get_parsed_content("preprocessing"),
            list(parser.get_parsed_content("label_map")),
            (height, width),
            parser["inferer"]["slice_axis"],
            device,
            parser["batch_size"],
        )

    def load(self, file: str | Path) -> MetaTensor:
        """A scan as the network sees it, (1, H, W, D)."""
        return self.preprocessing({"image": str(file)})["image"]

    def slices(self, image: MetaTensor) -> torch.Tensor:
        """The slices of a preprocessed scan, (S, 1, H, W)."""
        return slices_of(image.as_tensor(), self.slice_axis)

    def positions(self, image: MetaTensor) -> list[float]:
        """Where in the world each slice of a preprocessed scan lies along the axis it was cut along, in mm."""
        affine = np.asarray(image.affine, dtype=np.float64)
        voxel = np.array([*((np.array(image.shape[1:]) - 1) / 2), 1.0])
        found = []
        for index in range(image.shape[1 + self.slice_axis]):
            voxel[self.slice_axis] = index
            found.append(round(float((affine @ voxel)[self.slice_axis]), 3))
        return found

    @torch.no_grad()
    def segment(self, image: MetaTensor, description: str = "segmenting") -> np.ndarray:
        """The segmentation of a preprocessed scan, brought back into the space of its file, uint8 (H, W, D)."""
        out = torch.zeros(image.shape, dtype=torch.uint8)
        answers = slices_of(out, self.slice_axis)
        slices = self.slices(image)
        starts = range(0, len(slices), self.batch_size)
        for start in tqdm(starts, desc=description, unit="batch"):
            batch = slices[start : start + self.batch_size].contiguous().to(self.device)
            answers[start : start + self.batch_size] = self.network(batch).argmax(dim=1, keepdim=True).cpu()
        return self.in_file(out, image)

    def in_file(self, label: torch.Tensor, image: MetaTensor) -> np.ndarray:
        """A label in the space of a preprocessed scan, (1, H, W, D), in the space of its file, uint8 (H, W, D)."""
        back = Invertd("label", self.preprocessing, orig_keys="image", nearest_interp=True, to_tensor=True)
        inverted = back({"image": image, "label": MetaTensor(label, meta=image.meta.copy())})["label"]
        return inverted[0].cpu().numpy().round().astype(np.uint8)


def read_voxels(path: str | Path) -> np.ndarray:
    """The voxels of a NIfTI file, slope applied, in the file's own order."""
    return np.asarray(_load(path).dataobj)


def _load(path: str | Path) -> Any:
    return nib.load(path)


def write_label(label: np.ndarray, reference: str | Path, path: str | Path) -> None:
    """Write a label (H, W, D) as NIfTI in the space of another file, whole or not at all."""
    file = nib.Nifti1Image(label, _load(reference).affine)
    with atomic_path(path) as temporary:
        nib.save(file, temporary)


def write_scan(image: MetaTensor, path: str | Path) -> None:
    """Write a scan (1, H, W, D) as NIfTI in its own type, whole or not at all."""
    affine = np.asarray(image.affine, dtype=np.float64)
    file = nib.Nifti1Image(image.as_tensor()[0].cpu().numpy(), affine)
    file.header.set_xyzt_units("mm", "sec")
    file.set_sform(affine, code=1)
    file.set_qform(affine, code=1)
    with atomic_path(path) as temporary:
        nib.save(file, temporary)


def middle_slab(slices: torch.Tensor, number: int) -> range:
    """The `number` slices in the middle of those that bear foreground; all of these where there are not as many."""
    bearing = torch.nonzero(DEFAULT_FOREGROUND.share(slices) > _MIN_FOREGROUND)[:, 0].tolist()
    first = max(0, (len(bearing) - number) // 2)
    return range(bearing[first], bearing[min(len(bearing), first + number) - 1] + 1)


def attack_slab(
    target: BareTarget, image: MetaTensor, attack: DAG, slab: range, clean_file: str | Path, path: str | Path
) -> dict[str, Any]:
    """
    Attack the slices of a slab of a scan, the target's own clean answer being the label, and export the scan.

    Args:
        target: the network to attack.
        image: the preprocessed clean scan.
        attack: how.
        slab: which slices.
        clean_file: the file `image` was loaded from.
        path: file to write, of the same integer type, with the background restored.

    Returns:
        what was done, in plain JSON types: settings, steps, success, size of the change.
    """
    clean = target.slices(image)[slab.start : slab.stop]
    starts = range(0, len(clean), target.batch_size)
    results = [
        attack(target.network, batch, mask=batch > 0)
        for start in tqdm(starts, desc="attacking slices", unit="batch")
        for batch in [clean[start : start + target.batch_size].contiguous().to(target.device)]
    ]
    perturbation = torch.zeros_like(image.as_tensor())
    slices_of(perturbation, target.slice_axis)[slab.start : slab.stop] = (
        torch.cat([result.image.as_subclass(torch.Tensor).cpu() for result in results]) - clean
    )
    export_attack(perturbation, PreprocessedFile(clean_file, target.preprocessing), path)
    before, after = (read_voxels(file).astype(np.float64) for file in (clean_file, path))
    low, high = image.meta["intensity_window"]
    change = np.abs(after - before) / (high - low)
    return {
        "name": attack.info.name,
        "arxiv": attack.info.arxiv,
        "target": str(attack.target),
        "step": attack.step,
        "norm": attack.norm,
        "max_steps": attack.max_steps,
        "slices": len(slab),
        "slices_succeeded": int(sum(int(result.success.sum()) for result in results)),
        "steps_mean": float(torch.cat([result.steps for result in results]).double().mean()),
        "l2_mean": float(torch.cat([result.norm_l2 for result in results]).mean()),
        "largest_change": float(change.max()),
        "mean_change_where_changed": float(change[change > 0].mean()) if bool((change > 0).any()) else 0.0,
    }
