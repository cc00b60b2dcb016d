# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""
Kills or stops the process it is loaded into at one point of what it writes: its folder has to be on ``PYTHONPATH``.

Points are the raw writes, replacings, removals and new folders below ``CRASH_ROOT``. ``CRASH_COUNT`` names a file that
gets a JSON line for each: kind, path, and which one of these it is. ``CRASH_AT`` is a JSON list of these three, of
"before", "half" or "after" or of seconds to wait after it, and of "KILL" or "STOP"; kind "start" is the start.
``CRASH_FILE_SIZE`` is the largest size of a file in bytes, for want of a full disk. Nothing here knows the product, and
only the standard library is used.
"""

from __future__ import annotations

import builtins
import importlib.abc
import importlib.util
import io
import json
import os
import re
import resource
import signal
import sys
import threading
import time
from typing import Any

ROOT = os.environ.get("CRASH_ROOT", "")
COUNT = os.environ.get("CRASH_COUNT", "")
AT = os.environ.get("CRASH_AT", "")
_REAL_OPEN = io.open
_WRITING = re.compile(r"[wax+]")
_ONE = {"unlink": 0, "remove": 0, "mkdir": 0, "rmdir": 0}
_TWO = {"replace": 1, "rename": 1}
_RANDOM = re.compile(r"[0-9a-f]{32}|tmp[a-z0-9_]{8}|(?<=^tmp/)[a-z0-9_]{8}$")


class _Trap:
    """Counts points, and strikes at one."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], int] = {}
        at: Any = json.loads(AT) if AT else ("", "", 0, "", "KILL")
        kind, path, nth, self.phase, name = at
        self.place: tuple[str, str, int] | None = (kind, path, nth)
        self.signal = signal.Signals[f"SIG{name}"]
        self.start = time.monotonic()
        if kind == "start":
            self.strike(("start", path, nth), None)

    def point(self, kind: str, path: str) -> tuple[str, str, int]:
        short = _RANDOM.sub("*", os.path.relpath(path, ROOT))
        nth = self.seen[kind, short] = self.seen.get((kind, short), 0) + 1
        if COUNT:
            seconds = round(time.monotonic() - self.start, 3)
            line = {"kind": kind, "path": short, "nth": nth, "seconds": seconds}
            descriptor = _real_os_open(COUNT, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(descriptor, (json.dumps(line) + "\n").encode())
            os.close(descriptor)
        return kind, short, nth

    def due(self, place: tuple[str, str, int], phase: str) -> bool:
        return place == self.place and phase == self.phase

    def strike(self, place: tuple[str, str, int], phase: str | None) -> None:
        """Now, where this is it; some time later, where it is to wait after it."""
        if place != self.place:
            return
        if not isinstance(self.phase, str):
            if phase in (None, "after"):
                self.place = None
                threading.Thread(target=self._wait, daemon=True).start()
        elif phase == self.phase:
            self.place = None  # a process that was stopped goes on
            os.kill(os.getpid(), self.signal)

    def _wait(self) -> None:
        time.sleep(self.phase)
        os.kill(os.getpid(), self.signal)


def _path(path: Any, folder: int | None = None) -> str | None:
    """The absolute path where it is one that is watched."""
    if isinstance(path, int):
        return None
    name = os.fsdecode(os.fspath(path))
    if folder is not None:
        name = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)
    name = os.path.abspath(name)
    return name if name.startswith(ROOT + os.sep) else None


class _File(io.FileIO):
    def write(self, data: Any) -> int:
        whole = memoryview(data).cast("B")
        place = TRAP.point("write", os.fsdecode(self.name))
        TRAP.strike(place, "before")
        if TRAP.due(place, "half"):
            done = super().write(whole[: len(whole) // 2])
            TRAP.strike(place, "half")
            return done  # stopped, and goes on: a short write, which the buffer completes
        done = super().write(whole)
        TRAP.strike(place, "after")
        return done


def _open(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Any = None,
) -> Any:
    if not _WRITING.search(mode) or _path(file) is None:
        return _REAL_OPEN(file, mode, buffering, encoding, errors, newline, closefd, opener)
    raw = _File(file, re.sub("[bt]", "", mode), closefd, opener)
    if buffering == 0:
        return raw
    size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
    buffered: Any = io.BufferedRandom(raw, size) if "+" in mode else io.BufferedWriter(raw, size)
    return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline, buffering == 1)


def _around(name: str, argument: int = 0) -> None:
    """Make a function of os a point; which argument names what is changed."""
    real = getattr(os, name)

    def function(*args: Any, **settings: Any) -> Any:
        path = _path(args[argument], settings.get("dir_fd"))
        creates = name == "open" and len(args) > 1 and args[1] & os.O_CREAT
        # what changes nothing is no point
        if (
            path is None
            or (name in _ONE and os.path.lexists(path) == (name == "mkdir"))
            or (name == "open" and not creates)
        ):
            return real(*args, **settings)
        place = TRAP.point(name, path)
        TRAP.strike(place, "before")
        done = real(*args, **settings)
        TRAP.strike(place, "after")
        return done

    setattr(os, name, function)
    for functions in (os.supports_dir_fd, os.supports_follow_symlinks):
        if real in functions:
            functions.add(function)


class _TorchSave(importlib.abc.MetaPathFinder):
    """torch writes from C++: through Python instead, as soon as it is imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "torch.serialization":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            save = module.save

            def watched(obj: Any, f: Any, *args: Any, **settings: Any) -> None:
                if not isinstance(f, (str, os.PathLike)) or _path(f) is None:
                    save(obj, f, *args, **settings)
                    return
                whole = io.BytesIO()
                save(obj, whole, *args, **settings)
                with open(f, "wb") as file:
                    file.write(whole.getbuffer())

            module.save = watched

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


_real_os_open = os.open
TRAP = _Trap()
if "CRASH_FILE_SIZE" in os.environ:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ["CRASH_FILE_SIZE"]),) * 2)
if ROOT:
    builtins.open = io.open = _open  # type: ignore[assignment]
    for _name, _place in {
        "replace": 1,
        "rename": 1,
        "unlink": 0,
        "remove": 0,
        "mkdir": 0,
        "rmdir": 0,
        "open": 0,
    }.items():
        _around(_name, _place)
    sys.meta_path.insert(0, _TorchSave())
