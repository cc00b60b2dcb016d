# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What an attack makes grow on the attacked pixels, one number an image.

Every loss is a :data:`~monai_shield.attacks.loop.Loss`: it takes the logits (B,K,spatial), the problem, the pixels not
yet fooled (B,spatial) and the share of the steps taken (0 at the first), and returns (B,). It is a mean over *all*
attacked pixels, also where only those not yet fooled count, so that one pixel weighs the same in every iterate. Without
a target it grows away from the label; with one it grows toward the adversarial label.
"""

import math

import torch
from monai.losses import DiceLoss
from monai.networks import one_hot
from torch import Tensor
from torch.nn import functional

from monai_shield.attacks.loop import Loss
from monai_shield.attacks.problem import Problem


def cross_entropy(logits: Tensor, problem: Problem, not_fooled: Tensor, progress: float) -> Tensor:
    """Cross entropy with the label, or minus that with the target, (B,)."""
    return problem.mean(_cross_entropy(logits, problem))


def masked_cross_entropy(logits: Tensor, problem: Problem, not_fooled: Tensor, progress: float) -> Tensor:
    """Cross entropy of the pixels not yet fooled only (Croce et al. 2024, arXiv 2306.12941), (B,)."""
    return problem.mean(_cross_entropy(logits, problem) * not_fooled)


def dice_cross_entropy(logits: Tensor, problem: Problem, not_fooled: Tensor, progress: float) -> Tensor:
    """Cross entropy plus 1 − soft Dice, the mean over the classes, both with the label or minus with the target, (B,).

    The Dice is that on the attacked pixels (Hanif et al. 2023, arXiv 2307.07269).
    """
    attacked = problem.attacked.unsqueeze(1)
    wanted = one_hot(_wanted(problem).unsqueeze(1), logits.shape[1], dtype=logits.dtype)
    dice = DiceLoss(reduction="none")(logits.softmax(1) * attacked, wanted * attacked)
    return cross_entropy(logits, problem, not_fooled, progress) + _away(dice.flatten(1).mean(1), problem)


def seg_pgd(logits: Tensor, problem: Problem, not_fooled: Tensor, progress: float) -> Tensor:
    """Cross entropy, weighted 1 − λ on the pixels not yet fooled and λ on the others (Gu et al. 2022,
    arXiv 2207.12391).

    λ = progress / 2: first only the pixels not yet fooled count, at the end all alike. (B,)
    """
    share = progress / 2
    return problem.mean(_cross_entropy(logits, problem) * torch.where(not_fooled, 1 - share, share))


def cos_pgd(logits: Tensor, problem: Problem, not_fooled: Tensor, progress: float) -> Tensor:
    """Cross entropy, weighted by how far a pixel has still to go (Agnihotri et al. 2024, arXiv 2302.02213), (B,).

    The weight is the cosine of the softmax p and the one-hot label, p_label / ‖p‖₂; with a target it is one minus the
    cosine with that. It is a weight, not a way for the gradient.
    """
    probability = logits.detach().softmax(1)
    cosine = _of(probability, _wanted(problem)) / torch.linalg.vector_norm(probability, dim=1)
    return problem.mean(_cross_entropy(logits, problem) * (cosine if problem.target is None else 1 - cosine))


def jensen_shannon(logits: Tensor, problem: Problem, not_fooled: Tensor, progress: float) -> Tensor:
    """Jensen-Shannon divergence of the softmax from the one-hot label, or minus that from the target, (B,).

    In [0, log 2], so that its gradient fades on pixels that are wrong already (Croce et al. 2024, arXiv 2306.12941).
    With p the probability of the label it is log 2 + (p log p − (1 + p) log(1 + p)) / 2: the other classes' share of
    either divergence does not depend on how they divide it.
    """
    log_probability = _of(logits.log_softmax(1), _wanted(problem))
    probability = log_probability.exp()
    entropies = probability * log_probability - (1 + probability) * torch.log1p(probability)
    return problem.mean(_away(math.log(2) + entropies / 2, problem))


def masked_norm_correlation(logits: Tensor, problem: Problem, not_fooled: Tensor, progress: float) -> Tensor:
    """Minus the label's logit over the norm of all of them, −z_label / ‖z‖₂, on the pixels not yet fooled, (B,).

    With a target, plus that of the target. Blind to the scale of the logits (Croce et al. 2024, arXiv 2306.12941).
    """
    length = torch.linalg.vector_norm(logits, dim=1)
    length = length.masked_fill(length == 0, 1)  # logits that are all zero have no direction, but a finite gradient
    return problem.mean(_away(-_of(logits, _wanted(problem)) / length, problem) * not_fooled)


def _wanted(problem: Problem) -> Tensor:
    """The class (B,spatial) a loss is about: to get away from the label, or to the target."""
    return problem.label if problem.target is None else problem.target


def _away(values: Tensor, problem: Problem) -> Tensor:
    """Values that are to grow from a label and to shrink from a target, the sign such that they are to grow."""
    return values if problem.target is None else -values


def _cross_entropy(logits: Tensor, problem: Problem) -> Tensor:
    """Cross entropy of each pixel (B,spatial), the sign such that it is to grow."""
    return _away(functional.cross_entropy(logits, _wanted(problem), reduction="none"), problem)


def _of(values: Tensor, label: Tensor) -> Tensor:
    """What ``values`` (B,K,spatial) has for the class ``label`` (B,spatial)."""
    return values.gather(1, label.unsqueeze(1)).squeeze(1)


_LOSSES = (cross_entropy, masked_cross_entropy, dice_cross_entropy, seg_pgd, cos_pgd, jensen_shannon)
LOSSES: dict[str, Loss] = {loss.__name__: loss for loss in (*_LOSSES, masked_norm_correlation)}
COMPARABLE = frozenset({"cross_entropy", "dice_cross_entropy", "jensen_shannon"})
"""Losses that are higher on a stronger iterate. The others drop a pixel once it is wrong, or change as they go."""


def loss_called(loss: str | Loss) -> Loss:
    """The loss of that name, or the loss itself; a ``ValueError`` where no loss has that name."""
    if not isinstance(loss, str):
        return loss
    if loss not in LOSSES:
        raise ValueError(f"no loss {loss!r}; there are {', '.join(sorted(LOSSES))}.")
    return LOSSES[loss]


def tracked_for(loss: str | Loss) -> Loss | None:
    """What iterates are compared by when ``loss`` is climbed: cross entropy where it cannot, else None for itself."""
    return cross_entropy if isinstance(loss, str) and loss not in COMPARABLE else None
