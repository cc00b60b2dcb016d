# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a demo's numbers say, in plain words: each sentence follows from the numbers, none is written beforehand."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ILLUSTRATION = (
    "This is an illustration, not evidence: one made-up subject, one attack that knows nothing of the shield. What the "
    "shield is worth, on real scans and against attackers who know it, stands in the tables of README.md."
)

_BROKEN, _INTACT = 0.5, 0.9  # Dice with the clean answer: below, the segmentation is another one; above, it is the same
_NOTABLE = 0.02  # differences of Dice that are smaller are no difference

_TARGETS = {
    "background": "to call everything background",
    "exchange": "to let the two largest structures of each slice change places",
    "dilate": "to let the largest structure of each slice grow over its neighbors",
    "runner_up": "to give every pixel its second-best structure",
}


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


def findings(result: Mapping[str, Any]) -> list[Finding]:
    """What happened, from the numbers of ``result.json``."""
    return [_attack(result), _noticed(result), _false_alarm(result), _repaired(result), _cost(result), _user(result)]


def headline(result: Mapping[str, Any]) -> str:
    """All of it in one sentence."""
    attack, noticed, _, repaired, *_ = findings(result)
    return f"The attack: {attack.verdict}. The shield: {noticed.verdict}. The reformer: {repaired.verdict}."


def calibration_words(result: Mapping[str, Any]) -> str:
    """What the calibration promises and what it does not."""
    calibration = result["calibration"]
    rate, subjects = calibration["t_fp"], calibration["subjects"]
    needed = calibration["subjects_needed_for_a_promise_per_subject"]
    text = (
        f"The threshold comes from {calibration['slices']} clean slices of {subjects} other subjects of this 'site', "
        f"so that at most {_percent(rate)} of clean slices like these are rejected. "
    )
    if subjects < needed:
        text += (
            f"For a new subject that is no promise: slices of one subject are alike, and a promise per subject would "
            f"need at least {needed} subjects ({subjects} keep the demo short). "
        )
    return text + (
        f"A whole scan is rejected when more than {_percent(calibration['volume_limit'], 1)} of its slices are, the "
        f"largest share that a clean calibration scan had."
    )


def _attack(result: Mapping[str, Any]) -> Finding:
    attack, dice = result["attack"], result["dice"]["slab"]["attacked"]
    goal = _TARGETS.get(attack["target"], f"with the target rule '{attack['target']}'")
    text = (
        f"{attack['name']} changed {attack['slices']} coronal slices {goal}, in at most {attack['max_steps']} steps "
        f"({attack['steps_mean']:.1f} on average). In the file, rounded to its integers and with the background "
        f"restored, no voxel is changed by more than {_percent(attack['largest_change'], 1)} of the intensity window, "
        f"{_percent(attack['mean_change_where_changed'], 1)} on average. In those slices the undefended network's "
        f"answer has a mean Dice of {dice:.2f} with its own answer to the clean scan: "
    )
    if dice < _BROKEN:
        return Finding("The attack", "it broke the segmentation", text + "the segmentation is broken.")
    if dice < _INTACT:
        return Finding("The attack", "it damaged the segmentation", text + "the segmentation is damaged.")
    return Finding("The attack", "it failed", text + "the attack changed little.")


def _noticed(result: Mapping[str, Any]) -> Finding:
    clean, attacked = result["scans"]["clean"], result["scans"]["attacked"]
    name, rejected, known = "Noticed?", attacked["slab_slices_rejected"], clean["slab_slices_rejected"]
    text = (
        f"{rejected} of {attacked['slab_slices_scored']} attacked slices are rejected; of the same slices of the "
        f"clean scan {known} of {clean['slab_slices_scored']}. "
    )
    limit = _percent(attacked["threshold"], 1)
    share = "no slice could be scored" if attacked["score"] is None else f"{_percent(attacked['score'], 1)} rejected"
    if attacked["rejected"] and not clean["rejected"] and rejected > known:
        text += f"The attacked scan as a whole is rejected ({share}, limit {limit}), the clean one is not."
        return Finding(name, "it noticed the attack", text)
    if attacked["rejected"] and clean["rejected"]:
        text += "Both scans as a whole are rejected, the clean one too: the shield did not tell them apart as scans."
        verdict = "it rejected both scans, the clean one too" if rejected > known else "it did not notice the attack"
        return Finding(name, verdict, text)
    if attacked["rejected"]:
        text += (
            f"The attacked scan as a whole is rejected ({share}, limit {limit}), but not for its attacked slices: no "
            f"more of them are rejected than on the clean scan."
        )
        return Finding(name, "it rejected the scan, but not for the attack", text)
    text += f"The attacked scan as a whole passes ({share}, limit {limit})"
    if rejected > known:
        return Finding(name, "it noticed only single slices", text + ": only single slices are flagged.")
    return Finding(name, "it did not notice the attack", text + ", and so do its attacked slices: it went unnoticed.")


def _false_alarm(result: Mapping[str, Any]) -> Finding:
    clean, rate = result["scans"]["clean"], result["calibration"]["t_fp"]
    share = clean["slices_rejected"] / max(1, clean["slices_scored"])
    text = (
        f"{clean['slices_rejected']} of {clean['slices_scored']} slices of the clean scan ({_percent(share, 1)}) are "
        f"rejected, with {_percent(rate)} allowed on slices like those of the calibration. "
    )
    if clean["rejected"]:
        text += "That is more than on any clean calibration scan, so the clean scan is rejected: a false alarm."
        return Finding("False alarm?", "yes, the clean scan is rejected", text)
    if share > rate:
        return Finding("False alarm?", "some slices, more than allowed", text + "The clean scan as a whole passes.")
    verdict = "some slices, within what is allowed" if clean["slices_rejected"] else "none"
    return Finding("False alarm?", verdict, text + "The clean scan as a whole passes.")


def _repaired(result: Mapping[str, Any]) -> Finding:
    name, dice = "Repaired?", result["dice"]["slab"]
    attacked, reformed = dice["attacked"], dice["attacked_reformed"]
    text = (
        f"Behind the reformer the answer to the attacked slices has a mean Dice of {reformed:.2f} with the answer to "
        f"the clean scan; without it {attacked:.2f}. "
    )
    if reformed < attacked - _NOTABLE:
        return Finding(name, "it made things worse", text + "The reformer made it worse.")
    if attacked >= _INTACT:
        return Finding(name, "there was little to repair", text + "There was little to repair.")
    if reformed >= _INTACT:
        return Finding(name, "it repaired the segmentation", text + "The segmentation is back.")
    if reformed > attacked + _NOTABLE:
        back = (reformed - attacked) / (1 - attacked)
        much = "little" if back < 0.25 else "part" if back < 0.75 else "most"
        text += f"That is {_percent(back)} of what the attack took: the rest of the damage stays."
        return Finding(name, f"it repaired {much} of the damage", text)
    return Finding(name, "it did not repair the damage", text + "The damage stays.")


def _cost(result: Mapping[str, Any]) -> Finding:
    dice = result["dice"]["scan"]["clean_reformed"]
    text = (
        f"On the clean scan the answer behind the reformer has a mean Dice of {dice:.2f} with the answer without it, "
        f"over the whole scan: "
    )
    if dice >= 1 - _NOTABLE:
        return Finding("Cost on a clean scan", "none to speak of", text + "it costs nothing to speak of.")
    verdict = "little" if dice >= _INTACT else "much"
    return Finding("Cost on a clean scan", verdict, text + "that is the price of the shield when nobody attacks.")


def _user(result: Mapping[str, Any]) -> Finding:
    name, attacked = "What a user gets", result["scans"]["attacked"]
    shown = "The pictures show what the reformer makes of it all the same (on_reject = keep)."
    if attacked["rejected"]:
        text = f"As shipped, the bundle empties the label of a rejected scan and says so in its JSON. {shown}"
        return Finding(name, "an empty label and a reason", text)
    if attacked["slices_rejected"]:
        text = (
            f"As shipped, the bundle empties the labels of the {attacked['slices_rejected']} rejected slices of the "
            f"attacked scan and says so in its JSON; the other slices keep the reformed answer. {shown}"
        )
        return Finding(name, "the reformed answer, without the rejected slices", text)
    return Finding(name, "the reformed answer, without a warning", "Nothing was rejected: nothing warns the user.")


def _percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"
