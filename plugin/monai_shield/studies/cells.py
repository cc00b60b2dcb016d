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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_shield.utils import save_tensors

__all__ = ["CellStore", "Key", "file_name", "fingerprint_of", "presented"]


#: Volume, name and fingerprint of a cell.
Key = tuple[str, str, str]
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
        save_tensors({"fingerprint": fingerprint, "cells": cells}, path)
        for old in path.parent.glob(f"{file_name(name)}.*.pt"):
            if old != path:
                old.unlink(missing_ok=True)
        return cells

    def path(self, volume: str, name: str, fingerprint: str) -> Path:
        """Where a result is kept. Arguments as in :meth:`get`."""
        parts = [file_name(part) for part in volume.split("/")]
        return self.folder.joinpath(*parts) / f"{file_name(name)}.{fingerprint[:16]}.pt"


def fingerprint_of(parts: Iterable[object]) -> str:
    """SHA-256 sum of how the parts present themselves, see :func:`presented`."""
    return hashlib.sha256("\n".join(presented(part) for part in parts).encode()).hexdigest()


def presented(part: object) -> str:
    """
    How something presents itself: its ``repr``, but for where in the memory a function is.

    A module's ``repr`` rarely tells its settings and never its weights: its plain attributes and the sum of its weights
    stand for them, also where it is an argument or a setting of something else.
    """
    if isinstance(part, nn.Module):
        return _presented_module(part)
    if isinstance(part, torch.Tensor):
        values = part.detach().cpu().contiguous().numpy()
        return f"tensor {values.shape} {hashlib.sha256(values.tobytes()).hexdigest()}"
    if isinstance(part, partial):
        arguments = [presented(part.func), *map(presented, part.args), *_named(part.keywords)]
        return f"functools.partial({', '.join(arguments)})"
    if is_dataclass(part) and not isinstance(part, type):
        shown = {field.name: getattr(part, field.name) for field in fields(part) if field.repr}
        return f"{type(part).__qualname__}({', '.join(_named(shown))})"
    if isinstance(part, Mapping):
        return "{" + ", ".join(f"{presented(key)}: {presented(value)}" for key, value in part.items()) + "}"
    if isinstance(part, list):
        return f"[{', '.join(map(presented, part))}]"
    if isinstance(part, tuple):
        return f"({', '.join(map(presented, part))})"
    return _ADDRESS.sub("", repr(part))


def _presented_module(module: nn.Module) -> str:
    settings = {name: value for name, value in vars(module).items() if not name.startswith("_") and name != "training"}
    weights = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
    return f"{type(module).__qualname__}({', '.join(_named(settings | weights | dict(module.named_children())))})"


def _named(values: Mapping[str, object]) -> list[str]:
    return [f"{name}={presented(value)}" for name, value in values.items()]


def file_name(name: str) -> str:
    """Under which name a file keeps what is called so: two names may have one."""
    return "".join(character if character.isalnum() else "_" for character in name)
