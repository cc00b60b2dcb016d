# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The page of an evaluation of a shield."""

from collections.abc import Mapping
from typing import Any

from monai_shield.evaluation.tables import attack_table, clean_table, structure_table
from monai_shield.report import html


def evaluation_page(results: Mapping[str, Any]) -> str:
    """The page of an evaluation: its tables, and where its numbers came from."""
    calibration, made = results["calibration"], dict(results.get("provenance", {}))
    return html.page(
        "monai-shield: what the shield is worth",
        [
            html.paragraphs(
                f"{results['volumes']} scans of {results['subjects']} subjects. In brackets: 95 % intervals by a "
                f"bootstrap over subjects.",
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
