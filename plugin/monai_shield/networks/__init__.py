# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Networks that MONAI does not have: targets, the autoencoders of MagNet, and what stands behind a filter."""

from monai_shield.networks.fc_densenet import FCDenseNet, FCDenseNet103
from monai_shield.networks.filtered import FilteredNetwork
from monai_shield.networks.heads import Head, binary_logits, class_logits, head_of
from monai_shield.networks.low_pass import LowPass
from monai_shield.networks.magnet import MagNetAutoencoderI, MagNetAutoencoderII
from monai_shield.networks.segnet import SegNet
