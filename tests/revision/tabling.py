# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Facts of tables and pages: the numbers that are made of stored results, whatever the words around them."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from revision.adapting import scan_record
from revision.compact import Facts
from revision.inputs import CLASSES, draw
from revision.naming import Names

ROOM = "monai_shield.studies"
NUMBER = re.compile(r"[-+−]?\d+(?:\.\d+)?")
#: Results that are stored, and the module and function that makes tables of them.
STORED = ("docs/study/results.json", "docs/study/further/results.json")
EVALUATED = "bundles/brain_mri_shield/docs/results.json"
ATTACKED = "bundles/brain_mri_shield/docs/attack_study.json"


def table_facts(names: Names, facts: Facts, root: Path) -> None:
    """Add them all."""
    facts.step(_tables, names, facts, root)
    facts.step(_report, names, facts)


def numbers_of(text: str) -> str:
    """The numbers of a table, in order: words around them may change."""
    return " ".join(NUMBER.findall(text))


def _tables(names: Names, facts: Facts, root: Path) -> None:
    """The numbers of every table that is made of stored results, row by row."""
    for file in STORED:
        results = json.loads((root / names.path(file)).read_text())
        tables = names.call(f"{ROOM}.defense_tables.defense_tables", results)
        texts = [numbers_of("".join(line for line in table.splitlines())) for table in tables.values()]
        facts.lines(f"study/tables/{file}", {f"{number:03d}": text for number, text in enumerate(texts)})
        claims = names.call(f"{ROOM}.claims.claim_table", results)
        cells = [line.split("|")[-5:] for line in claims.splitlines()]
        facts.lines(
            f"study/claims/{file}", {f"{number:03d}": numbers_of(" ".join(cell)) for number, cell in enumerate(cells)}
        )
    summary = json.loads((root / names.path(EVALUATED)).read_text())
    for name in ("attack_table", "clean_table", "structure_table"):
        text = names.call(f"{ROOM}.tables.{name}", summary)
        facts.lines(
            f"study/tables/{EVALUATED}/{name}",
            {f"{k:03d}": numbers_of(line) for k, line in enumerate(text.splitlines())},
        )
    summary = json.loads((root / names.path(ATTACKED)).read_text())
    text = names.call(f"{ROOM}.attack_study_table", summary)
    facts.lines(f"study/tables/{ATTACKED}", {f"{k:03d}": numbers_of(line) for k, line in enumerate(text.splitlines())})
    for name, column in names.find(f"{ROOM}.published.PAPER_AUC").items():
        facts.add(f"study/published/{names.value_before(name)}", list(column.values()))


def _report(names: Names, facts: Facts) -> None:
    """What the demo measures and shows."""
    room = "monai_shield.report"
    image = np.asarray(draw(9, 8))
    facts.add("report/log_spectrum", names.call(f"{room}.figures.log_spectrum", image))
    facts.add("report/log_spectrum/padded", names.call(f"{room}.figures.log_spectrum", image, (12, 14), False))
    reference, other = ((np.asarray(draw(6, 5, 4, seed=seed)) * CLASSES).astype(int) for seed in (1, 2))
    other[other == 2] = 0
    answers = {"one": other, "two": np.roll(reference, 1, 0)}
    inside = np.zeros((6, 5, 4), dtype=bool)
    inside[2:4] = True
    found = names.call(f"{room}.demo_result.dice_records", reference, answers, inside, ["a", "b", "c"])
    facts.table("report/dice", found)
    scores: list[Any] = [None, 0.5, 0.7, 0.2, 0.9, 0.1]
    decision = {
        "rejected": True,
        "score": 0.4,
        "threshold": 0.3,
        "p_value": None,
        "reason": "far",
        "scored": 5,
        "slice_scores": scores,
        "slice_p_values": [None, 0.2, 0.1, 0.9, 0.01, 1.0],
        "slice_rejected": [False, False, True, False, True, False],
    }
    told = names.settings("decision", decision)
    positions = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    facts.table("report/scan", scan_record(names, told, positions, (1.5, 4.5)))
