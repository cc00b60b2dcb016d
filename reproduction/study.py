# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A study of defenses: targets, attacks on them, detectors and reformers, each with each."""

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from torch import nn
from torch.utils.data import Subset

from monai_shield.attacks import FrozenNetwork
from monai_shield.detectors import Detector, ReconstructionDetector, ViewBatches
from monai_shield.evaluation.cells import CellStore, Key
from monai_shield.evaluation.volume import AttackedVolume, subject_of
from monai_shield.fingerprints import fingerprint_of, stable_repr
from monai_shield.locks import lock_file, one_run
from reproduction.baseline_cells import RivalCells
from reproduction.baseline_defenses import DefenseGANPart
from reproduction.checks import check_settings, check_study
from reproduction.data import StudyData
from reproduction.image_set import ImageSet
from reproduction.jobs import Diary, Job, distributed, run_jobs
from reproduction.measured import MeasuredCells
from reproduction.parts import AttackPart, DetectorPart, TargetPart

logger = logging.getLogger(__name__)

Cell = dict[str, Any]
FACTS = ("steps", "success", "norm_linf", "norm_l2")
CLEAN = ImageSet("clean")


class DefenseStudy:
    """
    Train targets, detectors and reformers, attack every target, and let every defense answer.

    Everything is a cell that is kept with what it depends on: a run that was killed goes on, and a changed setting
    makes anew only what it touches. Each attack and each prediction is computed once and shared by all defenses. Under
    torchrun the processes share the work.

    Attacks are crafted on single slices with the true label, against the bare target in evaluation mode. An exported
    attack is written to a NIfTI file of the clean file's type, with the background restored, and read back.

    Args:
        data: scans by split, and their slices.
        targets: name to target.
        attacks: name to attack.
        detectors: name to detector by reconstruction error.
        reformers: name to the name of a detector in space whose network reforms, trained with the first seed; or
            to one without training. A baseline that holds the same one shares its predictions.
        defenses: name to the names of the detectors, one after the other, and that of the reformer: (detector, ...,
            reformer); of trained ones, or of those without training.
        baselines: name to what makes a detector without training, to be fitted on training images.
        hardened: name to target that was trained to resist: attacked as well, but not defended.
        rivals: name to defense that is measured on fewer slices, against the pooled attacks.
        consistency_reformer: reformer that the detectors see which compare predictions.
        output_dir: where cells go.
        seed: of everything.
        seeds: how often a detector is trained at the most.
        groups: of the detectors; by default all. What is made of others is left out.
        t_fp: allowed false-positive rate on the validation slices.
        batch_size: images at a time.
        device: where to compute.

    Raises:
        ValueError: when a name is not known or stands for two things, a setting is out of its range, a reformer is not
            one in space, an attack is made on no slice or none is pooled.
    """

    def __init__(
        self,
        data: StudyData,
        targets: Mapping[str, TargetPart],
        attacks: Mapping[str, AttackPart],
        detectors: Mapping[str, DetectorPart],
        reformers: Mapping[str, str | nn.Module],
        defenses: Mapping[str, Sequence[str]],
        baselines: Mapping[str, Callable[[], Detector]],
        consistency_reformer: str,
        output_dir: str | Path,
        hardened: Mapping[str, TargetPart] | None = None,
        rivals: Mapping[str, DefenseGANPart] | None = None,
        seed: int = 0,
        seeds: int = 3,
        groups: Sequence[str] | None = None,
        t_fp: float = 0.05,
        batch_size: int = 8,
        device: torch.device | str = "cpu",
    ) -> None:
        hardened, rivals = hardened or {}, rivals or {}
        named = (targets, hardened, attacks, detectors, baselines, reformers, defenses, rivals)
        check_study(*named, consistency_reformer)
        check_settings(data, attacks, detectors, rivals, groups, seeds, t_fp, batch_size)
        self.data = data
        self.targets = dict(targets)
        self.hardened = dict(hardened)
        self.everyone = self.targets | self.hardened
        self.attacks = dict(attacks)
        self.detectors = {name: part for name, part in detectors.items() if groups is None or part.group in groups}
        self.known = {*detectors, *baselines}
        self.reformers = {
            name: made for name, made in reformers.items() if isinstance(made, nn.Module) or made in self.detectors
        }
        guards = {*self.detectors, *baselines}
        self.defenses = {
            name: tuple(parts)
            for name, parts in defenses.items()
            if parts[-1] in self.reformers and guards.issuperset(parts[:-1])
        }
        self.baselines = dict(baselines)
        self.consistency_reformer = consistency_reformer
        self.output_dir = Path(output_dir)
        self.seed = seed
        self.seeds = seeds
        self.t_fp = t_fp
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.cells = CellStore(self.output_dir / "cells")
        self.diary = Diary(self.output_dir / "diary.csv")
        self.measured = MeasuredCells(self)
        self.rivals = RivalCells(self, rivals)
        if consistency_reformer not in self.reformers:
            raise ValueError(f"consistency_reformer '{consistency_reformer}' is of a group that is left out.")

    def run(self) -> None:
        """
        Do all of it, or what is left of it.

        Raises:
            RefusedError: where another run, not one of those that torchrun started with this one, writes to its folder.
        """
        with distributed(), one_run(self.output_dir) if idist.get_rank() == 0 else nullcontext():
            stages: dict[str, list[Job]] = {
                "training": [
                    *self._target_jobs(self.targets),
                    *self._detector_jobs(),
                    *self.rivals.training_jobs(),
                ],
                # a long training goes first, and the other processes attack beside it
                "hardening and attacking": [*self._target_jobs(self.hardened), *self._attack_jobs(self.targets)],
                "attacking the hardened, searching": [
                    *self._attack_jobs(self.hardened),
                    *self.rivals.search_jobs(),
                ],
                "measuring": [*self.measured.jobs(), *self.rivals.measure_jobs()],
            }
            for description, jobs in stages.items():
                run_jobs(jobs, self.output_dir / "claims", description, self.diary)

    def described(self) -> dict[str, Any]:
        """What was set, in plain JSON types."""
        return {
            "scans": {split: [str(item["id"]) for item in items] for split, items in self.data.splits.items()},
            "subjects": {split: len({subject_of(item) for item in items}) for split, items in self.data.splits.items()},
            "slices": {"train": len(self.data.train), "val": len(self.data.val), "test": len(self.labels(CLEAN))},
            "size": list(self.data.val_images.shape[2:]),
            "slices_per_volume": self.data.slices_per_volume,
            "classes": self.data.num_classes,
            "seed": self.seed,
            "t_fp": self.t_fp,
            "consistency_reformer": self.consistency_reformer,
            "attacks": {
                name: {"attack": stable_repr(part.attack), "every": part.every, "pooled": part.pooled}
                for name, part in self.attacks.items()
            },
            "targets": {name: stable_repr(part.training) for name, part in self.everyone.items()},
            "rivals": {name: stable_repr(part) for name, part in self.rivals.parts.items()},
            "detectors": {name: stable_repr(part.training) for name, part in self.detectors.items()},
            "reformers": {
                name: stable_repr(made) if isinstance(made, nn.Module) else made
                for name, made in self.reformers.items()
            },
            "defenses": {name: list(parts) for name, parts in self.defenses.items()},
        }

    # ---- training

    def trained(self) -> list[tuple[str, int]]:
        """Every detector with every seed it is trained with."""
        return [(name, k) for name, part in self.detectors.items() for k in range(min(part.seeds, self.seeds))]

    def target_fingerprint(self, name: str) -> str:
        """Of what a target depends on."""
        part = self.everyone[name]
        before = None if part.after is None else self.target_fingerprint(part.after)
        return fingerprint_of([part, before, self.seed, self.data.fingerprint("train")])

    def detector_fingerprint(self, name: str, k: int) -> str:
        """Of what the weights of a detector depend on."""
        return fingerprint_of([self.detectors[name].learned(), self.seed, k, self.data.fingerprint("train")])

    def _target_jobs(self, names: Iterable[str]) -> Iterator[Job]:
        for name in names:
            key = ("targets", name, self.target_fingerprint(name))
            yield Job(f"target {name}", partial(self.cells.has, *key), partial(self._train_target, name, key))

    def _train_target(self, name: str, key: Key) -> None:
        part = self.everyone[name]
        before = None if part.after is None else self.trained_target(part.after)
        network = part.train(self.data, self.seed, self.checkpoint(*key), self.device, before)
        # hours of attacks on a target that learned nothing would tell nothing
        dice = self.data.val_dice(network, self.device, self.batch_size)
        logger.info("target '%s': mean Dice %.3f on the validation slices.", name, dice)
        self.keep(key, network)

    def _detector_jobs(self) -> Iterator[Job]:
        # the first of each before the second of any
        for name, k in sorted(self.trained(), key=lambda pair: pair[1]):
            key = (f"detectors/{name}", str(k), self.detector_fingerprint(name, k))
            yield Job(f"{name} {k}", partial(self.cells.has, *key), partial(self._train_detector, name, k, key))

    def _train_detector(self, name: str, k: int, key: Key) -> None:
        # another stream of seeds than the targets'
        seed = self.seed + 1000 * (k + 1)
        detector = self.detectors[name].train(self.data, seed, self.checkpoint(*key), self.device)
        self.keep(key, detector)

    def keep(self, key: Key, network: nn.Module) -> None:
        """Keep a trained network; what it took to go on is no longer needed."""
        self.cells.put(*key, {"state": _state(network)})
        checkpoint = self.checkpoint(*key)
        for path in (checkpoint, lock_file(checkpoint, of_file=True)):
            path.unlink(missing_ok=True)

    def checkpoint(self, volume: str, name: str, fingerprint: str) -> Path:
        """Where the training of a cell's network leaves what it needs to go on."""
        return self.cells.path(volume, name, fingerprint).with_suffix(".checkpoint")

    @cache  # noqa: B019 - a study lives as long as its process
    def target(self, name: str) -> nn.Module:
        """A trained target, ready to be attacked."""
        return FrozenNetwork(self.trained_target(name))

    def trained_target(self, name: str) -> nn.Module:
        """A trained target, free to be trained on."""
        cell = self.cells.load("targets", name, self.target_fingerprint(name))
        if cell is None:
            raise ValueError(f"target '{name}' is not trained yet.")
        network = self.everyone[name].network().to(self.device)
        network.load_state_dict(cell["state"])
        return network

    @cache  # noqa: B019
    def detector(self, name: str, k: int = 0) -> ReconstructionDetector:
        """A trained detector."""
        cell = self.cells.load(f"detectors/{name}", str(k), self.detector_fingerprint(name, k))
        if cell is None:
            raise ValueError(f"detector '{name}' is not trained yet.")
        channels, *size = self.data.val_images.shape[1:]
        detector = self.detectors[name].detector(size, channels, self.seed, self.device)
        detector.load_state_dict(cell["state"])
        detector.network = FrozenNetwork(detector.network)
        return detector.eval()

    def reformer_fingerprint(self, name: str) -> str:
        """Of what a reformer depends on."""
        made = self.reformers[name]
        return fingerprint_of([made]) if isinstance(made, nn.Module) else self.detector_fingerprint(made, 0)

    def reformer(self, name: str) -> nn.Module:
        """A reformer, trained or without training."""
        made = self.reformers[name]
        return made.to(self.device).eval() if isinstance(made, nn.Module) else self.detector(made).network

    @cached_property
    def fitted_baselines(self) -> dict[str, Detector]:
        """The detectors without training."""
        made = {name: make().to(self.device).eval() for name, make in self.baselines.items()}
        images = Subset(self.data.train, range(0, len(self.data.train), 4))
        for detector in made.values():
            detector.fit(ViewBatches(images, batch_size=1, device=self.device))
        return made

    # ---- attacks

    def _attack_jobs(self, targets: Iterable[str]) -> Iterator[Job]:
        for attack, target in itertools.product(self.attacks, targets):
            for volume in self.data.volumes:
                key = self.adversarial_key(target, attack, volume)
                yield Job(
                    f"{target}, {attack}, {volume}",
                    partial(self.cells.has, *key),
                    partial(self._craft, target, attack, volume, key),
                )

    def attack_fingerprint(self, target: str, attack: str, volume: str) -> str:
        """Of what the adversarial images of a scan depend on."""
        made = [self.attacks[attack].attack, self.target_fingerprint(target), self.data.scan_fingerprint(volume)]
        return fingerprint_of(made)

    def adversarial_key(self, target: str, attack: str, volume: str) -> Key:
        """The cell of a scan's adversarial images, raw and exported, and of what it took to make them."""
        chosen = (self.data.slices_per_volume, self.attacks[attack].every)
        return (
            f"adversarial/{target}/{attack}",
            volume,
            fingerprint_of([self.attack_fingerprint(target, attack, volume), chosen]),
        )

    def _craft(self, target: str, attack: str, volume: str, key: Key) -> None:
        """Each slice is a cell by itself: a study with more of them goes on from one with fewer."""
        scan, part = self.data.volumes[volume], self.attacks[attack]
        fingerprint = self.attack_fingerprint(target, attack, volume)
        heading = f"slices/{target}/{attack}/{volume}"
        places = scan.chosen[part.chosen(scan.chosen)].tolist()
        if not places:
            raise ValueError(f"scan '{volume}' has {len(scan.chosen)} slices: too few for attack '{attack}'.")
        missing = self._missing(heading, places, fingerprint)
        for start in range(0, len(missing), self.batch_size):
            batch = missing[start : start + self.batch_size]
            image = scan.slices[batch].contiguous().to(self.device)
            label, mask = scan.labels[batch].to(self.device), self.data.foreground(image)
            result = part.attack(self.target(target), image, label, mask, index=batch)
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
        Slices that are not attacked yet, and those of a batch in which a run was killed: among other slices they would
        come out otherwise in the last digits, and an attack makes much of these.
        """

        def done(i: int) -> bool:
            cell = self.cells.load(heading, str(i), fingerprint)
            return cell is not None and all(
                self.cells.has(heading, str(int(mate)), fingerprint) for mate in cell.get("batch", ())
            )

        return [i for i in places if not done(i)]

    # ---- images

    def images(self, which: ImageSet) -> torch.Tensor:
        """The images of a set, scan after scan, (B, 1, ., .)."""
        if which.kind == "val":
            return self.data.val_images
        parts = []
        for volume, scan in self.data.volumes.items():
            if which.kind in self.attacks:
                cell = self.cells.load(*self.adversarial_key(which.target or "", which.kind, volume))
                if cell is None:
                    raise ValueError(f"'{which.name}' of scan '{volume}' is not made yet.")
                parts.append(cell["exported" if which.variant == "exported" else "image"])
            else:
                parts.append(scan.slices[self.places(which, scan)])
        return torch.cat(parts).contiguous()

    def labels(self, which: ImageSet) -> torch.Tensor:
        """The labels of a set of test images, (B, 1, ., .)."""
        return torch.cat([scan.labels[self.places(which, scan)] for scan in self.data.volumes.values()])

    def owners(self, which: ImageSet) -> list[str]:
        """Which scan each image of a set of test images is of."""
        places = {volume: self.places(which, scan) for volume, scan in self.data.volumes.items()}
        return [volume for volume, found in places.items() for _ in found]

    def clean_rows(self, attack: str) -> list[int]:
        """Which of the clean test slices are those that an attack is made from."""
        part, start = self.attacks[attack], 0
        rows: list[int] = []
        for scan in self.data.volumes.values():
            rows += (start + part.chosen(scan.chosen)).tolist()
            start += len(scan.chosen)
        return rows

    def places(self, which: ImageSet, scan: AttackedVolume) -> torch.Tensor:
        """Which slices of a scan are in a set of test images."""
        if which.kind == "whole":
            return torch.arange(len(scan.slices))
        if which.kind == "clean":
            return scan.chosen
        return scan.chosen[self.attacks[which.kind].chosen(scan.chosen)]

    def set_fingerprint(self, which: ImageSet) -> str:
        """Of what a set's images and predictions depend on."""
        parts: list[object] = [which.variant, self.data.fingerprint("val" if which.kind == "val" else "test")]
        if which.kind not in ("val", "whole"):
            parts.append(self.data.slices_per_volume)
        if which.target is not None:
            parts.append(self.target_fingerprint(which.target))
            if which.kind in self.attacks:
                parts += [self.attacks[which.kind].attack, self.attacks[which.kind].every]
        return fingerprint_of(parts)


def _state(network: nn.Module) -> dict[str, Any]:
    """A network's weights, without a detector's calibration: that is the study's own."""
    return {
        key: value.detach().cpu().contiguous() if isinstance(value, torch.Tensor) else value
        for key, value in network.state_dict().items()
    }
