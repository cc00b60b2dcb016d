# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Fill the generated parts of the pages: tables from stored results, lists from docstrings. ``make docs``."""

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
from monai_shield.detectors import DETECTORS
from monai_shield.evaluation import attack_study_table
from monai_shield.evaluation.tables import (
    attack_table,
    clean_table,
    digits,
    markdown_table,
    number,
    structure_table,
)
from monai_shield.utils import atomic_path
from reproduction.claims import claim_table
from reproduction.image_set import MEAN, POOLED
from reproduction.published import PAPER_AUC
from reproduction.report.page import defense_captions
from reproduction.tables import MEASURES, all_targets, defense_tables, find
from tools.measure import facts

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "bundles" / "brain_mri_shield" / "docs"
STUDY = ROOT / "reproduction" / "results"
#: Columns of what a defense achieves, after its AUC.
ACHIEVED = {"clean": "clean, undefended"} | MEASURES
Results = Mapping[str, Any]


def main() -> None:
    """Fill all pages."""
    for page, parts in page_parts().items():
        fill_markers(page, parts)


def page_parts() -> dict[Path, dict[str, str]]:
    """Of every page that has generated parts: the name of their markers, and the text between."""
    summary = json.loads((BUNDLE / "results.json").read_text())
    study = json.loads((BUNDLE / "attack_study.json").read_text())
    return {
        ROOT / "README.md": {
            "results": readme_table(summary),
            "clean": clean_table(summary),
            "paper": row_by_row(json.loads((STUDY / "results.json").read_text())),
        },
        BUNDLE / "README.md": {
            "clean": clean_table(summary),
            "attacks": attack_table(summary),
            "structures": structure_table(summary),
            "provenance": provenance(summary),
            **{f"{name} curve": curve(name) for name in ("target", "detector", "reformer")},
        },
        ROOT / "docs" / "attacks.md": {
            "attacks": attack_list(),
            "losses": by_name(LOSSES),
            "targets": by_name(TARGETS),
            "attack study": attack_study_table(study),
            "attack study provenance": provenance(study),
            "attack benchmark": (ROOT / "benchmarks" / "results" / "attacks.md").read_text(),
        },
        ROOT / "docs" / "method.md": {"detectors": detector_list()},
        ROOT / "docs" / "api.md": {"api": api_list()},
        ROOT / "docs" / "architecture.md": {"measures": measures()},
        **{page: shown_parts(page) for folder in (STUDY, STUDY / "further") for page in sorted(folder.glob("*.md"))},
    }


def api_list() -> str:
    """Every public name of every room with the first paragraph of its docstring."""
    lines = []
    for room in monai_shield.ROOMS:
        module = importlib.import_module(f"monai_shield.{room}")
        rows = []
        for name, value in sorted(vars(module).items()):
            ours = getattr(value, "__module__", "").startswith(f"monai_shield.{room}")
            if ours and not name.startswith("_") and inspect.getdoc(value):
                rows.append([f"`{name}`", first_paragraph(value)])
        if rows:
            intro = (module.__doc__ or "").strip().splitlines()[0]
            lines += [f"## monai_shield.{room}", "", intro, "", markdown_table(["name", "what"], rows), ""]
    return "\n".join(lines)


def first_paragraph(value: object) -> str:
    """The first paragraph of its docstring, in one line."""
    return " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split()).replace("|", "\\|")


def source(info: Any) -> str:
    """Paper and year of an attack or a detector, with a link."""
    text = info.paper if info.year is None else f"{info.paper} ({info.year})"
    if info.arxiv is not None:
        return f"{text}, [arXiv {info.arxiv}](https://arxiv.org/abs/{info.arxiv})"
    doi = getattr(info, "doi", None)
    return text if doi is None else f"{text}, [doi {doi}](https://doi.org/{doi})"


def attack_list() -> str:
    """Every attack with its source."""
    rows = []
    for name, attack in sorted(ATTACKS.items()):
        rows.append([f"`{name}`", f"`{attack.__name__}`", attack.info.name, source(attack.info)])
    return markdown_table(["name", "class", "attack", "source"], rows)


def detector_list() -> str:
    """Every detector with its source."""
    rows = [[f"`{kind.__name__}`", kind.info.name, source(kind.info)] for kind in DETECTORS]
    return markdown_table(["class", "score", "source"], rows)


def by_name(things: Mapping[str, object]) -> str:
    """What a setting can be, with the first paragraph of each docstring."""
    return markdown_table(["name", "what"], [[f"`{name}`", first_paragraph(value)] for name, value in things.items()])


def curve(name: str) -> str:
    """A learning curve, as trained."""
    with (BUNDLE / "training" / f"{name}_curve.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    return markdown_table(header, rows)


def provenance(summary: Results) -> str:
    """What the numbers came from."""
    return ", ".join(f"{key} {value}" for key, value in summary["provenance"].items())


def readme_table(summary: Results) -> str:
    """The exported attacks, narrow enough for a laptop's window."""
    header = ["attack", "AUC shield", "AUC median", "rejected", "Dice", "Dice repaired", "residual harm"]
    first = next(iter(summary["attacks"].values()))
    clean = [digits(value["value"], 2) for value in (first["rejected_clean"], first["dice"]["clean"])]
    rows = [["none: clean slices", "–", "–", *clean, "–", "–"]]
    rows += [
        [
            name.removesuffix(", exported"),
            *(digits(attack["auc"][detector]["value"], 1) for detector in ("combined", "median consistency")),
            digits(attack["rejected_attacked"]["value"], 2),
            *(digits(attack["dice"][way]["value"], 2) for way in ("attacked", "reformed")),
            digits(attack["residual_harm"]["value"]),
        ]
        for name, attack in summary["attacks"].items()
        if name.endswith(", exported")
    ]
    return markdown_table(header, rows)


def measures() -> str:
    """Facts about the code."""
    return markdown_table(["measure", "value"], [[name, value] for name, value in facts().items()])


def shown_parts(page: Path) -> dict[str, str]:
    """The parts of a study that a page beside its results has markers for; empty where the results have none."""
    parts = study_parts(json.loads((page.parent / "results.json").read_text()))
    markers = re.findall(r"^<!-- ([^/].*) -->$", page.read_text(), re.MULTILINE)
    return {name: parts.get(name, "") for name in markers}


def study_parts(results: Results) -> dict[str, str]:
    """The tables of the study of defenses by title, its figures by name, and what the numbers came from."""
    return {
        "row by row": row_by_row(results, json.loads((STUDY / "reasons.json").read_text())),
        "defense 13": one_defense(results, "13", adjusted=False),
        "defense 13, adjusted": one_defense(results, "13", adjusted=True),
        "defense 13, attack by attack": attack_by_attack(results, "13", adjusted=False),
        "defense 13, attack by attack, adjusted": attack_by_attack(results, "13", adjusted=True),
        "median, attack by attack": attack_by_attack(results, "median", adjusted=False),
        "claims": claim_table(results),
        **defense_tables(results),
        **{f"figure {name}": f"![{text}]({name}.png)" for name, text in defense_captions(results).items()},
        "provenance": provenance(results),
    }


def row_by_row(results: Results, reasons: Mapping[str, str] | None = None) -> str:
    """The rows of the paper's Table 1 beside ours, means of the targets, and why they differ."""
    rows = []
    for name, paper in PAPER_AUC.items():
        where = {"detector": name, "target": MEAN, "attack": POOLED}
        for row in find(results["detection"], **where, variant="exported"):
            raw = find(results["detection"], **where, variant="raw")[0]["auc"]
            ours = [number(auc, 1) for auc in (raw, row["auc"], row["adjusted"])]
            rows.append([name, f"{paper['mean']:.1f}", *ours, *([] if reasons is None else [reasons[name]])])
    header = ["AUC", "paper", "here, raw", "here, exported", "exported, adjusted"]
    return markdown_table(header if reasons is None else [*header, "why"], rows)


def achieved(row: Results) -> list[str]:
    """AUC of a defense, and its columns of Dice and shares."""
    return [number(row["auc"], 1), *(number(row[key], 2) for key in ACHIEVED)]


def one_defense(results: Results, defense: str, adjusted: bool) -> str:
    """What one defense achieves against the pooled attacks, exported, beside the paper's AUC of its detector."""
    where = {"defense": defense, "attack": POOLED, "variant": "exported", "adjusted": adjusted}
    rows = [
        [target, f"{PAPER_AUC[row['detector']][target]:.1f}", *achieved(row)]
        for target in all_targets(results)
        for row in find(results["defenses"], target=target, **where)
    ]
    return markdown_table(["target", "AUC, paper", "AUC, here", *ACHIEVED.values()], rows)


def attack_by_attack(results: Results, defense: str, adjusted: bool) -> str:
    """What one defense achieves against each attack on each target, exported."""
    found = find(results["defenses"], defense=defense, variant="exported", adjusted=adjusted)
    rows = [[row["target"], row["attack"], *achieved(row)] for row in found if row["attack"] != POOLED]
    return markdown_table(["target", "attack", "AUC", *ACHIEVED.values()], rows)


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


if __name__ == "__main__":
    main()
