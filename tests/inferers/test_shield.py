# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import copy
import pickle
import weakref

import pytest
import torch
from monai.data import MetaTensor, decollate_batch, list_data_collate

from monai_shield.detectors import (
    Calibration,
    Detector,
    MeanEntropy,
    PredictionConsistency,
    ReconstructionDetector,
    UncalibratedError,
    Views,
)
from monai_shield.inferers import RejectedImageError, ShieldInferer
from monai_shield.transforms import shield_decision

CONV = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}


class Given(Detector):
    """Scores an image by a function of it."""

    def __init__(self, score, threshold=0.0, volume_limit=0.25):
        super().__init__()
        self.score = score
        self.calibration = Calibration(torch.linspace(-1, 0, 39).double(), threshold, 0.05, volume_limit=volume_limit)

    def forward(self, views):
        return self.score(views.image)


def mean_over_foreground(image):
    return image.flatten(1).sum(1) / (image > 0).flatten(1).sum(1).clamp_min(1) - 0.5


def networks(dims, channels=1):
    """A target of three classes, a reformer, and a detector in space calibrated on 60 clean images of 3 volumes."""
    target = CONV[dims](channels, 3, 3, padding=1)
    reformer = CONV[dims](channels, channels, 3, padding=1)
    detector = ReconstructionDetector(CONV[dims](channels, channels, 3, padding=1), domain="space")
    clean = torch.rand(60, channels, *[8] * dims)
    with torch.no_grad():
        scores = detector(Views(clean))
    detector.calibration = Calibration.fit(scores, 0.05, volumes=[number // 20 for number in range(60)])
    return target, reformer, detector


def decisions(prediction):
    return prediction.meta["shield"]


@pytest.mark.parametrize("reforms", [True, False])
@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_whole_images_as_by_hand(dims, reforms):
    target, reformer, detector = networks(dims, channels=2)
    image = torch.rand(5, 2, *[8] * dims) * torch.linspace(0.8, 1.6, 5).reshape(5, *[1] * (dims + 1))
    out = ShieldInferer(detector, reformer if reforms else None, batch_size=2)(image, target)
    torch.testing.assert_close(out.as_tensor(), target(reformer(image) if reforms else image))
    score = (image - detector.network(image)).flatten(1).norm(dim=1)
    clean = detector.calibration.scores
    for number, decision in enumerate(decisions(out)):
        assert decision.score == pytest.approx(float(score[number]), rel=1e-5)
        assert decision.threshold == detector.calibration.threshold
        assert decision.p_value == (1 + int((clean >= decision.score).sum())) / 61
        assert decision.rejected == (decision.score > decision.threshold) == bool(decision.reason)
    assert {decision.rejected for decision in decisions(out)} == {True, False}


@pytest.mark.parametrize("axis", [0, 1, 2])
@torch.no_grad()
def test_sliced_volumes_as_by_hand(axis):
    target, reformer, detector = networks(2)
    volume = torch.rand(2, 1, 6, 8, 10)
    volume.movedim(axis + 2, 0)[:2, 1] = 0  # two slices of the second volume bear no foreground
    volume.movedim(axis + 2, 0)[3:, 1] *= 1.5
    out = ShieldInferer(detector, reformer, slice_axis=axis, batch_size=4)(volume, target)
    assert out.shape == (2, 3, 6, 8, 10)
    limit = detector.calibration.volume_limit
    for number, decision in enumerate(decisions(out)):
        count = volume.shape[axis + 2]
        kept = [volume[number].select(axis + 1, index)[None] for index in range(count)]
        for index, image in enumerate(kept):
            expected = target(reformer(image))[0]
            torch.testing.assert_close(out[number].as_tensor().select(axis + 1, index), expected)
        scores = [float((x - detector.network(x)).norm()) if x.any() else None for x in kept]
        assert decision.slice_axis == axis
        assert decision.slice_scores == [s if s is None else pytest.approx(s, rel=1e-5) for s in scores]
        rejected = [s is not None and s > decision.slice_threshold for s in scores]
        assert decision.slice_rejected == rejected
        assert [p is None for p in decision.slice_p_values] == [s is None for s in scores]
        assert decision.scored == count - 2 * number
        assert decision.score == pytest.approx(sum(rejected) / decision.scored)
        assert decision.threshold == limit
        assert decision.rejected == (decision.score > limit) == bool(decision.reason)
        assert decision.p_value is None
    assert decisions(out)[1].rejected


@torch.no_grad()
def test_neither_batch_size_nor_batch_mates_matter():
    target, reformer, detector = networks(2)
    volume = torch.rand(3, 1, 4, 8, 8)
    whole = ShieldInferer(detector, reformer, slice_axis=0, batch_size=100)(volume, target)
    for number in range(3):
        alone = ShieldInferer(detector, reformer, slice_axis=0, batch_size=1)(volume[number : number + 1], target)
        torch.testing.assert_close(alone[0].as_tensor(), whole[number].as_tensor())
        assert decisions(alone)[0].slice_scores == pytest.approx(decisions(whole)[number].slice_scores, rel=1e-5)


@pytest.mark.parametrize("axis", [None, 0])
def test_each_image_keeps_its_own_decision_and_meta_data_when_a_batch_is_taken_apart(axis):
    target, reformer, detector = networks(2 if axis is not None else 3)
    items = [
        MetaTensor(torch.rand(1, 4, 8, 8), affine=torch.eye(4) * n, meta={"name": f"image {n}"}) for n in (1, 2, 3)
    ]
    batch = list_data_collate([{"image": item} for item in items])["image"]
    out = ShieldInferer(detector, reformer, slice_axis=axis)(batch, target)
    expected = decisions(out)
    assert len({repr(decision.score if axis is None else decision.slice_scores) for decision in expected}) == 3
    assert isinstance(out, MetaTensor)
    for apart in (decollate_batch(out), decollate_batch({"pred": out}), list(out), [out[0], out[1], out[2]]):
        for number, item in enumerate(apart):
            item = item["pred"] if isinstance(item, dict) else item
            assert shield_decision(item) == expected[number]
            assert item.meta["name"] == f"image {number + 1}"
            torch.testing.assert_close(item.affine, items[number].affine)
    two = out[:2]
    assert decisions(two) == expected[:2]


@torch.no_grad()
def test_decisions_survive_copies_and_are_put_together_again():
    target, _, detector = networks(2)
    out = ShieldInferer(detector)(torch.rand(3, 1, 8, 8), target)
    expected = decisions(out)
    assert decisions(list_data_collate(decollate_batch(out))) == expected
    assert decisions(list_data_collate([{"pred": one} for one in decollate_batch(out)])["pred"]) == expected
    assert decisions(copy.deepcopy(out)) == decisions(pickle.loads(pickle.dumps(out))) == expected


def test_decisions_on_plain_tensors_can_be_taken_apart_too():
    target, _, detector = networks(2)
    out = ShieldInferer(detector)(torch.rand(4, 1, 8, 8), target)
    expected = decisions(out)
    for number, item in enumerate(decollate_batch(out)):
        assert shield_decision(item) == expected[number]
        torch.testing.assert_close(item.affine, torch.eye(3, dtype=torch.float64))
        assert item.applied_operations == []


def test_an_unbatched_image_made_a_batch_of_one_keeps_its_meta_data():
    """What MONAI Label does: image[None] in, prediction[0] out."""
    target, _, detector = networks(2)
    image = MetaTensor(torch.rand(1, 4, 8, 8), affine=2 * torch.eye(4), meta={"name": "image"})
    image.push_applied_operation({"class": "something"})
    out = ShieldInferer(detector, slice_axis=0)(image[None], target)[0]
    assert out.shape == (3, 4, 8, 8)
    assert shield_decision(out).scored == 4
    assert out.meta["name"] == "image"
    torch.testing.assert_close(out.affine, image.affine)
    assert out.applied_operations == image.applied_operations


@pytest.mark.parametrize("axis", [None, 0])
def test_a_score_that_is_not_a_number_is_rejected(axis):
    target, _, _ = networks(2 if axis is not None else 3)
    detector = Given(lambda image: torch.full((len(image),), torch.nan))
    out = ShieldInferer(detector, slice_axis=axis)(torch.rand(1, 1, 4, 8, 8), target)
    (decision,) = decisions(out)
    assert decision.rejected
    assert decision.reason
    if axis is None:
        assert decision.score is None
        assert decision.reason == "its score is not a number"
    else:
        assert decision.slice_rejected == [True] * 4


def test_what_cannot_be_scored_is_rejected():
    target, _, _ = networks(2)
    detector = Given(lambda image: torch.full((len(image),), -1.0))
    image = torch.zeros(2, 1, 10, 10)
    image[0, 0, 0, :2] = 1  # 2 % is not more than 2 %
    image[1, 0, 0, :3] = 1
    few, enough = decisions(ShieldInferer(detector)(image, target))
    assert few.rejected
    assert few.score is few.p_value is None
    assert few.reason == "it bears too little foreground to be scored"
    assert not enough.rejected
    volume = torch.zeros(1, 1, 10, 10, 10)
    volume[..., 0, 0] = 1
    (decision,) = decisions(ShieldInferer(detector, slice_axis=0)(volume, target))
    assert decision.rejected
    assert decision.scored == 0
    assert decision.score is None
    assert decision.reason == "no slice bears enough foreground to be scored"


@pytest.mark.parametrize(("bright", "rejected"), [(2, False), (3, True)])
def test_a_volume_is_rejected_beyond_the_largest_share_seen(bright, rejected):
    target, _, _ = networks(2)
    volume = torch.full((1, 1, 8, 8, 8), 0.4)
    volume[..., 0] = 0.3
    volume[0, 0, :bright] = 0.9
    out = ShieldInferer(Given(mean_over_foreground, volume_limit=0.25), slice_axis=0)(volume, target)
    (decision,) = decisions(out)
    assert decision.score == bright / 8
    assert decision.rejected == rejected
    assert (f"{bright} of 8 slices" in decision.reason) == rejected


@pytest.mark.parametrize("count", [7, 20, 30, 60, 70, 90])
def test_the_very_volume_that_set_the_limit_is_not_beyond_it(count):
    """Whatever the share, such as 3 of 60, which float32 rounds up."""
    target, _, _ = networks(2)
    volume = torch.linspace(0.1, 0.9, count).reshape(1, 1, count, 1, 1) + torch.rand(1, 1, count, 8, 8) / 1000
    detector = Given(mean_over_foreground)
    for t_fp in [number / 20 for number in range(1, 20)]:
        scores = mean_over_foreground(volume[0, 0, :, None])
        detector.calibration = Calibration.fit(scores, t_fp, "empirical", volumes=["volume"] * count)
        (decision,) = decisions(ShieldInferer(detector, slice_axis=0, batch_size=count)(volume, target))
        assert decision.score == decision.threshold == int(t_fp * count + 1e-9) / count
        assert not decision.rejected


def test_told_to_raise_it_raises():
    target, _, _ = networks(2)
    inferer = ShieldInferer(Given(mean_over_foreground), on_reject="raise")
    dark, bright = (torch.rand(1, 1, 8, 8) * 0.1 + level for level in (0.2, 0.8))
    inferer(dark, target)
    with pytest.raises(RejectedImageError, match="its score is above the threshold"):
        inferer(torch.cat([dark, bright]), target)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda good, bad: torch.cat([good, bad * torch.nan]), "NaN or infinite"),
        (lambda good, bad: torch.cat([good, bad.masked_fill(bad == bad.max(), torch.inf)]), "NaN or infinite"),
        (lambda good, bad: torch.cat([good, bad * 0]), "empty: every voxel has the same value"),
        (lambda good, bad: torch.cat([good, bad * 0 + 3]), "empty: every voxel has the same value"),
        (lambda good, bad: bad[0], "expected a batch of volumes|network returned"),
        (lambda good, bad: bad[:0], "expected a batch of images"),
        (lambda good, bad: bad[None], "expected a batch of images"),
    ],
)
@pytest.mark.parametrize("axis", [None, 0])
def test_no_logits_for_what_has_no_right_segmentation(spoil, reason, axis):
    target, _, detector = networks(2 if axis is not None else 3)
    image = spoil(*torch.rand(2, 1, 1, 8, 8, 8))
    with pytest.raises(ValueError, match=reason):
        ShieldInferer(detector, slice_axis=axis)(image, target)


def test_wrong_channels_are_no_segmentation():
    target, _, detector = networks(2)
    with pytest.raises(RuntimeError, match="channels"):
        ShieldInferer(detector)(torch.rand(1, 2, 8, 8), target)


def test_an_uncalibrated_detector_makes_no_shield():
    _, _, detector = networks(2)
    calibration, detector.calibration = detector.calibration, None
    with pytest.raises(UncalibratedError):
        ShieldInferer(detector)
    detector.calibration = Calibration.fit(calibration.scores, 0.05)
    ShieldInferer(detector)
    with pytest.raises(UncalibratedError, match="without volumes"):
        ShieldInferer(detector, slice_axis=0)


@pytest.mark.parametrize("setting", [{"on_reject": "ignore"}, {"batch_size": 0}])
def test_impossible_settings(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        ShieldInferer(networks(2)[2], **setting)


@torch.no_grad()
def test_a_volume_s_logits_are_there_once():
    """Of the logits of single batches never more than two are alive: the last, and the one being made."""
    _, _, detector = networks(2)
    alive = []

    def target(image):
        alive.append(weakref.ref(logits := image.repeat(1, 30, 1, 1)))
        assert sum(reference() is not None for reference in alive) <= 2
        return logits

    out = ShieldInferer(detector, slice_axis=0, batch_size=2)(torch.rand(1, 1, 16, 8, 8), target)
    assert len(alive) == 8
    assert out.shape == (1, 30, 16, 8, 8)


def test_target_image_and_grad_mode_are_left_as_they_were():
    target, reformer, detector = networks(2)
    target = torch.nn.Sequential(target, torch.nn.BatchNorm2d(3)).eval()
    before = copy.deepcopy(target.state_dict())
    image = torch.rand(1, 1, 4, 8, 8)
    kept = image.clone()
    with torch.no_grad():
        out = ShieldInferer(detector, reformer, slice_axis=0)(image, target)
    assert not out.requires_grad
    assert not target.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in target.parameters())
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())
    assert torch.equal(image, kept)


def test_further_arguments_go_to_the_target():
    _, _, detector = networks(2)
    out = ShieldInferer(detector)(torch.rand(2, 1, 8, 8), lambda image, factor, plus: factor * image + plus, 2, plus=5)
    assert float(out.min()) > 5


@torch.no_grad()
def test_bfloat16_where_the_caller_asks():
    target, reformer, detector = (module.to(torch.bfloat16) for module in networks(2))
    out = ShieldInferer(detector, reformer)(torch.rand(2, 1, 8, 8, dtype=torch.bfloat16), target)
    assert out.dtype == torch.bfloat16
    assert all(decision.score > 0 for decision in decisions(out))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("axis", [None, 0])
@torch.no_grad()
def test_the_same_on_cuda(axis):
    target, reformer, detector = networks(2 if axis is not None else 3)
    volume = torch.rand(2, 1, 8, 8, 8)
    here = ShieldInferer(detector, reformer, slice_axis=axis)(volume, target)
    there = ShieldInferer(detector, reformer, slice_axis=axis)(volume.cuda(), target.cuda())
    assert there.is_cuda
    torch.testing.assert_close(there.as_tensor().cpu(), here.as_tensor(), rtol=1e-2, atol=1e-3)
    for a, b in zip(decisions(there), decisions(here)):
        assert a.rejected == b.rejected
        assert a.score == pytest.approx(b.score, rel=1e-2)


class Logits(torch.nn.Module):
    """A network whose logits are lines of the image's intensity, one a channel."""

    def __init__(self, channels):
        super().__init__()
        self.slope = torch.linspace(9.0, 15.0, channels) if channels > 1 else torch.tensor([9.0])

    def forward(self, image):
        return self.slope.reshape(-1, *[1] * (image.ndim - 2)) * (image - 0.6)


class TwoClasses(Logits):
    """The same network with one sigmoid as one with a softmax over two classes."""

    def forward(self, image):
        z = super().forward(image)
        return torch.cat([torch.zeros_like(z), z], 1)


@pytest.mark.parametrize("kind", [PredictionConsistency, MeanEntropy])
@pytest.mark.parametrize("size", [(8, 8), (6, 8, 8)], ids=["2D", "3D"])
@torch.no_grad()
def test_one_sigmoid_is_defended_as_the_softmax_over_two_classes_that_it_is(kind, size):
    """A softmax over one channel is 1 everywhere: no score would move and nothing be rejected."""

    blur = torch.nn.AvgPool2d(3, 1, 1) if len(size) == 2 else torch.nn.AvgPool3d(3, 1, 1)
    clean, strange = torch.rand(60, 1, *size) * 0.4 + 0.1, torch.rand(3, 1, *size)
    if kind is MeanEntropy:
        strange = 0.6 + 0.01 * strange  # where the target is in doubt
    found = []
    for target in (Logits(1), TwoClasses(1)):
        detector = kind()
        scores = detector(Views(clean, target, blur))
        assert float(scores.std()) > 0
        detector.calibration = Calibration.fit(scores)
        image = torch.cat([clean[scores.argsort()[:3]], strange])
        out = ShieldInferer(detector, blur, batch_size=4)(image, target)
        found.append((scores, torch.tensor([each.score for each in decisions(out)])))
        assert [each.rejected for each in decisions(out)] == [False] * 3 + [True] * 3
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_declared_head_is_the_detector_s(dims):
    image = torch.rand(3, 1, *[8] * dims)
    detector = MeanEntropy()
    detector.calibration = Calibration.fit(torch.linspace(0, 1, 40))
    target = Logits(2)
    for head, distribution in (
        ("sigmoid", torch.distributions.Bernoulli(logits=target(image))),
        (None, torch.distributions.Categorical(logits=target(image).movedim(1, -1))),
    ):
        entropy = distribution.entropy()
        entropy = entropy.mean(1) if head == "sigmoid" else entropy
        inside = image[:, 0] > 0.05
        expected = [float(values[foreground].mean()) for values, foreground in zip(entropy, inside)]
        out = ShieldInferer(detector, head=head)(image, target)
        assert [each.score for each in decisions(out)] == pytest.approx(expected, rel=1e-5)


def test_a_softmax_over_one_channel_is_refused_whatever_the_detector():
    _, _, detector = networks(2)
    with pytest.raises(ValueError, match="one channel: declare 'sigmoid'"):
        ShieldInferer(detector, head="softmax")(torch.rand(1, 1, 8, 8), torch.nn.Conv2d(1, 1, 1))
    with pytest.raises(ValueError, match="unknown head 'argmax'"):
        ShieldInferer(detector, head="argmax")
