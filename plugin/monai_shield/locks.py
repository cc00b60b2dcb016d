# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""One run at a time in a folder, and how a run ends that cannot go on: with one line."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from monai_shield.errors import UserError
from monai_shield.utils import first_line

logger = logging.getLogger(__name__)


class RefusedError(UserError):
    """A run that may not start: its folder is in use, or holds what was made with other settings."""


def lock_file(path: str | Path, of_file: bool = False) -> Path:
    """The file that is locked for a folder, in it, or for a file, beside it."""
    final = Path(path)
    return final.with_name(f".{final.name}.lock") if of_file else final / ".lock"


@contextmanager
def one_run(path: str | Path, of_file: bool = False) -> Iterator[None]:
    """
    Within it no other process that asks writes to a folder, or to a file. The lock ends with its process, however that
    ends; the file of it stays.

    Args:
        path: folder, which is made, or file.
        of_file: whether it is a file.

    Raises:
        RefusedError: where another process is within it.
    """
    lock = lock_file(path, of_file)
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock, timeout=0)
    try:
        held.acquire()
    except Timeout as error:
        raise RefusedError(f"another run writes to '{path}': wait for it, or choose another folder.") from error
    try:
        yield
    finally:
        held.release()


def or_exit(function: Callable[..., Any], *args: Any, **settings: Any) -> Any:
    """
    Call a function; where its user can mend what stops it, the process ends with one line instead of a traceback.

    That is a full or read-only disk, a file that is missing, a folder that is in use, or another :class:`UserError`.

    Args:
        function: what is called.
        args: its arguments.
        settings: its keyword arguments.

    Raises:
        SystemExit: with that line.
    """
    try:
        return function(*args, **settings)
    except (OSError, UserError) as error:
        logger.debug("", exc_info=error)
        raise SystemExit(f"monai-shield: {first_line(error)}") from error


def make_folder(path: str | Path) -> None:
    """Make a folder unless it is there, with :func:`or_exit`."""
    or_exit(os.makedirs, path, exist_ok=True)
