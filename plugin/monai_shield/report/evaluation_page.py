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
"""The page of an evaluation of a shield."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai_shield.studies.tables import attack_table, clean_table, structure_table

from . import html

__all__ = ["evaluation_page"]


def evaluation_page(results: Mapping[str, Any]) -> str:
    """The page of an evaluation: its tables, and where its numbers came from."""
    calibration, made = results["calibration"], dict(results.get("provenance", {}))
    return html.page(
        "monai-shield: what the shield is worth",
        [
            html.paragraphs(
                f"{results['volumes']} scans of {results['persons']} people. In brackets: 95 % intervals by a "
                f"bootstrap over people.",
                f"Threshold from {calibration['slices']} clean slices of {calibration['volumes']} scans "
                f"({calibration['source']}), {calibration['rule']} rule, allowed false-positive rate "
                f"{calibration['t_fp']}.",
            ),
            html.section("Clean images", html.table_of_markdown(clean_table(results))),
            html.section("Attacked images", html.table_of_markdown(attack_table(results))),
            html.section("Clean Dice by structure", html.table_of_markdown(structure_table(results))),
        ],
        footer="; ".join(f"{key}: {value}" for key, value in made.items()),
    )
