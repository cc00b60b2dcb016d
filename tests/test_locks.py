# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""One run at a time in a folder, and how it ends where it cannot go on."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from monai_shield.locks import RefusedError, lock_file, make_folder, one_run, or_exit

HOLDING = """
import sys, time
from monai_shield.locks import one_run
with one_run(sys.argv[1], of_file=sys.argv[1].endswith('.pt')):
    print("within", flush=True)
    time.sleep(100)
"""


@pytest.mark.parametrize("name", ["folder", "folder.v2", "file.pt"])
def test_a_second_process_is_refused_until_the_first_is_gone_however_it_goes(name: str, tmp_path: Path) -> None:
    path, of_file = tmp_path / "new" / name, name == "file.pt"
    plugin = Path(__file__).parents[1] / "plugin"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(plugin), os.environ.get("PYTHONPATH", "")])}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "within\n"
    with pytest.raises(RefusedError, match=rf"another run writes to '.*{name}'"), one_run(path, of_file):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with one_run(path, of_file):
        assert lock_file(path, of_file).is_file()
    assert not path.is_file()


def test_what_is_done_beside_it_is_not_stopped(tmp_path: Path) -> None:
    with one_run(tmp_path / "a.pt", True), one_run(tmp_path / "b.pt", True), one_run(tmp_path / "c"), one_run(tmp_path):
        pass
    with one_run(tmp_path / "a.pt", True):  # again
        pass


def test_what_a_user_can_mend_ends_with_one_line() -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model.pt")

    def in_use() -> None:
        raise RefusedError("another run writes to 'here'.")

    assert or_exit(sorted, [1, 2], reverse=True) == [2, 1]
    for function, line in (
        (full, "monai-shield: [Errno 28] No space left on device: 'model.pt'"),
        (in_use, "monai-shield: another run writes to 'here'."),
    ):
        with pytest.raises(SystemExit) as stopped:
            or_exit(function)
        assert stopped.value.code == line


def test_a_folder_that_cannot_be_made_ends_with_one_line(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"^monai-shield: .*file/b'$"):
        make_folder(tmp_path / "file" / "b")


def test_a_mistake_of_the_program_keeps_its_traceback(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("monai_shield.locks"), "disabled", False)  # as a bundle's logging.conf does
    with pytest.raises(ZeroDivisionError):
        or_exit(lambda: 1 / 0)
    caplog.set_level(logging.DEBUG, "monai_shield.locks")
    with pytest.raises(SystemExit):
        or_exit(open, "nowhere/at/all")
    assert "FileNotFoundError" in caplog.text
