# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Files one after the other: what fails, fails for one file alone."""

import errno
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from monai_shield.command_line import file_stem, shown
from monai_shield.utils import TEMPORARY, root_cause

logger = logging.getLogger(__name__)
Record = dict[str, Any]


def for_each_file(
    files: Iterable[str | Path],
    description: str,
    work: Callable[[Any], Record],
    fail: Callable[[Any, Record], None] | None = None,
) -> list[Record]:
    """
    Work on files, with a progress bar and a line of the log for each; returns a record a file.

    Args:
        files: the files.
        description: what is done, for the bar.
        work: makes the record of a file, which has a "status".
        fail: called with a file that failed and its record: "file", "status" and "reason".
    """
    records = []
    with tqdm(list(files), desc=description, unit="file") as bar:
        for file in bar:
            bar.set_postfix_str(shown(file_stem(file)))
            try:
                record = work(file)
            except (Exception, SystemExit) as error:
                logger.debug("", exc_info=error)
                reason = root_cause(error).replace(f"'{file}': ", "")
                record = {"file": str(file), "status": "error", "reason": reason}
                if fail is not None:
                    fail(file, record)
            why = f" ({record['reason']})" if record.get("reason") else ""
            level = logging.ERROR if record["status"] == "error" else logging.INFO
            logger.log(level, "%s: %s%s", shown(str(file)), record["status"], why)
            records.append(record)
    return records


def sweep(folder: Path) -> None:
    """Remove what a kill left of files that were not whole."""
    for left in folder.glob(f"{TEMPORARY}*"):
        remove(left)


def remove(path: Path) -> None:
    """Remove a file; one whose name is longer than a name may be is not there."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
