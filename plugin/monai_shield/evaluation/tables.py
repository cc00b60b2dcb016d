# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Tables that a terminal and a Markdown page both show well."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_shield.utils import atomic_path

logger = logging.getLogger(__name__)
Interval = Mapping[str, float]


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


_DICE = {
    "clean": "clean",
    "attacked": "attacked",
    "reformed": "reformed",
    "accepted": "of the accepted",
    "rejected_as_zero": "rejected as 0",
    "rejected_deferred": "rejected deferred",
}


def fill_markers(page: str | Path, parts: Mapping[str, str]) -> bool:
    """
    Put generated text between the markers ``<!-- name -->`` and ``<!-- /name -->`` of a page.

    Args:
        page: Markdown file.
        parts: name of a marker to the text between.

    Returns:
        whether the page changed.

    Raises:
        ValueError: where a marker is missing.
    """
    file = Path(page)
    before = text = file.read_text()
    for name, part in parts.items():
        head, start, rest = text.partition(f"<!-- {name} -->\n")
        _, end, tail = rest.partition(f"<!-- /{name} -->")
        if not start or not end:
            raise ValueError(f"'{file}' has no markers '{name}'.")
        text = f"{head}{start}{part.rstrip()}\n{end}{tail}"
    if text != before:
        with atomic_path(file) as temporary:
            temporary.write_text(text)
    return text != before


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


def write_results(summary: Mapping[str, Any], folder: str | Path, provenance: Mapping[str, Any]) -> str:
    """Write ``results.json`` and ``results.md``; returns the tables as text."""
    root = Path(folder)
    text = "\n\n".join([clean_table(summary), attack_table(summary), structure_table(summary)]) + "\n"
    with atomic_path(root / "results.json") as temporary:
        temporary.write_text(json.dumps(plain({**summary, "provenance": dict(provenance)}), indent=1) + "\n")
    with atomic_path(root / "results.md") as temporary:
        temporary.write_text(text)
    logger.info("results in '%s'.", root)
    return text


def plain(value: Any) -> Any:
    """NaN is no JSON: nothing stands there instead."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
