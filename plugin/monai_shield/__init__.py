# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""
monai-shield: a shield against adversarial images for any trained medical segmentation network.

The rooms of the package are imported on first use, so that ``$import monai_shield`` is all a bundle config needs.
"""

import importlib
from types import ModuleType

__version__ = "0.1.0"

#: The rooms, each of which imports only from those before it.
ROOMS = (
    "errors",
    "command_line",
    "utils",
    "locks",
    "fingerprints",
    "info",
    "transforms",
    "networks",
    "losses",
    "data",
    "attacks",
    "detectors",
    "reformers",
    "inferers",
    "metrics",
    "handlers",
    "adaptive",
    "evaluation",
    "report",
    "bundle",
    "demo",
)


def __getattr__(name: str) -> ModuleType:
    if name in ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *ROOMS])
