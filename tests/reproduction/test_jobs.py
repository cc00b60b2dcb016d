# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Every job is done once, by whoever is free."""

from __future__ import annotations

import csv
import os
import socket
import time
from functools import partial
from pathlib import Path

import ignite.distributed as idist
import pytest
import torch.distributed
from torch.multiprocessing import start_processes

from reproduction import jobs as jobs_module
from reproduction.jobs import Diary, Job, distributed, run_jobs


def make(folder: Path, names: list[str], seconds: float = 0.0) -> list[Job]:
    """Jobs that each write a file of their name, which no second run of a job could."""
    folder.mkdir(exist_ok=True)

    def work(path: Path) -> None:
        time.sleep(seconds)
        with path.open("x") as file:
            file.write(str(os.getpid()))

    return [Job(name, (folder / name).exists, partial(work, folder / name)) for name in names]


def test_each_is_done_once_and_what_was_done_before_is_left_alone(tmp_path: Path) -> None:
    jobs = make(tmp_path / "done", ["a", "b", "c"])
    jobs[1].run()
    before = (tmp_path / "done" / "b").stat().st_mtime_ns
    run_jobs(jobs, tmp_path / "claims", "testing")
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == ["a", "b", "c"]
    assert (tmp_path / "done" / "b").stat().st_mtime_ns == before
    run_jobs(jobs, tmp_path / "claims", "testing")  # a job that ran again would raise
    run_jobs([], tmp_path / "claims", "testing")


def test_a_run_that_was_killed_goes_on(tmp_path: Path) -> None:
    def killed() -> None:
        raise KeyboardInterrupt

    jobs = make(tmp_path / "done", ["a", "b", "c"])
    with pytest.raises(KeyboardInterrupt):
        run_jobs([jobs[0], Job("b", jobs[1].done, killed), jobs[2]], tmp_path / "claims", "testing")
    assert [job.done() for job in jobs] == [True, False, False]
    run_jobs(jobs, tmp_path / "claims", "testing")  # though "b" is claimed by one that is no more
    assert all(job.done() for job in jobs)


def test_the_diary_tells_who_did_it_and_how_long_it_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "git_revision", lambda: "abc")
    diary = Diary(tmp_path / "run" / "diary.csv")
    assert diary.summary() == {}
    run_jobs(make(tmp_path / "done", ["a, b", "c"]), tmp_path / "claims", "testing", diary)
    run_jobs(make(tmp_path / "done", ["a, b", "c", "d"]), tmp_path / "claims", "testing", diary)
    with (tmp_path / "run" / "diary.csv").open(newline="") as file:
        assert [(line[2], line[4]) for line in csv.reader(file)] == [("testing", name) for name in ("a, b", "c", "d")]
    diary.note("other", "long", 5400)
    monkeypatch.setattr(jobs_module, "git_revision", lambda: None)  # no checkout
    diary.note("other", "longer", 3600)
    assert diary.summary() == {"revisions": "abc", "hours of one process": "testing 0.00, other 2.50"}


def share(rank: int, port: int, folder: Path) -> None:
    """What one of two processes does."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with distributed():
        assert idist.get_world_size() == 2
        with distributed():  # whoever comes second leaves it to the first
            pass
        assert torch.distributed.is_initialized()
        jobs = make(folder / "done", [str(i) for i in range(12)], 0.02) + make(folder / "done", ["long"], 0.5)
        run_jobs(jobs, folder / "claims", "testing")
        (folder / f"returned {rank}").write_text(str(sum(job.done() for job in jobs)))
    assert not torch.distributed.is_initialized()


def test_a_line_that_a_full_disk_cut_short_is_passed_over(tmp_path: Path) -> None:
    diary = Diary(tmp_path / "diary.csv")
    diary.note("training", "a", 3600)
    whole = diary.path.read_bytes()
    for cut in range(1, len(whole) - len("0,a\r\n")):  # what is left of the seconds tells less, or nothing
        diary.path.write_bytes(whole + whole[:cut])
        diary.note("measuring", "b", 1800)
        diary.note("measuring", "c", 1800)
        assert diary.summary()["hours of one process"].startswith("training 1.00, measuring")


def test_two_processes_share_them(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # forked, they need not import anything; of what a fork must not share, nothing is used
    start_processes(share, (port, tmp_path), nprocs=2, start_method="fork")
    workers = [path.read_text() for path in (tmp_path / "done").iterdir()]
    assert len(workers) == 13
    assert len(set(workers)) == 2
    # both return only when all is done, whoever did it
    assert [(tmp_path / f"returned {rank}").read_text() for rank in range(2)] == ["13", "13"]


def test_alone_nothing_is_initialized(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed():
        assert not torch.distributed.is_initialized()
        assert idist.get_world_size() == 1
