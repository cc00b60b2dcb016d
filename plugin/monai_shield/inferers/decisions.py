# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""From scores to decisions: of an image, of a volume, and what clean subjects make of it."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

import torch
from monai.data import MetaTensor
from torch.utils.data._utils.collate import default_collate_fn_map
from typing_extensions import Self

from monai_shield.detectors import (
    Calibration,
    Plausibility,
    UncalibratedError,
    number_of_classes,
    predicted_label,
    subject_statistics,
)
from monai_shield.networks.heads import Head
from monai_shield.transforms.foreground import DEFAULT_FOREGROUND, Foreground

Decision = TypeVar("Decision", bound="ImageDecision")


@dataclass(frozen=True)
class ImageDecision:
    """
    What the shield thinks of one image, in plain numbers and words.

    It stays whole where MONAI takes a batch apart or puts one together.

    Args:
        score: the detector's score; None where it was not scored.
        threshold: the score above which an image is rejected.
        p_value: share of clean validation images at least as strange, conformal.
        rejected: whether it is.
        reason: why, in words; empty for an image that passed.
        findings: what does not look like a clean subject, and what could not be checked, in words.
    """

    score: float | None
    threshold: float
    p_value: float | None
    rejected: bool
    reason: str
    findings: list[str] = field(default_factory=list, kw_only=True)

    #: With :meth:`item`, what MONAI's decollation knows a scalar by: of anything else it refuses to make a list.
    ndim: ClassVar[int] = 0

    def item(self) -> Self:
        """The decision itself, see `ndim`."""
        return self


def _keep(decisions: list[ImageDecision], **_: Any) -> list[ImageDecision]:
    return decisions


#: How torch is told to make a batch of things it does not know.
default_collate_fn_map[ImageDecision] = _keep


@dataclass(frozen=True)
class VolumeDecision(ImageDecision):
    """
    What the shield thinks of a volume, and of each of its slices.

    The score of a volume is its share of rejected slices; its p-value needs 19 clean validation volumes.

    Args:
        scored: number of slices that bear enough foreground to be scored.
        slice_scores: of each slice, None where it was not scored.
        slice_p_values: likewise.
        slice_rejected: for each slice.
        slice_axis: spatial axis of the network's input along which the slices lie.
        slice_threshold: the score above which a slice is rejected.
    """

    scored: int
    slice_scores: list[float | None]
    slice_p_values: list[float | None]
    slice_rejected: list[bool]
    slice_axis: int
    slice_threshold: float


def decide_images(score: torch.Tensor, bears: torch.Tensor, calibration: Calibration) -> list[ImageDecision]:
    """
    Decide on images from their scores. One that cannot be scored is rejected: the shield knows nothing of it.

    Args:
        score: of every image, (B,).
        bears: whether an image bears enough foreground for its score to count, (B,).
        calibration: of the detector that scored them.
    """
    decisions = []
    for s, p, beyond, counts in zip(score.detach(), calibration.p_value(score), calibration.rejects(score), bears):
        number = float(s) if counts and bool(torch.isfinite(s)) else None
        if not counts:
            reason = "it bears too little foreground to be scored"
        elif number is None:
            reason = "its score is not a number"
        else:
            reason = "its score is above the threshold" if beyond else ""
        p_value = float(p) if counts else None
        decisions.append(ImageDecision(number, calibration.threshold, p_value, bool(reason), reason))
    return decisions


def decide_volume(score: torch.Tensor, bears: torch.Tensor, calibration: Calibration, axis: int) -> VolumeDecision:
    """
    Decide on a volume from the scores of its slices. One none of whose slices can be scored is rejected: the shield
    knows nothing of it.

    Args:
        score: of every slice, (S,).
        bears: whether a slice bears enough foreground for its score to count, (S,).
        calibration: of the detector that scored them.
        axis: spatial axis along which they lie.

    Raises:
        UncalibratedError: where the calibration knows no volumes.
    """
    limit = calibration.volume_limit
    if limit is None:
        raise UncalibratedError("the detector was calibrated without volumes: it cannot decide on one.")
    slices = decide_images(score, bears, calibration)
    rejected = [each.rejected and counts for each, counts in zip(slices, bears.tolist())]
    scored = int(bears.sum())
    share = sum(rejected) / scored if scored else None  # in float64, as the limit: 3 of 60 is not above 0.05
    reason = ""
    if share is None:
        reason = "no slice bears enough foreground to be scored"
    elif share > limit:
        reason = (
            f"{sum(rejected)} of {scored} slices are rejected, more than the largest share of a clean validation "
            f"volume ({limit:.3f})"
        )
    return VolumeDecision(
        score=share,
        threshold=limit,
        p_value=None,
        rejected=bool(reason),
        reason=reason,
        scored=scored,
        slice_scores=[each.score for each in slices],
        slice_p_values=[each.p_value for each in slices],
        slice_rejected=rejected,
        slice_axis=axis,
        slice_threshold=calibration.threshold,
    )


def judge(
    decision: Decision,
    plausibility: Plausibility,
    number: int,
    inputs: torch.Tensor,
    logits: torch.Tensor,
    head: Head | None = None,
    foreground: Foreground = DEFAULT_FOREGROUND,
) -> Decision:
    """
    Add to a decision what the size, shape and place of the foreground and of the label's structures say.

    Args:
        decision: of the image.
        plausibility: of clean subjects.
        number: which image of the batch.
        inputs: (B, C, H, W[, D]). Nothing can be said of a plain tensor, whose voxels have no size and no direction.
        logits: (B, K, H, W[, D]).
        head: what their channels stand for.
        foreground: which pixels of the input are foreground.
    """
    if not isinstance(inputs, MetaTensor):
        return replace(decision, findings=["the image came without an affine: its plausibility was not checked"])
    affine, border = inputs.affine, inputs.meta.get("border")
    found = subject_statistics(
        inputs.as_tensor()[number],
        predicted_label(logits[number], head),
        number_of_classes(logits.shape[1], head),
        affine[number] if affine.ndim == 3 else affine,
        border[number] if border is not None and border.ndim == 3 else border,
        foreground,
    )
    judgement = plausibility.judge(found)
    reason = "; ".join(filter(None, (decision.reason, judgement.reason)))
    return replace(decision, rejected=bool(reason), reason=reason, findings=judgement.findings)
