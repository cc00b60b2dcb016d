# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Power by radius, in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from monai_shield.attacks import PGD
from reproduction.image_set import ImageSet
from reproduction.parts import AttackPart
from reproduction.spectra import FLOOR, radial_power, study_spectra

SIZES = [(24, 30), (12, 10, 16)]


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_a_single_point_has_the_same_power_everywhere(size: tuple[int, ...]) -> None:
    image = torch.zeros(2, 1, *size)
    image[(..., *(length // 3 for length in size))] = 0.5
    power = radial_power(image, rings=5)
    assert power.shape == (5,)
    # every frequency has the magnitude 0.5 / number of pixels
    np.testing.assert_allclose(power, 2 * math.log10(0.5 / math.prod(size) + FLOOR), rtol=1e-5)


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
@pytest.mark.parametrize("cycles", [1, 2, 3])
def test_a_wave_lies_in_the_ring_of_its_frequency(size: tuple[int, ...], cycles: int) -> None:
    x = torch.arange(size[0], dtype=torch.float64).reshape(-1, *(1,) * (len(size) - 1)).expand(size)
    power = radial_power(torch.cos(2 * torch.pi * cycles * x / size[0])[None, None], rings=6)
    assert int(power.argmax()) == int(cycles / size[0] * 2 * 6)
    rest = np.delete(power, power.argmax())
    np.testing.assert_allclose(rest, 2 * math.log10(FLOOR), rtol=1e-6)


def test_a_ring_without_a_frequency_is_nothing_and_corners_are_left_out() -> None:
    power = radial_power(torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0)), rings=8)
    # radii 0, 1/4 and its diagonal; those at 1/2 and beyond lie outside
    assert np.flatnonzero(~np.isnan(power)).tolist() == [0, 4, 5]


def test_images_are_averaged_by_their_logarithms() -> None:
    image = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    alone = [radial_power(each[None], rings=4) for each in image]
    np.testing.assert_allclose(radial_power(image, rings=4), np.mean(alone, axis=0), rtol=1e-9)


def test_spectra_of_attacks_on_different_slices(tiny_study, study_data) -> None:
    attack = PGD(0.1, max_steps=1, attack_background=False)
    attacks = {
        "PGD": AttackPart(attack, pooled=True),
        "second": AttackPart(attack, every=2),
        "third": AttackPart(attack, every=3),
    }
    study = tiny_study(data=study_data(slices_per_volume=3), attacks=attacks)
    study.run()
    found = study_spectra(study)
    assert {f"radial {name}, {variant}" for name in attacks for variant in ("raw", "exported")} < set(found)
    clean = study.images.images(ImageSet("clean"))
    for name in attacks:
        if f"perturbation {name}, raw" in found:
            # it is that of the slice whose spectrum stands beside it
            made = torch.from_numpy(found[f"perturbation {name}, raw"]).float()
            assert 0 < float(made.abs().max()) <= 0.1 + 1e-3
    assert "perturbation PGD, raw" in found
    assert found["spectrum clean"].shape == clean.shape[2:]
