# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""
Facts of a checkout: what is stored in it, and what its code computes on small inputs.

It runs in a process of its own, with one thread: ``python -m revision.facts --output facts.json``, the code of the
checkout and this folder's parent on PYTHONPATH. ``tools/compare.py`` runs it under two codes.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from revision.compact import Facts
from revision.naming import Names


def facts_of(root: Path, before: bool = False, portable: bool = False, only: str = "", timed: bool = False) -> Facts:
    """
    All facts of a checkout whose code can be imported.

    Args:
        root: folder of the checkout.
        before: whether its code has the old names.
        portable: whether to leave out what holds on the same machine only.
        only: beginning of the name of the part that is wanted; by default all.
        timed: whether to say how long each part took.
    """
    # imported here: a broken part is then one that is asked for
    from revision import attacking, declared, defending, detecting, running, stored, studying, surface, transforming

    names = Names(before)
    facts = Facts(names, portable)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        parts: dict[str, Callable[[], None]] = {
            "stored": lambda: stored.stored_facts(names, root, facts),
            "surface": lambda: surface.surface_facts(names, facts),
            "attacking": lambda: attacking.attack_facts(names, facts, folder),
            "defending": lambda: defending.defense_facts(names, facts),
            "detecting": lambda: detecting.detector_facts(names, facts),
            "transforming": lambda: transforming.transform_facts(names, facts, folder),
            "study": lambda: studying.study_facts(names, facts, root, folder),
            "declared": lambda: declared.declared_facts(names, facts, root, folder),
            "running": lambda: running.bundle_facts(names, facts, root, folder),
        }
        for part, add in parts.items():
            if part.startswith(only):
                started = time.perf_counter()
                torch.manual_seed(0)
                facts.tolerance = 1e-5
                facts.step(add)
                if timed:
                    print(f"{part}: {time.perf_counter() - started:.1f} s")  # noqa: T201
    return facts


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[2], help="folder of the checkout")
    parser.add_argument("--before", action="store_true", help="its code is that of the revision before")
    parser.add_argument("--portable", action="store_true", help="leave out what holds on the same machine only")
    parser.add_argument("--only", default="", help="beginning of the name of the part that is wanted")
    parser.add_argument("--timed", action="store_true", help="say how long each part took")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    asked = parser.parse_args()
    os.environ["MPLBACKEND"] = "Agg"
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    facts = facts_of(asked.root.resolve(), asked.before, asked.portable, asked.only, asked.timed)
    for step, reason in facts.failures.items():
        print(f"{step} failed:\n{reason}", file=sys.stderr)  # noqa: T201
    content = {
        "failures": facts.failures,
        "records": facts.records,
        "tolerances": facts.tolerances,
        "details": facts.details,
    }
    asked.output.write_text(json.dumps(content))


if __name__ == "__main__":
    main()
