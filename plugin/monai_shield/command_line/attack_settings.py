# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The settings of the attacks, read from their source: to import them takes ten seconds."""

import ast
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from monai_shield.errors import UserError

SOURCES = Path(__file__).parents[1] / "attacks"
#: A criterion cannot be typed; the window is measured on each image.
NOT_OFFERED = ("criterion", "window")


@dataclass(frozen=True)
class Setting:
    """A setting as an attack's class declares it: its type, the source of its default (None where a value is needed),
    and whether the constructor takes it."""

    annotation: str
    default: str | None
    settable: bool = True


@cache
def attack_settings() -> dict[str, dict[str, Setting]]:
    """The settings of each attack that the command line offers, by its name in ``monai_shield.attacks.ATTACKS``."""
    nodes = [node for file in sorted(SOURCES.glob("*.py")) for node in ast.parse(file.read_text()).body]
    classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
    (attacks,) = (node for node in nodes if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "ATTACKS")
    assert isinstance(attacks.value, ast.Dict)
    found = {}
    for key, value in zip(attacks.value.keys, attacks.value.values):
        declared = _declared(ast.unparse(value), classes)
        if declared["from_command_line"].default == "True":
            found[ast.literal_eval(ast.unparse(key or value))] = {
                name: setting
                for name, setting in declared.items()
                if setting.settable and name not in NOT_OFFERED and not setting.annotation.startswith("ClassVar")
            }
    return found


def _declared(name: str, classes: Mapping[str, ast.ClassDef]) -> dict[str, Setting]:
    """The annotated attributes of a class and its bases."""
    found: dict[str, Setting] = {}
    if name in classes:
        for base in classes[name].bases:
            found |= _declared(ast.unparse(base), classes)
        for node in classes[name].body:
            if isinstance(node, ast.AnnAssign):
                found[ast.unparse(node.target)] = _setting(ast.unparse(node.annotation), node.value)
    return found


def _setting(annotation: str, value: ast.expr | None) -> Setting:
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        given = {str(each.arg): ast.unparse(each.value) for each in value.keywords}
        return Setting(annotation, given.get("default"), given.get("init") != "False")
    return Setting(annotation, None if value is None else ast.unparse(value))


def settings_help() -> str:
    """The settings of every attack and their defaults, for the help of a command."""
    attacks = attack_settings()
    common = {name: each for name, each in attacks["pgd"].items() if all(name in other for other in attacks.values())}
    lines = []
    for attack, settings in {"all attacks": common, **attacks}.items():
        own = {name: each for name, each in settings.items() if settings is common or common.get(name) != each}
        words = ", ".join(name if each.default is None else f"{name}={each.default}" for name, each in own.items())
        lines += textwrap.wrap(f"{attack}: {words}", 120, initial_indent=" " * 8, subsequent_indent=" " * 12)
    return "\n".join(lines)


def check_settings(attack: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """
    The settings of an attack as its class takes them: text such as "4/255" becomes a number.

    Raises:
        UserError: for an unknown attack or setting, a missing one, a number that is none, or an epsilon above 1.
    """
    if attack not in attack_settings():
        raise UserError(f"no attack '{attack}'; there are {', '.join(sorted(attack_settings()))}.")
    known = attack_settings()[attack]
    for name in sorted(given.keys() - known.keys()):
        raise UserError(f"{attack} has no setting '{name}'; it has {', '.join(sorted(known))}.")
    missing = [name for name, setting in known.items() if setting.default is None and name not in given]
    if missing:
        raise UserError(f"{attack} needs a value for {', '.join(missing)}: --{missing[0]} …")
    values = {name: _checked(attack, name, value, known[name].annotation) for name, value in given.items()}
    if values.get("epsilon", 0) > 1 and values.get("norm") != "l2":
        epsilon = values["epsilon"]
        raise UserError(
            f"{attack}: epsilon {epsilon:g} is more than the whole intensity window, which is 1. "
            f"Do you mean --epsilon {epsilon:g}/255, that is {epsilon / 255:.4f}?"
        )
    return values


def _checked(attack: str, name: str, value: Any, annotation: str) -> Any:
    """A number where the annotation asks for one; other settings are checked by the attack itself."""
    kind = annotation.removesuffix(" | None")
    if kind not in ("float", "int") or (value is None and kind != annotation):
        return value
    number = as_number(value)
    if number is None or (kind == "int" and number != int(number)):
        wanted = "a whole number" if kind == "int" else "a number, such as 0.0157 or 4/255"
        raise UserError(f"{attack}: {name} must be {wanted}, got {value!r}.")
    return int(number) if kind == "int" else number


def as_number(value: Any) -> float | None:
    """A finite number, also one that is written as a fraction; None for anything else."""
    if isinstance(value, bool):
        return None
    try:
        above, *below = (float(part) for part in (value.split("/") if isinstance(value, str) else [value]))
        number = above / below[0] if below else above
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if abs(number) < float("inf") and len(below) < 2 else None
