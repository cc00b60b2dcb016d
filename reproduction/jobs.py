# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Work that several processes share: each job is done once, by whichever process is free."""

import csv
import datetime
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ignite.distributed as idist
import torch.distributed
from tqdm import tqdm

from monai_shield.evaluation.provenance import git_revision, today

#: A process may wait for another one that trains for hours.
PATIENCE = datetime.timedelta(days=7)


@dataclass(frozen=True)
class Job:
    """
    Work that is done once.

    Args:
        name: unique among the jobs that are run together.
        done: whether it was done before.
        run: does it and keeps its result where every process finds it.
    """

    name: str
    done: Callable[[], bool]
    run: Callable[[], object]


class Diary:
    """
    A line for every job that is done: date, revision of the code, stage, seconds and name.

    Args:
        path: CSV file; several processes may write to it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def note(self, stage: str, job: str, seconds: float) -> None:
        """Add a line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # a line that is short enough is appended whole, whoever else writes
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow([today(), git_revision() or "", stage, f"{seconds:.1f}", job])

    def summary(self) -> dict[str, str]:
        """The revisions, and the hours that the processes spent on each stage; empty without a line."""
        if not self.path.is_file():
            return {}
        with self.path.open(newline="") as file:
            lines = [line for line in csv.reader(file) if len(line) == 5]  # a full disk may have cut one short
        hours: dict[str, float] = {}
        for _, _, stage, seconds, _ in lines:
            hours[stage] = hours.get(stage, 0.0) + float(seconds) / 3600
        return {
            "revisions": " ".join(dict.fromkeys(line[1] for line in lines if line[1])),
            "hours of one process": ", ".join(f"{stage} {spent:.2f}" for stage, spent in hours.items()),
        }


@contextmanager
def distributed() -> Iterator[None]:
    """Within it the processes that torchrun started know of each other."""
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1 or torch.distributed.is_initialized()
    if not alone:
        idist.initialize("gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        if not alone:
            idist.finalize()


def run_jobs(jobs: Sequence[Job], claims: str | Path, description: str, diary: Diary | None = None) -> None:
    """
    Do the jobs that were not done before. Every process returns when all jobs are done.

    A free process takes the next job that no other process has taken, by making a file of its name. So long and short
    jobs are balanced, and the processes share nothing but a folder.

    Args:
        jobs: the same in every process.
        claims: folder for these files; emptied.
        description: what the progress bar says.
        diary: where each job is noted.
    """
    folder = Path(claims)
    pending = [job for job in jobs if not job.done()]
    # nobody begins before all know what is left, nor before the claims of a run that was killed are gone
    idist.barrier()
    if idist.get_rank() == 0:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    idist.barrier()
    with tqdm(total=len(pending), desc=description, unit="job", disable=idist.get_rank() != 0) as bar:
        for job in pending:
            claim = folder / hashlib.sha256(job.name.encode()).hexdigest()
            try:
                claim.touch(exist_ok=False)
            except FileExistsError:
                continue
            bar.set_postfix_str(job.name)
            before = time.perf_counter()
            job.run()
            if diary is not None:
                diary.note(description, job.name, time.perf_counter() - before)
            claim.with_suffix(".done").touch()
            bar.update(len(list(folder.glob("*.done"))) - bar.n)
        idist.barrier()
        bar.update(len(pending) - bar.n)
