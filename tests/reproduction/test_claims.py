# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What the paper says of its Figure 4, beside made-up Dice."""

from __future__ import annotations

from typing import Any

import pytest

from monai_shield.evaluation.tables import DICE_VARIANTS
from reproduction.claims import CLAIMS, Claim, claim_table


@pytest.fixture
def results() -> dict[str, Any]:
    """Sixteen defenses of two targets: the Dice of number n is n / 100, and that of the accepted twice as much."""
    rows = [
        {"target": target, "defense": str(n), "attack": attack, "variant": variant, "adjusted": adjusted}
        | {name: {"value": n / 100} for name in DICE_VARIANTS}
        | {"accepted": {"value": 2 * n / 100}, "undefended": {"value": 0.05}}
        for target in ("UNet", "SegNet", "mean")
        for n in range(1, 17)
        for attack, variant, adjusted in [("pooled", "exported", False)]
    ]
    # what is not asked for must not be told
    wrong = [row | change for row in rows for change in ({"attack": "DAG A"}, {"variant": "raw"}, {"adjusted": True})]
    for row in wrong:
        row |= {name: {"value": 9.0} for name in DICE_VARIANTS}
    return {
        "targets": [{"target": name, "robust": name == "distilled"} for name in ("UNet", "SegNet", "distilled")],
        "defenses": [*wrong, *rows],
    }


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (Claim("UNet", "", "", (5, 7), (1, 2, 3, 4)), ["+0.035", "+0.070"]),
        (Claim("UNet", "", "", (6, 8)), ["+0.020", "+0.090"]),  # against no defense
        (Claim("UNet", "", "", (13,), (1, 16), best=True), ["-0.030", "-0.060"]),
        (Claim("UNet", "", "", (13,), (1, 16)), ["+0.045", "+0.090"]),
    ],
)
def test_differences_by_hand(results: dict[str, Any], claim: Claim, expected: list[str]) -> None:
    ((*_, reformed, accepted, zeroed, deferred),) = cells(claim_table(results, [claim]))
    assert [reformed, accepted, zeroed, deferred] == [*expected, expected[0], expected[0]]


def test_what_is_not_there_is_left_out_and_what_is_not_known_is_a_dash(results: dict[str, Any]) -> None:
    known = cells(claim_table(results))
    assert [row[:3] for row in known] == [[c.target, c.words, c.reported] for c in CLAIMS if c.target != "DenseNet"]
    for row in results["defenses"]:
        if row["defense"] == "13":
            row["accepted"] = {"value": None}
    thirteen = [row for row in cells(claim_table(results)) if row[1] == "13 better than 2"]
    assert thirteen == [["UNet", "13 better than 2", "around 23 %", "+0.110", "–", "+0.110", "+0.110"]]
    results["defenses"] = [row for row in results["defenses"] if row["defense"] != "13"]
    assert not [row for row in cells(claim_table(results)) if row[1].startswith("13")]


def test_claims_are_about_defenses_of_the_paper() -> None:
    assert {claim.target for claim in CLAIMS} == {"UNet", "SegNet", "DenseNet"}
    for claim in CLAIMS:
        assert set(claim.these) | set(claim.those) <= set(range(1, 17))
        assert not set(claim.these) & set(claim.those)
