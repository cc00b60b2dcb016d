# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A fact in a few numbers: enough to notice any change of an array, small enough to be kept as text."""

import hashlib
import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch

from revision.naming import Names

#: Significant digits of the numbers that are kept.
DIGITS = 8
#: What an interval consists of.
INTERVAL = (".value", ".low", ".high")
Record = list[Any]


def digest(content: bytes) -> str:
    """The beginning of the SHA-256 sum."""
    return hashlib.sha256(content).hexdigest()[:16]


def compact(value: Any) -> Record:
    """
    A value as a list that JSON can hold.

    - ``["=", value]`` of a word, a whole number, a truth value or nothing;
    - ``["{}", entries]`` of names with their defaults, of which there may be more later;
    - ``["i", type and shape, sum of the bytes]`` of an array of whole numbers;
    - ``["f", type and shape, sum of the bytes, numbers]`` of an array of floats: how many are not finite, and of the
      others mean, deviation, least, greatest, a weighted mean that notices two swapped, and the first, middle and last.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return ["=", value]
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    array = np.ascontiguousarray(array)
    kind = f"{array.dtype.str[1:]}{list(array.shape)}".replace(" ", "")
    content = digest(array.tobytes())
    if array.dtype.kind == "c":
        array = np.stack([array.real, array.imag])
    if array.dtype.kind != "f":
        return ["i", kind, content]
    flat = array.astype(np.float64).ravel()
    finite = np.isfinite(flat)
    flat = np.where(finite, flat, 0.0)
    if not flat.size:
        return ["f", kind, content, [0]]
    if flat.size == 1:
        return ["f", kind, content, [int(not finite[0]), float(f"{flat[0]:.{DIGITS}g}")]]
    weights = np.cos(np.arange(flat.size) * 0.7391)
    numbers = [flat.mean(), flat.std(), flat.min(), flat.max(), (weights * flat).mean()]
    numbers += [flat[0], flat[flat.size // 2], flat[-1]]
    return ["f", kind, content, [int((~finite).sum()), *(float(f"{number:.{DIGITS}g}") for number in numbers)]]


def alike(one: Record, other: Record, tolerance: float) -> bool:
    """
    Whether two compact values are the same.

    Args:
        one: what is expected.
        other: what is found; of a kind "{}" it may hold more entries.
        tolerance: of floats, as a share of their largest magnitude; 0 for the same bits.
    """
    if repr(one) == repr(other):  # True is not 1
        return True
    if one[0] != other[0]:
        return False
    if one[0] == "{}":
        return not missing_entries(one, other)
    if one[0] != "f" or tolerance == 0 or one[1] != other[1]:
        return False
    first, second = one[3], other[3]
    if first[0] != second[0] or len(first) != len(second):
        return False
    scale = max((abs(number) for number in first[1:]), default=0.0)
    return all(abs(a - b) <= tolerance * scale + 1e-12 * tolerance for a, b in zip(first[1:], second[1:]))


def missing_entries(one: Record, other: Record) -> dict[str, str]:
    """Of two records of the kind "{}", the entries that are other ones or no more, in words."""
    changed = {key: (value, other[1].get(key, "nothing")) for key, value in one[1].items()}
    return {key: f"{before} is {after}" for key, (before, after) in changed.items() if before != after}


class Facts:
    """
    Facts by name, each with the tolerance it is compared with on another machine, and the lines behind those that
    stand for many values.

    Args:
        names: old names to the code as it is now.
        portable: whether to leave out what holds on the same machine only.
    """

    def __init__(self, names: Names, portable: bool = False) -> None:
        self.names = names
        self.portable = portable
        self.records: dict[str, Record] = {}
        self.tolerances: dict[str, float | None] = {}
        self.details: dict[str, dict[str, str]] = {}
        self.failures: dict[str, str] = {}
        #: Of the facts that are added from now on; None where they hold on the same machine only.
        self.tolerance: float | None = 1e-5

    def step(self, function: Callable[..., None], *args: Any) -> None:
        """Add what a function adds; where it fails, the others go on, and its facts are missing."""
        try:
            function(*args)
        except Exception:
            called = [each for each in args if isinstance(each, str)]
            self.failures[" ".join([function.__name__, *called])] = traceback.format_exc()

    def add(self, name: str, value: Any, place: str = "") -> None:
        """Add a value, or those that a dictionary, a list or a dataclass holds, by old names."""
        if is_dataclass(value) and not isinstance(value, type):
            value = {each.name: getattr(value, each.name) for each in fields(value)}
        if isinstance(value, Mapping):
            for key, each in value.items():
                self.add(f"{name}/{self.names.key_before(str(key), place)}", each, place)
        elif isinstance(value, (list, tuple)) and not _is_row_of_numbers(value):
            for number, each in enumerate(value):
                self.add(f"{name}/{number}", each, place)
        else:
            if isinstance(value, (list, tuple)):
                value = np.array([math.nan if each is None else each for each in value])
            elif isinstance(value, str):
                value = self.names.value_before(value, place)
            self.put(name, compact(value))

    def table(self, name: str, values: Any, place: str = "") -> None:
        """Add all that a dictionary or a list holds, however deep, as an array of the numbers and a sum of the rest."""
        leaves = sorted(_leaves(self.names.before(values, place)))
        numbers = [value for _, value in leaves if _is_number(value)]
        self.add(f"{name}/numbers", np.array([math.nan if value is None else float(value) for value in numbers]))
        self.lines(f"{name}/words", {key: "" if _is_number(value) else repr(value) for key, value in leaves})

    def rows(self, name: str, rows: Any, place: str = "") -> None:
        """Add a table, column by column: numbers as an array, anything else as a sum; an interval is one column."""
        columns: dict[str, list[Any]] = {}
        words: dict[str, str] = {}
        for number, row in enumerate(rows):
            for key, value in _leaves(self.names.before(row, place)):
                if _is_number(value):
                    column = key.rpartition(".")[0] if key.endswith(INTERVAL) else key
                    columns.setdefault(column, []).append(math.nan if value is None else float(value))
                words[f"{number:06d} {key}"] = "" if _is_number(value) else repr(value)
        for key, values in columns.items():
            self.add(f"{name}/{key}", np.array(values))
        self.lines(f"{name}/words", words)

    def lines(self, name: str, lines: Mapping[str, str]) -> None:
        """Add many values as one sum, which has no tolerance."""
        lines = {key: line for key, line in lines.items() if not self.names.gone(f"{name}#{key}")}
        self.details[name] = lines
        content = "\n".join(f"{key} {value}" for key, value in sorted(lines.items()))
        self.put(name, ["=", f"{len(lines)}:{digest(content.encode())}"])

    def put(self, name: str, record: Record) -> None:
        """Add a compact value."""
        if name in self.records:
            raise ValueError(f"two facts are called '{name}'.")
        self.records[name] = record
        self.tolerances[name] = self.tolerance


def _is_row_of_numbers(values: Any) -> bool:
    return len(values) > 0 and all(
        each is None or (isinstance(each, (int, float, np.number)) and not isinstance(each, bool)) for each in values
    )


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float, np.number)) and not isinstance(value, bool))


def _leaves(thing: Any, path: str = "") -> Any:
    if isinstance(thing, Mapping):
        for key, value in thing.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(thing, (list, tuple)):
        for number, value in enumerate(thing):
            yield from _leaves(value, f"{path}.{number}")
    elif isinstance(thing, (np.ndarray, torch.Tensor)):
        for number, value in enumerate(thing.reshape(-1).tolist()):
            yield f"{path}.{number}", value
    else:
        yield path, thing
