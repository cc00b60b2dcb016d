# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What every detector is: a score, a calibration, a decision."""

from typing import Any

import torch

from monai_shield.detectors.calibration import Calibration
from monai_shield.detectors.precision import at_least_float32, full_precision
from monai_shield.detectors.views import Views


class UncalibratedError(RuntimeError):
    """A detector was asked to decide before it was calibrated."""


class Detector(torch.nn.Module):
    """
    Base of all detectors. A subclass gives :meth:`forward`; higher scores are further from clean images.

    A score is compared with a threshold of other runs, so it is in float32 or float64 whatever autocast does: it is
    computed with autocast off, and so are the networks that it needs, but for the target. That one runs as the caller
    has it (see :class:`Views`), and a prediction that was rounded moves the scores that are made from it. Modules that
    the caller has cast to half precision stay what they are.

    The calibration is a state of its own that travels with the weights, in ``state_dict``.

    Attributes:
        info: where it comes from, for tables and docs: title and source.
    """

    info: dict[str, str] = {"title": "", "source": ""}  # noqa: RUF012 - a constant record of each class

    def __init__(self) -> None:
        super().__init__()
        self.calibration: Calibration | None = None

    def __call__(self, views: Views) -> torch.Tensor:
        """:meth:`forward` with autocast off, in float32 or float64."""
        with full_precision(views.image):
            return at_least_float32(super().__call__(views))

    def forward(self, views: Views) -> torch.Tensor:
        """
        Score a batch of images.

        Args:
            views: what the shield has of the images.

        Returns:
            one score an image, (B,).
        """
        raise NotImplementedError

    def calibrated(self) -> Calibration:
        """
        The calibration.

        Raises:
            UncalibratedError: where there is none.
        """
        if self.calibration is None:
            raise UncalibratedError(f"{type(self).__name__} is not calibrated: run the bundle's calibration first.")
        return self.calibration

    def get_extra_state(self) -> dict[str, Any]:
        return {} if self.calibration is None else self.calibration.state()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        try:
            calibration = Calibration(**state) if state else None
            if calibration is not None:
                self.check_calibration(calibration)
        except ValueError:
            raise
        except Exception as error:
            raise ValueError("its calibration is damaged: an entry is missing, unknown or of another kind.") from error
        self.calibration = calibration

    def check_calibration(self, calibration: Calibration) -> None:
        """
        Check that a calibration that was read from a file is one that could have been made.

        Raises:
            ValueError: where its threshold or limit does not follow from its scores.
        """
        calibration.check()
