# Copyright (c) The monai-shield authors.
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""One evaluation from beginning to end, as a bundle runs it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import ignite.distributed as idist

from monai_shield.locks import or_exit
from monai_shield.utils import atomic_path

from .attack_study import AttackStudy, attack_study_table
from .defense_summary import DefenseSummary
from .defense_tables import defense_tables, write_rows
from .defenses import DefenseStudy
from .evaluation import ShieldEvaluation
from .jobs import distributed
from .origin import provenance
from .spectra import write_spectra
from .summary import EvaluationSummary
from .tables import plain, write_results

__all__ = ["run_attack_study", "run_defense_study", "run_evaluation"]


def run_evaluation(
    evaluation: ShieldEvaluation, structures: Sequence[str], seed: int = 0, **more: Any
) -> dict[str, Any]:
    """Run it (or go on with it), write its results beside its cells, and show the tables."""
    return or_exit(_evaluate, evaluation, structures, seed, more)


def _evaluate(
    evaluation: ShieldEvaluation, structures: Sequence[str], seed: int, more: dict[str, Any]
) -> dict[str, Any]:
    results = evaluation.run()
    summary = EvaluationSummary(results, evaluation.shield.detector.calibrated(), structures).as_dict()
    text = write_results(summary, evaluation.output_dir, provenance(evaluation.device, seed=seed, **more))
    sys.stdout.write(text)
    return summary


def run_attack_study(study: AttackStudy, seed: int = 0, **more: Any) -> dict[str, Any]:
    """Run it (or go on with it), write its results and its table beside its cells, and show the table."""
    return or_exit(_study_attacks, study, seed, more)


def _study_attacks(study: AttackStudy, seed: int, more: dict[str, Any]) -> dict[str, Any]:
    summary = study.summary(study.run()) | {"provenance": provenance(study.device, seed=seed, **more)}
    table = attack_study_table(summary)
    for name, text in {"results.json": json.dumps(plain(summary), indent=1), "results.md": table}.items():
        with atomic_path(study.output_dir / name) as temporary:
            temporary.write_text(text + "\n")
    sys.stdout.write(table + "\n")
    return summary


def run_defense_study(study: DefenseStudy, comparisons: Sequence[tuple[str, str]] = (), **more: Any) -> None:
    """
    Run it (or go on with it), write its results beside its cells, as JSON and as one CSV file a table, and show them.

    Args:
        study: it.
        comparisons: pairs of detectors that are compared on the same people.
        more: anything else to be remembered of the run.
    """
    # refuses what is misspelled before hours are spent
    summary = DefenseSummary(study, comparisons)
    with distributed():
        or_exit(study.run)
        if idist.get_rank() == 0:
            or_exit(_write_defenses, summary, more)


def _write_defenses(summary: DefenseSummary, more: dict[str, Any]) -> None:
    study = summary.study
    facts = provenance(study.device, seed=study.seed, processes=idist.get_world_size(), **more)
    facts |= study.diary.summary()
    results = _rounded(plain(summary.as_dict() | {"settings": study.described(), "provenance": facts}))
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
