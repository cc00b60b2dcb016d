# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.data import MetaTensor

from monai_shield.transforms import ScaleToWindow, ScaleToWindowd, intensity_window

images = arrays(np.float32, st.integers(2, 400), elements=st.floats(-1000, 1000, width=32)).filter(
    lambda values: values.max() > min(0, values.min())
)


@given(values=images, percentile=st.sampled_from([1.0, 50.0, 95.0, 99.5, 100.0]))
def test_the_window_is_numpy_s_percentile_inside_the_foreground_to_one_rank(values, percentile):
    low, high = intensity_window(torch.from_numpy(values), percentile)
    assert low == min(0, values.min())
    foreground = np.sort(values[values > low])
    place = percentile / 100 * (len(foreground) - 1)
    assert (
        foreground[max(0, int(np.floor(place)) - 1)]
        <= high
        <= foreground[min(len(foreground) - 1, int(np.ceil(place)) + 1)]
    )
    assert high in foreground
    assert high > low


def test_the_window_of_many_voxels_is_numpy_s_percentile():
    values = np.random.default_rng(0).gamma(4.0, 100.0, 50_000).astype(np.float32)
    image = torch.from_numpy(np.concatenate([np.zeros(200_000, np.float32), values]))
    low, high = intensity_window(image)
    assert low == 0
    assert high == pytest.approx(np.percentile(values, 99.5), rel=1e-3)


#: A power of two times a number that is not normal rounds, which no file's unit does.
normal = images.map(lambda values: np.where(np.abs(values) < 1e-30, 0, values).astype(np.float32)).filter(
    lambda values: values.max() > min(0, values.min())
)


@given(values=normal, factor=st.sampled_from([2.0**-10, 0.5, 4.0, 2.0**12]))
def test_the_unit_of_a_file_does_not_matter(values, factor):
    image = torch.from_numpy(values)
    low, high = intensity_window(image)
    assert intensity_window(image * factor) == (low * factor, high * factor)
    assert torch.equal(ScaleToWindow()(image * factor), ScaleToWindow()(image))


def test_nor_does_an_offset_below_zero():
    """A background of -1000 is as good as one of 0."""
    image = torch.randint(1, 200, (1, 8, 8, 8)).float()
    image[:, :2] = 0
    torch.testing.assert_close(ScaleToWindow()(image - 1000), ScaleToWindow()(image))


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 8, 8, 8)])
def test_the_map_is_affine_and_can_be_undone(shape):
    image = MetaTensor(torch.randn(shape) * 50, affine=2 * torch.eye(4), meta={"name": "x"})
    scaled = ScaleToWindowd("image")({"image": image})["image"]
    low, high = scaled.meta["intensity_window"]
    assert (low, high) == intensity_window(image)
    assert float(scaled.min()) == 0
    assert float(scaled.max()) > 1  # half a percent lies above the window, and is not clipped
    torch.testing.assert_close(scaled.as_tensor() * (high - low) + low, image.as_tensor(), rtol=1e-5, atol=1e-4)
    assert scaled.meta["name"] == "x"
    torch.testing.assert_close(scaled.affine, image.affine)
    assert "intensity_window" not in image.meta


@pytest.mark.parametrize("dtype", [torch.int16, torch.uint8, torch.float64, torch.int64])
def test_any_type_comes_out_as_float32(dtype):
    values = torch.randint(0, 100, (1, 6, 6))
    scaled = ScaleToWindow()(values.to(dtype))
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled, ScaleToWindow()(values.float()))
    torch.testing.assert_close(ScaleToWindow()(values.to(dtype).numpy()), scaled)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (torch.zeros(1, 4, 4), "constant"),
        (torch.full((1, 4, 4), -3.0), "constant"),
        (torch.zeros(1, 0, 4), "empty image"),
        (torch.tensor([[0.0, torch.nan, 1.0]]), "NaN or infinite"),
        (torch.tensor([[0.0, torch.inf, 1.0]]), "NaN or infinite"),
    ],
)
def test_no_window_where_there_is_none(image, reason):
    with pytest.raises(ValueError, match=reason):
        intensity_window(image)


def test_what_float32_cannot_hold_is_not_scaled_to_it():
    with pytest.raises(ValueError, match="NaN or infinite"):
        ScaleToWindow()(torch.tensor([[0.0, 1e300, 1.0]], dtype=torch.float64))


@pytest.mark.parametrize("percentile", [0, -1, 100.5])
def test_impossible_percentiles(percentile):
    with pytest.raises(ValueError, match="percentile"):
        ScaleToWindow(percentile)
