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
"""Where a bundle lies, and how its weights are written and read."""

from __future__ import annotations

from pathlib import Path

__all__ = ["find_bundle"]


def find_bundle(name: str, start: str | Path = ".") -> str:
    """
    The root of a bundle, whether one stands inside it or in the repository that holds it.

    Args:
        name: name of the bundle, which is its folder.
        start: where to look from; the working directory by default.

    Returns:
        the first of ``start`` (if it is the bundle), ``start/name`` and ``start/bundles/name`` that holds
        ``configs/metadata.json``, looking upwards from `start`; `start` itself where none does, as the zoo has it.
    """
    here = Path(start).resolve()
    for base in (here, *here.parents):
        candidates = [base] if base.name == name else []
        for candidate in (*candidates, base / name, base / "bundles" / name):
            if (candidate / "configs" / "metadata.json").is_file():
                return str(candidate)
    return str(start)
