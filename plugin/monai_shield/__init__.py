# Copyright (c) The monai-shield authors.
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""
monai-shield: a shield against adversarial images for any trained medical segmentation network.

The rooms of the package are imported on first use, so that ``$import monai_shield`` is all a bundle config needs.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__version__ = "0.1.0"

#: The rooms, each of which imports only from those before it.
ROOMS = (
    "utils",
    "locks",
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
    "studies",
    "report",
    "bundle",
)


def __getattr__(name: str) -> ModuleType:
    if name in ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *ROOMS])
