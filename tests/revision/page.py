# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""docs/renames.md, made from the table of renames: ``PYTHONPATH=tests python -m revision.page``."""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from monai_shield.evaluation.tables import markdown_table
from revision import renames
from revision.naming import Names

PAGE = Path(__file__).parents[2] / "docs" / "renames.md"
INTRO = """# What was renamed

The rebuild after revision 923e0f7 renamed modules, functions, arguments and keys. This page lists them for programs,
configs and results that were made before. Old names do not work any more.

Nothing that was measured changed with a name. `python tools/compare.py --before 923e0f7` compares both revisions:
stored results, weights, and what the code computes on small inputs.
"""


def page() -> str:
    """The page in Markdown."""
    names = Names()
    modules = {old: new for old, new in renames.NAMES.items() if isinstance(names.find(old), ModuleType)}
    others = {old: new for old, new in renames.NAMES.items() if old not in modules}
    removed = {
        old.removeprefix("surface/").replace("/", "."): why
        for old, why in renames.GONE.items()
        if old.startswith("surface/")
    }
    return "\n".join(
        [
            INTRO,
            _section("Modules", "A module moves with all that is in it.", modules),
            _section("Classes, functions and constants", "", others),
            _section(
                "Arguments, attributes and keys",
                "They hold in Python, configs, JSON files and tables. Where a name has two new ones, its place stands "
                "before it.",
                renames.IDENTIFIERS,
            ),
            _section("Folders", "", renames.FILES),
            _section("Removed", "", removed, ("removed", "in its place, or why"), code=False),
            _section(
                "Decided otherwise",
                "These are not new names: a number can differ.",
                renames.DECIDED,
                ("what", "now and before"),
                code=False,
            ),
        ]
    )


def _section(
    title: str,
    words: str,
    entries: Mapping[str, str],
    heading: tuple[str, str] = ("before", "now"),
    code: bool = True,
) -> str:
    rows = [
        [_shown(old, code or heading[0] == "removed"), _shown(new, code)]
        for old, new in sorted(entries.items())
        if old.rpartition("::")[2] != new
    ]
    return "\n".join([f"## {title}", "", *([words, ""] if words else []), markdown_table(heading, rows), ""])


def _shown(name: str, code: bool) -> str:
    place, _, word = name.rpartition("::")
    shown = f"`{word}`" if code else word
    return f"{shown} in `{place}`" if place else shown


if __name__ == "__main__":
    PAGE.write_text(page())
