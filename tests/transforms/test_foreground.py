# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What is foreground: skull-stripped scans, CT in Hounsfield units, RGB images."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import ForegroundMask

from monai_shield.data import SliceDataset
from monai_shield.detectors import Views
from monai_shield.detectors.record import settings_of
from monai_shield.fingerprints import stable_repr
from monai_shield.transforms import Foreground

DIMS = pytest.mark.parametrize("size", [(8, 10), (6, 8, 10)], ids=["2D", "3D"])


def block(size: tuple[int, ...], inside: float, outside: float, channels: int = 1) -> torch.Tensor:
    """Two images: a block of 2^dims pixels, and none."""
    image = torch.full((2, channels, *size), outside)
    image[0][(slice(None), *[slice(2, 4)] * len(size))] = inside
    return image


@DIMS
@pytest.mark.parametrize(
    ("inside", "outside", "above"), [(0.7, 0.0, 0.05), (-600.0, -1000.0, -900.0), (0.06, 0.05, 0.05)]
)
def test_what_lies_above_the_threshold_is_foreground(
    size: tuple[int, ...], inside: float, outside: float, above: float
) -> None:
    image = block(size, inside, outside)
    found = Foreground(above=above)(image)
    assert found.dtype == torch.bool
    assert torch.equal(found, (image == inside)[:, 0])
    share = Foreground(above=above).share(image)
    assert share.tolist() == pytest.approx([2 ** len(size) / image[0].numel(), 0])


@DIMS
def test_a_pixel_with_one_bright_channel_is_foreground(size: tuple[int, ...]) -> None:
    image = block(size, 0.0, 0.0, channels=3)
    image[0, 0][(1,) * len(size)], image[0, 2][(5,) * len(size)] = 1.0, 0.5
    found = Foreground()(image)
    assert found.flatten(1).sum(1).tolist() == [2, 0]
    assert bool(found[0][(1,) * len(size)] & found[0][(5,) * len(size)])


def test_a_mask_transform_finds_what_no_threshold_does() -> None:
    slide = torch.full((1, 3, 16, 16), 0.95)  # tissue on a white slide is the darker part
    slide[:, 0, 4:9, 5:12], slide[:, 1, 4:9, 5:12] = 0.6, 0.2
    found = Foreground(mask=ForegroundMask(threshold=0.5))(slide)
    assert found.shape == (1, 16, 16)
    assert torch.equal(found[0], slide[0, 1] < 0.5)


@DIMS
def test_a_mask_may_have_the_channels_of_the_image_or_none(size: tuple[int, ...]) -> None:
    image = block(size, 1.0, 0.0, channels=2)
    for mask in (lambda x: x > 0.5, lambda x: x[0] > 0.5, lambda x: (x[:1] > 0.5).numpy(), lambda x: MetaTensor(x)):
        assert torch.equal(Foreground(mask=mask)(image), Foreground(above=0.5)(image))


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mask \(4, 4\) does not fit the image \(1, 8, 8\)"):
        Foreground(mask=lambda x: x[0, :4, :4])(torch.rand(1, 1, 8, 8))


@pytest.mark.parametrize("wrong", [{"above": float("nan")}, {"above": 0.1, "mask": torch.abs}])
def test_what_is_no_rule_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="above"):
        Foreground(**wrong)


@given(st.lists(st.integers(-2000, 2000), min_size=4, max_size=4), st.integers(-1000, 1000))
def test_foreground_moves_with_the_unit_of_the_image(values: list[int], above: int) -> None:
    """A shift of all intensities and of the threshold changes nothing, and where a pixel lies does not matter."""
    image = torch.tensor(values, dtype=torch.float64).reshape(1, 1, 2, 2)
    found = Foreground(above)(image)
    assert torch.equal(Foreground(above + 4096)(image + 4096), found)
    assert torch.equal(Foreground(above)(image.flip(2)), found.flip(1))
    assert Foreground(above).share(image).dtype == torch.float64
    assert Foreground(above).share(image).item() == sum(value > above for value in values) / 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.uint8])
def test_shares_are_in_float32_at_least(dtype: torch.dtype) -> None:
    image = torch.zeros(1, 1, 40, 40, dtype=dtype)
    image[..., :3, :11] = 1
    assert torch.equal(Foreground().share(image), torch.tensor([33 / 1600]))


def test_metadata_and_gradients_stay_outside() -> None:
    image = MetaTensor(torch.rand(1, 1, 8, 8)).requires_grad_()
    for rule in (Foreground(), Foreground(mask=lambda x: x > x.mean())):
        assert type(rule(image)) is torch.Tensor
        assert not rule.share(image).requires_grad


def test_a_config_declares_it_once_for_slices_and_views() -> None:
    parser = ConfigParser({"foreground": {"_target_": "monai_shield.transforms.Foreground", "above": -900}})
    foreground = parser.get_parsed_content("foreground")
    volume = torch.full((1, 10, 6, 10), -1000.0)
    volume[:, :, 2:5] = -800.0
    data = SliceDataset([{}], lambda _: {"image": volume}, ["image"], foreground=foreground, progress=False)
    assert [item["slice"] for item in data] == [2, 3, 4]
    assert Views(data[0]["image"][None], foreground=foreground).foreground_share.tolist() == [1.0]
    assert dict(settings_of(foreground, "foreground"))["foreground.above"] == "-900.0"
    assert stable_repr(foreground) == "Foreground(above=-900.0, mask=None)"
