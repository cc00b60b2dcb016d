# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Attacks on bundles in the zoo's layout, from the command line's functions to the files."""

import csv
import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.data import MetaTensor
from monai.inferers import SliceInferer, SlidingWindowInferer
from monai.transforms import Compose, Invertd

import monai_shield.bundle.attack_table as table_module
import monai_shield.bundle.attacked_file as module
from monai_shield.__main__ import attack, main
from monai_shield.bundle import BundleError, BundleTarget
from monai_shield.command_line import attack_files, check_settings
from monai_shield.errors import UserError
from monai_shield.locks import RefusedError, one_run
from monai_shield.transforms import read_values
from monai_shield.utils import TEMPORARY, atomic_path

SHAPE = (20, 22, 18)
PGD = {"attack": "pgd", "epsilon": 0.1, "max_steps": 3, "trust": True}
STRUCTURES = {"0": "background", "1": "liver", "2": "spleen"}
WINDOWS = {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "sw_batch_size": 4, "overlap": 0.5}
LOADER = {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'", "load_dict": {"model": 0}}


def ct_file(path, brain, seed=0, codes="LAS"):
    """A foreground of -80 to 240 HU in air of -1000, int16 with a slope of 2."""
    foreground = brain(seed, SHAPE)
    values = np.where(foreground > 0, 4 * (foreground - 20) - 80, -1000)
    image = nib.Nifti1Image((values / 2).astype(np.int16), np.diag([-1.0, 1.0, 1.0, 1.0]))
    image = image.as_reoriented(
        nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("LAS"), nib.orientations.axcodes2ornt(codes))
    )
    image.header.set_slope_inter(2.0, 0.0)
    nib.save(image, path)
    return path


def make_bundle(root, *, dims=3, sigmoid=False, inferer=WINDOWS, weights="loader", **changes):
    """A bundle whose network tells intensities apart, written as the zoo does it."""
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    conv = torch.nn.Conv2d if dims == 2 else torch.nn.Conv3d
    channels = 2 if sigmoid else 3
    network = conv(1, channels, 3, padding=1)
    with torch.no_grad():
        network.weight.normal_(0, 0.05, generator=torch.Generator().manual_seed(0))
        network.weight += torch.tensor([0.0, 8.0, 20.0][-channels:]).reshape(-1, *[1] * (dims + 1)) / 3**dims
        network.bias.copy_(torch.tensor([0.0, -3.0, -10.0][-channels:]))
    if weights != "none":
        torch.save({"model": network.state_dict()}, root / "models" / "model.pt")
    config = {
        "imports": ["$import glob"],
        "bundle_root": ".",
        "dataset_dir": "/nowhere",
        "datalist": "$open(@dataset_dir + '/datalist.json')",
        "device": "$torch.device('cuda')",
        "network_def": {
            "_target_": f"torch.nn.{conv.__name__}",
            "in_channels": 1,
            "out_channels": channels,
            "kernel_size": 3,
            "padding": 1,
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
                {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -57, "a_max": 164, "b_min": 0}
                | {"b_max": 1, "clip": True},
                {"_target_": "CropForegroundd", "keys": "image", "source_key": "image"},
                {"_target_": "SpatialPadd", "keys": "image", "spatial_size": [24, -1, -1]},
                {"_target_": "EnsureTyped", "keys": "image"},
            ],
        },
        "inferer": inferer,
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
                if sigmoid
                else {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            ],
        },
        "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@datalist"},
    }
    if weights == "loader":
        config["checkpointloader"] = LOADER | {"load_dict": {"model": "@network"}}
        config["initialize"] = ["$@checkpointloader(@evaluator)"]
    elif weights == "initialize":
        load = (
            "$@network_def.load_state_dict(torch.load(@bundle_root + '/models/model.pt', weights_only=True)['model'])"
        )
        config["initialize"] = [load]
    for key, value in changes.items():
        config[key] = value
        if value is None:
            del config[key]
    (root / "configs" / "inference.json").write_text(json.dumps(config))
    names = dict(list(STRUCTURES.items())[1:]) if sigmoid else STRUCTURES
    names = {str(number): name for number, name in enumerate(names.values())}
    pred = {"outputs": {"pred": {"channel_def": names}}}
    (root / "configs" / "metadata.json").write_text(json.dumps({"network_data_format": pred}))
    return root


def edit(bundle, change):
    path = bundle / "configs" / "inference.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def records(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path / "abdomen_ct")


@pytest.mark.parametrize("codes", ["LAS", "SPR"])
def test_a_volume_through_windows(codes, bundle, brain, tmp_path):
    """What is written agrees with MONAI's own inferer and Invertd on the written file."""
    file, out = ct_file(tmp_path / "scan.nii.gz", brain, codes=codes), tmp_path / "out"
    words = attack(str(bundle), input=str(file), output=str(out), device="cpu", **PGD)
    assert str(out / "figure.png") in words
    assert {path.name for path in out.iterdir()} == {
        ".lock",
        "scan_attack.json",
        "scan_attacked.nii.gz",
        "scan_attacked_seg.nii.gz",
        "scan_clean_seg.nii.gz",
        "results.json",
        "table.csv",
        "figure.png",
    }
    (record,) = records(out)
    assert record["status"] == "done"
    assert record["flipped_read_back"] == pytest.approx(record["flipped_in_loop"], abs=0.03)
    assert record["flipped_read_back"] > 0.1
    assert record["norm_linf"] == pytest.approx(0.1, rel=1e-4)
    assert record["window_in_file"][0] == pytest.approx(-57, abs=0.01)
    assert record["window"] == pytest.approx(1, abs=0.01)
    assert record["dice_clean"] == 1

    before, after = nib.load(file), nib.load(out / "scan_attacked.nii.gz")
    assert after.get_data_dtype() == np.int16
    assert (after.dataobj.slope, after.dataobj.inter) == (2.0, 0.0)
    np.testing.assert_array_equal(after.affine, before.affine)
    values, attacked = read_values(file), read_values(out / "scan_attacked.nii.gz")
    assert np.array_equal(attacked[values == -1000], values[values == -1000])
    soft = (values > -57) & (values < 164)
    assert 20 < np.abs(attacked - values)[soft].max() <= 0.1 * 221 + 1
    assert record["largest_change_in_file"] == np.abs(attacked - values).max()

    target = BundleTarget.open(bundle, "cpu", trust=True)
    network = target.network.network.network  # under windows and the choice of an output
    expected = {}
    for name, path in (("clean", file), ("attacked", out / "scan_attacked.nii.gz")):
        data = target.preprocessing({"image": str(path)})
        with torch.no_grad():
            logits = SlidingWindowInferer([16] * 3, 4, 0.5)(data["image"].as_tensor()[None], network)
        data["pred"] = MetaTensor(logits.argmax(1).float(), meta=data["image"].meta)
        undo = Compose([Invertd("pred", target.preprocessing, orig_keys="image", nearest_interp=True)])
        expected[name] = undo(data)["pred"][0].numpy()
        found = nib.load(out / f"scan_{name}_seg.nii.gz")
        assert found.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(found.affine, before.affine)
        np.testing.assert_array_equal(np.asarray(found.dataobj), expected[name])
    for number, name in enumerate(("liver", "spleen"), 1):
        one, two = (expected[which] == number for which in ("clean", "attacked"))
        assert one.any()
        dice = 2 * (one & two).sum() / (one.sum() + two.sum())
        assert record["dice_attacked_by_structure"][name] == pytest.approx(dice)
    with (out / "table.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["dice_attacked: spleen"]) == pytest.approx(record["dice_attacked_by_structure"]["spleen"])
    assert (out / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_perturbation_stays_in_the_foreground_where_asked(bundle, brain, tmp_path):
    file, out = ct_file(tmp_path / "scan.nii", brain), tmp_path / "out"
    seen = []
    original = module.export_attack

    def spy(perturbation, clean, *rest):
        seen.append((perturbation, clean.image))
        return original(perturbation, clean, *rest)

    for confined in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "export_attack", spy)
            settings = {"confine_to_mask": confined, **PGD}
            attack(str(bundle), input=str(file), output=str(out), device="cpu", **settings)
    outside = [bool((perturbation[image.as_tensor() == 0] != 0).any()) for perturbation, image in seen]
    # a foreground voxel darker than the window is 0 too, so look where the crop was padded: no foreground can be there
    padded = [bool((perturbation[:, [0, -1]] != 0).any()) for perturbation, _ in seen]
    assert outside[0]
    assert padded == [True, False]


def test_attacked_is_the_foreground_that_the_bundle_declares(bundle, brain, tmp_path):
    file, out = ct_file(tmp_path / "scan.nii", brain), tmp_path / "out"
    edit(
        bundle,
        lambda config: config.update(foreground={"_target_": "monai_shield.transforms.Foreground", "above": 0.5}),
    )
    attack(str(bundle), input=str(file), output=str(out), device="cpu", confine_to_mask=True, **PGD)
    image = BundleTarget.open(bundle, "cpu", trust=True).preprocessing({"image": str(file)})["image"]
    (record,) = records(out)
    assert 0 < record["attacked_pixels"] <= int((image > 0.5).sum())
    bright = (read_values(file) + 57) / 221 > 0.5
    changed = read_values(out / "scan_attacked.nii") != read_values(file)
    assert changed.any()
    assert not changed[~bright].any()
    edit(bundle, lambda config: config.update(foreground="$'a part of a network'"))
    assert BundleTarget.open(bundle, "cpu", trust=True).foreground is None


def test_a_sigmoid_head(brain, tmp_path):
    bundle = make_bundle(tmp_path / "bundle", sigmoid=True)
    file, out = ct_file(tmp_path / "scan.nii", brain), tmp_path / "out"
    attack(str(bundle), input=str(file), output=str(out), device="cpu", **PGD)
    (record,) = records(out)
    before, after = (np.asarray(nib.load(out / f"scan_{name}_seg.nii.gz").dataobj) for name in ("clean", "attacked"))
    assert before.shape == (*SHAPE, 2)
    assert (before.sum(-1) == 2).any()  # the structures overlap
    for channel, name in enumerate(("liver", "spleen")):
        one, two = before[..., channel], after[..., channel]
        dice = 2 * (one & two).sum() / (one.sum() + two.sum())
        assert record["dice_attacked_by_structure"][name] == pytest.approx(dice)
    assert record["dice_attacked"] < 1

    truth = tmp_path / "truth.nii.gz"
    nib.save(nib.Nifti1Image(before, nib.load(file).affine), truth)
    attack(str(bundle), input=str(file), output=str(out), device="cpu", label=str(truth), **PGD)
    assert records(out)[0]["dice_clean"] == 1
    nib.save(nib.Nifti1Image(before[..., 0], nib.load(file).affine), truth)
    with pytest.raises(BundleError, match="1 channels; expected 2"):
        attack(str(bundle), input=str(file), output=str(out), device="cpu", label=str(truth), **PGD)


def test_the_head_is_what_the_config_says_else_what_its_postprocessing_does(tmp_path):
    """A ``head`` that is no string is some part of a network."""
    said = {"sigmoid": "sigmoid", "softmax": "softmax", "$'sig' + 'moid'": "sigmoid"}
    part = {"_target_": "torch.nn.Conv3d", "in_channels": 8, "out_channels": 3, "kernel_size": 1}
    for number, (head, expected) in enumerate([*said.items(), (part, None), (None, None)]):
        target = BundleTarget.open(
            make_bundle(tmp_path / f"plain{number}", head=head) if head else make_bundle(tmp_path / f"plain{number}"),
            "cpu",
            trust=True,
        )
        assert target.head == expected
        assert target.multi_label == (expected == "sigmoid")
        assert (target.structures[0] == "background") if target.multi_label else (0 not in target.structures)
    for name, head, expected in (("read", part, "sigmoid"), ("said", "softmax", "softmax")):
        assert (
            BundleTarget.open(make_bundle(tmp_path / name, sigmoid=True, head=head), "cpu", trust=True).head == expected
        )
    with pytest.raises(BundleError, match=r"inference\.json': unknown head 'relu'"):
        BundleTarget.open(make_bundle(tmp_path / "bad", head="relu"), "cpu", trust=True)


def test_slices(brain, tmp_path):
    inferer = {"_target_": "SliceInferer", "roi_size": [16, 16], "spatial_dim": 1, "overlap": 0.5, "sw_batch_size": 4}
    bundle = make_bundle(tmp_path / "bundle", dims=2, inferer=inferer)
    file, out = ct_file(tmp_path / "scan.nii", brain), tmp_path / "out"
    attack(str(bundle), input=str(file), output=str(out), device="cpu", slices=3, **PGD)
    (record,) = records(out)
    assert record["world_axis"] == 1
    assert len(record["slices"]) == 3
    changed = (read_values(file) != read_values(out / "scan_attacked.nii")).any(axis=(0, 2))
    assert changed.sum() == 3
    target = BundleTarget.open(bundle, "cpu", trust=True)
    image = target.preprocessing({"image": str(file)})["image"].as_tensor()
    with torch.no_grad():
        logits = SliceInferer(1, [16, 16], overlap=0.5, sw_batch_size=4)(image[None], target.network.network.network)
    prediction, classes = target.predict(image)
    assert torch.equal(prediction, logits.argmax(1))
    assert classes == 3


def test_the_bundle_of_this_repository(tiny_repository, brain_file, tmp_path):
    """Its shield is left aside: attacked is the target on its slices."""
    root, out = tiny_repository / "bundles" / "brain_mri_shield", tmp_path / "out"
    file = brain_file()
    attack(str(root), "dag", str(file), str(out), slices=2, max_steps=2, step=0.1, device="cpu", trust=True)
    (record,) = records(out)
    assert record["attack"] == "DAG"
    assert record["steps"] == 2
    assert record["world_axis"] == 1
    assert record["background"] == 0
    assert "brain stem" in record["dice_attacked_by_structure"]
    values, attacked = read_values(file), read_values(out / "brain_attacked.nii.gz")
    assert 0 < (values != attacked).any(axis=(0, 2)).sum() <= 2


def test_killed_it_goes_on_and_a_changed_setting_starts_anew(bundle, brain, tmp_path, monkeypatch):
    folder, out, whole = tmp_path / "in", tmp_path / "out", tmp_path / "whole"
    folder.mkdir()
    for number in range(3):
        ct_file(folder / f"scan{number}.nii", brain, number)
    run = {"bundle": str(bundle), "input": str(folder), "device": "cpu", **PGD}
    monkeypatch.setattr(table_module, "attack_figure", lambda views, title: b"it takes longer than the attack")
    attack(output=str(whole), **run)

    original, made = module.export_attack, []

    def export(perturbation, clean, *rest):
        if len(made) == 1 and not (out / "killed").is_file():
            (out / "killed").touch()
            with atomic_path(out / "scan1_attacked.nii") as half:
                half.write_bytes(b"half")
                raise KeyboardInterrupt
        made.append(clean.file.name)
        return original(perturbation, clean, *rest)

    monkeypatch.setattr(module, "export_attack", export)
    with pytest.raises(KeyboardInterrupt):
        attack(output=str(out), **run)
    assert made == ["scan0.nii"]
    assert not (out / "results.json").is_file()
    assert not (out / "scan1_attacked.nii").is_file()
    attack(output=str(out), **run)
    assert made == ["scan0.nii", "scan1.nii", "scan2.nii"]
    for one, two in zip(records(out), records(whole), strict=True):
        assert {**one, "seconds": 0} == {**two, "seconds": 0}
    for path in whole.glob("*.nii*"):
        assert np.array_equal(read_values(path), read_values(out / path.name))

    def again():
        made.clear()
        attack(output=str(out), **run)
        return list(made)

    assert again() == []
    (out / "scan1_attacked_seg.nii.gz").unlink()
    assert again() == ["scan1.nii"]
    ct_file(folder / "scan2.nii", brain, 5)
    assert again() == ["scan2.nii"]
    run["epsilon"] = 0.05
    assert len(again()) == 3
    run["background"] = -1000
    assert len(again()) == 3
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    state["model"]["bias"] += 0.01
    torch.save(state, bundle / "models" / "model.pt")
    assert len(again()) == 3
    edit(bundle, lambda config: config["preprocessing"]["transforms"][3].update(a_min=-60))
    assert len(again()) == 3


def test_a_label_decides_what_is_attacked_and_what_dice_is(bundle, brain, tmp_path):
    file, out = ct_file(tmp_path / "scan.nii", brain), tmp_path / "out"
    label = np.zeros(SHAPE, np.uint8)
    label[6:14, 6:14, 6:12] = 1
    nib.save(nib.Nifti1Image(label, nib.load(file).affine), tmp_path / "label.nii")
    attack(
        str(bundle),
        "dag",
        str(file),
        str(out),
        label=str(tmp_path / "label.nii"),
        device="cpu",
        max_steps=5,
        trust=True,
    )
    (record,) = records(out)
    assert record["attacked_pixels"] == label.sum()
    for name in ("clean", "attacked"):
        prediction = np.asarray(nib.load(out / f"scan_{name}_seg.nii.gz").dataobj)
        dice = 2 * ((prediction == 1) & (label == 1)).sum() / ((prediction == 1).sum() + label.sum())
        assert record[f"dice_{name}_by_structure"]["liver"] == pytest.approx(dice)
    assert record["dice_clean_by_structure"]["spleen"] == 0  # not in the label


def test_a_bad_file_costs_only_itself(bundle, brain, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.nii").write_text("no image")
    ct_file(folder / "b.nii", brain)
    with pytest.raises(BundleError, match=r"1 of 2 files failed, '.*a\.nii'"):
        attack(str(bundle), input=str(folder), output=str(out), device="cpu", **PGD)
    assert [record["status"] for record in records(out)] == ["error", "done"]
    assert (out / "figure.png").is_file()
    assert not (out / "a_attack.json").is_file()


def test_nothing_of_an_earlier_run_outlives_it(bundle, brain, tmp_path, monkeypatch):
    """Neither a file's results where it fails now, nor the table and figure where the run is killed."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("a", "b"):
        ct_file(folder / f"{name}.nii", brain)
    run = {"bundle": str(bundle), "input": str(folder), "output": str(out), "device": "cpu", **PGD}
    attack(**run)
    before = {path.name for path in out.glob("[!.]*")}
    (out / f"{TEMPORARY}{'0' * 32}.nii").touch()
    (folder / "a.nii").write_text("no image")
    with pytest.raises(BundleError, match=r"1 of 2 files failed"):
        attack(**run)
    assert {path.name for path in out.glob("*")} - {".lock"} == {name for name in before if not name.startswith("a_")}
    ct_file(folder / "a.nii", brain)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "export_attack", killed)
    with pytest.raises(KeyboardInterrupt):
        attack(**run)
    assert {path.name for path in out.glob("*")} - {".lock"} == {name for name in before if name.startswith("b_")}


def test_one_run_at_a_time_in_a_folder(bundle, brain, tmp_path):
    file, out = ct_file(tmp_path / "scan.nii", brain), tmp_path / "out"
    with one_run(out), pytest.raises(RefusedError, match=rf"^another run writes to '{out}'"):
        attack(str(bundle), input=str(file), output=str(out), device="cpu", **PGD)
    assert not list(out.glob("[!.]*"))


@pytest.mark.parametrize("weights", ["loader", "initialize", "file"])
def test_the_weights_are_found(weights, tmp_path):
    root = make_bundle(tmp_path / "bundle", weights=weights)
    expected = torch.load(root / "models" / "model.pt", weights_only=True)["model"]
    found = BundleTarget.open(root, "cpu", trust=True).network.network.network.state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    other = {key: value + 1 for key, value in expected.items()}
    torch.save(other, tmp_path / "other.pt")
    found = BundleTarget.open(root, "cpu", tmp_path / "other.pt", trust=True).network.network.network.state_dict()
    assert all(torch.equal(found[key], value) for key, value in other.items())


def gamma(config):
    config["preprocessing"]["transforms"].insert(4, {"_target_": "AdjustContrastd", "keys": "image", "gamma": 2.0})


def add(**step):
    return lambda config: config["preprocessing"]["transforms"].append(step)


class Several(torch.nn.Conv3d):
    """A network with outputs by name."""

    def forward(self, image):
        return {"main": super().forward(image)}


BROKEN = {
    "no 'inferer'": lambda config: config.pop("inferer"),
    "no 'network_def'": lambda config: [config.pop(key) for key in ("network", "network_def")],
    "'preprocessing' cannot be built": lambda config: config["preprocessing"].update(transforms=["@nothing"]),
    "'network' cannot be built": lambda config: config["network_def"].update(out_channels="three"),
    "not a module": lambda config: config.update(network="$3"),
    "through a PatchInferer": lambda config: config.update(inferer="$monai.inferers.PatchInferer()"),
    "with_coord": lambda config: config.update(inferer={**WINDOWS, "with_coord": True}),
    "cannot be loaded": lambda config: config["network_def"].update(out_channels=4),
    "missing": lambda config: config["checkpointloader"].update(load_path="nowhere.pt"),
    "AdjustContrastd is not affine": gamma,
    "AddClickSignalsd is not supported": add(_target_="monai.apps.nuclick.transforms.AddClickSignalsd"),
    "CropForegroundd wants 'artery': supported is one image in one file": add(
        _target_="CropForegroundd", keys="image", source_key="artery"
    ),
    "Lambdad: .* has no attribute 'nothing'": add(
        _target_="Lambdad", keys="image", func="$lambda image: image.nothing"
    ),
    "no output 0; there are main": lambda config: config["network_def"].update(_target_=f"{__name__}.Several"),
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_bundle_is_refused_by_name(message, bundle, brain, tmp_path):
    edit(bundle, BROKEN[message])
    with pytest.raises(BundleError, match=message) as caught:
        attack(str(bundle), input=str(ct_file(tmp_path / "scan.nii", brain)), output=str(tmp_path), device="cpu", **PGD)
    assert "\n" not in str(caught.value)


def test_a_file_with_other_channels_than_the_network_s_is_told(bundle, tmp_path):
    file = tmp_path / "four.nii"
    nib.save(
        nib.Nifti1Image(np.random.default_rng(0).integers(-50, 150, (*SHAPE, 4)).astype(np.int16), np.eye(4)), file
    )
    with pytest.raises(
        BundleError, match=r"preprocessed image \(4, .* to have 1 channels, but got 4 .* must hold one im"
    ):
        attack(str(bundle), input=str(file), output=str(tmp_path / "out"), device="cpu", **PGD)


def test_another_process_goes_on_with_an_attack_that_holds_functions(bundle, brain, tmp_path):
    """VAFA's loss is a function, which lies elsewhere in every process."""
    file, out = ct_file(tmp_path / "scan.nii", brain), tmp_path / "out"
    run = {"bundle": str(bundle), "attack": "vafa", "input": str(file), "output": str(out), "device": "cpu"}
    attack(**run, max_steps=1, trust=True)
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("scan_*")}
    assert len(before) == 4
    words = [word for name, value in run.items() for word in (f"--{name}", value)]
    line = [sys.executable, "-m", "monai_shield", "attack", *words, "--max_steps", "1", "--trust"]
    subprocess.run(line, check=True)
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("scan_*")} == before


def test_an_inferer_that_is_not_supported_is_told_before_weights_are_asked_for(bundle):
    edit(bundle, lambda config: config.update(inferer="$monai.inferers.PatchInferer()"))
    (bundle / "models" / "model.pt").unlink()
    with pytest.raises(BundleError, match="no attack goes through a PatchInferer; supported are SimpleInferer, Sl"):
        BundleTarget.open(bundle, "cpu", trust=True)


def test_a_config_may_be_yaml(bundle, brain, tmp_path):
    file = ct_file(tmp_path / "scan.nii", brain)
    attack(str(bundle), input=str(file), output=str(tmp_path / "json"), device="cpu", **PGD)
    config = bundle / "configs" / "inference.json"
    config.with_suffix(".yaml").write_text(yaml.safe_dump(json.loads(config.read_text())))
    config.unlink()
    attack(str(bundle), input=str(file), output=str(tmp_path / "yaml"), device="cpu", **PGD)
    one, two = (records(tmp_path / name) for name in ("json", "yaml"))
    assert [{**record, "seconds": 0} for record in one] == [{**record, "seconds": 0} for record in two]
    config.with_suffix(".yaml").write_text("network: [")
    with pytest.raises(BundleError, match=r"inference\.yaml' cannot be read: ") as caught:
        BundleTarget.open(bundle, "cpu", trust=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bundle": "nowhere"}, "no bundle in 'nowhere'"),
        ({"attack": "dog"}, "no attack 'dog'; there are alma_prox, apgd"),
        ({"epsilom": 1}, "pgd has no setting 'epsilom'; it has attack_background"),
        ({"window": 2.0}, "no setting 'window'"),
        ({"epsilon": -1}, "pgd: epsilon"),
        ({"epsilon": "abc"}, "pgd: "),
        ({"norm": "l7"}, "pgd: norm must be"),
        ({"input": "nowhere.nii"}, "no file 'nowhere.nii'"),
        ({"input": "."}, "no NIfTI file"),
        ({"label": "nowhere.nii"}, "no label 'nowhere.nii'"),
        ({"slices": 3}, "slices: the inferer"),
        ({"slices": 0}, "slices must be"),
        ({"slices": "few"}, "slices must be"),
        ({"background": "black"}, "background must be"),
        ({"background": None, "confine_to_mask": True}, "no background"),
        ({"weights": "nowhere.pt"}, "weight file 'nowhere.pt' is missing"),
        ({"device": "abacus"}, "no device 'abacus'"),
    ],
)
def test_bad_input_ends_in_one_line(changes, message, bundle, brain, tmp_path, monkeypatch):
    file = ct_file(tmp_path / "scan.nii", brain)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run = {"bundle": str(bundle), "input": str(file), "output": "out", "device": "cpu", **PGD, **changes}
    with pytest.raises(UserError, match=message) as caught:
        attack(**run)
    assert "\n" not in str(caught.value)


def test_other_bad_input(brain, tmp_path):
    with pytest.raises(UserError, match="pgd needs a value for epsilon"):
        check_settings("pgd", {})
    with pytest.raises(UserError, match="no attack 'transfer'"):  # it needs networks
        check_settings("transfer", {})
    for name in ("a.nii", "a.nii.gz", "b.nii"):
        ct_file(tmp_path / name, brain)
    with pytest.raises(UserError, match="several files are named a"):
        attack_files(tmp_path)
    (tmp_path / "a.nii").unlink()
    with pytest.raises(UserError, match="one label"):
        attack_files(tmp_path, tmp_path / "b.nii")
    assert attack_files(tmp_path, tmp_path)[tmp_path / "b.nii"] == tmp_path / "b.nii"


def test_the_command_line(bundle, brain, tmp_path, monkeypatch, capsys):
    file, out = ct_file(tmp_path / "scan.nii", brain), tmp_path / "out"
    words = ["monai-shield", "attack", "--bundle", str(bundle), "--attack", "fgsm", "--input", str(file)]
    words += ["--output", str(out), "--device", "cpu", "--trust"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match=r"^monai-shield: fgsm needs a value for epsilon"):
        main()
    monkeypatch.setattr(sys, "argv", [*words, "--epsilon", "0.05"])
    out.write_text("in the way")
    with pytest.raises(SystemExit, match=r"^monai-shield: .*File exists: '.*out'$"):
        main()
    out.unlink()
    main()
    assert "of the attacked pixels flipped" in capsys.readouterr().out
    assert records(out)[0]["attack"] == "FGSM"
