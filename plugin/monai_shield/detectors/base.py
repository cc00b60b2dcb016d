# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What every detector is: built, fitted on clean images, calibrated on others, scored."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, ClassVar

import torch
from typing_extensions import Self

from monai_shield.detectors.calibration import Calibration, Rule
from monai_shield.detectors.precision import at_least_float32, full_precision
from monai_shield.detectors.views import Views
from monai_shield.info import Info


class UncalibratedError(RuntimeError):
    """A detector was asked to decide before it was calibrated."""


class Detector(torch.nn.Module):
    """
    Base of all detectors. A subclass gives :meth:`forward`; higher scores are further from clean images. One that
    learns from clean images keeps what it learns in buffers, which are NaN until then, and gives ``_fit``.

    A score is compared with a threshold of other runs, so it is in float32 or float64 whatever autocast does: it is
    computed with autocast off, and so are the networks that it needs, but for the target. That one runs as the caller
    has it (see :class:`Views`), and a prediction that was rounded moves the scores that are made from it. Modules that
    the caller has cast to half precision stay what they are.

    The calibration is a state of its own that travels with the weights, in ``state_dict``.

    Attributes:
        info: where it comes from, for tables and docs.
        spatial_dims: of the images that it can score.
        fixed_threshold: its threshold, where that is not chosen from clean scores.
    """

    info: ClassVar[Info]
    spatial_dims: ClassVar[tuple[int, ...]] = (2, 3)
    fixed_threshold: ClassVar[float | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.calibration: Calibration | None = None

    @classmethod
    def example(cls, spatial_size: Sequence[int]) -> Self:
        """A small one for images of this size and one channel, to be fitted and calibrated: tests make it."""
        return cls()

    def __call__(self, views: Views) -> torch.Tensor:
        """:meth:`forward` with autocast off, in float32 or float64."""
        with full_precision(views.image):
            return at_least_float32(super().__call__(views))

    def forward(self, views: Views) -> torch.Tensor:
        """One score an image, (B,), of what the shield has of a batch of images."""
        raise NotImplementedError

    @property
    def parts(self) -> Mapping[str, "Detector"]:
        """The detectors it consists of, by name; empty for one that is not made of others."""
        return {}

    def score_with_parts(self, views: Views) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The score, (B,), and what it is made of: the score of each part, (B,), on the scale of the whole."""
        return self(views), {}

    @property
    def fitted(self) -> bool:
        """Whether nothing is left to fit, neither here nor in the parts."""
        own = self.buffers(recurse=False)
        return not any(bool(value.isnan().any()) for value in own) and all(part.fitted for part in self.parts.values())

    @torch.no_grad()
    def fit(self, views: Iterable[Views]) -> Self:
        """
        Fit what is not fitted yet. What a training or a file of weights has set stays as it is: to fit it anew, build
        another detector. Most have nothing to fit.

        Args:
            views: of clean training images, batch after batch. They may be gone through several times (see
                :class:`ViewBatches`) or not at all.

        Raises:
            ValueError: for images from which nothing can be learned.
        """
        for part in self.parts.values():
            part.fit(views)
        if not self.fitted:
            self._fit(views)
        return self

    def _fit(self, views: Iterable[Views]) -> None:
        raise NotImplementedError(f"{type(self).__name__} holds a NaN, but has nothing to fit.")

    @torch.no_grad()
    def scores(self, views: Iterable[Views]) -> torch.Tensor:
        """The scores of many images, (n,), on the CPU; a ValueError where there are none or it is not fitted."""
        if not self.fitted:
            raise ValueError(f"{type(self).__name__} is not fitted: fit it on clean training images first.")
        found = [self(each).cpu() for each in views]
        if not found:
            raise ValueError("there are no images to score.")
        return torch.cat(found)

    def calibrate(
        self,
        views: Iterable[Views],
        t_fp: float | Fraction = 0.05,
        rule: Rule = "conformal",
        volumes: Sequence[Any] | None = None,
        source: str = "",
    ) -> Calibration:
        """
        Set the threshold, and keep the calibration, which is returned.

        Args:
            views: of clean validation images, batch after batch; they may be gone through several times.
            t_fp: as the other arguments, see :meth:`Calibration.fit`.

        Raises:
            ValueError: where the detector is not fitted, or for scores that :meth:`Calibration.fit` refuses.
        """
        self.calibration = Calibration.fit(self.scores(views), t_fp, rule, volumes, source, self.fixed_threshold)
        return self.calibration

    def calibrated(self) -> Calibration:
        """The calibration; an UncalibratedError where there is none."""
        if self.calibration is None:
            raise UncalibratedError(f"{type(self).__name__} is not calibrated: run the bundle's calibration first.")
        return self.calibration

    def excesses(self, views: Views) -> dict[str, torch.Tensor]:
        """How far each score of the detector lies above its threshold, (B,), by the name of what scores.

        An image is rejected where one of them is above 0. An adaptive attack keeps them below.
        """
        return {type(self).__name__: self(views) - self.calibrated().threshold}

    def get_extra_state(self) -> dict[str, Any]:
        return {} if self.calibration is None else self.calibration.state()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        try:
            calibration = Calibration(**state) if state else None
            if calibration is not None:
                calibration.check(self.fixed_threshold)
        except ValueError:
            raise
        except Exception as error:
            raise ValueError("its calibration is damaged: an entry is missing, unknown or of another kind.") from error
        self.calibration = calibration
