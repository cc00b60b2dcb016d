# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Every bundle keeps the model zoo's rules, and its own files agree with each other."""

import configparser
import json
import os
import re
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, verify_metadata, verify_net_in_out

import monai_shield
from monai_shield.utils import sha256, verify_sum

REPOSITORY = Path(__file__).parents[2]
BUNDLES = sorted(path.parent.parent for path in (REPOSITORY / "bundles").glob("*/configs/metadata.json"))
WORKFLOWS = {
    "train": ["train.json"],
    "train detector": ["train_detector.json"],
    "train reformer": ["train_reformer.json"],
    "calibrate": ["calibrate.json"],
    "infer": ["inference.json"],
    "evaluate": ["inference.json", "evaluate.json"],
}
LARGE = 25 * 1024 * 1024
every_bundle = pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)


def read(bundle, *names):
    return ConfigParser.load_config_files([str(bundle / "configs" / name) for name in names])


def metadata(bundle):
    return read(bundle, "metadata.json")


def test_there_are_bundles():
    assert [bundle.name for bundle in BUNDLES]
    assert len(BUNDLES) == len([path for path in (REPOSITORY / "bundles").iterdir() if path.is_dir()])


@every_bundle
def test_the_metadata_keep_the_schema(bundle):
    facts = Path(os.environ.get("SHIELD_FACTS", REPOSITORY.parent / "shared" / "facts"))
    schema = facts / "meta_schema_20240725.json"
    if not schema.is_file():
        pytest.skip(f"no schema '{schema}': set SHIELD_FACTS to its folder.")
    assert metadata(bundle)["schema"].endswith(schema.name)
    verify_metadata(meta_file=str(bundle / "configs" / "metadata.json"), filepath=str(schema))


@every_bundle
def test_it_is_named_and_laid_out_as_the_zoo_has_it(bundle):
    assert re.fullmatch(r"[a-z0-9]+_[a-z0-9]+_shield", bundle.name)
    for name in (
        "LICENSE",
        "docs/README.md",
        "docs/data_license.txt",
        "configs/metadata.json",
        "configs/logging.conf",
        *(f"configs/{name}" for names in WORKFLOWS.values() for name in names),
    ):
        assert (bundle / name).is_file(), name
        assert (bundle / name).stat().st_size > 0, name
    assert "Apache License" in (bundle / "LICENSE").read_text()


@every_bundle
def test_the_change_log_is_that_of_the_version(bundle):
    found = metadata(bundle)
    assert found["version"] in found["changelog"]
    versions = [tuple(map(int, version.split("."))) for version in found["changelog"]]
    assert max(versions) == tuple(map(int, found["version"].split(".")))
    assert all(found["changelog"].values())


@every_bundle
def test_versions_are_those_that_are_tested(bundle):
    pins = dict(line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().split() if "==" in line)
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    found = metadata(bundle)
    assert found["monai_version"] == pins["monai"]
    assert found["pytorch_version"] == pins["torch"]
    assert found["numpy_version"] == pins["numpy"]
    needed = dict(found["required_packages_version"])
    assert needed.pop("monai-shield") == setup["metadata"]["version"] == monai_shield.__version__
    assert needed == {name: pins[name] for name in needed}
    wanted = {re.split(r"[<>=]", line)[0] for line in setup["options"]["install_requires"].split()}
    assert set(needed) <= wanted


@every_bundle
def test_logging_is_plain(bundle):
    """MONAI refuses classes outside the standard library and arguments that are no literals."""
    logging_conf = configparser.ConfigParser()
    logging_conf.read(bundle / "configs" / "logging.conf")
    assert {"loggers", "handlers", "formatters"} <= set(logging_conf.sections())
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / "inference.json"),
        logging_file=str(bundle / "configs" / "logging.conf"),
        workflow_type="infer",
    )
    assert workflow.config_root_path == bundle / "configs"


@every_bundle
def test_the_label_map_is_that_of_the_channels(bundle):
    channels = metadata(bundle)["network_data_format"]["outputs"]["pred"]["channel_def"]
    parser = ConfigParser(read(bundle, "inference.json"))
    structures = list(parser.get_parsed_content("label_map"))
    assert [channels[str(index)] for index in range(len(channels))] == ["background", *structures]
    assert parser.get_parsed_content("num_classes") == len(channels)


@every_bundle
@pytest.mark.parametrize("net_id", ["network_def", "reformer_def", "spectrum_detector#network"])
def test_networks_take_and_give_what_the_metadata_say(bundle, net_id):
    """Those beside the main one describe themselves in ``<name>_data_format``, which MONAI must be pointed to."""
    found = metadata(bundle)
    name = {"network_def": "network", "reformer_def": "reformer"}.get(net_id, "spectrum_detector")
    verify_net_in_out(
        net_id=net_id,
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.json"),
        device="cpu",
        **{"_meta_#network_data_format": found[f"{name}_data_format"]},
    )
    parser = ConfigParser(read(bundle, "inference.json"))
    assert found[f"{name}_data_format"]["inputs"]["image"]["spatial_shape"] == parser["spatial_size"]


@every_bundle
def test_every_network_beside_the_main_one_describes_itself(bundle):
    formats = {key.removesuffix("_data_format") for key in metadata(bundle) if key.endswith("_data_format")}
    assert formats == {"network", "reformer", "spectrum_detector"}


def references(config):
    if isinstance(config, dict):
        return [found for value in config.values() for found in references(value)]
    if isinstance(config, list):
        return [found for value in config for found in references(value)]
    if isinstance(config, str) and config[:1] in "@$%":
        return re.findall(r"[@%]([A-Za-z_]\w*(?:(?:#|::)\w+)*)", config)
    return []


@every_bundle
@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_every_reference_leads_somewhere(bundle, workflow):
    config = read(bundle, *WORKFLOWS[workflow])
    parser = ConfigParser(config)
    missing = {name for name in references(config) if name not in parser}
    assert not missing
    assert "run" in parser or "evaluation" in parser


@every_bundle
def test_every_workflow_is_called_as_the_zoo_calls_it_and_by_its_own_name(bundle):
    names = {
        "train": "training",
        "train detector": "training",
        "train reformer": "training",
        "calibrate": "calibration",
    }
    for workflow, name in names.items():
        config = read(bundle, *WORKFLOWS[workflow])
        assert config["run"]
        assert config[name] in ("%run", config["run"])


@every_bundle
def test_training_writes_to_its_own_folder(bundle):
    for workflow, names in WORKFLOWS.items():
        config = read(bundle, *names)
        for key in ("run_dir", "output_dir", "evaluation_dir"):
            assert config.get(key, "runs/").startswith("runs/"), workflow


@every_bundle
def test_training_seeds_each_epoch_all_that_draws(bundle):
    first = ConfigParser(read(bundle, "train.json")).get("train#handlers")[0]
    assert first["_target_"] == "monai_shield.handlers.EpochSeed", "before a handler may draw"
    assert first["randomizable"] == ["@train#preprocessing", "@prepare_batch"]


@every_bundle
def test_the_evaluation_is_an_overlay_on_inference(bundle):
    merged, inference = read(bundle, *WORKFLOWS["evaluate"]), read(bundle, "inference.json")
    overlay = read(bundle, "evaluate.json")
    assert set(merged) == set(inference) | set(overlay)
    assert merged["inferer"] == inference["inferer"]
    assert merged["finalize"] is None


@every_bundle
def test_weights_are_small_and_their_sums_right(bundle):
    models = bundle / "models"
    for folder, names in ((models, ["model.pt"]), (models / "shield", ["detector.pt", "reformer.pt"])):
        recorded = dict(reversed(line.split()) for line in (folder / "SHA256SUMS").read_text().splitlines())
        assert sorted(recorded) == names
        assert sorted(path.name for path in folder.glob("*.*")) == names
        for name in names:
            assert (folder / name).stat().st_size < LARGE
            assert recorded[name] == sha256(folder / name)
            verify_sum(folder / name)


@every_bundle
def test_no_other_network_lies_where_monai_label_would_take_it_for_the_model(bundle):
    assert [path.name for path in (bundle / "models").glob("*.pt")] == ["model.pt"]
    assert not list((bundle / "models").glob("*.ts"))


@every_bundle
def test_the_weights_fit_their_networks_and_the_shield_is_calibrated(bundle):
    parser = ConfigParser(read(bundle, "inference.json") | {"bundle_root": str(bundle), "device": "cpu"})
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert set(parser.get_parsed_content("network_def").state_dict()) == set(state)
    calibration = parser.get_parsed_content("inferer").detector.calibrated()
    assert calibration.t_fp == 0.05
    assert calibration.rule == "conformal"
    assert calibration.num_volumes >= 3
    assert 0 <= calibration.volume_limit < 0.5
    assert "/" not in calibration.source.split(" ")[0] or not Path(calibration.source.split(" ")[0]).is_absolute()


@pytest.mark.parametrize(
    ("workflow", "kind"),
    [("train", "train"), ("train detector", "train"), ("train reformer", "train"), ("infer", "infer")],
)
def test_the_properties_that_monai_s_tools_ask_for_are_there(workflow, kind, tiny_bundle, brain_folder, tmp_path):
    found = ConfigWorkflow(
        config_file=[str(tiny_bundle / "configs" / name) for name in WORKFLOWS[workflow]],
        workflow_type=kind,
        logging_file=False,
        bundle_root=str(tiny_bundle),
        dataset_dir=str(brain_folder),
        label_map="$monai_shield.data.MICCAI2012_STRUCTURES",
        **({"run_dir": str(tmp_path)} if kind == "train" else {"output_dir": str(tmp_path)}),
    )
    found.initialize()
    assert found.check_properties() == []
    assert found.bundle_root == str(tiny_bundle)
    assert found.version == json.loads((tiny_bundle / "configs" / "metadata.json").read_text())["version"]


def test_a_data_set_s_overlay_says_no_more_than_what_is_the_data_set_s():
    for path in (REPOSITORY / "configs" / "data").glob("*.json"):
        overlay = json.loads(path.read_text())
        assert set(overlay) <= {"label_map", "dataset_dir"}, path.name
        for bundle in BUNDLES:
            merged = ConfigParser(ConfigParser.load_config_files([str(bundle / "configs" / "train.json"), str(path)]))
            assert merged.get_parsed_content("num_classes") == len(merged.get_parsed_content("label_map")) + 1
