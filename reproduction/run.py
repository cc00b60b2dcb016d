# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The study from beginning to end, as its config runs it."""

import json
import sys
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from monai_shield.evaluation.provenance import provenance
from monai_shield.evaluation.tables import plain
from monai_shield.locks import or_exit
from monai_shield.utils import atomic_path
from reproduction.jobs import distributed
from reproduction.spectra import write_spectra
from reproduction.study import DefenseStudy
from reproduction.summary import DefenseSummary
from reproduction.tables import defense_tables, write_rows


def run_defense_study(study: DefenseStudy, dataset: str | Path) -> None:
    """
    Run a study or continue it, write its results beside its cells, as JSON and as one CSV file a table, and show them.

    Args:
        study: targets, attacks and defenses.
        dataset: folder of the data set; its name is recorded.
    """
    with distributed():
        or_exit(study.run)
        if idist.get_rank() == 0:
            or_exit(_write_defenses, study, Path(dataset).name)


def _write_defenses(study: DefenseStudy, dataset: str) -> None:
    run = {"seed": study.settings.seed, "processes": idist.get_world_size(), "dataset": dataset}
    facts = provenance(study.device, **run) | study.diary.summary()
    tables = DefenseSummary(study).as_dict()
    results = _rounded(plain(tables | {"settings": study.settings_as_dict(), "provenance": facts}))
    with atomic_path(study.output_dir / "results.json") as temporary:
        temporary.write_text(json.dumps(results, separators=(",", ":")) + "\n")
    write_rows(results, study.output_dir)
    write_spectra(study)
    text = "\n\n".join(f"{title}\n\n{table}" for title, table in defense_tables(results).items()) + "\n"
    with atomic_path(study.output_dir / "results.md") as temporary:
        temporary.write_text(text)
    sys.stdout.write(text)


def _rounded(value: Any) -> Any:
    """Six digits tell more than any interval here is wide, and halve the file."""
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
