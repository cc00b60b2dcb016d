# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Whether an image and its predicted label look like those of clean subjects at all; nothing is learned."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from typing_extensions import Self

logger = logging.getLogger(__name__)

_AXES = {"x": "left-right", "y": "back-front", "z": "down-up"}
_STRUCTURE = ("size", "center")


class _Margin(NamedTuple):
    """
    How far from the mean of the clean subjects is too far, at the least.

    The least is far wider than young adults differ: the clean subjects are few, and a calibration on them is to pass
    children, the old and the sick.
    """

    least: float  # for a whole subject
    least_cut: float | None = None  # for one that its file cuts off; None for what says nothing then
    log: bool = False  # whether logarithms are compared
    lower: bool = True  # whether too low counts
    lower_cut: bool = True  # likewise, for a subject that is cut off


_MARGINS = {
    "volume": _Margin(math.log(2.0), math.log(2.0), log=True, lower_cut=False),
    "spread": _Margin(math.log(1.25), math.log(1.35), log=True, lower_cut=False),
    "ratio": _Margin(math.log(1.35), log=True),
    "asymmetry": _Margin(0.3),
    "labeled": _Margin(math.log(1.5), math.log(2.0), log=True),
    "size": _Margin(math.log(4.0), log=True),
    "center": _Margin(0.5, 0.7),
    "border": _Margin(0.1, 0.1, lower=False, lower_cut=False),
    "cut": _Margin(0.1, lower=False),
}


#: In words, with the factor and the unit that a person reads it in.
_WORDS = {
    "volume": ("the foreground measures {}", 1e-3, " ml"),
    "spread": ("the foreground's spread (standard deviation) {along} is {}", 1.0, " mm"),
    "ratio": ("the foreground's spreads {along} are as {}", 1.0, ""),
    "asymmetry": ("the foreground's skewness {along} is {}", 1.0, ""),
    "labeled": ("{} of the foreground is labeled", 100.0, " %"),
    "border": ("foreground touches every border: at each at least {} of its fullest slice", 100.0, " %"),
    "size": ("structure {structure} fills {} of the labeled voxels", 100.0, " %"),
    "center": ("structure {structure} lies {} spreads {along} from the foreground's center", 1.0, ""),
}


@dataclass(frozen=True)
class Judgement:
    """What was found about one subject, in words."""

    reason: str = ""  # why it is rejected; empty where it is not
    findings: list[str] = field(default_factory=list)  # each statistic out of its range, and what was not checked


@dataclass(frozen=True)
class Plausibility:
    r"""
    The statistics (:func:`~monai_shield.detectors.subject_statistics`) of n clean subjects, and what they make of
    another subject's.

    A statistic is out of its range where it lies further from the clean subjects' mean than

    .. math:: \max(\text{least}, 6 \sqrt{1 + 1/n}\, s)

    with s their standard deviation; sizes, volumes and shares are compared by their logarithms, and least is a factor
    of 4 for the size of a structure, half a spread for its center, a factor of 1.25 for the spread of the foreground.
    A subject is rejected where a statistic of the foreground is out of its range, or those of more than
    a fifth of the structures: a tumor or a missing structure is told and not rejected.

    Where the file cuts the foreground off along an axis, sizes are not checked, nor what lies where along that axis;
    the findings say so.

    Args:
        names: of the statistics.
        values: (n, number of statistics), NaN where a subject has none.
    """

    names: list[str]
    values: torch.Tensor

    #: Largest share of structures out of range that passes. No part of the state: a file cannot change it.
    STRUCTURE_SHARE: ClassVar[float] = 0.2
    #: The 6 of the formula.
    WIDTH: ClassVar[float] = 6.0
    #: Fewer clean subjects have no standard deviation to speak of.
    FEWEST: ClassVar[int] = 3

    @classmethod
    def fit(cls, subjects: Sequence[Mapping[str, float]]) -> Self | None:
        """
        From the statistics of clean subjects; None, with a warning, of fewer than three.

        Raises:
            ValueError: where a clean subject has no foreground or a statistic that is not finite.
        """
        if len(subjects) < cls.FEWEST:
            logger.warning(
                "%d clean subjects: which images are plausible needs %d, and is not checked.", len(subjects), cls.FEWEST
            )
            return None
        names = sorted({name for subject in subjects for name in subject})
        if not all(subjects) or not all(math.isfinite(value) for subject in subjects for value in subject.values()):
            raise ValueError("a clean subject has no foreground, or a statistic that is not finite.")
        values = [[subject.get(name, math.nan) for name in names] for subject in subjects]
        return cls(names, torch.tensor(values, dtype=torch.float64))

    def state(self) -> dict[str, Any]:
        """Tensors, numbers and strings only: it is read with ``weights_only=True``."""
        return dict(vars(self))

    def judge(self, subject: Mapping[str, float]) -> Judgement:
        """What the clean subjects make of the statistics of another one."""
        if not subject:
            return Judgement("the image has no foreground", ["the image has no foreground"])
        cut = {name[-1] for name in subject if name.startswith("cut/") and self._beyond(name, subject[name], set())}
        beyond = {name for name, value in subject.items() if self._beyond(name, value, cut)}
        wrong = sorted(name for name in beyond if name.split("/")[0] not in (*_STRUCTURE, "cut"))
        structures = {name.split("/")[1] for name in subject if name.startswith("size/")}
        astray = sorted({name.split("/")[1] for name in beyond if name.startswith(_STRUCTURE)}, key=int)
        findings = [self._words(name, subject[name]) for name in wrong]
        reasons = list(findings)
        if len(astray) > self.STRUCTURE_SHARE * len(structures):
            reasons.append(
                f"{len(astray)} of {len(structures)} structures are of a size or in a place that is far from any clean "
                "subject's"
            )
        for structure in astray:
            findings += [self._words(name, subject[name]) for name in self._worst(structure, beyond, subject)]
        if cut:
            along = " and ".join(_AXES[axis] for axis in sorted(cut))
            findings.append(
                f"the file cuts the foreground off along {along}: not checked are the sizes of structures and their "
                "places along it, and whether the foreground is too small or turned"
            )
        return Judgement("; ".join(reasons), findings)

    def _clean(self, name: str) -> torch.Tensor:
        """The values of the clean subjects that have the statistic, (n,)."""
        values = self.values[:, self.names.index(name)] if name in self.names else self.values.new_empty(0)
        return values[~values.isnan()]

    def _distance(self, name: str, value: float, cut: bool) -> float:
        """Distance from the mean in units of the margin, with its sign; 0 where too few subjects have the statistic."""
        clean, margin = self._clean(name), _MARGINS[name.split("/")[0]]
        if len(clean) < self.FEWEST:
            return 0.0
        clean = clean.log() if margin.log else clean
        least = margin.least if not cut or margin.least_cut is None else margin.least_cut
        allowed = max(least, self.WIDTH * math.sqrt(1 + 1 / len(clean)) * float(clean.std()))
        return ((math.log(value) if margin.log else value) - float(clean.mean())) / allowed

    def _beyond(self, name: str, value: float, cut: set[str]) -> bool:
        margin = _MARGINS[name.split("/")[0]]
        if cut and (margin.least_cut is None or (name.startswith("center") and name[-1] in cut)):
            return False
        distance = self._distance(name, value, bool(cut))
        return not distance <= 1 or (distance < -1 and (margin.lower_cut if cut else margin.lower))  # NaN is beyond

    def _worst(self, structure: str, beyond: set[str], subject: Mapping[str, float]) -> list[str]:
        """Of a structure, its size where that is out of range, else the worst of its coordinates."""
        if f"size/{structure}" in beyond:
            return [f"size/{structure}"]
        found = [name for name in beyond if name.startswith(f"center/{structure}/")]
        return [max(found, key=lambda name: abs(self._distance(name, subject[name], False)))]

    def _words(self, name: str, value: float) -> str:
        clean = self._clean(name)
        kind, *rest = name.split("/")
        text, factor, unit = _WORDS[kind]
        if kind == "volume" and "spread/z" not in self.names:
            factor, unit = 1e-2, " cm²"
        along = " to ".join(_AXES[axis] for axis in rest[-1]) if rest and rest[-1].isalpha() else ""
        found, low, high = (_rounded(factor * float(number)) for number in (value, clean.min(), clean.max()))
        text = text.format(f"{found}{unit}", structure=rest[0] if rest else "", along=along)
        return f"{text}; clean subjects: {low} to {high}{unit}"


def _rounded(number: float) -> str:
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"
