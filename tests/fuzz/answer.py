# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The bundle's answer to files: its real inference, and everything it left behind."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.inference import Logged, infer


@dataclass
class Answer:
    """
    What became of a run.

    Args:
        code: its exit code; None where it ended with an error.
        errors: messages of the error that ended it, the first cause last.
        logged: what the package logged, one entry a message.
        output_dir: folder of the results.
        before: what lay there before.
    """

    output_dir: Path
    before: set[str] = field(default_factory=set)
    code: int | None = 0
    errors: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)


def listing(folder: Path) -> set[str]:
    """Everything below a folder, by relative path."""
    if not os.path.isdir(folder):  # False too for a path that is too long
        return set()
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def answer(
    bundle: Path,
    dataset: str | list[str],
    output_dir: Path,
    beat: Callable[[], None] = lambda: None,
    directory: Path | None = None,
    settings: dict[str, Any] | None = None,
) -> Answer:
    """Run the inference of a bundle, as ``monai.bundle run`` does; whatever it raises is kept."""
    found = Answer(output_dir, listing(output_dir))
    handler = Logged(beat)
    here = os.getcwd()
    os.chdir(directory or bundle)
    try:
        with warnings.catch_warnings(), contextlib.suppress(KeyboardInterrupt):
            warnings.simplefilter("ignore")
            found.code, _ = infer(bundle, dataset, output_dir, handler, **(settings or {}))
        if isinstance(found.code, str):  # the line that a run ends with that could not begin
            found.errors.append(found.code)
            found.code = None
    except Exception as error:
        found.code = None
        cause: BaseException | None = error
        while cause is not None:
            found.errors.append(f"{type(cause).__name__}: {cause}")
            cause = cause.__cause__
    finally:
        os.chdir(here)
    for record in handler.records:
        found.logged.append(record.getMessage() + (" Traceback" if record.exc_info and record.levelno > 10 else ""))
    return found
