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
"""The page of a study of attacks on a bare network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai_shield.studies import attack_study_table

from . import html

__all__ = ["attack_study_page"]


def attack_study_page(results: Mapping[str, Any]) -> str:
    """The page: what was attacked, the table, and where its numbers came from."""
    return html.page(
        "monai-shield: how strong the attacks are",
        [
            html.paragraphs(
                f"{results['slices']} slices of {results['volumes']} scans of {results['persons']} people, attacked on "
                "the bare network. In brackets: 95 % intervals by a bootstrap over people.",
                "Turned are the pixels of the structures that the network answers otherwise than before the attack; "
                "images counts those with hardly any such pixel left as it was; Dice is that with the true label.",
            ),
            html.section("Attacks", html.table_of_markdown(attack_study_table(results))),
        ],
        footer="; ".join(f"{key}: {value}" for key, value in results.get("provenance", {}).items()),
    )
