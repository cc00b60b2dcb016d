# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Fill the generated parts of the pages: tables from stored results, the API list from docstrings. ``make docs``."""

from __future__ import annotations

import csv
import importlib
import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import monai_shield
from monai_shield.attacks import ATTACKS, TARGETS
from monai_shield.attacks.losses import LOSSES
from monai_shield.evaluation import attack_study_table
from monai_shield.evaluation.tables import (
    attack_table,
    clean_table,
    fill_markers,
    markdown_table,
    number,
    short_table,
    structure_table,
)
from reproduction.claims import claim_table
from reproduction.image_set import MEAN, POOLED
from reproduction.published import PAPER_AUC
from reproduction.report.page import defense_captions
from reproduction.tables import MEASURES, all_targets, defense_tables, find

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "bundles" / "brain_mri_shield" / "docs"
STUDY = ROOT / "reproduction" / "results"
FURTHER = STUDY / "further"
#: Columns of what a defense achieves, after its AUC.
ACHIEVED = {"clean": "clean, undefended"} | MEASURES


def api_list() -> str:
    """Every public name of every room with the first paragraph of its docstring."""
    lines = []
    for room in monai_shield.ROOMS:
        module = importlib.import_module(f"monai_shield.{room}")
        rows = []
        for name, value in sorted(vars(module).items()):
            ours = getattr(value, "__module__", "").startswith(f"monai_shield.{room}")
            alias = name.endswith(("D", "Dict")) and hasattr(module, name.removesuffix("Dict").removesuffix("D") + "d")
            if ours and not name.startswith("_") and not alias and inspect.getdoc(value):
                rows.append([f"`{name}`", first_paragraph(value)])
        if rows:
            intro = (module.__doc__ or "").strip().splitlines()[0]
            lines += [f"## monai_shield.{room}", "", intro, "", markdown_table(["name", "what"], rows), ""]
    return "\n".join(lines)


def first_paragraph(value: object) -> str:
    """The first paragraph of its docstring, in one line."""
    return " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split()).replace("|", "\\|")


def attack_list() -> str:
    """Every attack with its source."""
    rows = []
    for name, attack in sorted(ATTACKS.items()):
        info = attack.info
        source = info.paper if info.year is None else f"{info.paper} ({info.year})"
        if info.arxiv is not None:
            source += f", [arXiv {info.arxiv}](https://arxiv.org/abs/{info.arxiv})"
        rows.append([f"`{name}`", f"`{attack.__name__}`", info.name, source])
    return markdown_table(["name", "class", "attack", "source"], rows)


def by_name(things: Mapping[str, object]) -> str:
    """What a setting can be, with the first paragraph of each docstring."""
    return markdown_table(["name", "what"], [[f"`{name}`", first_paragraph(value)] for name, value in things.items()])


def curve(name: str) -> str:
    """A learning curve, as trained."""
    with (BUNDLE / "training" / f"{name}_curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return markdown_table(list(rows[0]), [list(row.values()) for row in rows])


def provenance(summary: dict) -> str:
    """What the numbers came from."""
    facts = summary["provenance"]
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def row_by_row(results: Mapping[str, Any], reasons: Mapping[str, str] | None = None) -> str:
    """The rows of the paper's Table 1 beside ours, means of the targets, and why they differ."""
    rows = []
    for name, paper in PAPER_AUC.items():
        where = {"detector": name, "target": MEAN, "attack": POOLED}
        for row in find(results["detection"], **where, variant="exported"):
            raw = find(results["detection"], **where, variant="raw")[0]["auc"]
            why = [] if reasons is None else [reasons[name]]
            ours = [number(auc, 1) for auc in (raw, row["auc"], row["adjusted"])]
            rows.append([name, f"{paper['mean']:.1f}", *ours, *why])
    header = ["AUC", "paper", "here, raw", "here, exported", "exported, given foreground"]
    return markdown_table(header if reasons is None else [*header, "why"], rows)


def achieved(row: Mapping[str, Any]) -> list[str]:
    """AUC of a defense, and its columns of Dice and shares."""
    return [number(row["auc"], 1), *(number(row[key], 2) for key in ACHIEVED)]


def one_defense(results: Mapping[str, Any], defense: str, adjusted: bool) -> str:
    """What one defense achieves against the pooled attacks, exported, beside the paper's AUC of its detector."""
    where = {"defense": defense, "attack": POOLED, "variant": "exported", "adjusted": adjusted}
    rows = []
    for target in all_targets(results):
        for row in find(results["defenses"], target=target, **where):
            paper = PAPER_AUC[row["detector"]][target]
            rows.append([target, f"{paper:.1f}", *achieved(row)])
    return markdown_table(["target", "AUC, paper", "AUC, here", *ACHIEVED.values()], rows)


def attack_by_attack(results: Mapping[str, Any], defense: str, adjusted: bool) -> str:
    """What one defense achieves against each attack on each target, exported."""
    found = find(results["defenses"], defense=defense, variant="exported", adjusted=adjusted)
    rows = [[row["target"], row["attack"], *achieved(row)] for row in found if row["attack"] != POOLED]
    return markdown_table(["target", "attack", "AUC", *ACHIEVED.values()], rows)


def study_parts(results: dict) -> dict[str, str]:
    """The tables of the study of defenses by title, its figures by name, and what the numbers came from."""
    return {
        "row by row": row_by_row(results, json.loads((STUDY / "reasons.json").read_text())),
        "defense 13": one_defense(results, "13", adjusted=False),
        "defense 13, given foreground": one_defense(results, "13", adjusted=True),
        "defense 13, attack by attack": attack_by_attack(results, "13", adjusted=False),
        "defense 13, attack by attack, given foreground": attack_by_attack(results, "13", adjusted=True),
        "median, attack by attack": attack_by_attack(results, "median", adjusted=False),
        "claims": claim_table(results),
        **defense_tables(results),
        **{f"figure {name}": f"![{text}]({name}.png)" for name, text in defense_captions(results).items()},
        "provenance": provenance(results),
    }


def fill_study(folder: Path = STUDY) -> bool:
    """
    Fill the page of a study of defenses where its results are there; returns whether it changed.

    A page shows what it has markers for: all is too much without folds, and stands in ``report.html``.
    """
    page, file = folder / "README.md", folder / "results.json"
    if not file.is_file():
        return False
    parts = study_parts(json.loads(file.read_text()))
    # a table of which these results have nothing must not stay as it was
    shown = re.findall(r"^<!-- ([^/].*) -->$", page.read_text(), re.MULTILINE)
    return fill_markers(page, {name: parts.get(name, "") for name in shown})


def main() -> bool:
    """Fill all pages; returns whether one changed."""
    summary = json.loads((BUNDLE / "results.json").read_text())
    parts = {
        "results": short_table(summary),
        "clean": clean_table(summary),
        "paper": row_by_row(json.loads((STUDY / "results.json").read_text())),
    }
    full = {
        "clean": clean_table(summary),
        "attacks": attack_table(summary),
        "structures": structure_table(summary),
        "provenance": provenance(summary),
        "target curve": curve("target"),
        "detector curve": curve("detector"),
        "reformer curve": curve("reformer"),
    }
    study = json.loads((BUNDLE / "attack_study.json").read_text())
    attacks = {
        "attacks": attack_list(),
        "losses": by_name(LOSSES),
        "targets": by_name(TARGETS),
        "attack study": attack_study_table(study),
        "attack study provenance": provenance(study),
        "attack benchmark": (ROOT / "benchmarks" / "results" / "attacks.md").read_text(),
    }
    changed = [
        fill_markers(ROOT / "README.md", parts),
        fill_markers(BUNDLE / "README.md", full),
        fill_markers(ROOT / "docs" / "attacks.md", attacks),
        fill_markers(ROOT / "docs" / "api.md", {"api": api_list()}),
        fill_study(),
        fill_study(FURTHER),
    ]
    return any(changed)


if __name__ == "__main__":
    main()
