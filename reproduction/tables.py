# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The tables of a study of defenses, from its results as they are stored."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_shield.evaluation.tables import DICE_VARIANTS, digits, markdown_table, number
from monai_shield.utils import atomic_path
from reproduction.image_set import MEAN, POOLED, VARIANTS
from reproduction.published import PAPER_AUC

Results = Mapping[str, Any]
Row = Mapping[str, Any]
TABLES = ("targets", "detectors", "undefended", "detection", "comparisons", "defenses", "baseline_defenses", "roc")
#: Columns of a defense: its key in the results, its heading.
MEASURES = {
    "undefended": "undefended",
    **DICE_VARIANTS,
    "harm": "residual harm",
    "accepted_attacked": "accepted: attacked",
    "accepted_clean": "accepted: clean",
    "clean_reformed": "clean, reformed",
}


def find(rows: Sequence[Row], **wanted: Any) -> list[Row]:
    """The rows that have these values."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def defense_tables(results: Results) -> dict[str, str]:
    """Every table by its title."""
    groups = detector_groups(results)
    tables = {
        "Targets on clean test scans": target_table(results),
        "Clean Dice by structure": structure_table(results),
        "Attacks on bare targets": undefended_table(results),
        "How the attacks are made": attack_setting_table(results),
        "How the networks were trained": training_table(results),
    }
    for variant in VARIANTS:
        for group in groups:
            tables[f"AUC, {group}, {variant}"] = auc_table(results, group, variant)
        for attack in attack_columns(results):
            tables[f"AUC by detector, {attack}, {variant}"] = auc_table(results, None, variant, attack)
        if results["comparisons"]:
            tables[f"Comparisons, {variant}"] = comparison_table(results, variant)
        for target in all_targets(results):
            tables[f"Defenses of {target}, pooled, {variant}"] = defense_table(results, target, POOLED, variant)
        tables[f"Defenses adjusted, pooled, {variant}"] = defense_table(results, MEAN, POOLED, variant, True)
        if results["baseline_defenses"]:
            tables[f"Baseline defenses, pooled, {variant}"] = baseline_table(results, variant)
    return tables


def target_table(results: Results) -> str:
    """Size and clean Dice of the targets."""
    rows = [[row["target"], f"{row['parameters']:,}", number(row["dice"])] for row in results["targets"]]
    return markdown_table(["target", "parameters", "mean Dice, clean"], rows)


def structure_table(results: Results) -> str:
    """Clean Dice of each structure."""
    targets = results["targets"]
    rows = [
        [structure, *(number(row["structures"][structure]) for row in targets)]
        for structure in targets[0]["structures"]
    ]
    return markdown_table(["structure", *(row["target"] for row in targets)], rows)


def undefended_table(results: Results) -> str:
    """What the attacks do to the bare targets."""
    header = ["target", "attack", "variant", "slices", "Dice clean", "Dice attacked", "L∞, /255", "L2", "steps"]
    rows = [
        [
            row["target"],
            row["attack"],
            row["variant"],
            str(row["slices"]),
            number(row["clean"], 2),
            number(row["attacked"], 2),
            digits(row["norm_linf"], 1, 255),
            digits(row["norm_l2"], 2),
            digits(row["steps"], 0),
        ]
        for row in results["undefended"]
    ]
    return markdown_table(header, rows)


def attack_setting_table(results: Results) -> str:
    """The settings of the attacks, and of how many slices one is attacked."""
    attacks = results["settings"]["attacks"]
    return markdown_table(
        ["attack", "how", "one slice in"], [[name, row["attack"], str(row["every"])] for name, row in attacks.items()]
    )


def training_table(results: Results) -> str:
    """
    The settings of every training, its steps, and what a detector has learned by it.

    The error is the mean score of the clean validation slices, of each seed; those of one domain, representation and
    norm can be compared.
    """
    settings = results["settings"]
    rows = []
    for row in (*results["targets"], *results["detectors"]):
        name = row.get("target", row.get("detector"))
        training = settings["targets"].get(name) if "target" in row else settings["detectors"].get(name)
        if training is not None:
            errors = ", ".join(f"{error:.3g}" for error in row.get("val_error", ()))
            norm = f"L{row['p']:g}" if row.get("p") else ""
            rows.append([name, f"{row['parameters']:,}", str(row["steps"]), errors, norm, training])
    header = ["network", "parameters", "steps", "error on validation slices, by seed", "norm", "training"]
    return markdown_table(header, rows)


def defended(results: Results) -> list[str]:
    """The targets that are defended: all but the robust ones."""
    return [row["target"] for row in results["targets"] if not row["robust"]]


def attack_columns(results: Results) -> list[str]:
    """The attacks, in their order."""
    return list(dict.fromkeys(row["attack"] for row in results["undefended"]))


def detector_groups(results: Results) -> list[str]:
    """The groups of the detectors, in their order."""
    return list(dict.fromkeys(row["group"] for row in results["detectors"]))


def all_targets(results: Results) -> list[str]:
    """The targets that are defended, in their order, and after them their mean."""
    return [*defended(results), MEAN]


def auc_table(results: Results, group: str | None, variant: str, attack: str = POOLED) -> str:
    """
    ROC-AUC by detector and target, in percent.

    Args:
        results: of the study.
        group: of the detectors; all where it is None.
        variant: "raw" or "exported".
        attack: one of the attacks, or the pooled ones.
    """
    targets = defended(results)
    rows = []
    for about in results["detectors"]:
        if group is None or about["group"] == group:
            found = find(results["detection"], detector=about["detector"], attack=attack, variant=variant)
            by_target = {row["target"]: row for row in found}
            paper = PAPER_AUC.get(about["detector"], {}).get("mean")
            rows.append(
                [
                    about["detector"],
                    f"{about['parameters']:,}",
                    *(digits(by_target[target]["auc"]["value"], 1) for target in targets),
                    number(by_target[MEAN]["auc"], 1),
                    _range(by_target[MEAN]["seeds"]),
                    number(by_target[MEAN]["paired_win_rate"], 1),
                    number(by_target[MEAN]["adjusted"], 1),
                    "" if paper is None else digits(paper, 1),
                ]
            )
    return markdown_table(
        ["detector", "parameters", *targets, "mean", "seeds", "paired win rate", "adjusted", "paper"], rows
    )


def comparison_table(results: Results, variant: str) -> str:
    """Differences of AUC, pooled attacks, paired by subject."""
    targets = all_targets(results)
    pairs = dict.fromkeys((row["first"], row["second"]) for row in results["comparisons"])
    rows = []
    for first, second in pairs:
        found = find(results["comparisons"], first=first, second=second, attack=POOLED, variant=variant)
        by_target = {row["target"]: row["difference"] for row in found}
        rows.append([f"{first} − {second}", *(number(by_target[target], 1) for target in targets)])
    return markdown_table(["difference of AUC", *targets], rows)


def defense_table(results: Results, target: str, attack: str, variant: str, adjusted: bool = False) -> str:
    """One row a defense: the variants of Dice, residual harm, accepted shares."""
    found = find(results["defenses"], target=target, attack=attack, variant=variant, adjusted=adjusted)
    rows = [
        [
            row["defense"],
            row["detector"],
            row["reformer"],
            number(row["auc"], 1),
            *(number(row[name], 2) for name in MEASURES),
        ]
        for row in found
    ]
    return markdown_table(["", "detector", "reformer", "AUC", *MEASURES.values()], rows)


def baseline_table(results: Results, variant: str) -> str:
    """One row a baseline defense and target, the pooled attacks, on the slices that it is measured on."""
    found = find(results["baseline_defenses"], attack=POOLED, variant=variant)
    rows = [
        [row["defense"], row["target"], "adjusted" if row["adjusted"] else "as they are", number(row["auc"], 1)]
        + [number(row[name], 2) for name in MEASURES]
        for row in found
    ]
    return markdown_table(["defense", "target", "scores", "AUC", *MEASURES.values()], rows)


def write_rows(results: Results, folder: str | Path) -> None:
    """One CSV file a table, empty where it has no row; an interval becomes three columns."""
    for table in TABLES:
        rows = [dict(_flat(row)) for row in results[table]]
        with atomic_path(Path(folder) / f"{table}.csv") as temporary, temporary.open("w", newline="") as file:
            if rows:
                writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)


def _flat(row: Row, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name} ")
        elif isinstance(value, (list, tuple)):
            yield f"{prefix}{name}", " ".join("" if each is None else f"{each:.4g}" for each in value)
        else:
            yield f"{prefix}{name}", value


def _range(values: Sequence[float | None]) -> str:
    """Lowest and highest of several seeds."""
    if len(values) < 2:
        return ""
    known = [value for value in values if value is not None]
    return f"{min(known):.1f}–{max(known):.1f}" if known else "–"
