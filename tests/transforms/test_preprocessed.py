# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The way back from the network to the file, for preprocessings that bundles have."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import (
    AdjustContrastd,
    AsDiscreted,
    ClipIntensityPercentilesd,
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    EnsureTyped,
    Flipd,
    GaussianSmoothd,
    HistogramNormalized,
    InvertibleTransform,
    Lambdad,
    LoadImaged,
    MapTransform,
    NormalizeIntensityd,
    Orientationd,
    RandFlipd,
    RandScaleIntensityd,
    RepeatChanneld,
    Resized,
    ScaleIntensityd,
    ScaleIntensityRanged,
    ScaleIntensityRangePercentilesd,
    Spacingd,
    SpatialPadd,
    ToTensord,
    Transposed,
)
from scipy.ndimage import binary_erosion

from monai_shield.transforms import (
    CheckVolumed,
    PreprocessedFile,
    ScaleToWindowd,
    border_background,
    export_attack,
    fit_affine_intensity,
    read_values,
)

SHAPE = (24, 20, 28)
LAS = np.diag([-1.0, 1.0, 1.0, 1.0])
LOAD = (LoadImaged("image"), EnsureChannelFirstd("image"), EnsureTyped("image"), CheckVolumed("image"))
ABDOMEN = ScaleIntensityRanged("image", a_min=-57, a_max=164, b_min=0, b_max=1, clip=True)
AFFINE = {
    "range": ScaleIntensityRanged("image", a_min=10, a_max=90, b_min=-1, b_max=1),
    "range, falling": ScaleIntensityRanged("image", a_min=0, a_max=100, b_min=1, b_max=0),
    "range, clipped": ScaleIntensityRanged("image", a_min=45, a_max=75, b_min=0, b_max=1, clip=True),
    "percentiles": ScaleIntensityRangePercentilesd("image", lower=5, upper=95, b_min=0, b_max=1, clip=True),
    "clipped percentiles": ClipIntensityPercentilesd("image", lower=5, upper=95),
    "z score": NormalizeIntensityd("image"),
    "z score of the foreground": NormalizeIntensityd("image", nonzero=True, channel_wise=True),
    "minimum and maximum": ScaleIntensityd("image"),
    "window": ScaleToWindowd("image"),
    "function": Lambdad("image", func=lambda x: x / 50 - 1),
}
GEOMETRY = {
    "none": [],
    "crop and pad": [
        Orientationd("image", axcodes="RAS", labels=None),
        CropForegroundd("image", source_key="image", select_fn=lambda x: x != x[0, 0, 0, 0], allow_smaller=True),
        SpatialPadd("image", spatial_size=(32, -1, 32)),
    ],
    "flip": [Orientationd("image", axcodes="PSR", labels=None), Flipd("image", spatial_axis=1)],
}


def through(*steps):
    return Compose([*LOAD, *steps])


def ct(path, brain, dtype=np.int16, slope=1.0, inter=0.0):
    """A foreground of -100 to 300 HU with bone of 1000, in air of -1000."""
    foreground = brain(shape=SHAPE)
    values = np.where(foreground > 0, 4 * (foreground - 20) - 100, -1000)
    values[foreground > 70] = 1000
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    image = nib.Nifti1Image(np.rint((values - inter) / slope).astype(dtype), LAS, header)
    image.header.set_slope_inter(slope, inter)
    nib.save(image, path)
    return path


def noise(like, amplitude=0.05):
    return amplitude * (2 * torch.rand(like.shape) - 1)


def read_back(file, transform):
    return transform({"image": str(file)})["image"].as_tensor().double()


@pytest.mark.parametrize("geometry", GEOMETRY)
@pytest.mark.parametrize("name", AFFINE)
def test_the_map_of_the_intensities_is_found(name, geometry, brain, write_nifti, tmp_path):
    """Against the file's own voxels, wherever they went: what the map makes of them is what the network sees."""
    file = write_nifti(tmp_path / "clean.nii", brain(shape=SHAPE))
    clean = PreprocessedFile(file, through(*GEOMETRY[geometry], AFFINE[name]))
    plain = read_back(file, through(*GEOMETRY[geometry]))
    expected = clean.scale * plain.clamp(clean.low, clean.high) + clean.offset
    inside = plain != 0
    torch.testing.assert_close(clean.image.as_tensor().double()[inside], expected[inside], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("geometry", GEOMETRY)
@pytest.mark.parametrize(
    ("name", "dtype", "slope", "inter"),
    [(name, dtype, 1, 0) for name in (*AFFINE, "abdomen") for dtype in (np.int16, np.float32)]
    + [("abdomen", np.uint16, 0.25, -1000)],
)
def test_read_back_the_network_sees_the_perturbation(name, geometry, dtype, slope, inter, brain, write_nifti, tmp_path):
    """The preprocessing with the statistics of the clean image, on the attacked file, gives the adversarial image."""
    step = AFFINE.get(name, ABDOMEN)
    if name == "abdomen":
        file = ct(tmp_path / "clean.nii", brain, dtype, slope, inter)
    else:
        file = write_nifti(tmp_path / "clean.nii", brain(shape=SHAPE), dtype=dtype)
    geometric = through(*GEOMETRY[geometry])
    clean = PreprocessedFile(file, through(*GEOMETRY[geometry], step))
    image = clean.image.as_tensor().double()
    perturbation = noise(image)
    wanted = (image + perturbation).clamp(image.min(), image.max())
    plain, out = read_back(file, geometric), tmp_path / "attacked.nii.gz"
    foreground = (plain != 0) & (plain != -1000)
    perturbation = (wanted - image) * foreground
    export_attack(perturbation, clean, out)
    found = read_back(out, geometric).clamp(clean.low, clean.high) * clean.scale + clean.offset
    tolerance = abs(float(clean.scale)) * (0.5 * slope if np.issubdtype(dtype, np.integer) else 1e-4) + 1e-5
    assert float((found - image - perturbation)[foreground].abs().max()) <= tolerance
    assert float(perturbation.abs().max()) > 0.03
    background = read_values(file) == read_values(file)[0, 0, 0]
    assert np.array_equal(read_values(out)[background], read_values(file)[background])


def test_bone_keeps_its_hounsfield_units_but_where_it_is_attacked(brain, tmp_path):
    file, out = ct(tmp_path / "clean.nii", brain), tmp_path / "attacked.nii"
    clean = PreprocessedFile(file, through(ABDOMEN))
    assert (float(clean.low), float(clean.high)) == pytest.approx((-57, 164), abs=1e-3)
    before, perturbation = read_values(file), torch.zeros(clean.image.shape)
    perturbation[:, ::2] = -0.1  # 22.1 HU down
    perturbation[:, 9] = 0.1  # up: a voxel that is white already cannot be whiter
    perturbation[:, 11] = -0.001  # less than half a unit
    export_attack(perturbation, clean, out)
    after, bone = read_values(out), before == 1000
    assert bone[::2].any()
    assert bone[9].any()
    assert bone[11].any()
    assert set(after[::2][bone[::2]]) == {142.0}
    assert np.array_equal(after[1::2][bone[1::2]], before[1::2][bone[1::2]])
    soft = (before > -57) & (before < 164)
    assert set((after - before)[::2][soft[::2]]) == {-22.0}
    assert np.array_equal(after[before == -1000], before[before == -1000])


def test_a_background_that_stays_zero_is_not_attacked(brain, write_nifti, tmp_path):
    file, out = write_nifti(tmp_path / "clean.nii", brain(shape=SHAPE)), tmp_path / "attacked.nii"
    clean = PreprocessedFile(file, through(NormalizeIntensityd("image", nonzero=True)))
    export_attack(torch.ones(clean.image.shape), clean, out, background=None)
    before, after = read_values(file), read_values(out)
    deviation = before[before > 0].std()
    assert np.array_equal(after[before == 0], before[before == 0])
    np.testing.assert_allclose((after - before)[before > 0], deviation, atol=0.51)


def test_several_intensity_steps_with_geometry_in_between(brain, tmp_path):
    file = ct(tmp_path / "clean.nii", brain)
    crop = CropForegroundd("image", source_key="image", allow_smaller=True)
    normalize = NormalizeIntensityd("image", nonzero=True)
    clean = PreprocessedFile(file, through(ABDOMEN, crop, normalize, SpatialPadd("image", (40, 40, 40))))
    image, plain = clean.image.as_tensor().double(), read_values(file)
    foreground = np.clip(plain, -57, 164)[(plain > -57)]
    assert float(clean.scale) == pytest.approx(1 / foreground.std(), rel=1e-3)
    perturbation = torch.where(image != 0, -0.2, 0.0)
    export_attack(perturbation, clean, tmp_path / "attacked.nii")
    change = np.clip(read_values(tmp_path / "attacked.nii"), -57, 164) - np.clip(plain, -57, 164)
    well_inside = plain > 0
    np.testing.assert_allclose(change[well_inside], -0.2 * foreground.std(), atol=0.51)


@pytest.mark.parametrize("step", [Spacingd("image", (1.4, 1.3, 0.8)), Resized("image", (30, 30, 30), mode="trilinear")])
def test_a_smooth_perturbation_survives_resampling_under_a_clipped_range(step, brain, write_nifti, tmp_path):
    file = write_nifti(tmp_path / "clean.nii", brain(shape=SHAPE), dtype=np.float32)
    transform = through(step, ScaleIntensityRanged("image", a_min=0, a_max=200, b_min=0, b_max=1, clip=True))
    clean = PreprocessedFile(file, transform)
    image = clean.image.as_tensor().double()
    places = torch.stack(torch.meshgrid(*(torch.linspace(0, 3, n) for n in image.shape[1:]), indexing="ij"))
    perturbation = 0.05 * places.sin().prod(0)[None]
    export_attack(perturbation, clean, tmp_path / "attacked.nii")
    found = read_back(tmp_path / "attacked.nii", transform) - image
    inside = binary_erosion(image[0].numpy() > 0.05, iterations=4)
    assert inside.mean() > 0.01
    assert float((found - perturbation)[0][inside].abs().max()) < 0.05 * float(perturbation.abs().max())


@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 1), (20, 24, 16, 3)])
def test_a_plane_and_channels_lie_in_the_file_as_before(shape, tmp_path):
    values = np.random.default_rng(0).integers(10, 100, shape).astype(np.int16)
    if len(shape) == 4:
        values *= np.array([1, 5, 20], dtype=np.int16)
    nib.save(nib.Nifti1Image(values, LAS), tmp_path / "clean.nii")
    clean = PreprocessedFile(tmp_path / "clean.nii", through_channels(shape[3] if len(shape) == 4 else 1))
    channels = clean.image.shape[0]
    assert len(clean.scale) == channels == (3 if len(shape) == 4 else 1)
    perturbation = noise(clean.image, 0.5)
    export_attack(perturbation, clean, tmp_path / "attacked.nii")
    change = read_values(tmp_path / "attacked.nii") - values
    wanted = perturbation / clean.scale.reshape(-1, *[1] * (perturbation.ndim - 1))
    wanted = np.moveaxis(wanted.numpy(), 0, -1) if len(shape) == 4 else wanted[0].numpy()
    np.testing.assert_allclose(change, wanted, atol=0.51)


def through_channels(channels):
    return Compose([*LOAD[:-1], CheckVolumed("image", channels), NormalizeIntensityd("image", channel_wise=True)])


def test_a_channel_that_is_empty_stays_so(tmp_path):
    values = np.random.default_rng(0).integers(10, 100, (12, 12, 12, 2)).astype(np.int16)
    values[..., 1] = 0
    nib.save(nib.Nifti1Image(values, LAS), tmp_path / "clean.nii")
    clean = PreprocessedFile(tmp_path / "clean.nii", through_channels(2))
    export_attack(torch.ones(clean.image.shape), clean, tmp_path / "attacked.nii", background=None)
    change = read_values(tmp_path / "attacked.nii") - values
    assert (change[..., 0] > 0).all()
    assert not change[..., 1].any()


class OwnFlip(MapTransform, InvertibleTransform):
    """Geometry of another maker, which does not tell where it moved the voxels."""

    def __call__(self, data):
        image = data["image"]
        out = MetaTensor(image.as_tensor().flip(1)[:, 1:], meta=dict(image.meta))
        self.push_transform(out)
        return {**data, "image": out}


class Numpy(MapTransform):
    """Hands out an array."""

    def __call__(self, data):
        return {**data, "image": data["image"].numpy()}


REFUSED = {
    "AdjustContrastd": AdjustContrastd("image", gamma=1.1),
    "HistogramNormalized": HistogramNormalized("image"),
    "GaussianSmoothd": GaussianSmoothd("image", sigma=1.0),
    "AsDiscreted": AsDiscreted("image", threshold=50),
    "Lambdad": Lambdad("image", func=lambda x: x.sqrt()),
    "RandFlipd": RandFlipd("image", prob=0.0),
    "RandScaleIntensityd": RandScaleIntensityd("image", factors=0.1),
    "RepeatChanneld": RepeatChanneld("image", 2),
    "Transposed": Transposed("image", (0, 2, 1, 3)),
    "OwnFlip": OwnFlip("image"),
    "Numpy": Numpy("image"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_undone_is_refused_by_name(name, brain, write_nifti, tmp_path):
    file = write_nifti(tmp_path / "clean.nii", brain(shape=SHAPE))
    with pytest.raises(ValueError, match=rf"^{name} "):
        PreprocessedFile(file, through(Compose([REFUSED[name]])))


def test_other_bad_input_is_refused(brain, write_nifti, tmp_path):
    file = write_nifti(tmp_path / "clean.nii", brain(shape=SHAPE))
    clean = PreprocessedFile(file, through())
    with pytest.raises(ValueError, match=r"\(1, 2, 3, 4\)"):
        clean.perturbation_in_file(torch.zeros(1, 2, 3, 4))

    class Double(LoadImaged):
        def __call__(self, data):
            loaded = super().__call__(data)
            return {**loaded, "image": loaded["image"] * 2}

    with pytest.raises(ValueError, match=r"clean\.nii"):
        PreprocessedFile(file, Compose([Double("image"), ScaleIntensityd("image")]))
    with pytest.raises(ValueError, match="'other'"):
        PreprocessedFile({"other": str(file)}, through(), key="other")


def test_random_transforms_of_other_keys_and_those_that_change_nothing_are_passed_over(brain, write_nifti, tmp_path):
    file = write_nifti(tmp_path / "clean.nii", brain(shape=SHAPE))
    steps = [RandFlipd("label", prob=1.0), ToTensord("image"), ScaleIntensityd("image")]
    clean = PreprocessedFile({"image": str(file), "label": torch.zeros(1, *SHAPE)}, through(*steps))
    assert float(clean.scale) == pytest.approx(1 / read_values(file).max())


def test_the_line_against_a_brute_force_fit():
    generator = torch.Generator().manual_seed(0)
    before = torch.randint(-1000, 1000, (3, 9, 10, 11), generator=generator).float()
    scale, offset = torch.tensor([0.3, -2.0, 1e-4]), torch.tensor([7.0, 0.0, -1.0])
    after = before * scale.reshape(3, 1, 1, 1) + offset.reshape(3, 1, 1, 1)
    found = fit_affine_intensity(before, after)
    torch.testing.assert_close(found.scale, scale.double(), rtol=1e-5, atol=0)
    torch.testing.assert_close(found.offset, offset.double(), rtol=1e-5, atol=1e-4)
    assert bool(found.low.isinf().all())
    assert bool(found.high.isinf().all())
    assert found.lost is None
    clipped = fit_affine_intensity(before, after.clamp(-100, 100))
    torch.testing.assert_close(clipped.low[1:2], torch.tensor([-50.0], dtype=torch.float64), rtol=1e-4, atol=0)
    torch.testing.assert_close(clipped.high[1:2], torch.tensor([50.0], dtype=torch.float64), rtol=1e-4, atol=0)
    masked = after.clone()
    masked[:, :4] = 0
    assert bool((fit_affine_intensity(before, masked).lost.sum(dim=(1, 2, 3)) > 300).all())
    masked[:, 4] += 3 * after.std()
    assert fit_affine_intensity(before, masked) is None
    assert fit_affine_intensity(before, torch.zeros_like(before)) is None


def test_the_background_is_what_fills_the_border(brain):
    stripped = brain(shape=SHAPE)
    assert border_background(stripped) == 0
    assert border_background(stripped - 1024) == -1024
    noisy = np.random.default_rng(0).normal(size=(20, 20, 20))
    assert border_background(noisy) is None
    assert border_background(stripped[:, :, 14]) == 0
    assert border_background(stripped[:, :, 14:15]) == 0
    assert border_background(np.stack([stripped, 2 * stripped], axis=-1)) == 0
