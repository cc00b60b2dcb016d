# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Who would drop the decision of a shield without a word: inferers that cut an image and put the answers together."""

import inspect
from types import CodeType

from monai.inferers import PatchInferer
from monai.inferers.utils import sliding_window_inference

#: They copy the values of each answer into a tensor of their own; its meta data, and with it the decision, are lost.
#: ``SlidingWindowInferer`` and ``SliceInferer`` call the first.
STITCHERS: dict[CodeType, str] = {
    sliding_window_inference.__code__: "sliding_window_inference",
    PatchInferer.__call__.__code__: "PatchInferer",
}


class LostDecisionError(RuntimeError):
    """A shield was called where its decision would be lost."""


def check_decision_is_kept() -> None:
    """
    Refuse to go on inside one of MONAI's inferers that stitch windows together.

    A window comes as a plain tensor and its answer is copied: nothing but the calls that are under way tells who asked.

    Raises:
        LostDecisionError: with what to do instead.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code in STITCHERS:
            name = STITCHERS[frame.f_code]
            raise LostDecisionError(
                f"ShieldInferer is called inside {name}, which drops its decision on each window: put it around, as in "
                "shield(image, lambda x: windows(x, network)), or set on_reject='raise'."
            )
        frame = frame.f_back
