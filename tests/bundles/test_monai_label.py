# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The bundle as MONAI Label 0.8.5 serves it, which reads its configs and leaves most of the workflow out."""

import copy
import glob
import json
import os
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, run
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImaged, MapTransform, SaveImaged

import monai_shield.data


class OwnLoading(MapTransform):
    """Stands in for the server's ``LoadImageTensord``: the bundle's transform loads a path, an array is taken."""

    def __init__(self, load):
        super().__init__(load.keys)
        self.load = load
        self.load._loader.image_only = False  # as the server sets it: the meta data lie beside the image, too

    def __call__(self, data):
        if isinstance(data["image"], str):
            return self.load(data)
        meta = {"spatial_shape": data["image"].shape[:-1], "original_channel_dim": -1, "original_affine": None}
        return {**data, "image": MetaTensor(data["image"], meta=meta)}


class Server:
    """
    What MONAI Label does with a bundle: a ConfigParser on ``configs/inference.json`` with the bundle's root put in, the
    weights loaded into ``network_def`` by itself, transforms and inferer parsed again for every request. Neither
    "initialize" nor "run" nor a handler is ever looked at.
    """

    def __init__(self, root):
        self.config = ConfigParser()
        self.config.read_config(str(root / "configs" / "inference.json"))
        self.config.config.update({"bundle_root": str(root)})
        self.network = self.config.get_parsed_content("network_def", instantiate=True)
        names = sorted((os.path.basename(path) for path in glob.glob(str(root / "models" / "*.pt"))), key=len)
        self.path = root / "models" / names[0]
        metadata = json.loads((root / "configs" / "metadata.json").read_text())["network_data_format"]
        self.image, self.pred = next(iter(metadata["inputs"])), next(iter(metadata["outputs"]))

    def parsed(self, name):
        return self.config.get_parsed_content(name, instantiate=True)

    def transforms(self, name):
        found = self.parsed(name)
        return list(found.transforms) if isinstance(found, Compose) else found

    def infer(self, image, device="cpu"):
        self.config.config.update({"device": device})
        data = {"image": image, "image_path": image, "device": device, "model": "brain_mri_shield", "result": None}
        for transform in self.transforms("preprocessing"):
            data = (OwnLoading(transform) if isinstance(transform, LoadImaged) else transform)(data)
        network = copy.deepcopy(self.network).to(device)
        network.load_state_dict(torch.load(self.path, map_location=device, weights_only=True), strict=False)
        network.eval()
        with torch.no_grad():
            data[self.pred] = self.parsed("inferer")(data[self.image][None].to(device), network)[0]
        for transform in self.transforms("postprocessing"):
            if not isinstance(transform, SaveImaged):
                data = transform(data)
        return data


@pytest.fixture
def root(tiny_repository, monkeypatch, tmp_path):
    """The bundle under the server's app; the server stands elsewhere, and no data set is made for it."""
    app = tmp_path / "app" / "model" / "brain_mri_shield"
    app.parent.mkdir(parents=True)
    shutil.move(tiny_repository / "bundles" / "brain_mri_shield", app)
    (tmp_path / "server").mkdir()
    monkeypatch.chdir(tmp_path / "server")

    def none(*args, **settings):
        raise AssertionError("a server does not ask for the cohort")

    monkeypatch.setattr(monai_shield.data, "embedded_cohort", none)
    return app


def test_an_accepted_image_comes_with_its_label_and_the_decision(root, brain_file):
    file = brain_file()
    server = Server(root)
    assert (server.image, server.pred) == ("image", "pred")
    for _ in range(2):  # the second request is served like the first
        data = server.infer(str(file))
        params = json.loads(json.dumps(data["result"], allow_nan=False))
        assert params == data["result"]
        assert params["shield"]["rejected"] is False
        assert 0 <= params["shield"]["score"] <= params["shield"]["threshold"]
        assert len(params["shield"]["slice_scores"]) == len(params["shield"]["slice_rejected"])
        image = nib.load(file)
        assert data["pred"].shape == (1, *image.shape)
        assert len(data["pred"].unique()) > 10
        np.testing.assert_allclose(data["pred"].affine, image.affine)


def test_it_is_the_label_that_the_bundle_writes(root, brain_file, tmp_path):
    """Also of a brain that lies otherwise than its file says, which is kept here."""
    file = brain_file(affine=np.array([[0, 1.0, 0, 0], [-1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]]))
    config = root / "configs" / "inference.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"on_reject": "keep"}))
    data = Server(root).infer(str(file))
    run(
        config_file=str(root / "configs" / "inference.json"),
        bundle_root=str(root),
        dataset_dir=str(file),
        output_dir=str(tmp_path / "out"),
        device="cpu",
        network="$@network_def",  # as the server holds it: in another memory format a tie may fall the other way
    )
    written = np.asarray(nib.load(tmp_path / "out" / "brain_seg.nii.gz").dataobj)
    assert len(np.unique(written)) > 10
    assert np.array_equal(data["pred"][0].numpy(), written)
    record = json.loads((tmp_path / "out" / "brain_shield.json").read_text())
    for key, value in data["result"]["shield"].items():
        if key == "slice_scores":
            value = [None if score is None else pytest.approx(score, rel=1e-4) for score in value]
        assert record[key] == value


def test_a_rejected_image_comes_without_a_label(root, brain, write_nifti, tmp_path):
    values = brain()
    noise = np.random.default_rng(0).normal(0, 20, values.shape)
    file = write_nifti(tmp_path / "strange.nii", np.where(values > 0, np.clip(values + noise, 1, None), 0))
    data = Server(root).infer(str(file))
    json.dumps(data["result"], allow_nan=False)
    assert data["result"]["shield"]["rejected"] is True
    assert data["result"]["shield"]["reason"]
    assert data["pred"].shape == (1, *values.shape)
    assert not data["pred"].any()


def test_an_image_sent_along_is_no_path_and_goes_through(root, brain):
    """Channel first, no affine: as it is, in the space of the network."""
    data = Server(root).infer(brain()[None].astype(np.float32))
    assert data["result"]["shield"]["scored"] > 0
    assert data["pred"].shape[1:] == (64, 72, 60)


def test_only_the_target_is_offered_as_the_model(root):
    assert Server(root).path.name == "model.pt"


@pytest.mark.parametrize("name", ["detector.pt", "reformer.pt"])
@pytest.mark.parametrize("how", ["altered", "missing"])
def test_an_altered_shield_is_an_error_and_no_segmentation(name, how, root, brain_file):
    weights = root / "models" / "shield" / name
    content = bytearray(weights.read_bytes())
    weights.unlink()
    if how == "altered":
        content[len(content) // 2] ^= 1
        weights.write_bytes(content)
    server = Server(root)
    with pytest.raises(RuntimeError) as error:
        server.infer(str(brain_file()))
    chain = [error.value]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    assert f"weight file '{weights}' " + {"altered": "was altered", "missing": "is missing"}[how] in str(chain[-1])


def test_a_bad_file_is_an_error_that_names_it(root, tmp_path):
    bad = tmp_path / "bad.nii"
    bad.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"bad\.nii': not a NIfTI file"):
        Server(root).infer(str(bad))
