# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A process that solves cases and says when it starts on which, so that somebody can watch it."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

#: Memory in bytes that a run may take beyond what its process had before; beyond twice as much it is refused any.
MEMORY = 2 << 30


def status(pid: int | str, name: str) -> int:
    """A number of ``/proc/<pid>/status`` in bytes; 0 where there is no such thing."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0


def work(connection: Connection, settings: dict[str, Any]) -> None:
    """
    Solve what comes through the connection, a list of numbers each, until None comes.

    Sends ("ready",), ("start", what is known of each case, bytes in use), ("beat",), ("stop", peak in bytes),
    ("outcome", dict), ("done", bytes in use); ("broken", words) where
    the search itself fails.
    """
    folder = Path(settings["output"]) / "work" / str(os.getpid())
    folder.mkdir(parents=True)
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(log), "w") for _ in range(2))

    import torch

    from fuzz.bench import Bench, Hooks
    from fuzz.case import Mutant
    from fuzz.oracle import Verdict
    from fuzz.scans import load_scans

    torch.set_num_threads(1)
    output = Path(settings["output"])
    probes = [output / "plain" / f"{name}.nii" for name in ("plain", "strange")]
    scans = load_scans(output / "scans")
    bench = Bench(output / "plain" / "bundles" / "brain_mri_shield", probes, scans, folder, settings["seed"])
    bench.know_probes()
    limit = status("self", "VmSize") + 2 * MEMORY
    if limit > 2 * MEMORY:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def start(mutants: dict[int, Mutant]) -> None:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        known = {number: {"what": mutant.what, "detail": mutant.detail} for number, mutant in mutants.items()}
        connection.send(("start", known, status("self", "VmRSS")))

    bench.hooks = Hooks(
        lambda: connection.send(("beat",)), start, lambda: connection.send(("stop", status("self", "VmHWM")))
    )

    def report(number: int, mutant: Mutant, verdict: Verdict) -> None:
        outcome = {"number": number, "what": mutant.what, "detail": mutant.detail, "outcome": verdict.outcome}
        if verdict.outcome == "wrong":
            keep(folder / str(number), output / "wrong" / str(number))
        shutil.rmtree(folder / str(number), ignore_errors=True)
        connection.send(("outcome", outcome | {"why": verdict.why, "reason": verdict.reason}))

    connection.send(("ready",))
    while (numbers := connection.recv()) is not None:
        try:
            bench.solve(numbers, report)
        except Exception:
            connection.send(("broken", traceback.format_exc()))
            raise
        for left in folder.glob("out*"):
            shutil.rmtree(left, ignore_errors=True)
        connection.send(("done", status("self", "VmRSS")))


def keep(source: Path, place: Path) -> None:
    """Keep the files of a case; what is no regular file, or is large, by name alone: the command makes it again."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for path in sorted(source.rglob("*")):
        with contextlib.suppress(OSError):
            if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 24:
                target = place / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
