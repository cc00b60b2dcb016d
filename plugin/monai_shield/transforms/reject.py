# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What becomes of a rejected image's label: it is emptied, and the decision goes on in words and numbers."""

from collections.abc import Hashable, Mapping
from dataclasses import asdict
from typing import Any, Literal

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform


def shield_decision(prediction: torch.Tensor) -> Any:
    """
    The decision of a :class:`~monai_shield.inferers.ShieldInferer` on a single image.

    Args:
        prediction: of one image, or of a batch of one.

    Returns:
        an :class:`~monai_shield.inferers.ImageDecision`, or a :class:`~monai_shield.inferers.VolumeDecision`.

    Raises:
        KeyError: where it bears no decision: it did not come through a shield.
        ValueError: where it bears those of several images.
    """
    decision = prediction.meta.get("shield") if isinstance(prediction, MetaTensor) else None
    if decision is None:
        raise KeyError("the prediction bears no decision of a shield: did it come through a ShieldInferer?")
    if isinstance(decision, list):  # a batch that was indexed, not decollated, as MONAI Label does
        if len(decision) != 1:
            raise ValueError(f"the prediction bears the decisions of {len(decision)} images: decollate it first.")
        decision = decision[0]
    return decision


def empty_rejected(label: torch.Tensor, decision: Any) -> torch.Tensor:
    """
    Empty the label of a rejected image; of a volume that passed, the label of its rejected slices.

    Args:
        label: class indices or one channel a label, (C, H, W[, D]), in the space of the network.
        decision: of a :class:`~monai_shield.inferers.ShieldInferer`.

    Returns:
        a label of the same shape, 0 where rejected.

    Raises:
        ValueError: where the volume has another number of slices than the label.
    """
    if decision.rejected:
        return torch.zeros_like(label)
    rejected = getattr(decision, "slice_rejected", [])
    if not any(rejected):
        return label
    axis = decision.slice_axis + 1
    if len(rejected) != label.shape[axis]:
        raise ValueError(f"{len(rejected)} decisions for {label.shape[axis]} slices: apply before geometry is undone.")
    out = label.clone()
    index = torch.nonzero(torch.tensor(rejected, device=label.device))[:, 0]
    return out.index_fill_(axis, index, 0)


class ApplyShieldd(MapTransform):
    """
    Act on the decision that a :class:`~monai_shield.inferers.ShieldInferer` left in the meta data of a prediction.

    To be put behind the discretization (argmax and sigmoid heads alike) and before geometry is undone. The decision is
    written to ``data[result_key]["shield"]`` in plain JSON types, which is what MONAI Label hands to its client.

    Args:
        keys: prediction, (C, H, W[, D]).
        on_reject: "empty" empties what was rejected, "keep" only flags it.
        result_key: where the decision goes.

    Raises:
        ValueError: for an unknown `on_reject`.
        KeyError: where the prediction bears no decision: it did not come through a shield.
    """

    def __init__(
        self,
        keys: KeysCollection,
        on_reject: Literal["empty", "keep"] = "empty",
        result_key: str = "result",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if on_reject not in ("empty", "keep"):
            raise ValueError(f"unknown on_reject '{on_reject}': choose 'empty' or 'keep'.")
        self.on_reject = on_reject
        self.result_key = result_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d: dict[Hashable, Any] = dict(data)
        for key in self.key_iterator(d):
            decision = shield_decision(d[key])
            if self.on_reject == "empty":
                d[key] = empty_rejected(d[key], decision)
            d[self.result_key] = {**(d.get(self.result_key) or {}), "shield": asdict(decision)}
        return d
