# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""One evaluation from beginning to end, as a bundle runs it."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from monai_shield.evaluation.attack_study import AttackStudy, attack_study_table
from monai_shield.evaluation.provenance import provenance
from monai_shield.evaluation.shield_evaluation import ShieldEvaluation
from monai_shield.evaluation.summary import EvaluationSummary
from monai_shield.evaluation.tables import plain, write_results
from monai_shield.locks import or_exit
from monai_shield.utils import atomic_path


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
