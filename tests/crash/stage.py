# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Where a command is disturbed: it is started there, and what it leaves is looked at."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compare import broken, content, differences, different, finals, leftovers, open_sums
from world import REPOSITORY, Command

#: How :func:`~compare.differences` tells of a file too much.
NOBODY = "should not be there"
#: Seconds after which a command hangs.
LIMIT = 300.0
HERE = Path(__file__).parent


@dataclass
class Stage:
    """
    Where a trial takes place.

    Args:
        folder: of the trial, to work in.
        world: of the commands.
        command: the command.
        reference: folder with what its undisturbed runs left, ``this`` and ``other``.
    """

    folder: Path
    world: Path
    command: Command
    reference: Path
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """Folder of the results; within one that may be a disk of its own."""
        return self.folder / "disk" / "out"

    def start(
        self, other: bool = False, log: str = "log", environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """The real command, in a process of its own."""
        temporary = self.folder / "tmp"
        for folder in (temporary, self.out.parent):
            folder.mkdir(parents=True, exist_ok=True)
        folders = [HERE / "sitecustomize", REPOSITORY / "plugin", REPOSITORY]
        path = os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])
        settings = {"PYTHONPATH": path, "TMPDIR": str(temporary), "CRASH_ROOT": str(self.folder)}
        settings |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "120"}
        with (self.folder / log).open("ab") as stream:
            return subprocess.Popen(
                self.command.argv(self.out, other),
                cwd=self.world,
                env={**os.environ, **settings, **(environment or {})},
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def run(self, other: bool = False, log: str = "log", environment: dict[str, str] | None = None) -> int | None:
        """Its exit status; None where it hangs."""
        return wait(self.start(other, log, environment))

    def note(self, what: str, lines: list[str]) -> None:
        """Keep what is wrong."""
        if lines:
            self.found.setdefault(what, []).extend(lines[:6])

    def look(self) -> None:
        """What must be true of the folder at any moment, also right after a kill."""
        self.note("half-written", broken(self.out))
        self.note("sum open", open_sums(self.out))
        if self.command.record:
            self.note("mixed", list(self._mixed()))

    def _mixed(self) -> Iterator[str]:
        """Results of one file that are of two runs, or of one that is over; and labels without a decision."""
        files = finals(self.out)
        runs = {name: self._runs(name, path) for name, path in files.items()}
        record, strict = self.command.record, self.command.strict
        begun = any(found == {"this"} for found in runs.values())
        for name in files:
            for ending in self.command.told:
                if strict and name.endswith(ending) and f"{name.removesuffix(ending)}{record}" not in files:
                    yield f"{name}: stands alone"
            if not name.endswith(record):
                continue
            same = runs[name]
            for each in (f"{name.removesuffix(record)}{ending}" for ending in self.command.told):
                without = {run for run in ("this", "other") if not (self.reference / run / each).is_file()}
                same = same & (runs[each] if each in files else {"this", "other"} if strict else without)
            if not same:
                yield f"{name}: is of another run than what lies beside it"
            elif strict and begun and same == {"other"}:
                yield f"{name}: is of the run before"

    def _runs(self, name: str, path: Path) -> set[str]:
        """Of which run a file may be."""
        try:
            found = content(path)
            there = {run: self.reference / run / name for run in ("this", "other")}
            return {run for run, file in there.items() if file.is_file() and different(found, content(file)) is None}
        except Exception:  # it is told of by broken()
            return set()

    def differs(self, run: str, over: bool) -> list[str]:
        """Where the results are not those of a run."""
        found = differences(self.out, self.reference / run)
        if over:  # a cell's name tells what it depends on: those of the other run are nobody's, or have replaced these
            found = [line for line in found if not re.match(f"cells/.*({NOBODY}|is missing)$", line)]
        return found

    def finish(self, status: int | None, over: bool = False, other: bool = False) -> None:
        """What must be true when the command has run to its end: that it did as this run, or as the other one."""
        if status != self.command.status:
            self.note("failed", ["hangs" if status is None else f"exit status {status}", *last_lines(self.folder)[-1:]])
        self.note("differs", self.differs("other" if other else "this", over))
        self.note("sum open at the end", open_sums(self.out))
        self.found["left over"] = len(leftovers(self.out))
        self.found["left in the temporary folder"] = len(list((self.folder / "tmp").glob("tmp*")))


def wait(process: subprocess.Popen[bytes]) -> int | None:
    """The exit status of a process; None where it hangs, and is killed."""
    try:
        return process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def last_lines(folder: Path, log: str = "log") -> list[str]:
    """The last lines that a command said."""
    lines = (folder / log).read_text(errors="replace").replace("\r", "\n").splitlines()
    return [line.strip() for line in lines if line.strip()][-200:]


def said(stage: Stage, reason: re.Pattern[str], log: str = "log") -> str:
    """
    How a failed command told why: in "one line", in one of "no name" of a file or folder, in a "traceback", or not at
    all: "unclear".
    """
    lines = last_lines(stage.folder, log)
    found = [line for line in lines if reason.search(line)]
    if not found:
        return "unclear"
    if any(line.startswith("Traceback") for line in lines):
        return "traceback"
    return "one line" if any(str(stage.folder) in line for line in found) else "no name"
