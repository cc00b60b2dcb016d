# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A shield whose own files or settings were changed refuses, also where all sums fit."""

import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, run

from monai_shield.utils import write_sum

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def root(tiny_repository):
    return tiny_repository / "bundles" / "brain_mri_shield"


def infer(root, file, output_dir, **settings):
    run(
        config_file=str(root / "configs" / "inference.json"),
        bundle_root=str(root),
        dataset_dir=[str(file)],
        output_dir=str(output_dir),
        device="cpu",
        logging_file=False,
        **settings,
    )


def causes(error):
    while error is not None:
        yield str(error)
        error = error.__cause__


def refused(root, file, output_dir, reason, **settings):
    """The run stops before its first file, with one line that says why."""
    with pytest.raises((RuntimeError, ValueError)) as error:
        infer(root, file, output_dir, **settings)
    lines = [cause for cause in causes(error.value) if reason in cause]
    assert lines, list(causes(error.value))[-1]
    assert len(lines[-1].splitlines()) == 1
    assert not list(output_dir.glob("*"))


# --- what stands in the calibration -----------------------------------------------------------------------------------

CALIBRATIONS = {
    "a threshold that nothing passes": (lambda c: c | {"threshold": 1e9}, "threshold 1000000000.0 does not follow"),
    "a threshold that is no number": (lambda c: c | {"threshold": float("nan")}, "threshold nan does not follow"),
    "a limit above 1": (lambda c: c | {"volume_limit": 1.5}, "limit 1.5 does not follow"),
    "no limit": (lambda c: c | {"volume_limit": None}, "limit None does not follow"),
    "no volumes": (lambda c: c | {"volumes": None}, "where the limit of a volume comes from"),
    "another number of volumes": (lambda c: c | {"num_volumes": 30}, "volumes of the calibration are not those"),
    "another rate": (lambda c: c | {"t_fp": 0.5}, "does not follow from the clean scores"),
    "another rule": (lambda c: c | {"rule": "empirical"}, "does not follow from the clean scores"),
    "an unknown rule": (lambda c: c | {"rule": "none"}, "unknown rule 'none'"),
    "scores that are not sorted": (lambda c: c | {"scores": c["scores"].flip(0)}, "not sorted"),
    "scores that are no numbers": (lambda c: c | {"scores": c["scores"] * torch.nan}, "cannot be loaded"),
    "scores that are all the same": (
        lambda c: c | {"scores": c["scores"] * 0, "threshold": 0.0, "volume_limit": 0.0},
        "the same score",
    ),
    "a number that is none": (lambda c: c | {"num_volumes": None}, "its calibration is damaged"),
    "scores that are no tensor": (lambda c: c | {"scores": [1.0]}, "its calibration is damaged"),
    "something else": (lambda c: c | {"trust_me": True}, "its calibration is damaged"),
    "no record": (lambda c: c | {"made_with": {}}, "does not say what it was made with"),
    "a record of nothing": (lambda c: c | {"made_with": {"settings": {}}}, "nothing is known of the detector"),
    "a record of another rate": (
        lambda c: c | {"made_with": c["made_with"] | {"settings": {"t_fp": "0.5"}}},
        "settings.t_fp is 0.05, not 0.5",
    ),
}


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_a_calibration_that_could_not_have_been_made_is_refused(name, root, brain_file, tmp_path):
    change, reason = CALIBRATIONS[name]
    weights = root / "models" / "shield" / "detector.pt"
    state = torch.load(weights, weights_only=True)
    state["_extra_state"] = change(state["_extra_state"])
    torch.save(state, weights)
    write_sum(weights)
    refused(root, brain_file(), tmp_path / "out", reason)


# --- what stands in the config ----------------------------------------------------------------------------------------

SETTINGS = {
    "another low-pass radius": (
        {"spectrum_detector#network#filter#radius": 0.4},
        "detector.detectors.spectrum.network.filter.radius is 0.4, not 0.15",
    ),
    "another rule of combination": ({"detector_def#rule": "mean"}, "detector.rule is 'mean', not 'max'"),
    "no reformer": ({"inferer#reformer": "$None"}, "reformer is None, not monai_shield"),
    "another filter": ({"reformer_def#filter#radius": 2}, "reformer.filter"),
    "no residual": ({"reformer_def#residual": False}, "reformer.residual is False, not True"),
    "another axis": ({"inferer#slice_axis": 0}, "settings.slice_axis is 0, not 1"),
    "more foreground": ({"inferer#min_foreground": 0.5}, "settings.min_foreground is 0.5, not 0.02"),
    "another head": ({"inferer#head": "sigmoid"}, "settings.head is 'sigmoid', not 'softmax'"),
    "another orientation": ({"preprocessing#transforms#3#axcodes": "RAS"}, "axcodes is 'RAS', not 'LAS'"),
    "another voxel size": ({"pixdim": [2.0, 2.0, 2.0]}, "pixdim is [2.0, 2.0, 2.0], not [1.0, 1.0, 1.0]"),
    "another window": ({"preprocessing#transforms#5#percentile": 50}, "percentile is 50, not 99.5"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_another_setting_than_it_was_calibrated_with_is_refused_by_name(name, root, brain_file, tmp_path):
    settings, reason = SETTINGS[name]
    refused(root, brain_file(), tmp_path / "out", reason, **settings)


def test_a_check_may_be_stricter_or_looser(root, brain_file, tmp_path):
    """It changes no image that it lets through."""
    infer(root, brain_file(), tmp_path / "out", max_extent=900, max_voxels=10_000_000)
    assert json.loads((tmp_path / "out" / "brain_shield.json").read_text())["status"] == "accepted"


# --- what the weights are ---------------------------------------------------------------------------------------------


def permuted(state):
    """The same target with its classes in another order."""
    order = torch.arange(len(state["final_conv.bias"])).roll(1)
    return state | {f"final_conv.{name}": state[f"final_conv.{name}"][order] for name in ("weight", "bias")}


def test_permuted_classes_are_another_target(root, brain_file, tmp_path):
    weights = root / "models" / "model.pt"
    torch.save(permuted(torch.load(weights, weights_only=True)), weights)
    write_sum(weights)
    refused(root, brain_file(), tmp_path / "out", "the target has other weights")


@pytest.mark.parametrize("name", ["detector", "reformer"])
def test_weights_that_were_trained_on_need_another_calibration(name, root, brain_file, tmp_path):
    weights = root / "models" / "shield" / f"{name}.pt"
    state = torch.load(weights, weights_only=True)
    key = next(key for key in state if key.endswith("weight"))
    torch.save(state | {key: state[key] * 1.01}, weights)
    write_sum(weights)
    refused(root, brain_file(), tmp_path / "out", f"the {name} has other weights")


def test_a_server_that_loads_the_target_by_itself_is_told_too(root, brain_file):
    """MONAI Label runs no ``initialize`` and checks no sum."""
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "inference.json"))
    parser.config.update({"bundle_root": str(root), "device": "cpu"})
    network, inferer = parser.get_parsed_content("network_def").eval(), parser.get_parsed_content("inferer")
    network.load_state_dict(permuted(torch.load(root / "models" / "model.pt", weights_only=True)))
    image = parser.get_parsed_content("preprocessing")({"image": str(brain_file())})["image"]
    with pytest.raises(ValueError, match="the target has other weights"):
        inferer(image[None], network)
    with pytest.raises(ValueError, match="a module, not a function"):
        inferer(image[None], lambda x: network(x))


def test_the_calibration_of_a_site_can_be_made_from_weights_whose_own_is_refused(root, brain_folder, tmp_path):
    """Else nobody could mend it."""
    weights = root / "models" / "shield" / "detector.pt"
    state = torch.load(weights, weights_only=True)
    state["_extra_state"] |= {"threshold": 1e9}
    torch.save(state, weights)
    write_sum(weights)
    run(
        run_id="calibration",
        config_file=str(root / "configs" / "calibrate.json"),
        bundle_root=str(root),
        dataset_dir=str(brain_folder),
        run_dir=str(tmp_path / "site"),
        split="all",
        device="cpu",
    )
    made = torch.load(tmp_path / "site" / "shield" / "detector.pt", weights_only=True)["_extra_state"]
    assert made["threshold"] < 1e6
    assert set(made["made_with"]) == {"settings", "detector", "reformer", "preprocessing", "target"}


def test_the_page_has_a_row_for_each_of_these():
    page = (REPOSITORY / "docs" / "bad_input.md").read_text()
    section = page.partition("\n## Switched off by its own files\n")[2].partition("\n## ")[0]
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in section.splitlines() if line.startswith("| ")}
    others = {"change", "---", "permuted classes, or any other weights"}
    assert set(rows) - others == set(CALIBRATIONS) | set(SETTINGS)
