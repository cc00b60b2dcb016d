# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The statistics are those of known bodies, do not depend on the file's axes, and the rule rejects what it should."""

import io
import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.transforms import CropForeground, Flip, SpatialPad

from monai_shield.bundle import ShieldCalibrator
from monai_shield.data import SliceDataset
from monai_shield.detectors import (
    Calibration,
    HighFrequencyEnergy,
    Plausibility,
    predicted_label,
    subject_statistics,
)
from monai_shield.inferers import ShieldInferer
from monai_shield.transforms import (
    Foreground,
    MeasureBorder,
    MeasureBorderd,
    anatomical_axes,
    border_shares,
    shield_decision,
)

SIZES = (1.0, 1.5, 2.0)


def affine_of(signs=(1, 1, 1), sizes=SIZES, order=(0, 1, 2)):
    """The affine of an array whose axis i runs along anatomical axis order[i]."""
    affine = torch.eye(len(order) + 1, dtype=torch.float64)
    affine[:-1, :-1] = 0
    for index, axis in enumerate(order):
        affine[axis, index] = signs[axis] * sizes[axis]
    return affine


def foreground(dims=3, seed=0):
    """A pear-shaped foreground with four structures in it: no symmetry, no two axes alike."""
    shape = (40, 36, 30)[:dims]
    grid = torch.stack(torch.meshgrid(*(torch.linspace(-1, 1, size) for size in shape), indexing="ij"))
    radii = torch.tensor([0.8, 0.7, 0.6])[:dims].reshape(-1, *[1] * dims)
    wobble = 1 + 0.03 * torch.randn(dims, *[1] * dims, generator=torch.Generator().manual_seed(seed))
    place = grid / radii / wobble
    inside = (place[:-1] ** 2).sum(0) * torch.exp(-2.5 * place[-1]) + place[-1] ** 2 < 1
    label = (1 + (grid[0] > 0.1).long() + 2 * (grid[-1] > -0.1).long()) * inside
    return inside[None].float(), label


@pytest.mark.parametrize("dims", [2, 3])
def test_a_box_in_closed_form(dims):
    """Uniform on an interval of length L: standard deviation L / sqrt(12), no skewness."""
    image = torch.zeros(1, *(20, 24, 16)[:dims])
    lengths = (8, 12, 6)[:dims]
    box = tuple(slice(2, 2 + length) for length in lengths)
    image[(0, *box)] = 1
    label = torch.zeros(image.shape[1:], dtype=torch.long)
    label[(slice(2, 6), *box[1:])] = 1
    label[(slice(6, 8), *box[1:])] = 2
    found = subject_statistics(image, label, 4, affine_of(sizes=SIZES, order=range(dims)))
    voxel = math.prod(SIZES[:dims])
    assert found["volume"] == pytest.approx(voxel * math.prod(lengths))
    for axis, length, size in zip("xyz", lengths, SIZES):
        assert found[f"spread/{axis}"] == pytest.approx(length * size / math.sqrt(12))
        assert found[f"asymmetry/{axis}"] == pytest.approx(0, abs=1e-9)
        assert found[f"cut/{axis}"] == 0
    assert found["ratio/xy"] == pytest.approx(found["spread/x"] / found["spread/y"])
    assert found["labeled"] == pytest.approx(6 / 8)
    assert [found[f"size/{k}"] for k in (1, 2)] == pytest.approx([4 / 6, 2 / 6])
    assert found["size/3"] == 1e-5
    assert "center/3/x" not in found
    if dims == 3:  # the smaller one has 50 voxels
        assert found["center/1/x"] == pytest.approx(-2 / (8 / math.sqrt(12)))
        assert found["center/2/x"] == pytest.approx(1 / (8 / math.sqrt(12)))
        assert found["center/1/y"] == pytest.approx(0, abs=1e-9)


def test_an_ellipsoid_s_moments():
    """Radius r: standard deviation r / sqrt(5), volume 4/3 π abc."""
    radii = (20.0, 27.0, 32.0)  # mm
    axes = [size * (torch.arange(48) - 23.5) for size in SIZES]
    grid = torch.meshgrid(*axes, indexing="ij")
    image = (sum((g / r) ** 2 for g, r in zip(grid, radii)) < 1).float()[None]
    found = subject_statistics(image, image[0].long(), 2, affine_of())
    assert found["volume"] == pytest.approx(4 / 3 * math.pi * math.prod(radii), rel=0.01)
    for axis, radius in zip("xyz", radii):
        assert found[f"spread/{axis}"] == pytest.approx(radius / math.sqrt(5), rel=0.01)


@given(order=st.permutations(range(3)), signs=st.tuples(*[st.sampled_from((-1, 1))] * 3))
def test_the_order_and_direction_of_the_file_s_axes_do_not_matter(order, signs):
    image, label = foreground()
    expected = subject_statistics(image, label, 5, affine_of())
    flipped = [axis for axis in range(3) if signs[axis] < 0]
    image, label = image.flip([axis + 1 for axis in flipped]), label.flip(flipped)
    image, label = image.permute(0, *(axis + 1 for axis in order)), label.permute(*order)
    found = subject_statistics(image, label, 5, affine_of(signs, order=order))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("dims", [2, 3])
def test_a_flip_that_the_header_does_not_tell_turns_the_signs_of_its_axis_and_no_others(dims):
    image, label = foreground(dims)
    affine = affine_of(order=range(dims))
    expected = subject_statistics(image, label, 5, affine)
    for axis in range(dims):
        found = subject_statistics(image.flip(axis + 1), label.flip(axis), 5, affine)
        for name, value in expected.items():
            turns = name.startswith(("asymmetry", "center")) and name.endswith("xyz"[axis])
            assert found[name] == pytest.approx(-value if turns else value, abs=1e-9), name
    assert abs(expected[f"asymmetry/{'xyz'[dims - 1]}"]) > 0.05


def test_statistics_of_a_ct_in_hounsfield_units_are_those_of_the_scaled_image():
    image, label = foreground()
    scaled = subject_statistics(image, label, 5, affine_of())
    hounsfield = subject_statistics(2000 * image - 1000, label, 5, affine_of(), foreground=Foreground(above=-900))
    assert hounsfield == scaled
    ct = MetaTensor(2000 * image - 1000, affine=affine_of())
    borders = [MeasureBorder(Foreground(above=-900))(ct.clone()).meta["border"], border_shares(image[0] > 0, ct.affine)]
    assert torch.equal(*borders)


def test_no_foreground_no_statistics_and_a_label_that_does_not_fit_is_refused():
    nothing = torch.zeros(1, 4, 4, 4)
    assert subject_statistics(nothing, nothing[0].long(), 2, affine_of()) == {}
    with pytest.raises(ValueError, match=r"a label of shape \(4, 4, 3\)"):
        subject_statistics(nothing, nothing[0, ..., 1:].long(), 2, affine_of())


def test_labels_of_one_channel_and_of_many():
    assert predicted_label(torch.tensor([[[-1.0, 2.0]]])).tolist() == [[0, 1]]
    assert predicted_label(torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]])).tolist() == [[0, 1]]


# --- the border -------------------------------------------------------------------------------------------------------


def test_border_shares_are_those_of_the_fullest_slice_at_either_end():
    foreground = torch.zeros(4, 6, 5, dtype=torch.bool)
    foreground[:2, 1:5, 1:] = True
    foreground[2, 1:3, 1:] = True
    shares = border_shares(foreground, affine_of(signs=(1, 1, -1)))
    assert shares.tolist() == [[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]
    flat = border_shares(foreground[:, :, 2], affine_of(order=range(2)))
    assert flat[:2].tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert flat[2].isnan().all()


@pytest.mark.parametrize("dims", [2, 3])
def test_the_border_is_kept_past_crop_pad_batch_and_back(dims):
    image, _ = foreground(dims)
    image = image[:, image.shape[1] // 2 :]
    loaded = MetaTensor(image, affine=affine_of(order=range(dims)))
    measured = MeasureBorderd("image")({"image": loaded})["image"]
    expected = border_shares(image[0] > 0.05, loaded.affine)
    padded = SpatialPad([60] * dims)(CropForeground(allow_smaller=True)(measured))
    batch = list_data_collate([{"image": Flip(0)(padded)}] * 2)["image"]
    for kept in (*(item["image"] for item in decollate_batch({"image": batch})), batch[1]):
        torch.testing.assert_close(kept.meta["border"].squeeze(0), expected, equal_nan=True)
    assert expected[0, 0] > 0.9
    assert torch.equal(measured.as_tensor(), image)


def test_a_plain_tensor_passes_unmeasured_and_an_affine_without_directions_is_refused():
    image, _ = foreground()
    assert MeasureBorder()(image) is image
    with pytest.raises(ValueError, match="no direction"):
        anatomical_axes(torch.zeros(4, 4), 3)


# --- the rule ---------------------------------------------------------------------------------------------------------


def statistics(seed=0, dims=3, **changes):
    image, label = foreground(dims, seed)
    return subject_statistics(image, label, 5, affine_of(order=range(dims))) | changes


def clean(dims=3, number=6):
    return Plausibility.fit([statistics(seed, dims) for seed in range(number)])


@pytest.mark.parametrize("dims", [2, 3])
def test_left_out_one_by_one_none_of_the_clean_is_rejected_or_has_a_finding(dims):
    subjects = [statistics(seed, dims) for seed in range(6)]
    for number, subject in enumerate(subjects):
        judged = Plausibility.fit(subjects[:number] + subjects[number + 1 :]).judge(subject)
        assert not judged.reason
        assert not judged.findings


def test_the_range_is_the_larger_of_the_least_margin_and_six_deviations():
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]).double()
    plausible = Plausibility(["asymmetry/z"], values[:, None])
    allowed = 6 * math.sqrt(1 + 1 / 5) * float(values.std())
    for sign in (-1, 1):
        assert not plausible.judge({"asymmetry/z": 3 + sign * 0.99 * allowed}).reason
        assert plausible.judge({"asymmetry/z": 3 + sign * 1.01 * allowed}).reason
    alike = Plausibility(["asymmetry/z"], torch.full((5, 1), 3.0).double())
    assert not alike.judge({"asymmetry/z": 3.29}).reason
    assert alike.judge({"asymmetry/z": 3.31}).reason
    assert alike.judge({"asymmetry/z": math.nan}).reason, "what is not a number is in no range"


def test_few_structures_out_of_range_are_told_and_many_rejected():
    usual = statistics()
    ten = {f"size/{k}": 0.1 for k in range(1, 11)}
    usual = {name: value for name, value in usual.items() if not name.startswith(("size", "center"))} | ten
    plausible = Plausibility.fit([usual] * 4)
    for number, rejected in ((0, False), (2, False), (3, True), (10, True)):
        judged = plausible.judge(usual | {f"size/{k}": 0.01 for k in range(1, number + 1)})
        assert bool(judged.reason) == rejected
        assert len(judged.findings) == number
    assert judged.findings[0] == "structure 1 fills 1 % of the labeled voxels; clean subjects: 10 to 10 %"
    assert plausible.judge(usual | {"size/1": 0.1 * 3.9}).findings == []
    assert len(plausible.judge(usual | {"size/1": 0.1 * 4.1}).findings) == 1


WRONG = {
    "upside down": (lambda x: x.flip(-1), "skewness down-up"),
    "axes exchanged": (lambda x: x.transpose(-1, -3), "spread"),
    "half as large": (lambda x: x[..., ::2, ::2, ::2], "the foreground measures"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_image_that_is_not_what_its_header_says_is_rejected_with_the_reason(name):
    change, reason = WRONG[name]
    image, label = foreground()
    subjects = [subject_statistics(*foreground(seed=seed), 5, affine_of(sizes=(1, 1, 1))) for seed in range(6)]
    found = subject_statistics(change(image), change(label), 5, affine_of(sizes=(1, 1, 1)))
    judged = Plausibility.fit(subjects).judge(found)
    assert reason in judged.reason


def test_an_unlabeled_image_and_one_without_foreground_are_rejected():
    image, label = foreground()
    judged = clean().judge(subject_statistics(image, torch.zeros_like(label), 5, affine_of()))
    assert "of the foreground is labeled" in judged.reason
    assert "4 of 4 structures" in judged.reason
    assert clean().judge({}).reason == "the image has no foreground"


@pytest.mark.parametrize("axis", range(3))
def test_what_the_file_cuts_off_is_not_checked_and_said(axis):
    image, label = foreground()
    middle = image.shape[axis + 1] // 2
    part = [x.narrow(x.ndim - 3 + axis, middle - 3, 6) for x in (image, label)]
    judged = clean().judge(subject_statistics(*part, 5, affine_of()))
    name = ("left-right", "back-front", "down-up")[axis]
    assert judged.findings[-1].startswith(f"the file cuts the foreground off along {name}: not checked are")
    assert not any("fills" in finding for finding in judged.findings)


def test_of_what_is_cut_off_too_much_is_still_too_much():
    """Ghosts that fill the background along an axis reach its ends, as a cut does."""
    image, label = foreground()
    image = torch.nn.functional.pad(image, (10, 10))
    label = torch.nn.functional.pad(label, (10, 10))
    size = image.shape[-1]
    ghosts = sum(image.roll(shift, -1) for shift in (size // 4, size // 2, 3 * size // 4))
    judged = clean().judge(subject_statistics(image + 0.1 * ghosts, label, 5, affine_of()))
    assert "spread (standard deviation) down-up" in judged.reason


def test_foreground_at_every_border_is_rejected_unless_clean_subjects_have_it_too():
    full = statistics(border=0.8, **{f"cut/{axis}": 0.8 for axis in "xyz"})
    assert "foreground touches every border: at each at least 80 %" in clean().judge(full).reason
    always = [statistics(seed, border=0.75, **{f"cut/{axis}": 0.8 for axis in "xyz"}) for seed in range(4)]
    assert not Plausibility.fit(always).judge(full).reason


def test_a_subject_that_is_mirrored_left_to_right_cannot_be_told():
    """A foreground that is symmetric left to right, labeled by where things lie, as a network labels it."""
    image, label = foreground()
    image = torch.maximum(image, image.flip(1))
    sides = (torch.arange(image.shape[1]) < image.shape[1] // 2).long()[:, None, None]
    label = (1 + sides) * (image[0] > 0)
    lesion = image.clone()
    lesion[:, 14:18, 14:20, 14:18] = 0.3  # on one side only
    subjects = [subject_statistics(image, label, 3, affine_of()) for _ in range(4)]
    found = [subject_statistics(each, label, 3, affine_of()) for each in (lesion, lesion.flip(1))]
    assert not any(Plausibility.fit(subjects).judge(each).findings for each in found)
    assert found[0] == pytest.approx(found[1], abs=1e-9)


def test_too_few_subjects_say_nothing_and_clean_ones_must_be_sound(caplog):
    assert Plausibility.fit([statistics()] * 2) is None
    assert "needs 3" in caplog.text
    for bad in ({}, statistics(volume=math.inf)):
        with pytest.raises(ValueError, match="a clean subject has no foreground"):
            Plausibility.fit([statistics(), statistics(), bad])


def test_the_state_travels_with_a_detector_and_is_read_as_weights_only():
    detector = HighFrequencyEnergy()
    scores = torch.linspace(0, 1, 60).double()
    detector.calibration = replace(Calibration.fit(scores), plausibility=clean().state())
    file = io.BytesIO()
    torch.save(detector.state_dict(), file)
    file.seek(0)
    again = HighFrequencyEnergy()
    again.load_state_dict(torch.load(file, weights_only=True))
    loaded = Plausibility(**again.calibrated().plausibility)
    assert loaded.names == clean().names
    torch.testing.assert_close(loaded.values, clean().values, equal_nan=True)
    wrong = statistics(volume=1.0)
    assert loaded.judge(wrong) == clean().judge(wrong)
    before = {key: value for key, value in detector.calibration.state().items() if key != "plausibility"}
    assert Calibration(**before).plausibility is None, "a calibration of an earlier version loads"


# --- in the shield ----------------------------------------------------------------------------------------------------


class ByIntensity(torch.nn.Module):
    """Two structures: where the image lies above 0.05 and above 0.5."""

    def forward(self, image):
        return torch.cat([0.05 - image, (image > 0.05) * 1.0, (image > 0.5) * 2.0], dim=1)


sliced = ByIntensity()


class Zero(HighFrequencyEnergy):
    def forward(self, views):
        return views.image.new_zeros(len(views.image))


def calibrated(every=1):
    def load(entry):
        image, label = foreground(seed=entry["seed"])
        image = MetaTensor(image * (0.2 + 0.2 * label.float()), affine=affine_of())
        return {"image": MeasureBorder()(image)}

    data = SliceDataset([{"seed": n, "id": n} for n in range(5)], load, ["image"], every=every, progress=False)
    detector = Zero()
    return ShieldCalibrator(sliced, detector, None), data, load


def test_every_other_slice_gives_nearly_the_statistics_of_all_and_what_two_sets_hold_counts_once():
    calibrator, data, _ = calibrated()
    whole = calibrator.statistics([data, data])
    half = calibrator.statistics([calibrated(every=2)[1]])
    assert list(whole) == list(half) == ["0", "1", "2", "3", "4"]
    for name, each in itertools.product(whole["0"], whole):
        tolerance = {"volume": 0.03 * whole[each]["volume"], "cut": 0.1}.get(name.split("/")[0], 0.06)
        assert half[each][name] == pytest.approx(whole[each][name], rel=0.03, abs=tolerance), name


@pytest.mark.parametrize("batched", [True, False])
def test_the_inferer_rejects_an_implausible_volume_and_leaves_a_clean_one_alone(batched):
    calibrator, data, load = calibrated()
    found = Plausibility.fit(list(calibrator.statistics([data]).values()))
    detector = calibrator.detector
    detector.calibration = Calibration(
        torch.linspace(0, 1, 39).double(), 0.5, 0.05, volume_limit=0.1, plausibility=found.state()
    )
    inferer = ShieldInferer(detector, slice_axis=1)
    good = load({"seed": 7})["image"]
    bad = MetaTensor(good.as_tensor().flip(-1), meta=good.meta)
    if batched:
        batch = list_data_collate([{"image": good}, {"image": bad}])["image"]
        first, second = map(shield_decision, decollate_batch(inferer(batch, sliced)))
    else:
        first, second = (shield_decision(inferer(each[None], sliced)) for each in (good, bad))
    assert (first.rejected, first.reason, first.findings) == (False, "", [])
    assert second.rejected
    assert "skewness down-up" in second.reason
    assert second.findings
    plain = shield_decision(inferer(good.as_tensor()[None], sliced))
    assert not plain.rejected
    assert plain.findings == ["the image came without an affine: its plausibility was not checked"]


@pytest.mark.parametrize("dims", [2, 3])
def test_whole_images_are_judged_too(dims):
    def load(seed):
        image, label = foreground(dims, seed)
        return MetaTensor(image * (0.2 + 0.2 * label.float()), affine=affine_of(order=range(dims)))

    def statistics_of(image):
        label = predicted_label(sliced(image[None])[0]).as_tensor()
        return subject_statistics(image.as_tensor(), label, 3, image.affine)

    found = Plausibility.fit([statistics_of(load(seed)) for seed in range(5)])
    detector = Zero()
    detector.calibration = Calibration(torch.linspace(0, 1, 39).double(), 0.5, 0.05, plausibility=found.state())
    inferer = ShieldInferer(detector)
    for image, rejected in ((load(7), False), (load(7).transpose(-1, -2), True)):
        decision = shield_decision(inferer(image[None], sliced))
        assert decision.rejected == rejected == bool(decision.findings), decision
