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
"""What the plausibility of an image and its label adds to the decision of a detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from monai.data import MetaTensor

from monai_shield.detectors import Plausibility, predicted_label, subject_statistics

__all__ = ["judge"]

Decision = TypeVar("Decision", bound=Any)


def judge(
    decision: Decision,
    plausibility: Mapping[str, Any] | None,
    number: int,
    inputs: torch.Tensor,
    logits: torch.Tensor,
) -> Decision:
    """
    Add to a decision what the size, shape and place of the foreground and of the label's structures say.

    Args:
        decision: a dataclass, of the image.
        plausibility: the state of a :class:`~monai_shield.detectors.Plausibility`; None adds nothing.
        number: which image of the batch.
        inputs: (B, C, H, W[, D]). Nothing can be said of a plain tensor, whose voxels have no size and no direction.
        logits: (B, K, H, W[, D]).
    """
    if plausibility is None:
        return decision
    if not isinstance(inputs, MetaTensor):
        return replace(decision, findings=["the image came without an affine: its plausibility was not checked"])
    affine, border = inputs.affine, inputs.meta.get("border")
    found = subject_statistics(
        inputs.as_tensor()[number],
        predicted_label(logits[number]),
        max(logits.shape[1], 2),
        affine[number] if affine.ndim == 3 else affine,
        border[number] if border is not None and border.ndim == 3 else border,
    )
    judgement = Plausibility(**plausibility).judge(found)
    reason = "; ".join(filter(None, (decision.reason, judgement.reason)))
    return replace(decision, rejected=bool(reason), reason=reason, findings=judgement.findings)
