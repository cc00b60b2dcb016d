# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""From a template to a page that stands alone."""

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, UndefinedError, select_autoescape

from monai_shield.errors import UserError
from monai_shield.evaluation.tables import digits

TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, folder: str | Path = TEMPLATES, /, **content: Any) -> str:
    """
    Fill a template. Every text that is put into one of HTML is escaped.

    Args:
        template: name of the file.
        folder: where it lies. It can extend ``base.html`` and import ``macros.html`` of this package.
        content: what the template needs, by name.

    Raises:
        UserError: where the content lacks what the template needs.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"base64": _base64, "digits": digits, "table_cells": table_cells}
    try:
        return environment.get_template(template).render(content)
    except UndefinedError as error:
        raise UserError(f"the results lack what their page shows ({error.message}): make them anew.") from error


def table_cells(markdown: str) -> list[list[str]]:
    """Header and rows of a Markdown table as :func:`~monai_shield.evaluation.tables.markdown_table` writes it."""
    lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in markdown.strip().splitlines()]
    return [lines[0], *lines[2:]]


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
