# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""One file and its attacked copy: attack what the network gets of it, write it, read it back, predict again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from monai.data import MetaTensor
from torch import Tensor, nn
from tqdm import tqdm

from monai_shield.attacks import Attack, AttackResult
from monai_shield.attacks.problem import Problem
from monai_shield.bundle.target import BundleTarget
from monai_shield.data import evenly_spaced
from monai_shield.errors import BundleError
from monai_shield.transforms import PreprocessedFile, export_attack

MIN_FOREGROUND = 0.02  # slices with less are not attacked


@dataclass(frozen=True)
class AttackedBatch:
    """Some of the cases of an image: their indices (B,), what the attack was asked, and what it made of them."""

    cases: Tensor
    problem: Problem
    result: AttackResult


@dataclass(frozen=True)
class AttackedFile:
    """
    A file's attacked copy, as the network sees it.

    Args:
        batches: what the attack made of the clean image.
        image: what the preprocessing makes of the written copy, (C,spatial).
        prediction: the class of each of its pixels, (1,spatial).
    """

    batches: tuple[AttackedBatch, ...]
    image: MetaTensor
    prediction: Tensor


def attack_file(
    target: BundleTarget,
    attack: Attack,
    clean: PreprocessedFile,
    path: str | Path,
    label: Tensor,
    mask: Tensor | None = None,
    cases: Tensor | None = None,
    background: float | str | None = "border",
) -> AttackedFile:
    """
    Attack an image, write the attacked copy of its file and read it back.

    Args:
        target: the network.
        attack: how.
        clean: the clean file.
        path: file to write, see :func:`~monai_shield.transforms.export_attack`.
        label: class of each pixel of the preprocessed image, (1,spatial).
        mask: pixels that may be attacked, (1,spatial); None for all.
        cases: which slices to attack, or 0 for an image that the network gets whole; None for all.
        background: value of the file's background, which is restored; "border" to find it, None for none.
    """
    image = clean.image.as_tensor().float()
    images, labels = target.cases(image), target.cases(label)
    masks = None if mask is None else target.cases(mask)
    cases = torch.arange(len(images)) if cases is None else cases
    perturbation = torch.zeros_like(image)
    found = []
    chosen = cases.split(target.batch_size)
    with _progress(target.network, attack, len(chosen)):
        for rows in chosen:
            x, y = (each[rows].contiguous().to(target.device) for each in (images, labels))
            inside = None if masks is None else masks[rows].contiguous().to(target.device)
            index = rows.tolist()
            result = attack(target.network, x, y, inside, index=index)
            found.append(AttackedBatch(rows, attack.pose(target.network, x, y, inside, index), result))
            target.cases(perturbation)[rows] = (result.image - x).cpu()
    again = export_attack(perturbation, clean, path, background)
    return AttackedFile(tuple(found), again, target.predict(again.as_tensor().float())[0])


def bearing_cases(target: BundleTarget, mask: Tensor | None, image: Tensor, number: int | None = None) -> Tensor:
    """
    The cases of an image that bear enough foreground to be attacked.

    Args:
        target: the network.
        mask: the foreground, (1,spatial); None where all is.
        image: the preprocessed image, (C,spatial).
        number: how many of the slices, evenly spaced; None for all.

    Returns:
        their indices: of slices, or 0 for an image that the network gets whole.

    Raises:
        BundleError: where there is none.
    """
    if target.slice_axis is None:
        return torch.zeros(1, dtype=torch.long)
    share = target.cases(torch.ones_like(image) if mask is None else mask).float().flatten(1).mean(1)
    bearing = torch.nonzero(share > MIN_FOREGROUND)[:, 0]
    if len(bearing) == 0:
        raise BundleError("no slice bears enough foreground to be attacked.")
    return bearing if number is None else evenly_spaced(bearing, number)


@contextmanager
def _progress(network: nn.Module, attack: Attack, batches: int) -> Iterator[None]:
    """Within it a progress bar counts the network's passes: as many as the steps of an attack, or a few more."""
    steps = getattr(attack, "max_steps", None)
    total = None if steps is None else batches * (steps + 3)
    with tqdm(total=total, desc=attack.info.name, unit="pass", leave=False, position=1) as bar:

        def count(*_: object) -> None:
            bar.update()

        handle = network.register_forward_hook(count)
        try:
            yield
        finally:
            handle.remove()
