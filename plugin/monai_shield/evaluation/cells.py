# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Results that are kept, each with what it depends on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from monai_shield.utils import save_tensors

#: Volume, name and fingerprint of a cell.
Key = tuple[str, str, str]


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
        save_tensors({"fingerprint": fingerprint, "cells": cells}, path)
        for old in path.parent.glob(f"{file_name(name)}.*.pt"):
            if old != path:
                old.unlink(missing_ok=True)
        return cells

    def path(self, volume: str, name: str, fingerprint: str) -> Path:
        """Where a result is kept. Arguments as in :meth:`get`."""
        parts = [file_name(part) for part in volume.split("/")]
        return self.folder.joinpath(*parts) / f"{file_name(name)}.{fingerprint[:16]}.pt"


def file_name(name: str) -> str:
    """Under which name a file keeps what is called so: two names may have one."""
    return "".join(character if character.isalnum() else "_" for character in name)
