# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Every detector of the list in a bundle: ``run calibration`` makes its file, and the shield decides by it."""

import pytest
import torch
from monai.bundle import ConfigParser, run

from monai_shield.detectors import DETECTORS
from support.tiny_bundle import TINY_SIZE

KINDS = [kind for kind in DETECTORS if 2 in kind.spatial_dims]


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
@torch.no_grad()
def test_it_is_calibrated_and_shields(kind, tiny_repository, brain_folder, tmp_path):
    root = tiny_repository / "bundles" / "brain_mri_shield"
    made = {"_target_": f"monai_shield.detectors.{kind.__name__}.example", "spatial_size": [TINY_SIZE, TINY_SIZE]}
    settings = {"bundle_root": str(root), "device": "cpu", "detector_def": made}
    run(
        run_id="calibration",
        config_file=str(root / "configs" / "calibrate.json"),
        dataset_dir=str(brain_folder),
        run_dir=str(tmp_path),
        split="all",
        detector_weights="",
        logging_file=False,
        **settings,
    )
    weights = tmp_path / "shield" / "detector.pt"
    parser = ConfigParser(ConfigParser.load_config_file(root / "configs" / "inference.json"))
    parser.update(settings | {"detector_weights": str(weights)})
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(root / "models" / "model.pt", weights_only=True))
    inferer, preprocessing = (parser.get_parsed_content(name) for name in ("inferer", "preprocessing"))
    calibration = inferer.detector.calibrated()
    assert calibration.num_volumes == 4
    for number in range(4):
        file = brain_folder / "volumes" / f"b{number}_SS.nii.gz"
        (decision,) = inferer(preprocessing({"image": str(file)})["image"][None], network).meta["shield"]
        clean = calibration.scores[calibration.volumes == number]
        assert decision.scored == len(clean) == sum(score is not None for score in decision.slice_scores)
        # a score on a threshold falls on either side of it, depending on who shares its batch
        assert abs(sum(decision.slice_rejected) - int((clean > calibration.threshold).sum())) <= 2
        assert decision.threshold == calibration.volume_limit
        assert decision.rejected == (decision.score > decision.threshold) == bool(decision.reason)
