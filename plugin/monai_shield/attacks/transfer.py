# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0

"""Transfer: crafted on a substitute, judged on the network."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from monai_shield.attacks.base import Attack, AttackInfo, AttackResult, check_image, crafting, plain
from monai_shield.attacks.loop import outcome_at
from monai_shield.attacks.problem import logits_of
from monai_shield.utils import first_line


class MeanNetwork(nn.Module):
    """Mean of the logits of several networks with the same classes.

    The mean of the logits, as it led to images that mislead other networks more often than the mean of the softmax or
    of the losses (Dong et al. 2018, arXiv 1710.06081).

    Args:
        networks: each (B,C,spatial) to logits (B,K,spatial).
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, image: Tensor) -> Tensor:
        """Mean logits (B,K,spatial), K >= 2, of an image (B,C,spatial)."""
        return torch.stack([logits_of(network, image) for network in self.networks]).mean(0)


class Transfer(Attack):
    """Another attack, crafted on a substitute (Papernot et al. 2016, arXiv 1605.07277).

    It stands for an attacker who does not have the network but one like it, or several, attacked through the mean of
    their logits: what misleads all of them more often misleads another one too (Liu et al. 2017, arXiv 1611.02770). The
    network itself is run without gradients: on the clean image, for its prediction where no label is given, and on the
    adversarial one, for ``success`` and ``remaining``. Target rules see the logits of the substitutes. An attack that
    stops at its first success stops at that on the substitutes.

    Substitutes too are afterward as they were. All settings are those of the attack.

    Args:
        attack: the attack.
        substitutes: network or networks it is crafted on, with the channels and classes of the one that is judged, on
            its device.

    Raises:
        TypeError: when ``attack`` is not an attack or a substitute not a module.
        ValueError: when there is no substitute.

    Example::

        {"_target_": "monai_shield.attacks.Transfer",
         "attack": {"_target_": "monai_shield.attacks.MIFGSM", "epsilon": 0.0157},
         "substitutes": ["@unet", "@segresnet"]}
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="Transfer",
        paper="Papernot et al., Transferability in Machine Learning: from Phenomena to Black-Box Attacks using "
        "Adversarial Samples",
        year=2016,
        arxiv="1605.07277",
    )
    from_command_line: ClassVar[bool] = False  # it needs networks

    def __init__(self, attack: Attack, substitutes: nn.Module | Sequence[nn.Module]) -> None:
        if not isinstance(attack, Attack):
            raise TypeError(f"attack must be an attack, got {type(attack).__name__}.")
        super().__init__(**{each.name: getattr(attack, each.name) for each in fields(Attack)})
        self.attack = attack
        self.substitutes = [substitutes] if isinstance(substitutes, nn.Module) else list(substitutes)
        if len(self.substitutes) == 0:
            raise ValueError("substitutes must name one network at least.")
        for substitute in self.substitutes:
            if not isinstance(substitute, nn.Module):
                raise TypeError(f"a substitute must be a torch.nn.Module, got {type(substitute).__name__}.")

    def __call__(
        self,
        network: nn.Module,
        image: Tensor,
        label: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        index: Sequence[int] | None = None,
    ) -> AttackResult:
        """Attack ``network`` through the substitutes; arguments and result are those of every attack.

        Raises:
            ValueError: when a substitute cannot take the image, or has another number of classes than the network.
        """
        check_image(image)
        with ExitStack() as stack:
            target = stack.enter_context(crafting(network, image.device))
            guarded = [stack.enter_context(crafting(substitute, image.device)) for substitute in self.substitutes]
            with torch.no_grad():
                clean = logits_of(target, plain(image))
                self._check_substitutes(guarded, plain(image[:1]), clean.shape[1])
            label = clean.argmax(1) if label is None else label

            mean = MeanNetwork(guarded)
            result = self.attack(mean, image, label, mask, index=index)
            problem = self.attack.pose(mean, image, label, mask, index)
            judged = outcome_at(
                target,
                plain(result.image),
                problem,
                self.attack.hold_out_rule(problem),
                self.attack.success_criterion(),
                result.steps,
            )
        return replace(result, success=judged.success | (result.attacked == 0), remaining=judged.remaining)

    def _check_substitutes(self, substitutes: Sequence[nn.Module], image: Tensor, classes: int) -> None:
        for number, substitute in enumerate(substitutes):
            name = f"substitute {number} ({type(substitute).__name__})"
            try:
                found = logits_of(substitute, image).shape[1]
            except (RuntimeError, ValueError, TypeError) as error:
                raise ValueError(f"{name} cannot take the image {tuple(image.shape)}: {first_line(error)}") from error
            if found != classes:
                raise ValueError(f"{name} has {found} classes, the network {classes}.")
