# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Old names to the code and the files as they are now, and back."""

import importlib
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from revision import renames

_TOKEN = re.compile(r"[A-Za-z_][\w.]*")
_WORD = re.compile(r"[A-Za-z_]\w*")
_PLACE = "::"


class Names:
    """
    The table of renamed things, ready to use.

    Args:
        before: whether the code is that of the revision before, which still has the old names.

    Raises:
        ValueError: where two old names have one new name.
    """

    def __init__(self, before: bool = False) -> None:
        self.is_before = before
        table: dict[str, dict[str, str]] = {
            name: {} if before else dict(getattr(renames, name))
            for name in ("NAMES", "IDENTIFIERS", "VALUES", "WORDS", "FILES")
        }
        self.names, self.files, self.words = table["NAMES"], table["FILES"], table["WORDS"]
        self.identifiers, self.values = _by_place(table["IDENTIFIERS"]), _by_place(table["VALUES"])
        self.names_back = _inverse(self.names, "NAMES")
        self.files_back = _inverse(self.files, "FILES")
        self.words_back = _inverse(self.words, "WORDS")
        self.identifiers_back = {place: _inverse(each, "IDENTIFIERS") for place, each in self.identifiers.items()}
        self.values_back = {place: _inverse(each, "VALUES") for place, each in self.values.items()}

    # --- from an old name to the code as it is now

    def find(self, dotted: str) -> Any:
        """What the old dotted name stands for."""
        new = _by_prefix(dotted, self.names, ".")
        parts = new.split(".")
        for length in range(1, len(parts) + 1):  # a function comes before a module of its name
            try:
                found = importlib.import_module(".".join(parts[:length]))
            except ModuleNotFoundError as error:
                if error.name is not None and new.startswith(error.name):
                    break
                raise
            try:
                for part in parts[length:]:
                    found = getattr(found, part)
            except AttributeError:
                continue
            return found
        raise AttributeError(f"there is no '{new}' (before: '{dotted}').")

    def word(self, name: str, place: str = "") -> str:
        """The new word for an old argument, attribute or key."""
        return _at_place(name, place, self.identifiers)

    def value(self, value: Any, place: str = "") -> Any:
        """The new value for an old string that is an argument."""
        return _at_place(value, place, self.values) if isinstance(value, str) else value

    def settings(self, place: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments, or keys of a dictionary, in new words."""
        return {self.word(key, place): self.value(value, place) for key, value in settings.items()}

    def call(self, dotted: str, *args: Any, **settings: Any) -> Any:
        """Call what the old dotted name stands for, with old argument names."""
        return self.find(dotted)(*args, **self.settings(dotted, settings))

    def of(self, thing: Any, attribute: str, place: str = "") -> Any:
        """An attribute by its old name."""
        return getattr(thing, self.word(attribute, place))

    def method(self, thing: Any, attribute: str, *args: Any, **settings: Any) -> Any:
        """Call a method by its old name, with old argument names."""
        return self.of(thing, attribute)(*args, **self.settings(attribute, settings))

    def path(self, old: str) -> str:
        """Where the file of an old path lies now."""
        return _by_prefix(old, self.files, "/")

    @staticmethod
    def gone(fact: str) -> bool:
        """Whether a fact was removed on purpose, or belongs to one that was."""
        return any(fact == each or fact.startswith(tuple(each + mark for mark in "/#(.")) for each in renames.GONE)

    # --- from what is there now to old names

    def path_before(self, new: str) -> str:
        """The old path of a file."""
        return _by_prefix(new, self.files_back, "/")

    def key_before(self, new: str, place: str = "") -> str:
        """The old key of an entry, as a whole or, of one with dots, part by part."""
        old = _at_place(new, place, self.identifiers_back)
        if old != new or "." not in new:
            return old
        dotted = _by_prefix(new, self.names_back, ".")
        return ".".join(_at_place(part, place, self.identifiers_back) for part in dotted.split("."))

    def value_before(self, new: Any, place: str = "", code: bool = False) -> Any:
        """
        The old value of an entry.

        Args:
            new: anything; only strings have old ones.
            place: where it stands.
            code: whether a string may be an expression or name a class, word by word.
        """
        if not isinstance(new, str):
            return new
        old = _at_place(new, place, self.values_back)
        if old != new:
            return old
        if code and (new[:1] in "$@%" or any(each in new for each in ("monai_shield", "reproduction", "@"))):
            return _TOKEN.sub(lambda token: self.key_before(token.group(), place), new)
        if self.words_back:
            return _WORD.sub(lambda word: self.words_back.get(word.group(), word.group()), new)
        return new

    def before(self, thing: Any, place: str = "") -> Any:
        """Dictionaries, lists and dataclasses with their keys and strings in old words."""
        if isinstance(thing, Mapping):
            return {self.key_before(str(key), place): self.before(value, place) for key, value in thing.items()}
        if is_dataclass(thing) and not isinstance(thing, type):
            return self.before({each.name: getattr(thing, each.name) for each in fields(thing)}, place)
        if isinstance(thing, (list, tuple)):
            return [self.before(each, place) for each in thing]
        return self.value_before(thing, place)


def _by_place(table: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {"": {}}
    for old, new in table.items():
        place, _, name = old.rpartition(_PLACE)
        found.setdefault(place, {})[name] = new
    return found


def _at_place(name: str, place: str, table: Mapping[str, Mapping[str, str]]) -> str:
    """By the entry with the longest place that the place begins with."""
    for start in sorted((each for each in table if place.startswith(each)), key=len, reverse=True):
        if name in table[start]:
            return table[start][name]
    return name


def _by_prefix(name: str, table: Mapping[str, str], separator: str) -> str:
    parts = name.split(separator)
    for length in range(len(parts), 0, -1):
        start = separator.join(parts[:length])
        if start in table:
            return separator.join([table[start], *parts[length:]])
    return name


def _inverse(table: Mapping[str, str], section: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for old, new in table.items():
        if new in found:
            raise ValueError(f"{section}: '{found[new]}' and '{old}' are both renamed to '{new}'.")
        found[new] = old
    return found
