# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The bundle's inference on files, in this process, with what it logs."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from monai.bundle import run


class Logged(logging.Handler):
    """Keeps what is logged, and calls a function each time."""

    def __init__(self, beat: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.beat = beat

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.beat()


def infer(
    root: Path, files: str | Iterable[Path | str], output_dir: Path, handler: Logged | None = None, **settings: Any
) -> tuple[Any, list[logging.LogRecord]]:
    """Run the bundle; returns its exit code (0 where it made none) and what the package logged."""
    handler, logger = handler or Logged(), logging.getLogger("monai_shield")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        run(
            config_file=str(root / "configs" / "inference.json"),
            bundle_root=str(root),
            dataset_dir=files if isinstance(files, str) else [str(file) for file in files],
            output_dir=str(output_dir),
            logging_file=False,
            **{"device": "cpu", **settings},
        )
    except SystemExit as stop:
        return stop.code, handler.records
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return 0, handler.records
