# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Transfer: crafted on a substitute, judged on the network."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from monai_shield.attacks.base import Attack, Examples, Index, Pixels
from monai_shield.attacks.crafting import crafting
from monai_shield.attacks.inputs import plain
from monai_shield.attacks.loop import outcome_at
from monai_shield.attacks.pgd import PGD
from monai_shield.attacks.problem import Outcome, Problem, logits_of
from monai_shield.info import Info
from monai_shield.utils import first_line


class MeanNetwork(nn.Module):
    """Mean of the logits of several networks with the same classes; that led to images which mislead other networks
    more often than the mean of the softmax or of the losses (Dong et al. 2018, arXiv 1710.06081)."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, image: Tensor) -> Tensor:
        """Mean logits (B,K,spatial), K >= 2, of an image (B,C,spatial)."""
        return torch.stack([logits_of(network, image) for network in self.networks]).mean(0)


@dataclass(eq=False, init=False)
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

    Example::

        {"_target_": "monai_shield.attacks.Transfer",
         "attack": {"_target_": "monai_shield.attacks.MIFGSM", "epsilon": 0.0157},
         "substitutes": ["@unet", "@segresnet"]}
    """

    info: ClassVar[Info] = Info(
        "Transfer",
        "Papernot et al., Transferability in Machine Learning: from Phenomena to Black-Box Attacks using "
        "Adversarial Samples",
        2016,
        "1605.07277",
    )
    examples: ClassVar[Examples] = (
        {"epsilon": 0.1, "max_steps": 6},
        {"epsilon": 2.0, "norm": "l2", "max_steps": 6, "target": "runner_up", "stop_early": True},
    )
    from_command_line: ClassVar[bool] = False  # it needs networks

    attack: Attack
    substitutes: list[nn.Module]

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

    @classmethod
    def example(cls, network: nn.Module, image: Tensor, **settings: Any) -> Self:
        """PGD with these settings, crafted on the network itself."""
        return cls(PGD(**settings), network)

    def pose(self, network: nn.Module, image: Tensor, label: Pixels, mask: Pixels, index: Index) -> Problem:
        """What is asked of the attack on the substitutes; the label is the network's own prediction by default. A
        ``ValueError`` names a substitute that cannot take the image or has other classes than the network."""
        with self._guarded(image.device) as substitutes:
            with torch.no_grad():
                clean = logits_of(network, plain(image))
                for number, substitute in enumerate(substitutes):
                    name = f"substitute {number} ({type(substitute).__name__})"
                    try:
                        classes = logits_of(substitute, plain(image[:1])).shape[1]
                    except (RuntimeError, ValueError, TypeError) as error:
                        shape, why = tuple(image[:1].shape), first_line(error)
                        raise ValueError(f"{name} cannot take the image {shape}: {why}") from error
                    if classes != clean.shape[1]:
                        raise ValueError(f"{name} has {classes} classes, the network {clean.shape[1]}.")
            label = clean.argmax(1) if label is None else label
            return self.attack.pose(self._through(substitutes), image, label, mask, index)

    def _run(self, network: nn.Module, problem: Problem) -> Outcome:
        with self._guarded(problem.image.device) as substitutes:
            crafted = self.attack._run(self._through(substitutes), problem)
        return outcome_at(network, crafted.image, problem, self.attack.success_criterion(), crafted.steps)

    @contextmanager
    def _guarded(self, device: torch.device) -> Iterator[list[nn.Module]]:
        """The substitutes, while they are attacked."""
        with ExitStack() as stack:
            yield [stack.enter_context(crafting(each, device)) for each in self.substitutes]

    def _through(self, substitutes: Sequence[nn.Module]) -> nn.Module:
        return self.attack._attacked_network(MeanNetwork(substitutes))
