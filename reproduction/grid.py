# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a study is made of, and its numbers."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from torch import nn

from monai_shield.detectors import Detector
from reproduction.baseline_defenses import DefenseGANPart
from reproduction.image_set import KINDS, MEAN, POOLED
from reproduction.names import check_distinct, check_known
from reproduction.parts import AttackPart, DetectorPart, TargetPart


@dataclass(frozen=True)
class Grid:
    """
    The parts of a study by name.

    Args:
        targets: networks that are attacked and defended.
        attacks: made on every target.
        detectors: trained detectors by reconstruction error.
        reformers: the name of a detector in space, whose network trained with the first seed reforms; or a module
            without training. A baseline detector that holds the same module shares its predictions.
        defenses: the names of one or more detectors, then that of the reformer.
        baseline_detectors: what makes a detector for which no network is trained.
        consistency_reformer: the reformer that detectors compare predictions with.
        robust_targets: adversarially trained or distilled networks, that are attacked but not defended.
        baseline_defenses: defenses that are measured on fewer slices, against the pooled attacks.
        comparisons: pairs of detectors whose AUCs are compared on the same subjects.

    Raises:
        ValueError: when a name is not known or stands for two things, no attack is pooled, or a reformer is not one in
            space.
    """

    targets: Mapping[str, TargetPart]
    attacks: Mapping[str, AttackPart]
    detectors: Mapping[str, DetectorPart]
    reformers: Mapping[str, str | nn.Module]
    defenses: Mapping[str, Sequence[str]]
    baseline_detectors: Mapping[str, Callable[[], Detector]]
    consistency_reformer: str
    robust_targets: Mapping[str, TargetPart] = field(default_factory=dict)
    baseline_defenses: Mapping[str, DefenseGANPart] = field(default_factory=dict)
    comparisons: Sequence[Sequence[str]] = ()

    def __post_init__(self) -> None:
        if not self.targets:
            raise ValueError("a study needs a target.")
        if not self.pooled:
            raise ValueError("a study needs an attack that is pooled.")
        check_distinct("target", [*self.targets, *self.robust_targets], {MEAN})
        check_distinct("attack", self.attacks, {*KINDS, POOLED})
        check_distinct("detector", [*self.detectors, *self.baseline_detectors])
        check_distinct("baseline defense", self.baseline_defenses)
        if any(part.after is not None for part in self.targets.values()):
            raise ValueError("a target that begins with another one belongs to the robust targets.")
        first = [part.after for part in self.robust_targets.values() if part.after is not None]
        check_known("robust_targets", first, self.targets)
        check_known("consistency_reformer", [self.consistency_reformer], self.reformers)
        check_known("comparisons", [name for pair in self.comparisons for name in pair], self.every_detector)
        self._check_reformers()
        self._check_defenses()
        for name in self.pooled:
            if self.baseline_defenses and self.attacks[name].every > 1:
                raise ValueError(f"attack '{name}' is pooled: baseline defenses need it on every slice.")

    def _check_reformers(self) -> None:
        trained = {name: made for name, made in self.reformers.items() if not isinstance(made, nn.Module)}
        check_known("reformers", trained.values(), self.detectors)
        for name, made in trained.items():
            if self.detectors[made].domain != "space":
                raise ValueError(f"reformer '{name}': detector '{made}' is not one in space.")

    def _check_defenses(self) -> None:
        for name, members in self.defenses.items():
            if len(members) < 2:
                raise ValueError(f"defense '{name}' needs a detector and a reformer, got {list(members)}.")
            check_known("defenses", members[:-1], self.every_detector)
            check_known("defenses", members[-1:], self.reformers)

    @property
    def every_target(self) -> dict[str, TargetPart]:
        """The targets, then the robust ones."""
        return {**self.targets, **self.robust_targets}

    @property
    def every_detector(self) -> dict[str, Any]:
        """The trained detectors, then those without training."""
        return {**self.detectors, **self.baseline_detectors}

    @property
    def pooled(self) -> list[str]:
        """The attacks that are averaged into the main number."""
        return [name for name, part in self.attacks.items() if part.pooled]

    def kept(self, only: Mapping[str, Collection[str]], groups: Collection[str] | None = None) -> "Grid":
        """
        A part of this grid; what depends on parts that are left out is left out, too.

        Args:
            only: the names that are kept, by field.
            groups: of the detectors; by default all.

        Raises:
            ValueError: when a name is not known, or the consistency reformer is left out.
        """
        check_known("only", only, _NAMED)
        check_known("groups", groups or (), {part.group for part in self.detectors.values()})
        for kind, names in only.items():
            check_known(f"only {kind}", names, getattr(self, kind))
        kept: dict[str, Any] = {kind: _chosen(getattr(self, kind), only.get(kind)) for kind in _NAMED}
        kept["detectors"] = {n: part for n, part in kept["detectors"].items() if groups is None or part.group in groups}
        kept["robust_targets"] = {
            name: part for name, part in kept["robust_targets"].items() if part.after in (None, *kept["targets"])
        }
        kept["reformers"] = {
            name: made
            for name, made in kept["reformers"].items()
            if isinstance(made, nn.Module) or made in kept["detectors"]
        }
        detectors = {*kept["detectors"], *kept["baseline_detectors"]}
        kept["defenses"] = {
            name: members
            for name, members in kept["defenses"].items()
            if members[-1] in kept["reformers"] and detectors.issuperset(members[:-1])
        }
        if self.consistency_reformer not in kept["reformers"]:
            raise ValueError(f"consistency_reformer '{self.consistency_reformer}' is left out.")
        return replace(self, **kept, comparisons=[pair for pair in self.comparisons if detectors.issuperset(pair)])


@dataclass(frozen=True)
class StudySettings:
    """
    The numbers of a study.

    Args:
        seed: of everything.
        seeds: how often a detector is trained at most.
        t_fp: allowed false-positive rate on the validation slices.
        batch_size: images at a time.
        groups: of the detectors; by default all. What depends on others is left out.
        only: names of parts that are kept, by field of :class:`Grid`; by default all.

    Raises:
        ValueError: when a number is out of its range.
    """

    seed: int = 0
    seeds: int = 3
    t_fp: float = 0.05
    batch_size: int = 8
    groups: Sequence[str] | None = None
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("seeds", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0 <= self.t_fp < 1:
            raise ValueError(f"t_fp must be at least 0 and less than 1, got {self.t_fp}.")


#: The fields of a grid that hold parts by name.
_NAMED = tuple(each.name for each in fields(Grid) if each.name not in ("consistency_reformer", "comparisons"))


def _chosen(parts: Mapping[str, Any], names: Collection[str] | None) -> dict[str, Any]:
    return {name: part for name, part in parts.items() if names is None or name in names}
