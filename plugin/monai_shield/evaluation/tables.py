# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Tables that a terminal and a Markdown page both show well."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Interval = Mapping[str, float]
#: Variants of Dice where images are rejected: key in the results to heading.
DICE_VARIANTS = {
    "reformed": "reformed",
    "accepted": "of the accepted",
    "rejected_as_zero": "rejected as 0",
    "rejected_deferred": "rejected deferred",
}
_DICE = {"clean": "clean", "attacked": "attacked", **DICE_VARIANTS}


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |"

    return "\n".join([line(header), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)])


def digits(value: float | None, places: int = 3, unit: float = 1) -> str:
    """A value, in multiples of 1 / ``unit``; a dash where there is none, as NaN or as JSON has it."""
    if value is None or math.isnan(value):
        return "–"
    return f"{round(unit * value, places) + 0.0:.{places}f}"  # a rounded zero has no sign


def number(interval: Interval, places: int = 3, unit: float = 1) -> str:
    """A value and its interval, as :func:`digits` has them; a dash where there is none."""
    value, low, high = (digits(interval[end], places, unit) for end in ("value", "low", "high"))
    return value if value == "–" else f"{value} ({low}–{high})"


def attack_table(summary: Mapping[str, Any]) -> str:
    """One row an attack: AUC of each detector, shares rejected, Dice, residual harm; 95 % intervals over subjects."""
    attacks = summary["attacks"]
    detectors = list(next(iter(attacks.values()))["auc"])
    extra = [way for way in next(iter(attacks.values()))["dice"] if way not in _DICE]
    header = ["attack", *(f"AUC {name}" for name in detectors), "rejected: attacked", "clean"]
    header += [f"Dice {way}" for way in (*_DICE.values(), *extra)] + ["residual harm", "L∞", "L2"]
    rows = []
    for name, result in attacks.items():
        row = [name, *(number(result["auc"][detector], 1) for detector in detectors)]
        row += [number(result["rejected_attacked"], 2), number(result["rejected_clean"], 2)]
        row += [number(result["dice"][way]) for way in (*_DICE, *extra)]
        rows.append([*row, number(result["residual_harm"]), digits(result["linf"]), digits(result["l2"], 2)])
    return markdown_table(header, rows)


def clean_table(summary: Mapping[str, Any]) -> str:
    """Clean Dice by reformer, and the false-positive rate."""
    clean = summary["clean"]
    rows = [[f"Dice, {way}", number(value)] for way, value in clean["dice"].items()]
    rows.append(["false-positive rate per scan", number(clean["false_positive_rate"])])
    rates = [rate for rate in clean["false_positive_rate_per_scan"].values() if digits(rate) != "–"]
    if rates:
        rows.append(["lowest and highest of a scan", f"{digits(min(rates))}, {digits(max(rates))}"])
    if clean["volumes_rejected"] is not None:
        rows.append(["clean volumes rejected", f"{clean['volumes_rejected']} of {summary['volumes']}"])
    return markdown_table(["clean test images", "value"], rows)


def structure_table(summary: Mapping[str, Any]) -> str:
    """Clean Dice per structure."""
    tables = summary["clean"]["dice_per_structure"]
    names = list(next(iter(tables.values())))
    rows = [[name, *(digits(tables[way][name]) for way in tables)] for name in names]
    return markdown_table(["structure", *tables], rows)


def evaluation_tables(summary: Mapping[str, Any]) -> str:
    """All tables of an evaluation."""
    return "\n\n".join([clean_table(summary), attack_table(summary), structure_table(summary)])


def plain(value: Any) -> Any:
    """NaN is no JSON: nothing stands there instead."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
