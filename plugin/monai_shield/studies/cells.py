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
"""Results that are kept, each with what it depends on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from monai_shield.utils import atomic_path

__all__ = ["CellStore", "fingerprint_of", "presented"]


_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class CellStore:
    """
    A folder of results: each is written when it is done, whole, and made again only when what it depends on changed.

    Args:
        folder: where they go.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def get(self, volume: str, name: str, fingerprint: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """
        The kept result, or a new one that is kept.

        Args:
            volume: which volume it is about, or another heading; a slash makes a folder in a folder.
            name: what it is called; a cell of the same volume and name is replaced.
            fingerprint: of what it depends on.
            make: makes it, of tensors and plain types.
        """
        kept = self.load(volume, name, fingerprint)
        return self.put(volume, name, fingerprint, make()) if kept is None else kept

    def load(self, volume: str, name: str, fingerprint: str) -> dict[str, Any] | None:
        """The kept result; None where there is none, or what it depends on changed. Arguments as in :meth:`get`."""
        path = self.path(volume, name, fingerprint)
        if path.is_file():
            saved = torch.load(path, weights_only=True)
            if saved["fingerprint"] == fingerprint:
                return saved["cells"]
        return None

    def has(self, volume: str, name: str, fingerprint: str) -> bool:
        """Whether there is a kept result, without reading it. Arguments as in :meth:`get`."""
        return self.path(volume, name, fingerprint).is_file()

    def put(self, volume: str, name: str, fingerprint: str, cells: dict[str, Any]) -> dict[str, Any]:
        """Keep a result, which is returned. Arguments as in :meth:`get`."""
        path = self.path(volume, name, fingerprint)
        with atomic_path(path) as temporary:
            torch.save({"fingerprint": fingerprint, "cells": cells}, temporary)
        for old in path.parent.glob(f"{_file_name(name)}.*.pt"):
            if old != path:
                old.unlink(missing_ok=True)
        return cells

    def path(self, volume: str, name: str, fingerprint: str) -> Path:
        """Where a result is kept. Arguments as in :meth:`get`."""
        parts = [_file_name(part) for part in volume.split("/")]
        return self.folder.joinpath(*parts) / f"{_file_name(name)}.{fingerprint[:16]}.pt"


def fingerprint_of(parts: Iterable[object]) -> str:
    """SHA-256 sum of how the parts present themselves, see :func:`presented`."""
    return hashlib.sha256("\n".join(presented(part) for part in parts).encode()).hexdigest()


def presented(part: object) -> str:
    """How something presents itself: its ``repr``, but for where in the memory a function is."""
    return _ADDRESS.sub("", repr(part))


def _file_name(name: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in name)
