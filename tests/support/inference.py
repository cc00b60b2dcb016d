# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The bundle's inference on files, with what it logs."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from monai.bundle import run


class Logged(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def infer(root: Path, files: Iterable[Path], output_dir: Path, **settings: Any) -> tuple[Any, list[logging.LogRecord]]:
    """Run the bundle; returns its exit code (0 where it made none) and what the package logged."""
    handler, logger = Logged(), logging.getLogger("monai_shield")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        run(
            config_file=str(root / "configs" / "inference.json"),
            bundle_root=str(root),
            dataset_dir=[str(file) for file in files],
            output_dir=str(output_dir),
            device="cpu",
            logging_file=False,
            **settings,
        )
    except SystemExit as stop:
        return stop.code, handler.records
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return 0, handler.records
