# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The bundle on files, as ``python -m monai.bundle run`` does it, in this process."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, run
from monai.engines import Evaluator

from monai_shield.bundle import FileRunner, find_bundle, image_files
from monai_shield.utils import verify_sum

ACCEPTED = {"file", "status", "score", "threshold", "p_value", "rejected", "reason", "scored", "slice_scores"}


def config(root, name="inference"):
    return str(root / "configs" / f"{name}.json")


def infer(root, files, **settings):
    run(config_file=config(root), dataset_dir=files, device="cpu", **settings)


def record(folder, stem):
    return json.loads((folder / f"{stem}_shield.json").read_text())


def label(folder, stem):
    return nib.load(folder / f"{stem}_seg.nii.gz")


def test_the_label_lies_in_the_file_s_own_space_and_the_decision_beside_it(tiny_repository, brain_file):
    file = brain_file(affine=np.diag([-1.0, 1.0, 1.0, 1.0]))
    bundle = tiny_repository / "bundles" / "brain_mri_shield"
    infer(bundle, str(file))
    folder = tiny_repository / "runs" / "brain_mri_shield" / "inference"
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock",
        "brain_seg.nii.gz",
        "brain_shield.json",
        "shield.json",
    ]
    found, image = label(folder, "brain"), nib.load(file)
    assert found.shape == image.shape
    np.testing.assert_allclose(found.affine, image.affine)
    assert found.get_data_dtype() == np.uint8
    values = np.asarray(found.dataobj)
    assert len(np.unique(values)) > 10
    decision = record(folder, "brain")
    assert set(decision) >= ACCEPTED
    assert decision["file"] == str(file)
    assert decision["status"] == "accepted"
    assert not decision["rejected"]
    assert decision["reason"] == ""
    assert decision["score"] <= decision["threshold"]
    (summary,) = json.loads((folder / "shield.json").read_text())
    assert summary == {key: value for key, value in decision.items() if not key.startswith("slice_")}


def test_the_label_is_the_network_s_on_the_reformed_slices_and_empty_where_one_was_rejected(
    tiny_repository, brain_file, tmp_path
):
    """By hand, in the file's own space: LAS, 1 mm, so that only crop and padding lie between."""
    file = brain_file()
    root = tiny_repository / "bundles" / "brain_mri_shield"
    infer(root, str(file), output_dir=str(tmp_path / "out"))
    infer(root, str(file), output_dir=str(tmp_path / "kept"), on_reject="keep")
    found, kept = (np.asarray(label(tmp_path / name, "brain").dataobj) for name in ("out", "kept"))
    parser = ConfigParser(ConfigParser.load_config_file(config(root)) | {"bundle_root": str(root)})
    network, reformer = parser.get_parsed_content("network_def").eval(), parser.get_parsed_content("reformer").eval()
    network.load_state_dict(torch.load(root / "models" / "model.pt", weights_only=True))
    image = np.asarray(nib.load(file).dataobj, dtype=np.float32)
    image /= np.sort(image[image > 0])[round(0.995 * (image > 0).sum()) - 1]
    foreground = np.argwhere(image > 0)
    low, high = foreground.min(0), foreground.max(0) + 1
    cut = tuple(map(slice, low, high))
    rejected = np.zeros(image.shape[1], dtype=bool)
    rejected[cut[1]] = record(tmp_path / "out", "brain")["slice_rejected"]
    assert rejected.any()  # the share of clean slices that the threshold costs
    for y in range(low[1], high[1], 5):
        before = [(96 - size) // 2 for size in (high - low)[[0, 2]]]
        after = [96 - size - b for size, b in zip((high - low)[[0, 2]], before)]
        padded = np.pad(image[cut[0], y, cut[2]], list(zip(before, after)))
        with torch.no_grad():
            logits = network(reformer(torch.from_numpy(padded)[None, None]))
        expected = logits.argmax(dim=1)[0].numpy()[before[0] : 96 - after[0], before[1] : 96 - after[1]]
        assert (kept[cut[0], y, cut[2]] == expected).mean() > 0.999
    assert not found[:, rejected].any()
    assert np.array_equal(found[:, ~rejected], kept[:, ~rejected])
    outside = np.ones(image.shape, dtype=bool)
    outside[cut] = False
    assert not kept[outside].any()


def test_a_strange_image_is_rejected_and_has_no_label(tiny_repository, brain, write_nifti, tmp_path):
    """Noise of a fifth of the window in the foreground, which no clean brain has."""
    values = brain()
    noise = np.random.default_rng(0).normal(0, 20, values.shape)
    file = write_nifti(tmp_path / "strange.nii", np.where(values > 0, np.clip(values + noise, 1, None), 0))
    root = tiny_repository / "bundles" / "brain_mri_shield"
    for on_reject, labeled in (("empty", False), ("keep", True)):
        infer(root, str(file), output_dir=str(tmp_path / on_reject), on_reject=on_reject)
        decision = record(tmp_path / on_reject, "strange")
        assert decision["status"] == "rejected"
        assert decision["rejected"]
        assert decision["score"] > decision["threshold"]
        assert "slices are rejected, more than the largest share" in decision["reason"]
        assert np.asarray(label(tmp_path / on_reject, "strange").dataobj).any() == labeled


def test_a_bad_file_costs_only_itself(tiny_repository, brain_file, tmp_path, capsys):
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a.nii.gz", "c.nii"):
        shutil.move(brain_file(name), folder / name)
    (folder / "b.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes()[:-500])
    with pytest.raises(SystemExit) as stop:
        infer(tiny_repository / "bundles" / "brain_mri_shield", str(folder), output_dir=str(tmp_path / "out"))
    assert stop.value.code == 1
    summary = json.loads((tmp_path / "out" / "shield.json").read_text())
    assert [entry["status"] for entry in summary] == ["accepted", "error", "accepted"]
    assert not (tmp_path / "out" / "b_seg.nii.gz").exists()
    first, last = (np.asarray(label(tmp_path / "out", name).dataobj) for name in ("a", "c"))
    assert np.array_equal(first, last)
    assert record(tmp_path / "out", "b") == summary[1]
    lines = [line for line in capsys.readouterr().err.splitlines() if "b.nii.gz" in line and "ERROR" in line]
    assert any("b.nii.gz: error (is damaged" in line for line in lines)


def test_all_well_is_no_exit(tiny_repository, brain_file, tmp_path):
    infer(tiny_repository / "bundles" / "brain_mri_shield", [str(brain_file())], output_dir=str(tmp_path / "out"))


def test_two_files_of_one_name_would_overwrite_one_another(tmp_path):
    with pytest.raises(ValueError, match="several files are named scan"):
        FileRunner(
            Evaluator("cpu", []),
            image_files([tmp_path / "a" / "scan.nii", tmp_path / "b" / "scan.nii.gz"]),
            None,
            tmp_path,
        )


def test_files_are_found_as_a_site_has_them(tmp_path, brain_folder):
    assert image_files("scan.nii") == [{"image": "scan.nii"}]
    assert image_files(["a.nii", tmp_path / "b.nii"]) == [{"image": "a.nii"}, {"image": str(tmp_path / "b.nii")}]
    with pytest.raises(FileNotFoundError, match="no NIfTI file in folder"):
        image_files(tmp_path)
    for name in ("b.nii.gz", "a.nii", "notes.txt"):
        (tmp_path / name).touch()
    assert image_files(tmp_path) == [{"image": str(tmp_path / "a.nii")}, {"image": str(tmp_path / "b.nii.gz")}]
    volumes = [entry["image"].rsplit("/", 1)[1] for entry in image_files(brain_folder)]
    assert volumes == [f"b{number}_SS.nii.gz" for number in range(4)]


def test_a_bundle_is_found_from_anywhere_in_its_repository(tiny_repository, tmp_path):
    root = tiny_repository / "bundles" / "brain_mri_shield"
    for start in (".", "bundles", "bundles/brain_mri_shield", "bundles/brain_mri_shield/configs"):
        assert find_bundle("brain_mri_shield", start) == str(root)
    assert find_bundle("another_ct_shield") == "."
    assert find_bundle("brain_mri_shield", tmp_path) == str(tmp_path)


def test_a_site_calibrates_again_on_its_own_images(tiny_repository, brain_folder, brain_file, tmp_path):
    """One command makes a detector of the same weights with another threshold, which inference then takes."""
    root = tiny_repository / "bundles" / "brain_mri_shield"
    before = {path: path.read_bytes() for path in (root / "models").rglob("*.*")}
    run(
        run_id="calibration",
        config_file=config(root, "calibrate"),
        dataset_dir=str(brain_folder),
        run_dir=str(tmp_path / "site"),
        split="all",
        t_fp=0.1,
        device="cpu",
    )
    assert {path: path.read_bytes() for path in (root / "models").rglob("*.*")} == before
    detector = tmp_path / "site" / "shield" / "detector.pt"
    verify_sum(detector)
    old, new = (torch.load(path, weights_only=True) for path in (root / "models" / "shield" / "detector.pt", detector))
    assert all(torch.equal(new[key], old[key]) for key in old if isinstance(old[key], torch.Tensor))
    state = new["_extra_state"]
    assert state["t_fp"] == 0.1
    assert state["num_volumes"] == 4
    assert state["source"] == f"{brain_folder.name} (all)"
    n = len(state["scores"])
    assert state["threshold"] == sorted(state["scores"].tolist(), reverse=True)[int(0.1 * (n + 1)) - 1]
    infer(root, str(brain_file()), output_dir=str(tmp_path / "out"), detector_weights=str(detector))
    assert record(tmp_path / "out", "brain")["slice_threshold"] == state["threshold"]
