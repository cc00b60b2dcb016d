# Copyright (c) The monai-shield authors.
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The shield: detect, reform, segment, as a MONAI inferer around a target that is not changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from monai_shield.data.slices import body_share
from monai_shield.detectors import Calibration, Detector, UncalibratedError, Views

from .plausible import judge

__all__ = ["ImageDecision", "RejectedImageError", "ShieldInferer", "VolumeDecision"]

Network = Callable[..., torch.Tensor]


class RejectedImageError(RuntimeError):
    """Raised for a rejected image where the shield was told to raise."""


@dataclass(frozen=True)
class ImageDecision:
    """
    What the shield thinks of one image.

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


@dataclass(frozen=True)
class VolumeDecision(ImageDecision):
    """
    What the shield thinks of a volume, and of each of its slices.

    The score of a volume is its share of rejected slices; its p-value needs 19 clean validation volumes.

    Args:
        scored: number of slices that bear enough body to be scored.
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


class ShieldInferer(Inferer):
    """
    Shield a network at inference: score each image, reform it, and let the unchanged target segment the reformed one.

    It returns logits like any inferer. For each image of the batch ``meta["shield"]`` of the returned MetaTensor holds
    the decision (see :class:`ImageDecision`, :class:`VolumeDecision`) in JSON, since MONAI's decollation takes apart
    every container but leaves strings whole; :func:`~monai_shield.transforms.shield_decision` reads it, and
    :class:`~monai_shield.transforms.ApplyShieldd` acts on it. Nothing is emptied here.

    Args:
        detector: calibrated detector.
        reformer: image to image; None for a shield that only detects.
        slice_axis: for a 2D target and a 3D input: the spatial axis to slice along; None where both agree.
        batch_size: number of slices that go through the networks at once.
        min_body: what has no larger share of body is not scored. A slice of a volume is segmented all the same; an
            image of its own is rejected.
        on_reject: "raise" to stop at a rejected image; "flag" to go on and say so in the meta data.

    Raises:
        UncalibratedError: on construction, where the detector is not calibrated, or, with a `slice_axis`, was
            calibrated without volumes.
    """

    def __init__(
        self,
        detector: Detector,
        reformer: torch.nn.Module | None = None,
        slice_axis: int | None = None,
        batch_size: int = 8,
        min_body: float = 0.02,
        on_reject: Literal["flag", "raise"] = "flag",
    ) -> None:
        super().__init__()
        if on_reject not in ("flag", "raise"):
            raise ValueError(f"unknown on_reject '{on_reject}': choose 'flag' or 'raise'.")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        if detector.calibrated().volume_limit is None and slice_axis is not None:
            raise UncalibratedError(
                f"{type(detector).__name__} was calibrated without volumes: it cannot decide on one."
            )
        self.detector = detector.eval()
        self.reformer = None if reformer is None else reformer.eval()
        self.slice_axis = slice_axis
        self.batch_size = batch_size
        self.min_body = min_body
        self.on_reject = on_reject

    def __call__(self, inputs: torch.Tensor, network: Network, *args: Any, **kwargs: Any) -> MetaTensor:
        """
        Args:
            inputs: (B, C, H, W[, D]).
            network: the target; further arguments are passed on to it.

        Returns:
            logits, (B, K, H, W[, D]).

        Raises:
            ValueError: for an image that is not finite or that is empty: no segmentation of it could be right.
            RejectedImageError: for a rejected image, with ``on_reject="raise"``.
        """
        check_images(inputs)
        image = inputs.as_subclass(torch.Tensor)  # type: ignore[arg-type]
        self._move(image)

        def target(x: torch.Tensor) -> torch.Tensor:
            return network(x, *args, **kwargs)

        decide: Callable[..., tuple[torch.Tensor, list[Any]]] = (
            self._whole_images if self.slice_axis is None else self._sliced_volumes
        )
        logits, decisions = decide(image, target)
        plausibility = self.detector.calibrated().plausibility
        decisions = [judge(each, plausibility, number, inputs, logits) for number, each in enumerate(decisions)]
        for decision in decisions:
            if decision.rejected and self.on_reject == "raise":
                raise RejectedImageError(f"the shield rejected the image: {decision.reason}")
        return _with_decisions(logits, inputs, decisions)

    def views(self, image: torch.Tensor, target: Network) -> Views:
        """The views of a batch that fits the networks, as detector and answer share them."""
        return Views(image, target, self.reformer)

    def _whole_images(self, image: torch.Tensor, target: Network) -> tuple[torch.Tensor, list[ImageDecision]]:
        logits, scores = zip(*self._batches(image, target))
        bears = body_share(image).cpu() > self.min_body
        return torch.cat(logits), decide_images(torch.cat(scores), bears, self.detector.calibrated())

    def _sliced_volumes(self, image: torch.Tensor, target: Network) -> tuple[torch.Tensor, list[VolumeDecision]]:
        axis = (self.slice_axis or 0) + 1  # of a (C, H, W, D) volume
        if image.ndim != 5:
            raise ValueError(f"slice_axis is set: expected a batch of volumes, got shape {tuple(image.shape)}.")
        out: torch.Tensor | None = None
        decisions = []
        for number, volume in enumerate(image):
            slices = volume.movedim(axis, 0)
            score = torch.full((len(slices),), torch.nan, dtype=torch.float64)
            bears = body_share(slices).cpu() > self.min_body
            start = 0
            for logits, scores in self._batches(slices, target):
                if out is None:  # written in place: the logits of a volume are the largest thing in memory
                    out = logits.new_empty((len(image), logits.shape[1], *image.shape[2:]))
                stop = start + len(logits)
                out[number].movedim(axis, 0)[start:stop] = logits
                score[start:stop] = scores.double().cpu()
                start = stop
            decisions.append(decide_volume(score, bears, self.detector.calibrated(), axis - 1))
        assert out is not None
        return out, decisions

    def _batches(self, images: torch.Tensor, target: Network) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for batch in images.split(self.batch_size):
            views = self.views(batch.contiguous(), target)
            score, logits = self.detector(views), views.reformed_prediction
            if len(score) != len(batch) or (len(logits), *logits.shape[2:]) != (len(batch), *batch.shape[2:]):
                raise ValueError(
                    f"for images of shape {tuple(batch.shape)} the network returned shape {tuple(logits.shape)} and "
                    f"the detector {tuple(score.shape)}."
                )
            yield logits, score

    def _move(self, image: torch.Tensor) -> None:
        self.detector.to(image.device)
        if self.reformer is not None:
            self.reformer.to(image.device)


def check_images(inputs: torch.Tensor) -> None:
    """
    Refuse what has no right segmentation: a batch that is not (B, C, H, W[, D]), voxels not finite, an empty image.

    Raises:
        ValueError: with the reason.
    """
    if inputs.ndim not in (4, 5) or inputs.numel() == 0:
        raise ValueError(f"expected a batch of images (B, C, H, W[, D]), got shape {tuple(inputs.shape)}.")
    flat = inputs.detach().flatten(1)
    if not bool(torch.isfinite(flat).all()):
        raise ValueError("the image has NaN or infinite voxels.")
    if bool((flat.amax(dim=1) == flat.amin(dim=1)).any()):
        raise ValueError("the image is empty: every voxel has the same value.")


def decide_images(score: torch.Tensor, bears: torch.Tensor, calibration: Calibration) -> list[ImageDecision]:
    """
    Decide on images from their scores.

    Args:
        score: of every image, (B,).
        bears: whether an image bears enough body for its score to count, (B,).
        calibration: of the detector that scored them.

    Returns:
        one decision an image. One that cannot be scored is rejected: the shield knows nothing of it.
    """
    decisions = []
    for s, p, beyond, counts in zip(score, calibration.p_value(score), calibration.rejects(score), bears):
        if not counts:
            reason = "it bears too little body to be scored"
        elif _finite(s) is None:
            reason = "its score is not a number"
        else:
            reason = "its score is above the threshold" if beyond else ""
        decisions.append(
            ImageDecision(
                score=_finite(s) if counts else None,
                threshold=calibration.threshold,
                p_value=float(p) if counts else None,
                rejected=bool(reason),
                reason=reason,
            )
        )
    return decisions


def decide_volume(score: torch.Tensor, bears: torch.Tensor, calibration: Calibration, axis: int) -> VolumeDecision:
    """
    Decide on a volume from the scores of its slices.

    Args:
        score: of every slice, (S,).
        bears: whether a slice bears enough body for its score to count, (S,).
        calibration: of the detector that scored them.
        axis: spatial axis along which they lie.

    Returns:
        the decision. A volume none of whose slices can be scored is rejected: the shield knows nothing of it.

    Raises:
        UncalibratedError: where the calibration knows no volumes.
    """
    if calibration.volume_limit is None:
        raise UncalibratedError("the detector was calibrated without volumes: it cannot decide on one.")
    rejected = calibration.rejects(score) & bears
    p_values = calibration.p_value(score)
    scored = int(bears.sum())
    share = int(rejected.sum()) / scored if scored else None  # in float64, as the limit: 3 of 60 is not above 0.05
    if share is None:
        reason = "no slice bears enough body to be scored"
    elif calibration.rejects_volume(share):
        reason = (
            f"{int(rejected.sum())} of {scored} slices are rejected, more than the largest share of a clean "
            f"validation volume ({calibration.volume_limit:.3f})"
        )
    else:
        reason = ""
    return VolumeDecision(
        score=share,
        threshold=calibration.volume_limit,
        p_value=None,
        rejected=bool(reason),
        reason=reason,
        scored=scored,
        slice_scores=[_finite(s) if b else None for s, b in zip(score, bears)],
        slice_p_values=[float(p) if b else None for p, b in zip(p_values, bears)],
        slice_rejected=[bool(r) for r in rejected],
        slice_axis=axis,
        slice_threshold=calibration.threshold,
    )


def _with_decisions(logits: torch.Tensor, inputs: torch.Tensor, decisions: Sequence[ImageDecision]) -> MetaTensor:
    """The logits with the meta data of the images and the decisions; a batch in MONAI's sense even of plain images."""
    if isinstance(inputs, MetaTensor):
        out = MetaTensor(logits, meta=dict(inputs.meta), applied_operations=inputs.applied_operations)
        out.is_batch = inputs.is_batch
    else:
        affine = torch.eye(inputs.ndim - 1, dtype=torch.float64).repeat(len(inputs), 1, 1)
        out = MetaTensor(logits, meta={"affine": affine}, applied_operations=[[] for _ in inputs])
        out.is_batch = True
    out.meta["shield"] = [json.dumps(asdict(decision), allow_nan=False) for decision in decisions]
    return out


def _finite(score: torch.Tensor) -> float | None:
    return float(score) if bool(torch.isfinite(score)) else None
