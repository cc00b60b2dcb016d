# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from monai.data import MetaTensor

from monai_shield.transforms import (
    FrequencyConverter,
    StandardizeFrequency,
    StandardizeFrequencyd,
)


def spectra(count=12, size=(6, 5), seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    convert = FrequencyConverter()
    return [convert(torch.randn(2, *size, generator=generator, dtype=dtype) + 3).as_tensor() for _ in range(count)]


@pytest.mark.parametrize("size", [(6, 5), (4, 3, 5)])
def test_fit_is_numpy_mean_and_deviation_in_one_pass(size):
    samples = spectra(size=size)
    fitted = StandardizeFrequency.fit(iter(samples))
    stack = torch.stack(samples).numpy()
    np.testing.assert_allclose(fitted.mean, stack.mean(0), rtol=1e-12)
    np.testing.assert_allclose(fitted.std, stack.std(0), rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 30), st.floats(-1e6, 1e6), st.floats(1e-2, 1e3), st.integers(0, 2**16))
def test_a_large_offset_does_not_cancel(count, offset, deviation, seed):
    draw = torch.randn(count, 1, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    samples = offset + deviation * draw
    fitted = StandardizeFrequency.fit(samples, relative_floor=0)
    np.testing.assert_allclose(fitted.std, samples.numpy().std(0), rtol=1e-6)


def test_the_set_fitted_gets_mean_zero_and_deviation_one():
    samples = spectra(dtype=torch.float32)
    standardize = StandardizeFrequency.fit(samples)
    result = torch.stack([standardize(s).as_tensor() for s in samples])
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.mean(0), torch.zeros_like(samples[0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(result.std(0, unbiased=False), torch.ones_like(samples[0]), atol=1e-4, rtol=0)


def test_save_and_load_give_the_same_standardizer(tmp_path):
    standardize = StandardizeFrequency.fit(spectra(), eps=1e-9)
    path = tmp_path / "frequency.pt"
    standardize.save(path)
    standardize.save(path)  # over an older file
    loaded = StandardizeFrequency.load(path)
    other = spectra(1, seed=1)[0]
    assert torch.equal(loaded(other), standardize(other))
    assert os.listdir(tmp_path) == ["frequency.pt"]


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "frequency.pt"
    standardize = StandardizeFrequency.fit(spectra())
    standardize.save(path)
    before = path.read_bytes()

    def interrupted(file, content):
        with open(file, "wb") as f:
            f.write(bytes(content)[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        standardize.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["frequency.pt"]


def test_numerically_constant_frequencies_do_not_blow_up():
    """Images of mean exactly 1 (up to rounding) and a band limit: F(0) and the high frequencies carry rounding only."""
    generator = torch.Generator().manual_seed(0)
    convert = FrequencyConverter()

    def image():
        spectrum = torch.zeros(1, 32, 17, dtype=torch.complex128)
        spectrum[:, :4, :4] = torch.randn(1, 4, 4, generator=generator, dtype=torch.complex128)
        spectrum[0, 0, 0] = 1.0
        return torch.fft.irfft2(spectrum, norm="forward").float()

    standardize = StandardizeFrequency.fit(convert(image()) for _ in range(20))
    result = standardize(convert(image()))
    constant = standardize.std <= 2e-5
    assert 900 < int(constant.sum()) < 1024
    assert bool(constant[0, 16, 16])
    assert float(result[constant].abs().max()) < 0.2
    assert float(standardize(convert(image() * 1.5))[0, 16, 16]) > 1e3  # what really changes is still seen


def test_spectra_of_zeros_are_safe():
    zeros = torch.zeros(1, 4, 4)
    assert torch.equal(StandardizeFrequency.fit([zeros, zeros])(zeros).as_tensor(), zeros)


def test_metadata_and_gradient_pass_through():
    standardize = StandardizeFrequency.fit(spectra())
    affine = torch.diag(torch.tensor([2.0, 3.0, 1.0, 1.0], dtype=torch.float64))
    output = standardize(MetaTensor(spectra(1)[0], affine=affine))
    assert torch.equal(output.affine, affine)
    leaf = spectra(1)[0].requires_grad_()
    standardize(leaf).sum().backward()
    torch.testing.assert_close(leaf.grad, 1 / standardize.scale)


def test_dictionary_form_takes_a_standardizer_or_its_file(tmp_path):
    standardize = StandardizeFrequency.fit(spectra())
    standardize.save(tmp_path / "frequency.pt")
    sample = spectra(1, seed=2)[0]
    for source in (standardize, tmp_path / "frequency.pt", str(tmp_path / "frequency.pt")):
        output = StandardizeFrequencyd(["image", "absent"], source, allow_missing_keys=True)({"image": sample})
        assert torch.equal(output["image"], standardize(sample))


def test_a_bundle_config_can_name_the_file(tmp_path):
    standardize = StandardizeFrequency.fit(spectra())
    standardize.save(tmp_path / "frequency.pt")
    target = "monai_shield.transforms.StandardizeFrequency.load"
    parser = ConfigParser({"standardize": {"_target_": target, "path": str(tmp_path / "frequency.pt")}})
    loaded = parser.get_parsed_content("standardize")
    assert torch.equal(loaded.mean, standardize.mean)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (torch.zeros(1, 4, 4), r"shape \(2, 6, 5\), got shape \(1, 4, 4\)"),
        (torch.zeros(2, 6, 5, dtype=torch.complex64), "real spectrum"),
        (torch.full((2, 6, 5), torch.nan), "finite values"),
    ],
)
def test_refuses_bad_spectra_in_use_and_in_fitting(sample, message):
    with pytest.raises(ValueError, match=message):
        StandardizeFrequency.fit(spectra())(sample)
    with pytest.raises(ValueError, match=message):
        StandardizeFrequency.fit([*spectra(2), sample])


@pytest.mark.parametrize("count", [0, 1])
def test_refuses_to_fit_on_too_few(count):
    with pytest.raises(ValueError, match=f"at least two spectra .* got {count}"):
        StandardizeFrequency.fit(spectra(count))


def test_refuses_bad_statistics():
    ones = torch.ones(1, 2, 2)
    for mean, std in [(ones, torch.ones(1, 2, 3)), (ones, -ones), (ones * torch.nan, ones)]:
        with pytest.raises(ValueError, match="mean"):
            StandardizeFrequency(mean, std)
    with pytest.raises(ValueError, match="eps"):
        StandardizeFrequency(ones, ones, eps=0)
    with pytest.raises(ValueError, match="relative_floor"):
        StandardizeFrequency.fit(spectra(2), relative_floor=-1)


def test_refuses_a_missing_a_foreign_and_a_broken_file(tmp_path):
    path = tmp_path / "frequency.pt"
    with pytest.raises(FileNotFoundError):
        StandardizeFrequency.load(path)
    StandardizeFrequency.fit(spectra()).save(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"frequency.pt' does not hold"):
        StandardizeFrequency.load(path)
    for foreign in ({"weight": torch.ones(1)}, torch.ones(1), {"mean": torch.ones(1)}, {"mean": 1, "std": 1}, {}):
        torch.save(foreign, path)
        with pytest.raises(ValueError, match=r"frequency.pt' does not hold"):
            StandardizeFrequency.load(path)
