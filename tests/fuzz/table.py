# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The outcomes of a search as a table, and into docs/bad_input.md."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fuzz.oracle import OUTCOMES

HEADER = ("what", "tried", *OUTCOMES)


def table(outcomes: Sequence[Mapping[str, Any]]) -> str:
    """One row a kind of mutation, the sum last, in markdown."""
    kinds = sorted({outcome["what"] for outcome in outcomes})
    rows = [(kind, Counter(o["outcome"] for o in outcomes if o["what"] == kind)) for kind in kinds]
    rows.append(("all", Counter(o["outcome"] for o in outcomes)))
    cells = [HEADER, ("---", *["---:"] * (len(HEADER) - 1))]
    cells += [(kind, str(sum(count.values())), *(str(count[o]) for o in OUTCOMES)) for kind, count in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def summary(outcomes: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> str:
    """The table, and what it stands for."""
    facts = ", ".join(f"{key} {value}" for key, value in settings.items())
    return f"{table(outcomes)}\n\n{facts}."


def kinds_of_wrong(outcomes: Sequence[Mapping[str, Any]]) -> str:
    """Each kind of wrong outcome with its number and one example."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for outcome in outcomes:
        if outcome["outcome"] == "wrong":
            why = re.sub(r"-?\d[\d.e+-]*", "#", outcome["why"])
            found.setdefault((outcome["what"], why[:100]), []).append(outcome)
    lines = []
    for (what, _), examples in sorted(found.items(), key=lambda item: -len(item[1])):
        one = examples[0]
        lines.append(f"{len(examples):4d}  {what}: {one['why'][:200]}")
        lines.append(f"      case {one['number']}: {one['detail'][:200]} [{one['reason'][:200]}]")
    return "\n".join(lines)


def reasons(outcomes: Sequence[Mapping[str, Any]]) -> str:
    """The reasons given for refusals and rejections, numbers and names left out, the most frequent first."""
    count: Counter[str] = Counter()
    for outcome in outcomes:
        if outcome["outcome"] in ("refused", "rejected"):
            count[re.sub(r"'[^']*'", "'…'", re.sub(r"\d[\d.e+-]*", "#", outcome["reason"]))] += 1
    return "\n".join(f"{number:5d}  {reason}" for reason, number in count.most_common())


def fill_page(page: Path, text: str) -> None:
    """
    Put the table between ``<!-- fuzz -->`` and ``<!-- /fuzz -->``.

    Raises:
        ValueError: where the page has no such markers.
    """
    before, start, rest = page.read_text().partition("<!-- fuzz -->\n")
    _, end, after = rest.partition("<!-- /fuzz -->")
    if not start or not end:
        raise ValueError(f"'{page}' has no markers 'fuzz'.")
    page.write_text(f"{before}{start}{text}\n{end}{after}")
