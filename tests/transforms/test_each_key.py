# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Dictionary forms: the array transform on each key and on no other."""

import pytest
import torch
from monai.transforms import MapTransform, Transform

from monai_shield import transforms

NAMES = [
    name for name in dir(transforms) if isinstance(getattr(transforms, name), type) and name + "d" in dir(transforms)
]


@pytest.mark.parametrize("name", NAMES)
def test_every_array_transform_has_a_dictionary_form(name: str) -> None:
    assert issubclass(getattr(transforms, name), Transform)
    assert issubclass(getattr(transforms, f"{name}d"), MapTransform)


def test_only_the_keys_are_transformed_and_the_dictionary_stays() -> None:
    image = torch.tensor([[0.0, 2.0, 4.0]])
    data = {"image": image, "other": image}
    scaled = transforms.ScaleToWindowd(["image", "absent"], percentile=100, allow_missing_keys=True)(data)
    assert torch.equal(torch.as_tensor(scaled["image"]), image / 4)
    assert scaled["other"] is image
    assert data["image"] is image


def test_a_missing_key_and_an_unknown_setting_are_refused() -> None:
    with pytest.raises(KeyError, match="absent"):
        transforms.ScaleToWindowd("absent")({})
    with pytest.raises(TypeError, match="centile"):
        transforms.ScaleToWindowd("image", centile=99)
