# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a demo's page and closing words say, by what happened."""

import pytest

from monai_shield.report import closing_words, words


def verdicts(result):
    return {each.name: each.verdict for each in words.findings(result)}


def test_the_words_of_an_attack_that_is_noticed_and_repaired(made_up_demo):
    found = verdicts(made_up_demo.result())
    assert found["The attack"] == "it broke the segmentation"
    assert found["Noticed?"] == "it noticed the attack"
    assert found["False alarm?"] == "some slices, more than allowed"
    assert found["Repaired?"] == "it repaired the segmentation"
    assert found["What a user gets"] == "an empty label and a reason"


@pytest.mark.parametrize(
    ("clean", "attacked", "verdict"),
    [
        ({}, {}, "it did not notice the attack"),
        ({"in_slab": 2}, {"in_slab": 2}, "it did not notice the attack"),
        ({}, {"in_slab": 1}, "it noticed only single slices"),
        (
            {"rejected": True, "outside": 6},
            {"rejected": True, "in_slab": 4, "outside": 6},
            "it rejected both scans, the clean one too",
        ),
        ({"rejected": True, "outside": 6}, {"rejected": True, "outside": 6}, "it did not notice the attack"),
        ({}, {"rejected": True, "outside": 6}, "it rejected the scan, but not for the attack"),
        ({}, {"rejected": True, "in_slab": 4}, "it noticed the attack"),
    ],
)
def test_the_words_say_whether_it_was_noticed(clean, attacked, verdict, made_up_demo):
    assert (
        verdicts(made_up_demo.result(made_up_demo.scan(**clean), made_up_demo.scan(**attacked)))["Noticed?"] == verdict
    )


@pytest.mark.parametrize(
    ("damaged", "reformed", "verdict"),
    [
        (0.2, 0.95, "it repaired the segmentation"),
        (0.2, 0.85, "it repaired most of the damage"),
        (0.2, 0.6, "it repaired part of the damage"),
        (0.2, 0.3, "it repaired little of the damage"),
        (0.2, 0.21, "it did not repair the damage"),
        (0.2, 0.1, "it made things worse"),
        (0.95, 0.96, "there was little to repair"),
        (0.95, 0.5, "it made things worse"),
    ],
)
def test_the_words_say_whether_it_was_repaired(damaged, reformed, verdict, made_up_demo):
    assert verdicts(made_up_demo.result(damaged=damaged, reformed=reformed))["Repaired?"] == verdict


@pytest.mark.parametrize(
    ("damaged", "verdict"),
    [
        (0.1, "it broke the segmentation"),
        (0.7, "it damaged the segmentation"),
        (0.99, "it hardly changed the segmentation"),
    ],
)
def test_the_words_say_what_the_attack_did(damaged, verdict, made_up_demo):
    assert verdicts(made_up_demo.result(damaged=damaged))["The attack"] == verdict


@pytest.mark.parametrize(
    ("clean", "verdict"),
    [
        ({}, "none"),
        ({"outside": 1, "scored": 40}, "some slices, within what is allowed"),
        ({"outside": 3}, "some slices, more than allowed"),
        ({"rejected": True, "outside": 6}, "yes, the clean scan is rejected"),
    ],
)
def test_the_words_say_whether_there_was_a_false_alarm(clean, verdict, made_up_demo):
    assert verdicts(made_up_demo.result(made_up_demo.scan(**clean)))["False alarm?"] == verdict


@pytest.mark.parametrize(("goal", "words_"), [("dilate", "grows over its neighbors"), ("mine", "target rule 'mine'")])
def test_the_words_say_what_the_attack_was_for(goal, words_, made_up_demo):
    result = made_up_demo.result()
    result["attack"]["target"] = goal
    assert words_ in words.findings(result)[0].text


def test_the_words_hold_the_numbers(made_up_demo):
    attack, noticed, alarm, repaired, cost, _ = (each.text for each in words.findings(made_up_demo.result()))
    assert "12.3 % of the intensity window" in attack
    assert "rejects 4 of 4 attacked slices" in noticed
    assert "25.0 % of its slices are rejected, and the limit is 10.0 %" in noticed
    assert "rejects 1 of 16 slices of the clean scan. Allowed are 5 %" in alarm
    assert "Dice of 0.95 with" in repaired
    assert "it has 0.20" in repaired
    assert "Dice of 0.99" in cost


def test_a_scan_without_a_score_says_so(made_up_demo):
    result = made_up_demo.result()
    result["scans"]["attacked"]["score"] = None
    assert "rejected: no slice of it has a score." in words.findings(result)[1].text


def test_nothing_warns_the_user_where_nothing_is_rejected(made_up_demo):
    found = {each.name: each for each in words.findings(made_up_demo.result(attacked=made_up_demo.scan()))}
    assert found["What a user gets"].verdict == "the reformed answer, without a warning"


def test_the_closing_words_say_what_where_and_that_it_is_no_evidence(made_up_demo):
    said = closing_words(made_up_demo.result(), "demo")
    assert words.ILLUSTRATION in " ".join(said.split())
    assert max(len(line) for line in said.splitlines()) <= 100
    for path in ("demo/report.html", "demo/figure.png", "demo/result.json"):
        assert path in said
    assert "it noticed the attack" in said
    assert "it did not notice the attack" in closing_words(made_up_demo.result(attacked=made_up_demo.scan()), "demo")
