# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What cannot be a study of defenses is refused before anything is computed."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from torch import nn

from monai_shield.detectors import Detector
from monai_shield.evaluation.cells import file_name
from reproduction.baseline_defenses import DefenseGANPart
from reproduction.data import StudyData
from reproduction.image_set import KINDS, MEAN, POOLED
from reproduction.parts import AttackPart, DetectorPart, TargetPart


def check_study(
    targets: Mapping[str, TargetPart],
    hardened: Mapping[str, TargetPart],
    attacks: Mapping[str, AttackPart],
    detectors: Mapping[str, DetectorPart],
    baselines: Mapping[str, Callable[[], Detector]],
    reformers: Mapping[str, str | nn.Module],
    defenses: Mapping[str, Sequence[str]],
    rivals: Mapping[str, DefenseGANPart],
    consistency_reformer: str,
) -> None:
    """
    Check the names of a study's parts, and what they name; arguments as of :class:`~reproduction.study.DefenseStudy`.

    Raises:
        ValueError: when a name is not known or stands for two things, something is missing, or a part is of the wrong
            kind.
    """
    if not targets:
        raise ValueError("a study needs a target.")
    if not any(part.pooled for part in attacks.values()):
        raise ValueError("a study needs an attack that is pooled.")
    _check_distinct("target", [*targets, *hardened], {MEAN})
    _check_distinct("attack", attacks, {*KINDS, POOLED})
    _check_distinct("detector", [*detectors, *baselines], set())
    _check_distinct("rival", rivals, set())
    if any(part.after is not None for part in targets.values()):
        raise ValueError("a target that begins with another one belongs to the hardened ones.")
    _check_known("hardened targets", [part.after for part in hardened.values() if part.after is not None], targets)
    trained = {name: made for name, made in reformers.items() if not isinstance(made, nn.Module)}
    _check_known("reformers", trained.values(), detectors)
    _check_known("consistency_reformer", [consistency_reformer], reformers)
    for name, made in trained.items():
        if detectors[made].domain != "space":
            raise ValueError(f"reformer '{name}': detector '{made}' is not one in space.")
    for name, members in defenses.items():
        if len(members) < 2:
            raise ValueError(f"defense '{name}' needs a detector and a reformer, got {list(members)}.")
        _check_known("defenses", members[:-1], {*detectors, *baselines})
        _check_known("defenses", members[-1:], reformers)


def check_settings(
    data: StudyData,
    attacks: Mapping[str, AttackPart],
    detectors: Mapping[str, DetectorPart],
    rivals: Mapping[str, DefenseGANPart],
    groups: Sequence[str] | None,
    seeds: int,
    t_fp: float,
    batch_size: int,
) -> None:
    """
    Check a study's numbers; arguments as of :class:`~reproduction.study.DefenseStudy`.

    Raises:
        ValueError: when a setting is out of its range, a group is not known, or something is measured on no slice.
    """
    for name, value in {"seeds": seeds, "batch_size": batch_size}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    if not 0 <= t_fp < 1:
        raise ValueError(f"t_fp must be at least 0 and less than 1, got {t_fp}.")
    _check_known("groups", groups or (), {part.group for part in detectors.values()})
    number = data.slices_per_volume
    every_nth = {name: part.every for name, part in attacks.items()}
    every_nth |= {name: part.every for name, part in rivals.items()}
    for name, every in every_nth.items():
        if (every - 1) // 2 >= number:
            raise ValueError(f"'{name}' is for every {every}th slice of {number} of a scan: for none.")
    for name, attack in attacks.items():
        if rivals and attack.pooled and attack.every > 1:
            raise ValueError(f"attack '{name}' is pooled, and there are rivals: it must be made on every slice.")


def _check_distinct(what: str, names: Iterable[str], reserved: Collection[str]) -> None:
    """Two names that make one file name would replace each other."""
    seen: dict[str, str] = {}
    for name in names:
        if name in reserved:
            raise ValueError(f"no {what} may be called '{name}'.")
        if file_name(name) in seen:
            raise ValueError(f"{what}s '{seen[file_name(name)]}' and '{name}' cannot be told apart by their files.")
        seen[file_name(name)] = name


def _check_known(what: str, names: Iterable[str], known: Collection[str]) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"{what} name what is not there: {', '.join(unknown)}.")
