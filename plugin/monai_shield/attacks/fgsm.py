# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The fast gradient sign method and its iterated forms: PGD from the clean image that keeps its last iterate."""

from dataclasses import dataclass, field
from typing import ClassVar

from monai_shield.attacks.ball import Ball
from monai_shield.attacks.base import Examples
from monai_shield.attacks.loop import Steepest, StepRule
from monai_shield.attacks.pgd import PGD
from monai_shield.attacks.settings import check_at_least
from monai_shield.info import Info


@dataclass(eq=False)
class FGSM(PGD):
    """Fast gradient sign method (Goodfellow et al. 2015, arXiv 1412.6572): x ← x + epsilon · window · sign ∇L(x).

    One step from the clean image; under "l2" along ∇L / ‖∇L‖₂. Its settings are those of
    :class:`~monai_shield.attacks.pgd.PGD` but for the length and number of its steps.
    """

    info: ClassVar[Info] = Info(
        "FGSM", "Goodfellow et al., Explaining and Harnessing Adversarial Examples", 2015, "1412.6572"
    )
    examples: ClassVar[Examples] = ({"epsilon": 0.1},)
    reach: ClassVar[float] = 1.0

    step_size: float | None = field(default=None, init=False)
    max_steps: int = field(default=1, init=False)
    random_start: bool = False
    keep: str = "last"


@dataclass(eq=False)
class BIM(PGD):
    """Basic iterative method (Kurakin et al. 2017, arXiv 1607.02533): FGSM in small steps, each clipped to the ball.

    From the clean image to the last iterate. Its settings are those of :class:`~monai_shield.attacks.pgd.PGD`; by
    default a step is 1.25 · epsilon / max_steps, as the paper's min(epsilon + 4, 1.25 · epsilon) steps of 1 (all on a
    scale of 255) go at most that far.
    """

    info: ClassVar[Info] = Info("BIM", "Kurakin et al., Adversarial Examples in the Physical World", 2017, "1607.02533")
    examples: ClassVar[Examples] = ({"epsilon": 0.1, "max_steps": 6},)
    reach: ClassVar[float] = 1.25

    max_steps: int = 10
    random_start: bool = False
    keep: str = "last"


@dataclass(eq=False)
class MIFGSM(BIM):
    """Momentum iterative FGSM (Dong et al. 2018, arXiv 1710.06081): BIM along the sum of past gradients::

        v ← momentum · v + ∇L(x) / ‖∇L(x)‖₁,    x ← Π(x + step · window · sign v)

    It gets past small bumps of L, and its images mislead other networks more often. Its settings are those of
    :class:`BIM`; by default a step is epsilon / max_steps.

    Args:
        momentum: share of the sum of past gradients that is kept.
    """

    info: ClassVar[Info] = Info(
        "MI-FGSM", "Dong et al., Boosting Adversarial Attacks with Momentum", 2018, "1710.06081"
    )
    examples: ClassVar[Examples] = ({"epsilon": 0.1, "max_steps": 6, "stop_early": True, "stop_share": 0.4},)
    reach: ClassVar[float] = 1.0

    momentum: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0, momentum=self.momentum)

    def _rule(self, ball: Ball) -> StepRule:
        return Steepest(ball.direction, ball.project, self._step(), self.momentum)
