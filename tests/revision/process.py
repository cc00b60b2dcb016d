# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Facts in a process of their own, with one thread and nothing else in it; two sets of them compared."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from revision.compact import alike, missing_entries
from revision.naming import Names

TESTS = Path(__file__).parents[1]
#: What a fact is compared with where nothing else is said.
TOLERANCE = 1e-5


def facts_in_process(root: Path, before: bool = False, portable: bool = False) -> dict[str, Any]:
    """
    Records, tolerances and details of a checkout's facts.

    Args:
        root: folder of the checkout.
        before: whether its code has the old names.
        portable: whether to leave out what holds on the same machine only.
    """
    variables = {
        "CUDA_VISIBLE_DEVICES": "",
        "MALLOC_MMAP_THRESHOLD_": "4294967296",
        "MALLOC_TRIM_THRESHOLD_": "4294967296",
        "MKL_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(str(each) for each in (root / "plugin", root, TESTS)),
        "TQDM_DISABLE": "1",
    }
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch, "facts.json")
        command = [sys.executable, "-m", "revision.facts", "--root", str(root), "--output", str(output)]
        command += ["--before"] * before + ["--portable"] * portable
        done = subprocess.run(command, env={**os.environ, **variables}, cwd=scratch, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the facts of '{root}' could not be computed:\n{done.stderr[-4000:]}")
        return json.loads(output.read_text())


def changes(before: Mapping[str, Any], after: Mapping[str, Any], exact: bool = False) -> dict[str, str]:
    """
    What differs, by name of the fact, in words. Facts that only the code as it is now has are no difference.

    Args:
        before: of the revision before.
        after: of the code as it is now.
        exact: whether the same bits are asked for.
    """
    found = {f"failed: {step}": reason for step, reason in after.get("failures", {}).items()}
    for name, expected in before["records"].items():
        if Names.gone(name):
            continue
        if expected[0] == "{}":
            expected = ["{}", {key: value for key, value in expected[1].items() if not Names.gone(f"{name}/{key}")}]
        record = after["records"].get(name)
        if record is None:
            found[name] = "is missing"
        elif not alike(expected, record, 0.0 if exact else before["tolerances"].get(name, TOLERANCE) or 0.0):
            lines = [before.get("details", {}).get(name), after.get("details", {}).get(name)]
            found[name] = _words(expected, record, lines)
    return found


def _words(expected: list[Any], record: list[Any], lines: list[Any]) -> str:
    if expected[0] == record[0] == "{}":
        return "; ".join(f"{key}: {words}" for key, words in missing_entries(expected, record).items())
    if None in lines:
        return f"{expected[1:]} is {record[1:]}"
    first, second = lines
    wrong = [key for key in first if first[key] != second.get(key)] + [key for key in second if key not in first]
    shown = "; ".join(f"{key}: {first.get(key)} is {second.get(key)}"[:300] for key in wrong[:5])
    return f"{len(wrong)} of {len(first)} values, {shown}"


def number_of_values(facts: Mapping[str, Any]) -> int:
    """How many values stand behind facts: the lines of those that have some, else one."""
    lines = facts["details"]
    return sum(len(lines[name]) if name in lines else 1 for name in facts["records"])
