# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a calibration was made with: it holds for the same parts, settings and weights, and for no others."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, LoadImage
from torch import nn

#: Part of a shield ("target", "detector", ...) to what is settled about it: name of a setting to its value, in words.
Record = dict[str, dict[str, str]]

PLAIN = (str, bytes, bool, int, float, complex, type(None))
SHOWN = 64  # values of an array that are told one by one; of a larger one the sum is
#: Attributes that change with use, or are looked after elsewhere; "image_only" is set by MONAI Label.
STATE = {"training", "calibration", "filenames", "image_only", "R", "_lazy", "_tracing"}


def shield_record(
    detector: nn.Module,
    reformer: nn.Module | None,
    preprocessing: Any = None,
    target: nn.Module | None = None,
    **settings: Any,
) -> Record:
    """
    What a shield consists of: an entry for each part that is given, and one for further settings.

    Of networks settings and weights count, of a detector not its calibration. A target may be wrapped, or compiled. Of
    the preprocessing, from file to network, transforms that only check (``only_checks``) do not count.
    """
    record = {"settings": dict(settings_of(settings))}
    record |= {"detector": module_record(detector), "reformer": module_record(reformer)}
    if preprocessing is not None:
        record["preprocessing"] = dict(settings_of(preprocessing))
    if target is not None:
        record["target"] = module_record(target)
    return record


def module_record(module: nn.Module | None) -> dict[str, str]:
    """Settings of a module and the sum of its weights; wrappers do not count, nor do the settings of TorchScript."""
    if module is None:
        return dict(settings_of(None))
    inner = _unwrapped(module)
    settings = {} if isinstance(inner, torch.jit.ScriptModule) else dict(settings_of(inner))
    return settings | {"weights": weights_sum(inner)}


def _unwrapped(module: nn.Module) -> nn.Module:
    """The module inside DistributedDataParallel or torch.compile."""
    inner: Any = module
    while isinstance(inner, nn.Module):
        module, inner = inner, getattr(inner, "module", getattr(inner, "_orig_mod", None))
    return module


def differences(recorded: Record, found: Record) -> list[str]:
    """
    Where what is found is not what was recorded, in words.

    A setting that only one of them knows is no difference: another version of a library may have more of them. A part
    that was not recorded is one.
    """
    lines = []
    for part, settings in found.items():
        if part not in recorded:
            lines.append(f"nothing is known of the {part} it was made with")
            continue
        known = recorded[part]
        for name in [name for name in settings if name in known and settings[name] != known[name]]:
            other = f"{_joined(part, name)} is {settings[name]}, not {known[name]}"
            lines.append(f"the {part} has other weights" if name == "weights" else other)
    return lines


def weights_sum(module: nn.Module) -> str:
    """SHA-256 sum of a module's weights and their names, wherever they lie in memory; wrappers do not count."""
    found = hashlib.sha256()
    for name, value in sorted(_unwrapped(module).state_dict().items()):
        if isinstance(value, torch.Tensor):
            found.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
            found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def settings_of(thing: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """
    The settings of a module, a transform or anything else, however deep, as pairs of a dotted name and a value in
    words; not the parameters of a module, see :func:`weights_sum`.
    """
    return _walk(thing, name, ())


def _walk(thing: Any, name: str, above: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(thing, Enum):
        yield name, repr(thing.value)
    elif isinstance(thing, PLAIN):
        yield name, repr(thing)
    elif isinstance(thing, np.generic):
        yield name, repr(thing.item())
    elif isinstance(thing, (torch.Tensor, np.ndarray)):
        yield name, _array(thing)
    elif isinstance(thing, (torch.dtype, np.dtype)):
        yield name, str(thing)
    elif isinstance(thing, type) or (callable(thing) and hasattr(thing, "__qualname__")):
        yield name, f"{thing.__module__}.{thing.__qualname__}"
    elif id(thing) not in above and not isinstance(thing, torch.device):
        yield from _inside(thing, name, (*above, id(thing)))


def _inside(thing: Any, name: str, above: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """What holds others has an entry of its own: another kind of thing in its place is a difference."""
    if isinstance(thing, Compose):
        counting = [each for each in thing.flatten().transforms if not getattr(each, "only_checks", False)]
        yield from _inside(counting, name, above)
        return
    if isinstance(thing, Mapping):
        what, parts = "a mapping", {str(key): value for key, value in thing.items()}
    elif isinstance(thing, (Sequence, Set)):
        ordered = sorted(thing, key=repr) if isinstance(thing, Set) else thing
        what, parts = f"{len(thing)} entries", {str(number): value for number, value in enumerate(ordered)}
    else:
        what, parts = f"{type(thing).__module__}.{type(thing).__qualname__}", _attributes(thing)
    yield name, what
    for key, value in parts.items():
        yield from _walk(value, _joined(name, key), above)


def _attributes(thing: Any) -> dict[str, Any]:
    if isinstance(thing, partial):
        return {"func": thing.func, "args": thing.args, "keywords": thing.keywords}
    found = {key: value for key, value in getattr(thing, "__dict__", {}).items() if key not in STATE}
    if isinstance(thing, nn.Module):  # whose private attributes are torch's own
        return {key: value for key, value in found.items() if not key.startswith("_")} | dict(thing.named_children())
    if isinstance(thing, LoadImage):  # it lists whatever readers are installed and takes the last
        found["readers"] = thing.readers[-1:]
    return found


def _array(values: torch.Tensor | np.ndarray) -> str:
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values
    if array.size <= SHOWN and array.dtype != object:
        return repr(array.tolist())
    return f"{array.shape} {hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}"


def _joined(*names: object) -> str:
    return ".".join(str(name) for name in names if name != "")
