# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A shield around a network, in Python: build a detector, calibrate it on clean images, look at its decisions."""

import torch
from monai.networks.layers import MedianFilter
from monai.networks.nets import BasicUNet

from monai_shield.detectors import PredictionConsistency, ViewBatches
from monai_shield.inferers import ShieldInferer

network = BasicUNet(spatial_dims=2, in_channels=1, out_channels=3).eval()  # here: your trained network
clean = torch.rand(40, 1, 64, 64)  # here: clean images outside the training set, with its preprocessing
image = torch.rand(2, 1, 64, 64)  # here: new images

reformer = MedianFilter(radius=1, spatial_dims=2)  # needs no training
detector = PredictionConsistency()  # needs no training
detector.calibrate(ViewBatches(clean, network, reformer), t_fp=0.05)

shield = ShieldInferer(detector, reformer)
logits = shield(image, network)  # like any MONAI inferer
for decision in logits.meta["shield"]:  # one per image; the logits of a rejected image are not changed
    print(decision.score, decision.threshold, decision.p_value, decision.rejected, decision.reason)
