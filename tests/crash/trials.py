# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Killing a command, running two at once, filling its disk: what is done to it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compare import leftovers
from stage import Stage, last_lines, said, wait
from world import Command

#: How a command says that its disk is full, or read-only.
FULL = re.compile(r"\[Errno (27|28|30)\]|File too large|No space left on device|Read-only file system")
#: What a second process on one folder is told.
REFUSED = re.compile(r"another run writes|another process|other settings", re.IGNORECASE)


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


def kill(stage: Stage, trial: Trial) -> None:
    """Kill it, look, start it again, compare."""
    struck = 0
    for at in trial.at:
        status = stage.run(environment={"CRASH_AT": at})
        struck += status == -signal.SIGKILL
        if status == -signal.SIGKILL:
            stage.look()
        elif status != stage.command.status:
            stage.note("failed", [f"exit status {status} before it was killed", *last_lines(stage.folder)[-1:]])
    stage.found["struck"] = struck
    stage.found["left over by the kill"] = len(leftovers(stage.out))
    status = stage.run(log="log of the last")
    if trial.over and stage.command.refuses:
        stage.found["said"] = said(stage, REFUSED, "log of the last")
        stage.note("failed", [] if status == 1 else [f"exit status {status} in a folder of other settings"])
        stage.finish(stage.command.status, other=True)
    else:
        stage.finish(status, trial.over)


def two_at_once(stage: Stage, trial: Trial) -> None:
    """Stop it somewhere, run a second process on its folder, let the first go on; the second may be the other run."""
    first = stage.start(environment={"CRASH_AT": trial.at[0]})
    _, waited = os.waitpid(first.pid, os.WUNTRACED)
    if not os.WIFSTOPPED(waited):
        first.returncode = os.waitstatus_to_exitcode(waited)
        stage.note("failed", [f"exit status {first.returncode} before it was stopped"])
        return
    second = stage.run(trial.over, "log of the second")
    stage.look()
    first.send_signal(signal.SIGCONT)
    status = wait(first)
    if second == stage.command.status:
        stage.found["second"] = "ran"
    else:
        stage.found["second"] = "was refused"
        stage.found["said"] = said(stage, REFUSED, "log of the second")
    # who ends last has the last word, or both have done the same
    this, other = (len(stage.differs(run, trial.over)) for run in ("this", "other"))
    stage.finish(status, trial.over, other=trial.over and second == stage.command.status and other < this)


def full_disk(stage: Stage, trial: Trial) -> None:
    """Give it less room than it needs; then enough."""
    needed = sum(path.stat().st_size for path in (stage.reference / "this").rglob("*") if path.is_file())
    with disk(stage.folder / "disk", size=f"{max(4, int(trial.room * needed) // 1024)}k") as change:
        largest = None if change else {"CRASH_FILE_SIZE": str(max(64, int(trial.room * needed / 8)))}
        stage.found["disk"] = "tmpfs" if change else "limit on the size of a file"
        status = stage.run(environment=largest)
        stage.found["room"] = "enough" if stage.differs("this", over=False) == [] else "too little"
        if stage.found["room"] == "too little":
            stage.found["said"] = said(stage, FULL)
            stage.found["last line"] = last_lines(stage.folder)[-1]
            stage.note("failed", [] if status else [f"exit status {status} though not all of it could be written"])
        stage.look()
        stage.found["left over by the kill"] = len(leftovers(stage.out))
        if change:
            change("size=64m")
        stage.finish(stage.run(log="log of the second"), trial.over)
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
        stage.found["said"] = said(stage, FULL)
        stage.found["last line"] = last_lines(stage.folder)[-1]
        if status in (0, None):
            stage.note("failed", [f"exit status {status} though nothing can be written"])
        change("rw")
        stage.finish(stage.run(log="log of the second"), trial.over)


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


def wrong(found: dict[str, Any]) -> bool:
    """Whether something was found that must not be."""
    return any(what in found for what in WRONG) or found.get("said", "one line") != "one line"


def perform(trial: Trial, command: Command, folder: Path, world: Path, reference: Path) -> dict[str, Any]:
    """Do one trial in a folder, which is gone where nothing was wrong; returns what was found."""
    if (folder / "disk").is_mount():  # of a search that was killed itself
        subprocess.run(["umount", str(folder / "disk")], check=True)
    shutil.rmtree(folder, ignore_errors=True)
    stage = Stage(folder, world, command, reference)
    stage.out.parent.mkdir(parents=True)
    if trial.over and trial.kind == "kill":
        shutil.copytree(reference / "other", stage.out)
    DEEDS[trial.kind](stage, trial)
    if not wrong(stage.found):
        shutil.rmtree(folder)
    return stage.found
