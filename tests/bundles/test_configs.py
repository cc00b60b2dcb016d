# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The configs of a bundle: built and run from anywhere, and what they share stands in one of them."""

import json
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, run
from monai.transforms import Compose

from monai_shield.bundle import bundle_root, labeled_preprocessing, shared_part

CONFIGS = {
    "inference": ["inference"],
    "calibrate": ["calibrate"],
    "evaluate": ["inference", "evaluate"],
    "train": ["train"],
    "train_detector": ["train_detector"],
    "train_reformer": ["train_reformer"],
}
#: What a config does, and no part of it.
STEPS = {"imports", "initialize", "run", "finalize", "training", "calibration", "evaluation"}
TISSUES = {"dark": [1], "middle": [2], "bright": [3]}
STRUCTURES = {f"structure {number}": [number] for number in range(1, 28)}
PLACES = ("the repository", "the bundle", "its configs", "elsewhere")


@pytest.fixture
def bundle(tiny_repository):
    return tiny_repository / "bundles" / "brain_mri_shield"


@pytest.fixture
def stand(bundle, tmp_path, monkeypatch):
    """Makes a place the working directory; the command that is typed there names a config by its whole path."""
    (tmp_path / "elsewhere").mkdir()
    folders = (bundle.parents[1], bundle, bundle / "configs", tmp_path / "elsewhere")

    def go(place, name):
        files = [str(bundle / "configs" / f"{each}.json") for each in CONFIGS[name]]
        monkeypatch.chdir(dict(zip(PLACES, folders))[place])
        monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", "--config_file", str(files)])
        return files

    return go


def read(bundle, name, **settings):
    """A config with settings from the command line."""
    parser = ConfigParser(
        ConfigParser.load_config_files([bundle / "configs" / f"{each}.json" for each in CONFIGS[name]])
    )
    parser.update({"bundle_root": str(bundle), "device": "cpu", **settings})
    return parser


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", CONFIGS)
def test_every_part_is_built_wherever_one_stands(name, place, stand, brain_folder, tmp_path):
    parser = ConfigParser(ConfigParser.load_config_files(stand(place, name)))
    parser.update({"dataset_dir": str(brain_folder), "device": "cpu", "run_dir": str(tmp_path / "run")})
    parser["label_map"] = TISSUES if name == "train" else STRUCTURES
    for part in set(parser.config) - STEPS:
        parser.get_parsed_content(part)


@pytest.mark.parametrize("place", PLACES)
def test_a_scan_is_segmented_wherever_one_stands(place, stand, bundle, brain_file, tmp_path):
    file = str(brain_file())
    run(config_file=stand(place, "inference"), dataset_dir=file, device="cpu", output_dir=str(tmp_path / "out"))
    image, label = nib.load(file), nib.load(tmp_path / "out" / "brain_seg.nii.gz")
    assert label.shape == image.shape
    np.testing.assert_allclose(label.affine, image.affine)
    assert len(np.unique(np.asarray(label.dataobj))) > 10
    assert json.loads((tmp_path / "out" / "brain_shield.json").read_text())["status"] == "accepted"


def test_the_command_names_the_bundle_also_from_within_another_copy(stand, bundle, tmp_path, monkeypatch):
    shutil.copytree(bundle, tmp_path / "copy" / "bundles" / bundle.name)
    stand("the repository", "inference")
    monkeypatch.chdir(tmp_path / "copy")
    assert bundle_root(bundle.name) == str(bundle)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    assert bundle_root(bundle.name) == str(tmp_path / "copy" / "bundles" / bundle.name)


@pytest.mark.parametrize("name", ["inference", "calibrate"])
def test_without_its_bundle_a_command_ends_in_one_line(name, bundle, tmp_path):
    lost = tmp_path / "lost"
    lost.mkdir()
    for each in CONFIGS[name]:
        shutil.copy(bundle / "configs" / f"{each}.json", lost)
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", f"{name}.json"]
    found = subprocess.run([*command, "--device", "cpu"], cwd=lost, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    last = found.stderr.strip().splitlines()[-1]
    assert last.startswith("monai-shield: no bundle 'brain_mri_shield' here: ")
    assert last.endswith("or give --bundle_root.")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": "preprocesing"}, r"inference\.json' has no 'preprocesing'\.$"),
        ({"config": "infer.json"}, r"no bundle in '.*', or none with configs/infer\.json\.$"),
        ({"pixdm": [2, 2, 2]}, r"inference\.json' has no 'pixdm', neither has its 'preprocessing'\.$"),
        ({"bundle_root": "nowhere"}, r"no bundle in 'nowhere', or none with configs/inference\.json\.$"),
    ],
)
def test_what_is_not_there_is_named_in_one_line(changes, message, bundle):
    with pytest.raises(SystemExit, match="^monai-shield: .*" + message) as error:
        shared_part(**({"bundle_root": bundle, "key": "preprocessing"} | changes))
    assert len(str(error.value).splitlines()) == 1


def test_a_part_is_built_with_other_settings_and_arguments(bundle):
    assert shared_part(bundle, "target_weights") == f"{bundle}/models/model.pt"
    assert shared_part(bundle, "target_weights", models_dir="mine") == "mine/model.pt"
    network = shared_part(bundle, "network_def", num_classes=5, features=[2, 2, 2, 2, 2, 4])
    assert (network.final_conv.in_channels, network.final_conv.out_channels) == (4, 5)
    network = torch.nn.Identity()  # an object as well as text
    assert shared_part(bundle, "network", network_def=network) is network


# --- one text ---------------------------------------------------------------------------------------------------------


def preprocessing_of(parser, name, brain_folder):
    """What a config does to a file."""
    if not name.startswith("train"):
        return parser.get_parsed_content("evaluation_preprocessing" if name == "evaluate" else "preprocessing")
    parser.update({"dataset_dir": str(brain_folder), "run_dir": "run"})
    return parser.get_parsed_content("train#dataset").data.transform


def files_of(brain_folder):
    return {key: str(brain_folder / "volumes" / f"b0_{end}.nii.gz") for key, end in (("image", "SS"), ("label", "glm"))}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_sees_the_same_image_and_its_label(name, bundle, brain_folder):
    files = files_of(brain_folder)
    expected = shared_part(bundle, "preprocessing")(files)["image"]
    found = preprocessing_of(read(bundle, name, label_map=TISSUES), name, brain_folder)(files)
    assert torch.equal(found["image"].as_tensor(), expected.as_tensor())
    assert torch.equal(found["image"].affine, expected.affine)
    if name in ("train", "evaluate"):
        label = found["label"].as_tensor()
        assert label.unique().tolist() == [0, 1, 2, 3]
        assert torch.equal(label > 0, expected.as_tensor() > 0)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_voxel_size_reaches_every_preprocessing(name, bundle, brain_folder):
    parser = read(bundle, name, label_map=TISSUES, pixdim=[2.0, 2.0, 2.0])
    image = preprocessing_of(parser, name, brain_folder)(files_of(brain_folder))["image"]
    np.testing.assert_allclose(image.pixdim, 2.0)


def test_labels_keep_their_values_between_voxels(bundle, brain_folder):
    transform = labeled_preprocessing(bundle, {"outer": [1, 3]}, pixdim=[0.7, 1.3, 0.9])
    assert isinstance(transform, Compose)
    assert transform(files_of(brain_folder))["label"].unique().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train", "network_def"),
        ("calibrate", "network_def"),
        ("train_reformer", "reformer_def"),
        ("calibrate", "reformer_def"),
        ("train_detector", "spectrum_detector"),
        ("calibrate", "detector_def"),
    ],
)
def test_what_is_trained_or_calibrated_is_what_inference_loads(name, part, bundle):
    own = {"train_reformer": "network_def", "train_detector": "detector", "calibrate": part.removesuffix("_def")}
    found = read(bundle, name, label_map=STRUCTURES).get_parsed_content(own.get(name, part))
    expected = shared_part(bundle, part)
    shapes = [
        {key: tuple(value.shape) for key, value in module.state_dict().items() if "_extra" not in key}
        for module in (found, expected)
    ]
    assert shapes[0] == shapes[1]


# --- settings on the command line -------------------------------------------------------------------------------------


def test_weights_of_ones_own_reach_the_calibration(bundle, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(bundle / "models", mine)
    paths = {
        "target": mine / "model.pt",
        "detector": mine / "shield" / "detector.pt",
        "reformer": mine / "shield" / "reformer.pt",
    }
    parser = read(bundle, "calibrate", models_dir=str(mine))
    assert {name: parser.get_parsed_content(f"{name}_weights") for name in paths} == {
        k: str(v) for k, v in paths.items()
    }
    for name, path in paths.items():
        path.rename(path.with_name("other.pt"))
        with pytest.raises(RuntimeError) as error:
            read(bundle, "calibrate", **{f"{name}_weights": str(path)}).get_parsed_content("calibrator")
        chain = [error.value]
        while chain[-1].__cause__ is not None:
            chain.append(chain[-1].__cause__)
        assert f"weight file '{path}' is missing" in str(chain[-1])


@pytest.mark.parametrize("name", ["train", "train_detector", "train_reformer"])
def test_settings_reach_the_training(name, bundle, brain_folder, tmp_path):
    settings = {"max_epochs": 3, "batch_size": 5, "learning_rate": 0.5, "weight_decay": 0.25, "every_nth_slice": 2}
    parser = read(bundle, name, dataset_dir=str(brain_folder), run_dir=str(tmp_path), **settings)
    parser.update({"label_map": TISSUES} if name == "train" else {})
    trainer = parser.get_parsed_content("train#trainer")
    assert trainer.state.max_epochs == 3
    assert trainer.data_loader.batch_size == 5
    assert trainer.optimizer.defaults["weight_decay"] == 0.25
    assert trainer.optimizer.param_groups[0]["initial_lr"] == 0.5
    slices = trainer.data_loader.dataset.data
    assert slices.every == 2
    assert slices.ids == ["b0", "b1"]
    assert slices.keys == (("image", "label") if name == "train" else ("image",))
    assert {id(each) for each in trainer.network.parameters()} == {
        id(each) for each in parser.get_parsed_content("network_def").parameters()
    }


@pytest.mark.parametrize("name", ["train", "train_detector", "train_reformer", "calibrate"])
def test_a_folder_without_splits_is_used_as_a_whole(name, bundle, brain_folder):
    other = {"calibrate": "fit_split"}.get(name, "val_split")
    assert read(bundle, name, split="all").get_parsed_content(other) == "all"
    assert read(bundle, name).get_parsed_content(other) == ("train" if name == "calibrate" else "val")


def test_one_setting_of_a_network_is_changed_alone(bundle):
    parser = read(bundle, "train", label_map=TISSUES)
    parser["network_def#features"] = [2, 2, 2, 2, 2, 6]
    last = parser.get_parsed_content("network").final_conv
    assert (last.in_channels, last.out_channels) == (6, 4)
