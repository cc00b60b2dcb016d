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
"""Who would drop the decision of a shield without a word: inferers that cut an image and put the answers together."""

from __future__ import annotations

import inspect
from types import CodeType

from monai.inferers import PatchInferer
from monai.inferers.utils import sliding_window_inference

__all__ = ["LostDecisionError", "check_decision_is_kept"]

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
