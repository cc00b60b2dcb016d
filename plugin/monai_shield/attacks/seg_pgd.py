# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""PGD with a loss made for segmentation: which pixels pull, and how much."""

from dataclasses import dataclass
from typing import ClassVar

from monai_shield.attacks.base import Examples
from monai_shield.attacks.loop import Loss
from monai_shield.attacks.pgd import PGD
from monai_shield.info import Info


@dataclass(eq=False)
class SegPGD(PGD):
    """SegPGD (Gu et al. 2022, arXiv 2207.12391): PGD by the loss :func:`~monai_shield.attacks.losses.seg_pgd`.

    First the pixels that are not yet fooled pull, toward the end all alike. An image keeps the iterate with the fewest
    of them. Its settings are those of :class:`~monai_shield.attacks.pgd.PGD`.
    """

    info: ClassVar[Info] = Info(
        "SegPGD",
        "Gu et al., SegPGD: An Effective and Efficient Adversarial Attack for Evaluating and Boosting "
        "Segmentation Robustness",
        2022,
        "2207.12391",
    )
    examples: ClassVar[Examples] = ({"epsilon": 0.1, "max_steps": 6},)

    loss: str | Loss = "seg_pgd"
    keep: str = "fewest"


@dataclass(eq=False)
class CosPGD(PGD):
    """CosPGD (Agnihotri et al. 2024, arXiv 2302.02213): PGD by the loss :func:`~monai_shield.attacks.losses.cos_pgd`.

    A pixel pulls by how close it is to its label, or how far from its target. An image keeps the iterate with the
    fewest pixels not yet fooled. Its settings are those of :class:`~monai_shield.attacks.pgd.PGD`.
    """

    info: ClassVar[Info] = Info(
        "CosPGD",
        "Agnihotri et al., CosPGD: An Efficient White-Box Adversarial Attack for Pixel-Wise Prediction Tasks",
        2024,
        "2302.02213",
    )
    examples: ClassVar[Examples] = ({"epsilon": 0.1, "max_steps": 6},)

    loss: str | Loss = "cos_pgd"
    keep: str = "fewest"
