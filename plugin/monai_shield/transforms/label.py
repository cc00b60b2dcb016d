# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""From a file's label values to the classes of a network, and from its logits to a label."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import AsDiscreted, Transform
from monai.utils import TransformBackends, convert_to_tensor

from monai_shield.transforms.each_key import EachKeyd

LabelMap = Mapping[str, Sequence[int]]


class MergeLabels(Transform):
    """
    Merge a file's label values into structures 1..K, in the order of the label map; every other value is background.

    Unlike MONAI's ``MapLabelValue`` it needs no list of the values that shall vanish.

    Args:
        label_map: name of a structure to the label values in the file that belong to it.

    Raises:
        ValueError: where a value belongs to two structures or is negative, or there are more than 255 structures.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(self, label_map: LabelMap) -> None:
        values = [value for group in label_map.values() for value in group]
        if len(values) != len(set(values)):
            raise ValueError("a label value belongs to two structures of the label map.")
        if any(value < 0 for value in values):
            raise ValueError("label values must not be negative.")
        if len(label_map) > torch.iinfo(torch.uint8).max:
            raise ValueError(f"a label map holds 255 structures at most, got {len(label_map)}.")
        self.table = torch.zeros(max(values, default=0) + 1, dtype=torch.uint8)
        for index, group in enumerate(label_map.values(), start=1):
            self.table[list(group)] = index

    def __call__(self, img: NdarrayOrTensor) -> torch.Tensor:
        """
        Args:
            img: label of any shape, as in the file.
        """
        label = convert_to_tensor(img, track_meta=get_track_meta())
        # 45 times a slope may come out as 44.999996
        index = label.round().long() if label.is_floating_point() else label.long()
        known = (index >= 0) & (index < len(self.table))
        return self.table.to(label.device)[index.where(known, torch.zeros_like(index))] * known


class MergeLabelsd(EachKeyd):
    """Dictionary form of :class:`MergeLabels`."""

    array, held_as = MergeLabels, "merge"


class LogitsToLabeld(AsDiscreted):
    """
    The label that logits stand for: the class of the largest of a softmax, each channel above 0 of sigmoids.

    Args:
        keys: logits, (K, H, W[, D]); they become class indices (1, H, W[, D]), or 0 and 1 in each channel.
        head: what the channels stand for.

    Raises:
        ValueError: for an unknown head.
    """

    def __init__(
        self, keys: KeysCollection, head: Literal["softmax", "sigmoid"], allow_missing_keys: bool = False
    ) -> None:
        if head not in ("softmax", "sigmoid"):
            raise ValueError(f"unknown head '{head}': choose 'softmax' or 'sigmoid'.")
        softmax = head == "softmax"
        super().__init__(
            keys, argmax=softmax, threshold=None if softmax else 0.0, allow_missing_keys=allow_missing_keys
        )
