# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Where a number came from."""

import datetime
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import monai
import torch

import monai_shield


def provenance(device: torch.device, **more: Any) -> dict[str, Any]:
    """Versions, machine, date and revision that a number came from."""
    return {
        "date": today(),
        "revision": git_revision(),
        "monai_shield": monai_shield.__version__,
        "monai": monai.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        **more,
    }


def today() -> str:
    """The date, in UTC."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")


@cache
def git_revision() -> str | None:
    """Of this package's sources; None where they are no checkout, or git is not there."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    except FileNotFoundError:
        return None
    return found.stdout.strip() or None
