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
"""Killing a command, running two at once, filling its disk: what is done to it, and what is found afterwards."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compare import _different, broken, content, differences, finals, leftovers, open_sums
from world import REPOSITORY, Command

#: Seconds after which a command hangs.
LIMIT = 300.0
HERE = Path(__file__).parent
CALM = r"\[Errno (27|28|30)\]|File too large|No space left on device|Read-only file system"
TORN = re.compile(CALM)
#: What a second process on one folder is told.
REFUSED = re.compile(r"in use|another process|is locked|other settings", re.IGNORECASE)


@dataclass(frozen=True)
class Trial:
    """
    One thing that is done to a command.

    Args:
        number: of the trial; with the seed it makes all that is random.
        kind: "kill", "two at once", "full disk" or "read-only disk".
        command: its name.
        over: whether the folder holds the results of the command's other run.
        at: where it is struck, as ``CRASH_AT`` has it; several, one run after the other.
        room: share of what it needs that there is, where the disk is full.
        inside: whether the first is inside a write.
    """

    number: int
    kind: str
    command: str
    over: bool = False
    at: tuple[str, ...] = ()
    inside: bool = False
    room: float = 0.0


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

    def start(self, other: bool = False, log: str = "log", **environment: str) -> subprocess.Popen[bytes]:
        """The real command, in a process of its own."""
        temporary = self.folder / "tmp"
        for path in (temporary, self.out.parent):
            path.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join(
            [str(HERE / "sitecustomize"), str(REPOSITORY / "plugin"), os.environ.get("PYTHONPATH", "")]
        )
        settings = {"PYTHONPATH": path, "TMPDIR": str(temporary), "CRASH_ROOT": str(self.folder)}
        settings |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "120"}
        with (self.folder / log).open("ab") as stream:
            return subprocess.Popen(
                self.command.argv(self.out, other),
                cwd=self.world,
                env=os.environ | settings | environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def run(self, other: bool = False, log: str = "log", **environment: str) -> int | None:
        """Its exit status; None where it hangs."""
        return wait(self.start(other, log, **environment))

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
            return {run for run, file in there.items() if file.is_file() and _different(found, content(file)) is None}
        except Exception:  # it is told of by broken()
            return set()

    def finish(self, trial: Trial, status: int | None, other: bool = False) -> None:
        """What must be true when the command has run to its end."""
        if status != self.command.status:
            self.note("failed", ["hangs" if status is None else f"exit status {status}", *last_lines(self.folder)[-1:]])
        found = differences(self.out, self.reference / ("other" if other else "this"))
        if trial.over:  # a cell's name tells what it depends on: the other run's are nobody's
            found = [line for line in found if not (line.startswith("cells/") and line.endswith("should not be there"))]
        self.note("differs", found)
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


def said(folder: Path, reason: re.Pattern[str], log: str = "log") -> str:
    """How a failed command told why: "one line", "traceback" with the reason in it, or "unclear"."""
    lines = last_lines(folder, log)
    if not any(reason.search(line) for line in lines):
        return "unclear"
    return "traceback" if any(line.startswith("Traceback") for line in lines) else "one line"


def kill(stage: Stage, trial: Trial) -> None:
    """Kill it, look, start it again, compare."""
    struck = 0
    for at in trial.at:
        status = stage.run(CRASH_AT=at)
        struck += status == -signal.SIGKILL
        if status == -signal.SIGKILL:
            stage.look()
        elif status != stage.command.status:
            stage.note("failed", [f"exit status {status} before it was killed", *last_lines(stage.folder)[-1:]])
    stage.found["struck"] = struck
    stage.found["left over by the kill"] = len(leftovers(stage.out))
    stage.finish(trial, stage.run())


def two_at_once(stage: Stage, trial: Trial) -> None:
    """Stop it somewhere, run a second process on its folder, let the first go on; the second may be the other run."""
    first = stage.start(CRASH_AT=trial.at[0])
    _, waited = os.waitpid(first.pid, os.WUNTRACED)
    if not os.WIFSTOPPED(waited):
        first.returncode = os.waitstatus_to_exitcode(waited)
        stage.note("failed", [f"exit status {first.returncode} before it was stopped"])
        return
    second = stage.run(trial.over, "log of the second")
    stage.look()
    first.send_signal(signal.SIGCONT)
    status = wait(first)
    if second == stage.command.status and not trial.over:
        stage.found["second"] = "did the same"
    else:
        how = said(stage.folder, REFUSED, "log of the second")
        stage.found["second"] = "ran" if second == stage.command.status else f"refused, {how}"
        if second is None or (second != stage.command.status and how == "unclear"):
            stage.note("failed", [f"second: exit status {second}", *last_lines(stage.folder, "log of the second")[-1:]])
    found = [differences(stage.out, stage.reference / run) for run in ("this", "other")]
    ran = stage.found["second"] == "ran"
    stage.finish(trial, status, other=ran and len(found[1]) < len(found[0]))


def full_disk(stage: Stage, trial: Trial) -> None:
    """Give it less room than it needs; then enough."""
    needed = sum(path.stat().st_size for path in (stage.reference / "this").rglob("*") if path.is_file())
    with disk(stage.folder / "disk", size=f"{max(4, int(trial.room * needed) // 1024)}k") as change:
        largest = {} if change else {"CRASH_FILE_SIZE": str(max(64, int(trial.room * needed / 8)))}
        stage.found["disk"] = "tmpfs" if change else "limit on the size of a file"
        status = stage.run(**largest)
        if status == stage.command.status and status == 0:
            stage.found["said"] = "had room enough"
        else:
            stage.found["said"] = said(stage.folder, TORN)
            stage.found["last line"] = last_lines(stage.folder)[-1]
        stage.look()
        stage.found["left over by the kill"] = len(leftovers(stage.out))
        if change:
            change("size=64m")
        stage.finish(trial, stage.run(log="log of the second"))
        shutil.copytree(stage.out, stage.folder / "out")


def read_only_disk(stage: Stage, trial: Trial) -> None:
    """Let it run where it may not write; then where it may."""
    with disk(stage.folder / "disk", size="64m") as change:
        if change is None:
            stage.found["skipped"] = "a disk cannot be mounted here"
            return
        if trial.over:
            shutil.copytree(stage.reference / "other", stage.out)
        change("ro")
        status = stage.run()
        stage.found["said"] = "nothing" if status == 0 else said(stage.folder, TORN)
        stage.found["last line"] = last_lines(stage.folder)[-1]
        if status in (0, None):
            stage.note("failed", [f"exit status {status} though nothing can be written"])
        change("rw")
        stage.finish(trial, stage.run(log="log of the second"))


@contextmanager
def disk(folder: Path, size: str) -> Iterator[Callable[[str], None] | None]:
    """A small disk, and what changes it; None where none can be mounted."""
    folder.mkdir(parents=True, exist_ok=True)

    def mount(options: str, *source: str) -> bool:
        command = ["mount", "-o", options, *source, str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if shutil.which("mount") is None or not mount(f"size={size}", "-t", "tmpfs", "tmpfs"):
        yield None
        return
    try:
        yield lambda options: None if mount(f"remount,{options}") else _refuse(options)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _refuse(options: str) -> None:
    raise RuntimeError(f"cannot remount with {options}")


DEEDS: dict[str, Callable[[Stage, Trial], None]] = {
    "kill": kill,
    "two at once": two_at_once,
    "full disk": full_disk,
    "read-only disk": read_only_disk,
}
#: What must not be found.
WRONG = ("half-written", "mixed", "differs", "failed", "sum open at the end")


def perform(trial: Trial, command: Command, folder: Path, world: Path, reference: Path) -> dict[str, Any]:
    """Do one trial in a folder, which is gone where nothing was wrong; returns what was found."""
    shutil.rmtree(folder, ignore_errors=True)
    stage = Stage(folder, world, command, reference)
    stage.out.parent.mkdir(parents=True)
    if trial.over and trial.kind == "kill":
        shutil.copytree(reference / "other", stage.out)
    DEEDS[trial.kind](stage, trial)
    if not any(what in stage.found for what in WRONG):
        shutil.rmtree(folder)
    return stage.found
