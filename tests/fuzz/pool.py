# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Workers, and a watch over them: who hangs, takes too much memory or dies is known by the case it was at."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from fuzz.worker import MEMORY, keep, status, work

Task = Callable[[Connection, dict[str, Any]], None]
#: Seconds a file may take: of computing, and in all where nothing is computed, as when a pipe is read.
SECONDS, WAITING = 20, 60
#: Cases after which a worker is replaced, and cases in one run.
LIFE, BATCH = 500, 20


class Worker:
    """A process and what it is at."""

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=task, args=(theirs, settings), daemon=True)
        self.process.start()
        theirs.close()
        self.ready = self.busy = False
        self.solved = 0
        self.memory = 0  # in use before the run that goes on
        self.peak = 0
        self.todo: list[int] = []
        self.at: dict[int, dict[str, str]] = {}  # cases of the run that goes on
        self.beat()

    def beat(self) -> None:
        self.since, self.computed = time.monotonic(), self.seconds()

    def seconds(self) -> float:
        """Seconds of computing so far."""
        with contextlib.suppress(OSError, IndexError):
            parts = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")
        return 0.0

    def fault(self) -> str:
        """What is wrong with the run that goes on; empty where nothing is."""
        if not self.at:
            return ""
        waited, computed = time.monotonic() - self.since, self.seconds() - self.computed
        if computed > SECONDS or waited > WAITING:
            return f"hangs: {computed:.0f} s of computing in {waited:.0f} s (limit {SECONDS} and {WAITING})"
        peak = max(self.peak, status(self.process.pid or 0, "VmHWM"))
        if peak and peak - self.memory > MEMORY:
            return f"memory: {(peak - self.memory) / 2**30:.1f} GB more than before (limit {MEMORY / 2**30:.0f})"
        return ""

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def solve_all(
    numbers: Sequence[int],
    settings: dict[str, Any],
    workers: int,
    outcome: Callable[[dict[str, Any]], None],
    task: Task = work,
) -> None:
    """
    Solve cases in processes of their own.

    Args:
        numbers: of the cases.
        settings: "output", a folder, and "seed".
        workers: how many processes.
        outcome: called with each.
        task: what a process does.

    Raises:
        RuntimeError: where a process ends that was at no case, or the search itself fails.
    """
    queue = deque(list(numbers[at : at + BATCH]) for at in range(0, len(numbers), BATCH))
    pool: list[Worker] = []
    try:
        while queue or any(worker.busy for worker in pool):
            for worker in [w for w in pool if w.ready and not w.busy and w.solved >= LIFE]:
                worker.end()
                pool.remove(worker)
            while len(pool) < min(workers, len(queue) + sum(w.busy for w in pool)):
                pool.append(Worker(settings, task))
            for worker in pool:
                if worker.ready and not worker.busy and queue:
                    worker.todo, worker.busy = queue.popleft(), True
                    worker.connection.send(list(worker.todo))
            ready = wait([worker.connection for worker in pool], timeout=0.1)
            for worker in list(pool):
                alive = worker.connection not in ready or _listen(worker, outcome)
                fault = worker.fault() if alive else f"died: exit code {_code(worker)}"
                if fault:
                    worker.end()
                    pool.remove(worker)
                    _take_over(worker, fault, queue, settings, outcome)
    finally:
        for worker in pool:
            worker.end()
    shutil.rmtree(Path(settings["output"]) / "work", ignore_errors=True)


def _listen(worker: Worker, outcome: Callable[[dict[str, Any]], None]) -> bool:
    """Take what a worker says; whether it lives."""
    connection: Connection = worker.connection
    try:
        while connection.poll():
            kind, *content = connection.recv()
            worker.beat()
            if kind == "ready":
                worker.ready = True
            elif kind == "start":
                worker.at, worker.memory, worker.peak = *content, 0
            elif kind == "stop":
                worker.peak = content[0]
                if worker.fault():  # a peak that was over before anybody looked
                    return True
                worker.at = {}
            elif kind == "broken":
                raise RuntimeError(f"the search itself failed among the cases {worker.todo}: {content[0]}")
            elif kind == "outcome":
                worker.todo.remove(content[0]["number"])
                worker.solved += 1
                outcome(content[0])
            elif kind == "done":
                worker.busy = False
                if content[0] > 3 << 30:  # it has grown: others have to live as well
                    worker.solved = LIFE
    except (EOFError, OSError):
        return False
    return True


def _code(worker: Worker) -> int | None:
    worker.process.join(5)
    return worker.process.exitcode


def _take_over(
    worker: Worker,
    fault: str,
    queue: deque[list[int]],
    settings: dict[str, Any],
    outcome: Callable[[dict[str, Any]], None],
) -> None:
    """A run of one case that went wrong is its outcome; of several, each is tried again alone."""
    folder = Path(settings["output"]) / "work" / str(worker.process.pid)
    if not worker.ready:
        raise RuntimeError(f"a worker {fault} before its first case, see '{folder / 'log.txt'}'.")
    left = list(worker.todo)
    if len(worker.at) == 1:
        ((number, known),) = worker.at.items()
        left.remove(number)
        keep(folder / str(number), Path(settings["output"]) / "wrong" / str(number))
        outcome({"number": number, **known, "outcome": "wrong", "why": fault, "reason": ""})
    elif not worker.at:
        raise RuntimeError(f"the search itself {fault}, among the cases {left}, see '{folder / 'log.txt'}'.")
    queue.extendleft(
        [[number] for number in reversed(left)] if worker.at and len(worker.at) > 1 else [left] if left else []
    )
    shutil.rmtree(folder, ignore_errors=True)
