# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, GibbsNoise

from monai_shield.transforms import (
    FourierTransform,
    FourierTransformd,
    FrequencyConverter,
    FrequencyConverterd,
    FrequencyShift,
    FrequencyShiftd,
    SpectrumPart,
    SpectrumPartd,
    frequency_magnitude,
    shift_zero_frequency,
)

PARTS = ["magnitude", "log_magnitude", "real_imaginary"]


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("size", [(8, 6), (7, 5), (4, 5, 6)])
def test_converter_is_the_composition_of_its_three_steps(part, shift, size):
    image = noise(2, *size)
    steps = Compose([FourierTransform(), *([FrequencyShift()] if shift else []), SpectrumPart(part)])
    actual = FrequencyConverter(part, shift)(image)
    assert actual.shape == (4 if part == "real_imaginary" else 2, *size)
    torch.testing.assert_close(actual, steps(image))


def test_parts_are_what_they_say():
    spectrum = torch.tensor([[[3 + 4j, 0j]], [[1j, -2 + 0j]]])
    magnitude = torch.tensor([[[5.0, 0.0]], [[1.0, 2.0]]])
    plain = [SpectrumPart(part, eps=0.5)(spectrum).as_tensor() for part in PARTS]
    torch.testing.assert_close(plain[0], magnitude)
    torch.testing.assert_close(plain[1], (magnitude + 0.5).log())
    torch.testing.assert_close(plain[2], torch.tensor([[[3.0, 0.0]], [[0.0, -2.0]], [[4.0, 0.0]], [[1.0, 0.0]]]))


def test_metadata_stays_through_the_whole_chain_and_other_transforms():
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0], dtype=torch.float64))
    image = MetaTensor(noise(1, 6, 7, 8, dtype=torch.float32), affine=affine, meta={"filename_or_obj": "a.nii"})
    chain = [FourierTransform(), FrequencyShift(), FrequencyShift(inverse=True), SpectrumPart("log_magnitude")]
    output = image
    for transform in chain:
        output = transform(output)
        assert isinstance(output, MetaTensor)
        assert torch.equal(output.affine, affine)
        assert output.meta["filename_or_obj"] == "a.nii"
    assert torch.equal(FrequencyConverter()(image).affine, affine)
    assert Compose([GibbsNoise(0.5), FrequencyConverter()])(image).shape == image.shape


def test_gradient_goes_through_the_transform():
    image = noise(1, 6, 5).requires_grad_()
    FrequencyConverter("log_magnitude")(image).sum().backward()
    assert bool(image.grad.isfinite().all())
    assert bool((image.grad != 0).any())


def test_dictionary_forms():
    data = {"image": noise(1, 6, 5), "label": torch.ones(1)}
    steps = Compose([FourierTransformd("image"), FrequencyShiftd("image"), SpectrumPartd("image", "log_magnitude")])
    fused = FrequencyConverterd(["image", "absent"], "log_magnitude", allow_missing_keys=True)(data)
    torch.testing.assert_close(fused["image"], steps(data)["image"])
    torch.testing.assert_close(fused["image"], FrequencyConverter("log_magnitude")(data["image"]))
    back = FrequencyShiftd("image", inverse=True)(FrequencyShiftd("image")(data))
    assert torch.equal(back["image"], data["image"])
    assert back["label"] is data["label"]
    with pytest.raises(KeyError):
        FrequencyConverterd("absent")(data)


@pytest.mark.parametrize(
    ("transform", "image", "message"),
    [
        (FrequencyConverter(), torch.full((1, 4, 4), math.nan), "NaN or an infinity"),
        (FrequencyConverter(), torch.tensor([[math.inf, -math.inf]]), "NaN or an infinity"),
        (FourierTransform(), torch.tensor([[math.inf, 1.0]]), "NaN or an infinity"),
        (FrequencyShift(), torch.tensor([[complex(0, math.nan)]]), "NaN or an infinity"),
        (FourierTransform(), torch.zeros(0, 4, 4), "nonempty"),
        (FrequencyConverter(), torch.zeros(1, 4, 0), "nonempty"),
        (FrequencyConverter(), torch.zeros(4), "nonempty"),
        (FrequencyConverter(), torch.zeros(1, 1, 2, 2, 2), "nonempty"),
        (FourierTransform(), torch.zeros(1, 4, 4, dtype=torch.complex64), "real image"),
        (FrequencyConverter(), torch.zeros(1, 4, 4, dtype=torch.complex64), "real image"),
        (SpectrumPart(), torch.zeros(1, 4, 4), "complex spectrum"),
    ],
)
def test_refuses_what_it_cannot_convert(transform, image, message):
    with pytest.raises(ValueError, match=message) as caught:
        transform(image)
    assert "\n" not in str(caught.value)


def test_accepts_finite_values_whose_sum_overflows():
    image = torch.full((1, 2, 2), torch.finfo(torch.float32).max)
    assert FrequencyShift()(image).shape == image.shape


def test_refuses_bad_settings():
    with pytest.raises(ValueError, match="part must be one of magnitude, log_magnitude, real_imaginary"):
        SpectrumPart("phase")
    with pytest.raises(ValueError, match="eps"):
        FrequencyConverter(eps=0.0)
    with pytest.raises(ValueError, match="spatial_dims"):
        frequency_magnitude(torch.zeros(1, 1, 1, 1, 1), 4)
    with pytest.raises(ValueError, match="2 spatial axes"):
        shift_zero_frequency(torch.zeros(3), 2)
