# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a demo's numbers say, in plain words: each sentence follows from the numbers, none is written beforehand."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_shield.report.pages import render_page

Result = Mapping[str, Any]

ILLUSTRATION = (
    "This is an illustration, not evidence: one synthetic subject, and one attack that knows nothing of the shield. "
    "The tables of README.md say what the shield is worth on real scans, and against attackers who know it."
)

_BROKEN, _INTACT = 0.5, 0.9  # Dice with the clean answer: below, the segmentation is another one; above, it is the same
_NOTABLE = 0.02  # a smaller difference of Dice is no difference


@dataclass(frozen=True)
class Finding:
    """
    One thing that happened.

    Args:
        name: what it is about.
        verdict: in a word or two.
        text: in sentences, with the numbers.
    """

    name: str
    verdict: str
    text: str


def findings(result: Result) -> list[Finding]:
    """What happened, from the numbers of ``result.json``; the sentences are those of ``findings.txt``."""
    verdicts = (_attack, _noticed, _false_alarm, _repaired, _cost, _user)
    paragraphs = [text.split("\n", 1) for text in render_page("findings.txt", result=result).strip().split("\n\n")]
    return [
        Finding(name, verdict(result), " ".join(text.split()))
        for verdict, (name, text) in zip(verdicts, paragraphs, strict=True)
    ]


def headline(result: Result) -> str:
    """The attack, the shield and the reformer in a sentence each."""
    return f"The attack: {_attack(result)}. The shield: {_noticed(result)}. The reformer: {_repaired(result)}."


def closing_words(result: Result, folder: str | Path) -> str:
    """What happened and where the files are, for the end of a terminal."""
    return render_page("closing.txt", result=result, findings=findings(result), folder=folder).rstrip()


def _attack(result: Result) -> str:
    dice = result["dice"]["slab"]["attacked"]
    changed = "broke" if dice < _BROKEN else "damaged" if dice < _INTACT else "hardly changed"
    return f"it {changed} the segmentation"


def _noticed(result: Result) -> str:
    clean, attacked = result["scans"]["clean"], result["scans"]["attacked"]
    more = attacked["slab_slices_rejected"] > clean["slab_slices_rejected"]
    if not attacked["rejected"]:
        return "it noticed only single slices" if more else "it did not notice the attack"
    if clean["rejected"]:
        return "it rejected both scans, the clean one too" if more else "it did not notice the attack"
    return "it noticed the attack" if more else "it rejected the scan, but not for the attack"


def _false_alarm(result: Result) -> str:
    clean, rate = result["scans"]["clean"], result["calibration"]["t_fp"]
    if clean["rejected"]:
        return "yes, the clean scan is rejected"
    if clean["slices_rejected"] > rate * clean["slices_scored"]:
        return "some slices, more than allowed"
    return "some slices, within what is allowed" if clean["slices_rejected"] else "none"


def _repaired(result: Result) -> str:
    attacked, reformed = (result["dice"]["slab"][name] for name in ("attacked", "attacked_reformed"))
    if reformed < attacked - _NOTABLE:
        return "it made things worse"
    if attacked >= _INTACT:
        return "there was little to repair"
    if reformed >= _INTACT:
        return "it repaired the segmentation"
    if reformed <= attacked + _NOTABLE:
        return "it did not repair the damage"
    share = (reformed - attacked) / (1 - attacked)
    return f"it repaired {'little' if share < 0.25 else 'part' if share < 0.75 else 'most'} of the damage"


def _cost(result: Result) -> str:
    dice = result["dice"]["scan"]["clean_reformed"]
    return "none to speak of" if dice >= 1 - _NOTABLE else "little" if dice >= _INTACT else "much"


def _user(result: Result) -> str:
    attacked = result["scans"]["attacked"]
    if attacked["rejected"]:
        return "an empty label and a reason"
    without = "the rejected slices" if attacked["slices_rejected"] else "a warning"
    return f"the reformed answer, without {without}"
