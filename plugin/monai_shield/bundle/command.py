# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A bundle's commands, run as its user runs them."""

import logging
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai_shield.errors import BundleError

logger = logging.getLogger(__name__)


def bundle_command(run_id: str, config_file: str | Path | Sequence[str | Path], **settings: Any) -> list[str]:
    """
    What follows ``python`` to run a bundle.

    Args:
        run_id: entry of the config to run; "" for its ``run``.
        config_file: one config, or several of which the last has precedence.
        settings: values that replace those of the config, by their id.

    Returns:
        ``-m monai.bundle run <run_id> --config_file <config_file> --<id> <value> ...``
    """
    config = config_file if isinstance(config_file, str | Path) else [str(file) for file in config_file]
    words = ["-m", "monai.bundle", "run", *([run_id] if run_id else [])]
    for name, value in {"config_file": config, **settings}.items():
        words += [f"--{name}", repr(value) if isinstance(value, list) else str(value)]
    return words


def run_bundle(run_id: str, config_file: str | Path | Sequence[str | Path], **settings: Any) -> str:
    """
    Run a bundle in a process of its own, see :func:`bundle_command`; its log and bars, on stderr, show through.

    Returns:
        the command, as one types it.

    Raises:
        BundleError: where it fails.
    """
    words = bundle_command(run_id, config_file, **settings)
    command = shlex.join(["python", *words])
    logger.info("      %s", command)
    status = subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=False).returncode
    if status != 0:
        raise BundleError(f"the bundle's command failed ({status}), see above: {command}")
    return command
