# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Grids and settings that cannot be a study are refused in one line; parts of a grid are chosen by name."""

from dataclasses import replace
from typing import Any

import pytest

from monai_shield.attacks import PGD
from monai_shield.detectors import ZeroShare
from reproduction.parts import AttackPart
from reproduction.summary import DefenseSummary
from reproduction.training import Training

BAD: list[tuple[dict[str, Any], str]] = [
    ({"reformers": {"convolution": "nobody"}}, "reformers: there is no 'nobody'"),
    ({"consistency_reformer": "nobody"}, "consistency_reformer: there is no 'nobody'"),
    ({"defenses": {"1": ("nobody", "convolution")}}, "defenses: there is no 'nobody'"),
    ({"defenses": {"1": ("zero", "convolution")}}, "defenses: there is no 'zero'"),
    ({"defenses": {"1": ("spatial", "nobody")}}, "defenses: there is no 'nobody'"),
    ({"reformers": {"convolution": "shifted"}}, "reformer 'convolution': detector 'shifted' is not one in space"),
    ({"attacks": {"clean": AttackPart(PGD(0.1), pooled=True)}}, "no attack may be called 'clean'"),
    ({"attacks": {"PGD": AttackPart(PGD(0.1), every=10, pooled=True)}}, "'PGD' is for every 10th slice of 2 of a scan"),
    ({"attacks": {"pooled": AttackPart(PGD(0.1), pooled=True)}}, "no attack may be called 'pooled'"),
    ({"attacks": {"PGD": AttackPart(PGD(0.1))}}, "a study needs an attack that is pooled"),
    (
        {"attacks": {name: AttackPart(PGD(0.1), pooled=True) for name in ("a+", "a-")}},
        "attacks 'a\\+' and 'a-' cannot be",
    ),
    ({"targets": {}}, "a study needs a target"),
    ({"baseline_detectors": {"spatial": ZeroShare}}, "detectors 'spatial' and 'spatial' cannot be told apart"),
    ({"defenses": {"1": ("convolution",)}}, "defense '1' needs a detector and a reformer, got \\['convolution'\\]"),
    ({"groups": ["paper", "papper"]}, "groups: there is no 'papper'"),
    ({"comparisons": [("shiftd", "spatial"), ("spatail", "zeros")]}, "comparisons: there is no 'shiftd', 'spatail'"),
    ({"only": {"attack": ["PGD"]}}, "only: there is no 'attack'"),
    ({"only": {"attacks": ["FGSM"]}}, "only attacks: there is no 'FGSM'"),
    ({"only": {"reformers": []}}, "consistency_reformer 'convolution' is left out"),
    ({"seeds": 0}, "seeds must be at least 1, got 0"),
    ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ({"t_fp": 5}, "t_fp must be at least 0 and less than 1, got 5"),
]


@pytest.mark.parametrize(("changes", "words"), BAD, ids=[words for _, words in BAD])
def test_what_is_not_known_is_refused_in_one_line(tiny_study, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        tiny_study(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", [{"epochs": 0}, {"every": 0}, {"batch_size": 0}, {"learning_rate": 0.0}])
def test_a_training_out_of_its_range_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(change))}.* must be .* got"):
        Training(**({"epochs": 1} | change))


def test_every_0th_slice_is_refused() -> None:
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        AttackPart(PGD(0.1), every=0)


def test_a_group_that_is_left_out_takes_its_reformers_and_defenses_along(tiny_study) -> None:
    detectors = tiny_study().grid.detectors
    detectors |= {"other": replace(detectors["spatial"], group="others")}
    more = {
        "detectors": detectors,
        "reformers": {"convolution": "spatial", "another": "other"},
        "defenses": {
            "1": ("spatial", "convolution"),
            "2": ("shifted", "convolution"),
            "3": ("spatial", "shifted", "convolution"),
            "4": ("other", "convolution"),
            "5": ("spatial", "another"),
        },
        "comparisons": [("spatial", "other"), ("spatial", "shifted")],
    }
    study = tiny_study(groups=["paper"], **more)
    study.run()
    summary = DefenseSummary(study, resamples=5).as_dict()
    assert list(dict.fromkeys(row["defense"] for row in summary["defenses"])) == ["1", "2", "3"]
    assert {row["second"] for row in summary["comparisons"]} == {"shifted"}
    assert "another" not in study.settings_as_dict()["reformers"]
    with pytest.raises(ValueError, match="consistency_reformer 'another' is left out"):
        tiny_study(groups=["paper"], consistency_reformer="another", **more)


def test_parts_that_are_kept_by_name_leave_out_what_depends_on_others(tiny_study) -> None:
    grid = tiny_study().grid
    robust = {"robust": replace(grid.targets["tiny"], after="tiny")}
    every = replace(grid, targets=grid.targets | {"second": grid.targets["tiny"]}, robust_targets=robust)
    kept = every.kept({"targets": ["second"], "attacks": ["DAG"], "detectors": ["spatial"]})
    assert (list(kept.every_target), list(kept.attacks), list(kept.defenses)) == (["second"], ["DAG"], ["1"])
    assert list(every.kept({}).every_target) == ["tiny", "second", "robust"]
