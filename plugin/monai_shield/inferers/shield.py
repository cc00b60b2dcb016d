# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The shield: detect, reform, segment, as a MONAI inferer around a target that is not changed."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from monai_shield.detectors import Detector, Plausibility, UncalibratedError, Views
from monai_shield.inferers.decisions import ImageDecision, VolumeDecision, decide_images, decide_volume, judge
from monai_shield.inferers.record_check import RecordCheck
from monai_shield.inferers.stitching import check_decision_is_kept
from monai_shield.networks.heads import Head, check_head, head_of
from monai_shield.transforms.foreground import DEFAULT_FOREGROUND, Foreground

logger = logging.getLogger(__name__)
Network = Callable[..., torch.Tensor]


class RejectedImageError(RuntimeError):
    """Raised for a rejected image where the shield was told to raise."""


class ShieldInferer(Inferer):
    """
    Shield a network at inference: score each image, reform it, and let the unchanged target segment the reformed one.

    It returns logits like any inferer. ``meta["shield"]`` of the returned MetaTensor holds a decision for each image of
    the batch, an :class:`ImageDecision` or a :class:`VolumeDecision`; after decollation, that of the image.
    :class:`~monai_shield.transforms.ApplyShieldd` acts on it. Nothing is emptied here.

    It goes around an inferer that cuts an image into windows, ``shield(image, lambda x: windows(x, network))``, not
    inside one: MONAI's put the logits of the windows together and drop their meta data, so a call inside one is refused
    unless a rejected window raises. A rejected image that came without meta data is logged as a warning too, for
    whoever else does so.

    Args:
        detector: calibrated detector.
        reformer: image to image; None for a shield that only detects.
        slice_axis: for a 2D target and a 3D input: the spatial axis to slice along; None where both agree.
        batch_size: number of slices that go through the networks at once.
        min_foreground: what has no larger share of foreground is not scored. A slice of a volume is segmented all the
            same; an image of its own is rejected.
        on_reject: "raise" to stop at a rejected image; "flag" to go on and say so in the meta data.
        preprocessing: from file to network, to be compared with that of the calibration. A shield that is given one is
            in service: it refuses a calibration that does not say what it was made with.
        head: what the target's channels stand for; None to read it, see :func:`~monai_shield.networks.head_of`.
        foreground: which pixels of the network's input are foreground.

    Raises:
        ValueError: for an unknown `on_reject` or `head`, or a `batch_size` below 1.
        UncalibratedError: on construction, where the detector is not calibrated, or, with a `slice_axis`, was
            calibrated without volumes.
        ValueError: on construction, or of the target at its first image, where the calibration was made with another
            one than this: with other weights, another setting, another preprocessing.
    """

    def __init__(
        self,
        detector: Detector,
        reformer: torch.nn.Module | None = None,
        slice_axis: int | None = None,
        batch_size: int = 8,
        min_foreground: float = 0.02,
        on_reject: Literal["flag", "raise"] = "flag",
        preprocessing: Any = None,
        head: Head | None = None,
        foreground: Foreground = DEFAULT_FOREGROUND,
    ) -> None:
        super().__init__()
        if on_reject not in ("flag", "raise"):
            raise ValueError(f"unknown on_reject '{on_reject}': choose 'flag' or 'raise'.")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        if detector.calibrated().volume_limit is None and slice_axis is not None:
            raise UncalibratedError("the detector was calibrated without volumes: it cannot decide on one.")
        self.detector = detector.eval()
        self.reformer = None if reformer is None else reformer.eval()
        self.slice_axis = slice_axis
        self.batch_size = batch_size
        self.min_foreground = min_foreground
        self.on_reject = on_reject
        self.head = check_head(head)
        self.foreground = foreground
        settings = {"slice_axis": slice_axis, "min_foreground": min_foreground, "head": head, "foreground": foreground}
        self._record = RecordCheck(detector, reformer, preprocessing, **settings)

    def check_target(self, network: Any) -> None:
        """Check that a target is that of the calibration, see :meth:`RecordCheck.check_target`."""
        self._record.check_target(network)

    def __call__(self, inputs: torch.Tensor, network: Network, *args: Any, **kwargs: Any) -> MetaTensor:
        """
        Args:
            inputs: (B, C, H, W[, D]).
            network: the target; further arguments are passed on to it.

        Returns:
            logits, (B, K, H, W[, D]).

        Raises:
            ValueError: for an image that is not finite or that is empty: no segmentation of it could be right; for
                another target than the shield was calibrated with; for logits that do not fit the image or the head.
            LostDecisionError: inside a sliding window or a ``PatchInferer`` of MONAI, with ``on_reject="flag"``.
            RejectedImageError: for a rejected image, with ``on_reject="raise"``.
        """
        if self.on_reject == "flag":
            check_decision_is_kept()
        check_images(inputs)
        self.check_target(network)
        image = inputs.as_subclass(torch.Tensor)  # type: ignore[arg-type]
        for part in filter(None, (self.detector, self.reformer)):
            part.to(image.device)

        def target(x: torch.Tensor) -> torch.Tensor:
            return network(x, *args, **kwargs)

        decide: Callable[..., tuple[torch.Tensor, list[Any]]] = (
            self._whole_images if self.slice_axis is None else self._sliced_volumes
        )
        logits, decisions = decide(image, target)
        plausibility = self.detector.calibrated().plausibility
        if plausibility is not None:
            decisions = [
                judge(decision, Plausibility(**plausibility), number, inputs, logits, self.head, self.foreground)
                for number, decision in enumerate(decisions)
            ]
        for decision in decisions:
            if decision.rejected and self.on_reject == "raise":
                raise RejectedImageError(f"the shield rejected the image: {decision.reason}")
            if decision.rejected and not isinstance(inputs, MetaTensor):
                logger.warning(
                    "the shield rejected an image without meta data: %s; those of its logits hold the decision.",
                    decision.reason,
                )
        return _with_decisions(logits, inputs, decisions)

    def views(self, image: torch.Tensor, target: Network) -> Views:
        """The views of a batch that fits the networks, as detector and answer share them."""
        return Views(image, target, self.reformer, self.foreground, self.head)

    def _whole_images(self, image: torch.Tensor, target: Network) -> tuple[torch.Tensor, list[ImageDecision]]:
        logits, scores = zip(*self._batches(image, target))
        bears = self.foreground.share(image).cpu() > self.min_foreground
        return torch.cat(logits), decide_images(torch.cat(scores), bears, self.detector.calibrated())

    def _sliced_volumes(self, image: torch.Tensor, target: Network) -> tuple[torch.Tensor, list[VolumeDecision]]:
        axis = (self.slice_axis or 0) + 1  # of a (C, H, W, D) volume
        if image.ndim != 5:
            raise ValueError(f"slice_axis is set: expected a batch of volumes, got shape {tuple(image.shape)}.")
        out: torch.Tensor | None = None
        decisions = []
        for number, volume in enumerate(image):
            slices = volume.movedim(axis, 0)
            scores: list[torch.Tensor] = []
            for logits, score in self._batches(slices, target):
                if out is None:  # written in place: the logits of a volume are the largest thing in memory
                    out = logits.new_empty((len(image), logits.shape[1], *image.shape[2:]))
                start = len(scores) * self.batch_size
                out[number].movedim(axis, 0)[start : start + len(logits)] = logits
                scores.append(score.double().cpu())
            bears = self.foreground.share(slices).cpu() > self.min_foreground
            decisions.append(decide_volume(torch.cat(scores), bears, self.detector.calibrated(), axis - 1))
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
            head_of(logits, self.head)  # refused whether or not the detector asks for it
            yield logits, score


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


def _with_decisions(logits: torch.Tensor, inputs: torch.Tensor, decisions: Sequence[ImageDecision]) -> MetaTensor:
    """The logits with the meta data of the images and the decisions; a batch in MONAI's sense even of plain images."""
    if isinstance(inputs, MetaTensor):
        out = MetaTensor(logits, meta=dict(inputs.meta), applied_operations=inputs.applied_operations)
        out.is_batch = inputs.is_batch
    else:
        affine = torch.eye(inputs.ndim - 1, dtype=torch.float64).repeat(len(inputs), 1, 1)
        out = MetaTensor(logits, meta={"affine": affine}, applied_operations=[[] for _ in inputs])
        out.is_batch = True
    out.meta["shield"] = list(decisions)
    return out
