# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""One declaration of the head in a bundle: attacks, detectors and the saved label follow it alike."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, run

from monai_shield.adaptive import ShieldedNetwork
from monai_shield.attacks import MultiLabel
from monai_shield.bundle import BundleError, BundleTarget
from monai_shield.detectors import entropy, jensen_shannon, module_record
from monai_shield.utils import save_weights, write_sum


def declare(root, channels, head):
    """Another target in the tiny bundle, with random weights, of which each channel is on in about half of noise."""
    path = root / "configs" / "inference.json"
    config = json.loads(path.read_text())
    config["head"] = head
    config["num_classes"] = channels
    path.write_text(json.dumps(config))
    parser = ConfigParser(config | {"bundle_root": str(root), "device": "cpu"})
    network = parser.get_parsed_content("network_def").train()
    reformer, last = parser.get_parsed_content("reformer").eval(), network.final_conv
    with torch.no_grad():
        image = reformer(torch.rand(4, 1, 96, 96))
        network(image)  # the statistics of its batch normalization
        logits = network.eval()(image).movedim(1, 0).flatten(1)
        last.weight.div_(logits.std(1)[:, None, None, None])
        last.bias.sub_(logits.mean(1)).div_(logits.std(1))
    save_weights(network, root / "models" / "model.pt")
    _calibrated_with(root / "models" / "shield" / "detector.pt", network, head)
    return parser, network


def _calibrated_with(weights, network, head):
    """As if the shield had been calibrated with this target."""
    state = torch.load(weights, weights_only=True)
    record = state["_extra_state"]["made_with"]
    record["settings"]["head"], record["target"] = repr(head), module_record(network)
    torch.save(state, weights)
    write_sum(weights)


@pytest.fixture
def bundle(tiny_repository):
    return tiny_repository / "bundles" / "brain_mri_shield"


@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_attacks_detectors_and_the_saved_label_agree_on_a_sigmoid_head(channels, bundle):
    parser, network = declare(bundle, channels, "sigmoid")
    image = torch.rand(1, 1, 96, 3, 96)
    inferer = parser.get_parsed_content("inferer")
    pred = inferer(image, network)
    on = pred.as_tensor() > 0
    assert all(0.05 < float(on[:, k].float().mean()) < 0.95 for k in range(channels))

    label = parser.get_parsed_content("postprocessing::transforms::0")({"pred": pred[0]})["pred"]
    assert torch.equal(label.as_tensor(), on[0].float())

    target = BundleTarget.open(bundle, "cpu", trust=True)
    assert target.head == inferer.head == "sigmoid"
    plain, classes = target.predict(image[0])
    assert classes == 2**channels
    slices = image[0].movedim(2, 0)
    logits = network(slices)
    assert torch.equal(MultiLabel.decode(plain.movedim(2, 0), channels), (logits > 0).long())
    shielded = ShieldedNetwork(network, inferer.detector, inferer.reformer, inferer.head)
    as_attacked = MultiLabel.decode(shielded(slices).argmax(1, keepdim=True), channels)
    assert torch.equal(as_attacked, on[0].movedim(2, 0).long())

    views = inferer.views(slices, network)
    divergence = jensen_shannon(logits, network(inferer.reformer(slices)), "sigmoid")
    score = inferer.detector.detectors["consistency"](views)
    torch.testing.assert_close(score, views.mean_over_foreground(divergence))
    assert bool((score > 0).all())
    if channels == 1:
        pair = torch.cat([torch.zeros_like(logits), logits], 1)
        torch.testing.assert_close(entropy(logits, views.head), entropy(pair))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_of_a_sigmoid_bundle_has_a_channel_for_each_label(channels, bundle, brain_file, tmp_path):
    declare(bundle, channels, "sigmoid")
    settings = {
        "dataset_dir": str(brain_file()),
        "device": "cpu",
        "output_dir": str(tmp_path / "out"),
        "on_reject": "keep",
    }
    run(config_file=str(bundle / "configs" / "inference.json"), **settings)
    label = np.asarray(nib.load(tmp_path / "out" / "brain_seg.nii.gz").dataobj)
    assert label.shape == ((64, 72, 60) if channels == 1 else (64, 72, 60, channels))
    assert set(np.unique(label)) == {0, 1}


def test_a_softmax_over_one_channel_is_refused(bundle):
    parser, network = declare(bundle, 1, "softmax")
    with pytest.raises(ValueError, match="one channel: declare 'sigmoid'"):
        parser.get_parsed_content("inferer")(torch.rand(1, 1, 96, 3, 96), network)
    with pytest.raises(BundleError, match="one channel: declare 'sigmoid'"):
        BundleTarget.open(bundle, "cpu", trust=True).predict(torch.rand(1, 96, 3, 96))


def test_an_unknown_head_is_refused_by_name(bundle):
    declare(bundle, 2, "argmax")
    with pytest.raises(BundleError, match="unknown head 'argmax'"):
        BundleTarget.open(bundle, "cpu", trust=True)


def test_the_head_that_inference_declares_is_that_of_calibration_and_attacks(bundle, brain_folder):
    declare(bundle, 2, "sigmoid")
    configs, settings = bundle / "configs", {"bundle_root": str(bundle), "device": "cpu"}
    calibrate = ConfigParser(ConfigParser.load_config_file(configs / "calibrate.json") | settings)
    assert calibrate.get_parsed_content("head") == "sigmoid"
    assert calibrate["calibrator"]["head"] == "@head"
    evaluate = ConfigParser(
        ConfigParser.load_config_files([configs / f"{name}.json" for name in ("inference", "evaluate")])
    )
    evaluate.update(settings)
    adaptive = evaluate.get_parsed_content("attacks")["adaptive PGD 4/255"]
    assert adaptive.head == "sigmoid"
