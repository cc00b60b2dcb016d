# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The other libraries' attacks, as the tests and the benchmark against them import them."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

__all__ = ["adv_lib_segmentation"]


def adv_lib_segmentation() -> Any:
    """adv-lib's module of attacks on segmentation.

    It cannot be imported without torchvision, whose build on the registry breaks beside a torch for the CPU, and
    visdom, which does not build with today's setuptools. It wants them for LPIPS and for plots; no attack on
    segmentation needs either. So an empty module stands in for each that is missing, for as long as the import takes.

    Raises:
        ModuleNotFoundError: when adv-lib is not installed.
    """
    missing = [name for name in ("torchvision", "visdom") if find_spec(name) is None]
    try:
        for name in missing:
            stand_in: Any = ModuleType(name)
            stand_in.models = None
            sys.modules[name] = stand_in
        return importlib.import_module("adv_lib.attacks.segmentation")
    finally:
        for name in missing:
            del sys.modules[name]
