# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The attacks of a study on single slices."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch

from monai_shield.evaluation.cells import Key
from reproduction.jobs import Job
from reproduction.networks import StudyNetworks
from reproduction.study_images import StudyImages

#: What is kept of every attack beside its image.
FACTS = ("steps", "success", "norm_linf", "norm_l2")


class AdversarialCells:
    """
    Adversarial images of single slices, made with the true label against the bare target.

    An exported attack is written to a NIfTI file of the clean file's type, with the background restored, and read back.

    Args:
        networks: of the study, with the targets.
        images: of the study, with the keys of the cells.
    """

    def __init__(self, networks: StudyNetworks, images: StudyImages) -> None:
        self.networks, self.images = networks, images
        self.data, self.attacks, self.cells = images.data, images.attacks, images.cells
        self.batch_size, self.device = networks.setup.settings.batch_size, networks.device

    def jobs(self, targets: Iterable[str]) -> Iterator[Job]:
        """Every attack on every scan."""
        for attack, target, volume in itertools.product(self.attacks, list(targets), self.data.volumes):
            key = self.images.adversarial_key(target, attack, volume)
            run = partial(self._attack, target, attack, volume, key)
            yield Job(f"{target}, {attack}, {volume}", partial(self.cells.has, *key), run)

    def _attack(self, target: str, attack: str, volume: str, key: Key) -> None:
        """Each slice is a cell by itself: a study with more of them goes on from one with fewer."""
        scan, part = self.data.volumes[volume], self.attacks[attack]
        fingerprint = self.images.attack_fingerprint(target, attack, volume)
        heading = f"slices/{target}/{attack}/{volume}"
        places = scan.chosen[part.chosen(len(scan.chosen))].tolist()
        if not places:
            raise ValueError(f"scan '{volume}' has {len(scan.chosen)} slices: too few for attack '{attack}'.")
        missing = self._missing(heading, places, fingerprint)
        for start in range(0, len(missing), self.batch_size):
            batch = missing[start : start + self.batch_size]
            image = scan.slices[batch].contiguous().to(self.device)
            label, mask = scan.labels[batch].to(self.device), self.data.slicing.foreground(image)
            result = part.attack(self.networks.target(target), image, label, mask, index=batch)
            for row, i in enumerate(batch):
                facts = {name: getattr(result, name)[row].cpu() for name in FACTS}
                cell = {"image": result.image[row].cpu().clone(), "batch": torch.tensor(batch)}
                self.cells.put(heading, str(i), fingerprint, cell | facts)
        made = [self.cells.load(heading, str(i), fingerprint) or {} for i in places]
        cells = {name: torch.stack([each[name] for each in made]) for name in ("image", *FACTS)}
        cells["exported"] = scan.exported(cells["image"], torch.tensor(places))
        self.cells.put(*key, {"places": torch.tensor(places)} | cells)

    def _missing(self, heading: str, places: Sequence[int], fingerprint: str) -> list[int]:
        """
        Slices that are not attacked yet, and all slices of a batch in which a run was killed.

        Among other slices their attacks would differ in the last digits, and an attack enlarges such a difference.
        """

        def done(i: int) -> bool:
            cell = self.cells.load(heading, str(i), fingerprint)
            return cell is not None and all(
                self.cells.has(heading, str(int(mate)), fingerprint) for mate in cell.get("batch", ())
            )

        return [i for i in places if not done(i)]
