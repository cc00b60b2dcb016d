# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Dice on stacked slices: counted, never averaged, so that a structure that is hallucinated costs what it should."""

import torch


def overlap_counts(prediction: torch.Tensor, label: torch.Tensor, num_classes: int) -> torch.Tensor:
    """
    What any Dice is made of, per image and structure.

    Args:
        prediction: class indices, (B, 1, H, W[, D]) or (B, H, W[, D]).
        label: class indices of the same shape.
        num_classes: number of classes, background included.

    Returns:
        pixels in both, in the prediction and in the label, (B, num_classes - 1, 3): the background is left out.
        Counts of images add up to the counts of their stack.

    Raises:
        ValueError: where the shapes disagree.
    """
    if prediction.shape != label.shape:
        raise ValueError(f"prediction {tuple(prediction.shape)} and label {tuple(label.shape)} have different shapes.")
    first, second = prediction.flatten(1).long(), label.flatten(1).long()
    rows = torch.arange(len(first), device=first.device)[:, None] * num_classes

    def count(index: torch.Tensor, chosen: torch.Tensor | None = None) -> torch.Tensor:
        flat = (index + rows)[chosen] if chosen is not None else (index + rows).flatten()
        return torch.bincount(flat, minlength=len(first) * num_classes).reshape(len(first), num_classes)[:, 1:]

    return torch.stack([count(first, first == second), count(first), count(second)], dim=-1)


def dice_of_counts(counts: torch.Tensor) -> torch.Tensor:
    """
    Dice from overlap counts.

    Args:
        counts: (..., 3): in both, in the prediction, in the label.

    Returns:
        (...): 0 for a structure that is hallucinated or missed, NaN for one that is absent in both.
    """
    both, prediction, label = counts.double().unbind(dim=-1)
    return 2 * both / (prediction + label)  # 0 / 0 is NaN: absent in both is left out


def rejected_as_zero(counts: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """
    Overlap counts where the prediction of a rejected image is emptied.

    Args:
        counts: (B, K, 3).
        rejected: which images are rejected, bool, (B,).
    """
    kept = counts.clone()
    kept[rejected, :, :2] = 0
    return kept


def rejected_deferred(counts: torch.Tensor, rejected: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """
    Overlap counts where a rejected image is deferred to a human, who is counted as the prediction on the clean image.

    Args:
        counts: (B, K, 3).
        rejected: which images are rejected, bool, (B,).
        clean: overlap counts of the clean images, (B, K, 3).
    """
    return torch.where(rejected[:, None, None], clean, counts)
