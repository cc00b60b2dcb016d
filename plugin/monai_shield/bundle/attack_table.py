# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The table, the figure and the closing words of an attack on files."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_shield.command_line import file_stem
from monai_shield.report import AttackedSlice, attack_figure
from monai_shield.utils import atomic_path

Record = Mapping[str, Any]
ROWS = 4  # files in the figure


def write_table(records: Sequence[Record], path: Path) -> None:
    """Write a CSV file with one row a file."""
    rows = [_row(record) for record in records]
    with atomic_path(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys(column for row in rows for column in row)))
        writer.writeheader()
        writer.writerows(rows)


def _row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            row |= {f"{key.removesuffix('_by_structure')}: {name}": each for name, each in value.items()}
        else:
            row[key] = " ".join(f"{each:g}" for each in value) if isinstance(value, list) else value
    return row


def draw_figure(records: Sequence[Record], outputs: Sequence[tuple[Path, Path, Path]], title: str, path: Path) -> None:
    """Write a figure of the first files; outputs are attacked file, clean prediction and prediction on the former."""
    views = [
        AttackedSlice.of_files(
            Path(record["file"]),
            *files,
            tuple(record["window_in_file"]),
            record["world_axis"],
            f"{file_stem(record['file'])}: {_dices(record, 2)}",
        )
        for record, files in list(zip(records, outputs))[:ROWS]
    ]
    with atomic_path(path) as temporary:
        temporary.write_bytes(attack_figure(views, title))


def attack_words(records: Sequence[Record], output: str | Path) -> str:
    """What an attack on files came to, a line a file."""
    lines = []
    for record in records:
        share = record["flipped_read_back"]
        flipped = "none" if share is None else f"{share:.1%}"
        lines.append(f"{record['file']}: {flipped} of the attacked pixels flipped; {_dices(record, 3)}")
    return "\n".join([*lines, str(Path(output) / "figure.png")])


def _dices(record: Record, digits: int) -> str:
    clean, attacked = (
        "-" if value is None else f"{value:.{digits}f}" for value in (record["dice_clean"], record["dice_attacked"])
    )
    if record["label"] is None:  # then it is 1 on the clean file, whatever the network is worth
        return f"mean Dice {attacked} against the network's own clean answer"
    return f"mean Dice against the label {clean} clean, {attacked} attacked"
