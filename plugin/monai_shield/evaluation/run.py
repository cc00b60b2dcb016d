# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""An evaluation from beginning to end, as a config runs it."""

import json
import sys
from pathlib import Path
from typing import Any

from monai_shield.evaluation.provenance import provenance
from monai_shield.evaluation.slice_evaluation import SliceEvaluation
from monai_shield.evaluation.tables import plain
from monai_shield.locks import or_exit
from monai_shield.utils import atomic_path


def run_evaluation(evaluation: SliceEvaluation, dataset: str | Path, seed: int = 0, **more: Any) -> dict[str, Any]:
    """
    Run an evaluation or continue it, write its results beside its cells and show its tables.

    Args:
        evaluation: of a shield or of attacks.
        dataset: folder of the data set; its name is recorded.
        seed: of the bundle, recorded.
        more: anything else to be recorded.

    Returns:
        the numbers.
    """
    return or_exit(_run, evaluation, {"seed": seed, "dataset": Path(dataset).name, **more})


def _run(evaluation: SliceEvaluation, more: dict[str, Any]) -> dict[str, Any]:
    summary = evaluation.summary(evaluation.run())
    tables = evaluation.tables(summary)
    summary["provenance"] = provenance(evaluation.device, **more)
    for name, text in {"results.json": json.dumps(plain(summary), indent=1), "results.md": tables}.items():
        with atomic_path(evaluation.output_dir / name) as temporary:
            temporary.write_text(text + "\n")
    sys.stdout.write(tables + "\n")
    return summary
