# Copyright (c) The monai-shield authors.
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Networks that MONAI does not have: targets, the autoencoders of MagNet, and what stands behind a filter."""

from __future__ import annotations

from .dcgan import dcgan_critic, dcgan_generator
from .fc_densenet import FCDenseNet, FCDenseNet103
from .filtered import FilteredNetwork
from .heads import Head, binary_logits, class_logits, head_of
from .low_pass import LowPass
from .magnet import MagNetAutoencoderI, MagNetAutoencoderII
from .rearranged import RolledNetwork, ShuffledNetwork, circular_padding
from .segnet import SegNet

__all__ = [
    "FCDenseNet",
    "FCDenseNet103",
    "FilteredNetwork",
    "Head",
    "LowPass",
    "MagNetAutoencoderI",
    "MagNetAutoencoderII",
    "RolledNetwork",
    "SegNet",
    "ShuffledNetwork",
    "binary_logits",
    "circular_padding",
    "class_logits",
    "dcgan_critic",
    "dcgan_generator",
    "head_of",
]
