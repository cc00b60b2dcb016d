# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""
Prove that nothing that was measured has changed since a revision: its facts and those of the working tree, computed one
after the other on this machine with one thread each, are compared to the last bit. Facts are what is stored (results,
spectra, weights, learning curves, configs) and what the code computes on small inputs (attacks, detectors, reformers,
networks, transforms, metrics, studies, the shipped bundle); names that were changed are translated by the table in
tests/revision/renames.py.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

from revision.process import TOLERANCE, changes, facts_in_process, number_of_values  # noqa: E402 - beside it, not installed

SNAPSHOT = REPOSITORY / "tests" / "revision" / "snapshot.json"


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """A temporary worktree of a revision, or the folder itself where it is one."""
    if Path(revision).is_dir():
        yield Path(revision).resolve()
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "before")
        git("worktree", "add", "--detach", str(folder), revision)
        try:
            yield folder
        finally:
            git("worktree", "remove", "--force", str(folder))


def git(*arguments: str) -> None:
    """Run git quietly."""
    done = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"git {' '.join(arguments)}: {done.stderr.strip()}")


def write_snapshot(facts: dict[str, Any]) -> None:
    """Keep what also holds on other machines, a fact a line."""
    kept = {name: record for name, record in facts["records"].items() if facts["tolerances"][name] is not None}
    for name, record in kept.items():
        if record[0] == "f":  # other machines round otherwise: the sum of the bytes says nothing
            kept[name] = [*record[:2], "", record[3]]
    unusual = {name: facts["tolerances"][name] for name in kept if kept[name][0] == "f"}
    lines = [f"{json.dumps(name)}: {json.dumps(record, separators=(',', ':'))}" for name, record in kept.items()]
    tolerances = json.dumps({name: each for name, each in unusual.items() if each != TOLERANCE}, indent=0)
    records = ",\n".join(lines)
    SNAPSHOT.write_text(f'{{"records": {{\n{records}\n}}, "tolerances": {tolerances}}}\n')


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", required=True, metavar="REV", help="revision to compare with, or a folder with it")
    parser.add_argument("--renamed", action="store_true", help="REV has the new names too")
    parser.add_argument("--snapshot", action="store_true", help=f"write {SNAPSHOT.name} from REV, and compare nothing")
    parser.add_argument("--shown", type=int, default=100, help="how many differences to print (default: 100)")
    asked = parser.parse_args()
    with checkout(asked.before) as folder:
        before = facts_in_process(folder, before=not asked.renamed)
    for step, reason in before["failures"].items():
        raise SystemExit(f"{step} failed before:\n{reason}")
    if asked.snapshot:
        write_snapshot(before)
        return 0
    after = facts_in_process(REPOSITORY)
    different = changes(before, after, exact=True)
    for name, words in list(different.items())[: asked.shown]:
        print(f"{name}: {words}")
    new = len(after["records"].keys() - before["records"].keys())
    print(
        f"{len(before['records'])} facts ({number_of_values(before)} values) of {asked.before} compared with the "
        f"working tree: {len(different)} differ, {new} are new."
    )
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
