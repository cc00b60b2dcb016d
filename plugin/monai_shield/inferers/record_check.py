# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Whether a shield is the one that its calibration was made with."""

import weakref
from collections.abc import Callable
from typing import Any

import torch

from monai_shield.detectors import Detector, Record, UncalibratedError, differences, module_record, shield_record


class RecordCheck:
    """
    Compares a shield with what its calibration says that it was made with, a
    :func:`~monai_shield.detectors.shield_record`.

    A calibration that was made in Python and says nothing is let through, unless a preprocessing is given: that is a
    shield in service.

    Args:
        detector: calibrated detector.
        reformer: the shield's reformer.
        preprocessing: from file to network; None where the shield sees images only.
        settings: of the shield, by the names that the calibration knows them by.

    Raises:
        UncalibratedError: where a shield in service has a calibration that says nothing.
        ValueError: where a part, a setting or weights are others.
    """

    def __init__(
        self, detector: Detector, reformer: torch.nn.Module | None, preprocessing: Any = None, **settings: Any
    ) -> None:
        calibration = detector.calibrated()
        self.made_with = calibration.made_with
        self._known: Callable[[], Any] = lambda: None
        if self.made_with:
            self._refuse(shield_record(detector, reformer, preprocessing, t_fp=calibration.t_fp, **settings))
        elif preprocessing is not None:
            raise UncalibratedError("the calibration does not say what it was made with: calibrate again.")

    def check_target(self, network: Any) -> None:
        """
        Check that a target is the one that the shield was calibrated with; of one module only once.

        Raises:
            ValueError: where it has other weights, or is no module, so that nobody can tell.
        """
        if not self.made_with or self._known() is network:
            return
        if not isinstance(network, torch.nn.Module):
            raise ValueError(f"a calibrated shield takes the target itself, a module, not a {type(network).__name__}.")
        self._refuse({"target": module_record(network)})
        self._known = weakref.ref(network)

    def _refuse(self, found: Record) -> None:
        lines = differences(self.made_with, found)
        if lines:
            more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
            raise ValueError(f"the shield was calibrated with something else: {lines[0]}{more}: calibrate again.")
