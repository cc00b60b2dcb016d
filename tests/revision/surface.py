# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Defaults and constants of everything public: a default that changes, changes what is measured, and says nothing."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from revision.compact import Facts
from revision.naming import Names

#: Methods that are not asked: those of torch and MONAI are their own.
INHERITED = {"forward", "__call__", "train", "attach", "released", "failed"}


def public_names() -> Iterator[tuple[str, str]]:
    """Module and name of what was public in the revision before."""
    for line in Path(__file__).with_suffix(".txt").read_text().splitlines():
        if not line.startswith("#"):
            module, names = line.split(": ")
            yield from ((module, name) for name in names.split())


def surface_facts(names: Names, facts: Facts) -> None:
    """Add, for each module of the revision before, what is there, its defaults and its constants."""
    found: dict[str, dict[str, str]] = {}
    for module, name in public_names():
        entries = found.setdefault(module, {})
        try:
            thing = names.find(f"{module}.{name}")
        except AttributeError:
            continue  # the comparison says that it is missing
        place = f"{module}.{name}"
        if inspect.isclass(thing):
            entries[name] = "class"
            entries |= _defaults(names, thing, place, name)
            for method, function in vars(thing).items():
                inner, old = getattr(function, "__func__", function), names.key_before(method, place)
                if not method.startswith("_") and inspect.isfunction(inner) and old not in INHERITED:
                    entries |= _defaults(names, inner, f"{place}.{old}", f"{name}.{old}")
        elif inspect.isfunction(thing):
            entries[name] = "function"
            entries |= _defaults(names, thing, place, name)
        elif _is_plain(thing):
            entries[name] = repr(_plain(names, thing, place))
    for module, entries in found.items():
        facts.put(f"surface/{module}", ["{}", entries])


def _defaults(names: Names, function: Any, place: str, name: str) -> dict[str, str]:
    """The arguments that have a default, by old names."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    kept = [each for each in parameters if each.default is not inspect.Parameter.empty]
    return {f"{name}({names.key_before(each.name, place)})": _default(names, each, place) for each in kept}


def _default(names: Names, parameter: inspect.Parameter, place: str) -> str:
    return repr(_plain(names, parameter.default, place)) if _is_plain(parameter.default) else "something"


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list, set, frozenset)):
        return all(_is_plain(each) for each in value)
    if isinstance(value, dict):
        return all(isinstance(key, (str, int)) and _is_plain(each) for key, each in value.items())
    return value is None or isinstance(value, (bool, int, float, str))


def _plain(names: Names, value: Any, place: str) -> Any:
    """In old words; sets in order. Words for readers may change: of a sentence only its being there counts."""
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(names, each, place) for each in value), key=repr)
    if isinstance(value, (tuple, list)):
        return tuple(_plain(names, each, place) for each in value)
    if isinstance(value, dict):
        return {names.key_before(str(key), place): _plain(names, each, place) for key, each in value.items()}
    if isinstance(value, str):
        return "a sentence" if len(value.split()) > 3 else names.value_before(value, place)
    return value
