# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What the paper says of its Figure 4, which has no numbers, beside the differences that were measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monai_shield.evaluation.tables import DICE_VARIANTS, markdown_table
from reproduction.image_set import POOLED
from reproduction.tables import defended, find


@dataclass(frozen=True)
class Claim:
    """
    Some defenses are better or worse than others.

    Args:
        target: of which it is said.
        words: what is said, in short.
        reported: by how much.
        these: numbers of the defenses that it is about; their mean.
        those: numbers of those they are compared with; no defense where there is none.
        best: whether they are compared with the best of those, not with their mean.
    """

    target: str
    words: str
    reported: str
    these: tuple[int, ...]
    those: tuple[int, ...] = ()
    best: bool = False


MAGNET = (1, 2, 3, 4)
SEGMENTERS = (5, 6, 7, 8)
SHIFTED = (13, 14, 15, 16)
OTHERS = tuple(number for number in range(1, 17) if number != 13)

#: In the order of section 3 of the paper. Its "(6), (7)" as DenseNet reformers are read as 6 and 8, by its Table 2.
CLAIMS = (
    Claim("SegNet", "MagNet (1-4) slightly better than no defense", "> 0", MAGNET),
    Claim("SegNet", "DenseNet reformers (6, 8) the same as autoencoders (1-4) or worse", "≤ 0", (6, 8), MAGNET),
    Claim("SegNet", "UNet reformers (5, 7) better than autoencoders (1-4)", "about 10 %", (5, 7), MAGNET),
    Claim("SegNet", "UNet detector shifted (13, 14) better than not (9, 10)", "> 0", (13, 14), (9, 10)),
    Claim("SegNet", "DenseNet detector shifted (15, 16) better than not (11, 12)", "> 0", (15, 16), (11, 12)),
    Claim("SegNet", "shifted (13-16) better than autoencoder detectors (5-8)", "> 0", SHIFTED, SEGMENTERS),
    Claim("SegNet", "13 the best", "> 0", (13,), OTHERS, best=True),
    Claim("SegNet", "15 the second best", "> 0", (15,), tuple(each for each in OTHERS if each != 15), best=True),
    Claim("UNet", "MagNet (1-4) worse than no defense", "< 0", MAGNET),
    Claim("UNet", "DenseNet reformers (6, 8) do not defend", "≤ 0", (6, 8)),
    Claim("UNet", "nor do 10 and 12", "≤ 0", (10, 12)),
    Claim("UNet", "UNet reformers (5, 7, 9, 11, 13, 15) do", "> 0", (5, 7, 9, 11, 13, 15)),
    Claim("UNet", "UNet reformers (5, 7) better than autoencoders (1-4)", "17 %", (5, 7), MAGNET),
    Claim("UNet", "shifted (13-16) better than autoencoder detectors (5-8)", "more than 7 %", SHIFTED, SEGMENTERS),
    Claim("UNet", "13 better than 2", "around 23 %", (13,), (2,)),
    Claim("UNet", "13 the best", "> 0", (13,), OTHERS, best=True),
    Claim("DenseNet", "MagNet (1-4) hardly better than no defense", "about 0", MAGNET),
    Claim(
        "DenseNet",
        "UNet reformers (odd, from 5) better than DenseNet reformers (even, from 6)",
        "> 0",
        (5, 7, 9, 11, 13, 15),
        (6, 8, 10, 12, 14, 16),
    ),
    Claim("DenseNet", "shifted (13-16) better than autoencoder detectors (5-8)", "> 0", SHIFTED, SEGMENTERS),
    Claim("DenseNet", "reformers of 5-8 better than autoencoders (1-4)", "> 0", SEGMENTERS, MAGNET),
    Claim("DenseNet", "13 the best", "> 0", (13,), OTHERS, best=True),
)


def claim_table(results: Mapping[str, Any], claims: Sequence[Claim] = CLAIMS) -> str:
    """
    Each claim with the difference of mean Dice, exported and pooled attacks, in each variant of Dice.

    Claims of which the results have nothing are left out; where nothing is accepted stands a dash.
    """
    rows = []
    for claim in claims:
        where = {"target": claim.target, "attack": POOLED, "variant": "exported", "adjusted": False}
        found = {row["defense"]: row for row in find(results["defenses"], **where)}
        if claim.target in defended(results) and {str(n) for n in (*claim.these, *claim.those)} <= set(found):
            differences = [_difference(claim, found, variant) for variant in DICE_VARIANTS]
            rows.append([claim.target, claim.words, claim.reported, *differences])
    return markdown_table(["target", "the paper says", "by", *DICE_VARIANTS.values()], rows)


def _difference(claim: Claim, found: Mapping[str, Mapping[str, Any]], variant: str) -> str:
    these = [found[str(number)][variant]["value"] for number in claim.these]
    those = [found[str(number)][variant]["value"] for number in claim.those]
    if not claim.those:
        those = [found[str(claim.these[0])]["undefended"]["value"]]
    if None in (*these, *those):
        return "–"
    other = max(those) if claim.best else sum(those) / len(those)
    return f"{sum(these) / len(these) - other:+.3f}"
