# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""One stable representation of settings, networks and tensors, and its sum: equal in every process and on every day."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial

import torch
from torch import nn

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def fingerprint_of(parts: Iterable[object]) -> str:
    """SHA-256 sum of how the parts present themselves, see :func:`stable_repr`."""
    return hashlib.sha256("\n".join(stable_repr(part) for part in parts).encode()).hexdigest()


def stable_repr(part: object) -> str:
    """
    How something presents itself: its ``repr``, but for where in the memory a function is.

    A module's ``repr`` rarely tells its settings and never its weights: its plain attributes and the sum of its weights
    stand for them, also where it is an argument or a setting of something else.
    """
    if isinstance(part, nn.Module):
        return _module_repr(part)
    if isinstance(part, torch.Tensor):
        values = part.detach().cpu().contiguous().flatten().view(torch.uint8)  # numpy has no bfloat16
        return f"tensor {tuple(part.shape)} {hashlib.sha256(values.numpy().tobytes()).hexdigest()}"
    if isinstance(part, partial):
        arguments = [stable_repr(part.func), *map(stable_repr, part.args), *_named(part.keywords)]
        return f"functools.partial({', '.join(arguments)})"
    if is_dataclass(part) and not isinstance(part, type):
        shown = {field.name: getattr(part, field.name) for field in fields(part) if field.repr}
        return f"{type(part).__qualname__}({', '.join(_named(shown))})"
    if isinstance(part, Mapping):
        return "{" + ", ".join(f"{stable_repr(key)}: {stable_repr(value)}" for key, value in part.items()) + "}"
    if isinstance(part, list):
        return f"[{', '.join(map(stable_repr, part))}]"
    if isinstance(part, tuple):
        return f"({', '.join(map(stable_repr, part))})"
    return _ADDRESS.sub("", repr(part))


def _module_repr(module: nn.Module) -> str:
    settings = {name: value for name, value in vars(module).items() if not name.startswith("_") and name != "training"}
    weights = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
    return f"{type(module).__qualname__}({', '.join(_named(settings | weights | dict(module.named_children())))})"


def _named(values: Mapping[str, object]) -> list[str]:
    return [f"{name}={stable_repr(value)}" for name, value in values.items()]
