# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The page of a study of attacks on a bare network."""

from collections.abc import Mapping
from typing import Any

from monai_shield.evaluation import attack_study_table
from monai_shield.report import html


def attack_study_page(results: Mapping[str, Any]) -> str:
    """The page: what was attacked, the table, and where its numbers came from."""
    return html.page(
        "monai-shield: how strong the attacks are",
        [
            html.paragraphs(
                f"{results['slices']} slices of {results['volumes']} scans of {results['subjects']} subjects, attacked "
                "on the bare network. In brackets: 95 % intervals by a bootstrap over subjects.",
                "Flipped are the pixels of the structures that the network answers otherwise than before the attack; "
                "images counts those with hardly any such pixel left as it was; Dice is that with the true label.",
            ),
            html.section("Attacks", html.table_of_markdown(attack_study_table(results))),
        ],
        footer="; ".join(f"{key}: {value}" for key, value in results.get("provenance", {}).items()),
    )
