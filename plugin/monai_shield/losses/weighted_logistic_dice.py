# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The loss the paper trains its targets with."""

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from monai.networks.utils import one_hot


def label_boundary(label: torch.Tensor) -> torch.Tensor:
    """
    Pixels that have a neighbor (along an axis) of another class: the support of the gradient of the label.

    Args:
        label: class indices, (B, 1, H, W[, D]).

    Returns:
        a boolean tensor of the same shape.
    """
    boundary = torch.zeros_like(label, dtype=torch.bool)
    for axis in range(2, label.ndim):
        size = label.shape[axis]
        differs = label.narrow(axis, 1, size - 1) != label.narrow(axis, 0, size - 1)
        boundary.narrow(axis, 1, size - 1).logical_or_(differs)
        boundary.narrow(axis, 0, size - 1).logical_or_(differs)
    return boundary


def median_frequency_weights(
    labels: Iterable[torch.Tensor | Mapping[str, torch.Tensor]], num_classes: int, power: float = 1.0
) -> torch.Tensor:
    """
    Class weights by median frequency balancing, ``(median(f) / f_l) ** power``; a class never seen weighs 0.

    Args:
        labels: class index tensors of any shape, or dictionaries with one under "label", such as the ``volumes`` of a
            :class:`~monai_shield.data.SliceDataset`.
        num_classes: number of classes, background included.
        power: 1 as published; below 1 for a milder balance.
    """
    counts = torch.zeros(num_classes, dtype=torch.float64)
    for each in labels:
        label = each["label"] if isinstance(each, Mapping) else each
        counts += torch.bincount(torch.as_tensor(label).reshape(-1).long(), minlength=num_classes)
    seen = counts > 0
    weights = torch.zeros_like(counts)
    weights[seen] = (counts[seen].median() / counts[seen]) ** power
    return weights.float()


class WeightedLogisticDiceLoss(torch.nn.Module):
    r"""
    Weighted multi-class logistic loss plus Dice loss, after Roy et al. 2017/2019 (ReLayNet, arXiv 1704.02161;
    QuickNAT, arXiv 1801.04161):

    .. math::
        L = -\frac{\sum_x w(x) \log p_{g(x)}(x)}{\sum_x w(x)}
            + 1 - \frac{1}{K} \sum_l \frac{2 \sum_x p_l(x) g_l(x)}{\sum_x p_l^2(x) + \sum_x g_l^2(x)}

    with a weight per **pixel**, :math:`w(x) = c_{g(x)} + w_0 [x \text{ on a class boundary}]`: class weights that are
    applied after the cross entropy was averaged would act on nothing. The Dice term leaves the background out and
    pools the batch, so that a structure absent from one slice is not rewarded for being absent.

    Args:
        class_weights: c, one number a class, background included; None for ones.
        boundary_weight: w_0, added on every pixel that touches another class.
        dice_weight: factor of the Dice term.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | torch.Tensor | None = None,
        boundary_weight: float = 1.0,
        dice_weight: float = 1.0,
    ) -> None:
        super().__init__()
        weights = None if class_weights is None else torch.as_tensor(class_weights, dtype=torch.float32)
        self.class_weights: torch.Tensor | None
        self.register_buffer("class_weights", weights)
        self.boundary_weight = boundary_weight
        self.dice_weight = dice_weight
        self.dice = DiceLoss(include_background=False, softmax=True, squared_pred=True, batch=True)

    def pixel_weights(self, target: torch.Tensor) -> torch.Tensor:
        """The weight of each pixel, (B, H, W[, D]), for class indices (B, 1, H, W[, D])."""
        index = target[:, 0].long()
        weights = torch.ones_like(index, dtype=torch.float32)
        if self.class_weights is not None:
            weights = self.class_weights[index]
        return weights + self.boundary_weight * label_boundary(target)[:, 0]

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """
        Args:
            input: logits, (B, C, H, W[, D]).
            target: class indices, (B, 1, H, W[, D]), or class probabilities, such as the softmax of a teacher,
                (B, C, H, W[, D]). They take the place of g; a pixel weighs what its most likely class does.

        Raises:
            ValueError: where the shapes disagree, or the class weights do not have one number per channel.
        """
        soft = target.shape == input.shape
        if not soft and target.shape != (input.shape[0], 1, *input.shape[2:]):
            raise ValueError(f"label shape {tuple(target.shape)} does not fit logits of shape {tuple(input.shape)}.")
        if self.class_weights is not None and len(self.class_weights) != input.shape[1]:
            raise ValueError(f"{len(self.class_weights)} class weights for {input.shape[1]} channels.")
        weights = self.pixel_weights(target.argmax(1, keepdim=True) if soft else target)
        logistic = F.cross_entropy(input, target if soft else target[:, 0].long(), reduction="none")
        loss = (weights * logistic).sum() / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)
        return loss + self.dice_weight * self.dice(input, target if soft else one_hot(target, input.shape[1]))
