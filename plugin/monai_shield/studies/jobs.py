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
"""Work that several processes share: each job is done once, by whichever process is free."""

from __future__ import annotations

import datetime
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ignite.distributed as idist
import torch.distributed
from tqdm import tqdm

__all__ = ["Job", "distributed", "run_jobs"]

#: A process may wait for another one that trains for hours.
PATIENCE = datetime.timedelta(days=7)


@dataclass(frozen=True)
class Job:
    """
    Something to be done once.

    Args:
        name: what it is called; unique among the jobs that are run together.
        done: whether it was done before.
        run: does it and keeps its result where every process finds it.
    """

    name: str
    done: Callable[[], bool]
    run: Callable[[], object]


@contextmanager
def distributed() -> Iterator[None]:
    """Within it the processes that torchrun started know of each other; where it did not, there is but one."""
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1 or torch.distributed.is_initialized()
    if not alone:
        idist.initialize("gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        if not alone:
            idist.finalize()


def run_jobs(jobs: Sequence[Job], claims: str | Path, description: str) -> None:
    """
    Do what was not done before; returns in every process when all of it is.

    A process that is free takes the next job that nobody has taken, by making a file of its name. That balances jobs
    that differ in length, and asks of the processes no more than a folder that all of them see.

    Args:
        jobs: the same in every process.
        claims: folder for these files; emptied.
        description: what the progress bar says.
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
            job.run()
            claim.with_suffix(".done").touch()
            bar.update(len(list(folder.glob("*.done"))) - bar.n)
        idist.barrier()
        bar.update(len(pending) - bar.n)
