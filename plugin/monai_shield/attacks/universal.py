# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""One perturbation for a whole set of images."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from tqdm import tqdm
from typing_extensions import Self

from monai_shield.attacks.ball import NORMS, Ball, unit_noise
from monai_shield.attacks.base import Attack, Examples, Pixels
from monai_shield.attacks.crafting import crafting
from monai_shield.attacks.inputs import entry_of
from monai_shield.attacks.loop import Loss, Steepest, finite_gradient, outcome_at
from monai_shield.attacks.losses import loss_called
from monai_shield.attacks.problem import Outcome, Problem, image_generator, logits_of, per_image
from monai_shield.attacks.settings import check_at_least, check_one_of, check_positive
from monai_shield.attacks.targets import Target
from monai_shield.fingerprints import stable_repr
from monai_shield.info import Info
from monai_shield.utils import first_line, read_weights, save_tensors, seed_torch

EPOCH_STREAM = 3  # set apart from the draws of the attacks, which may have the same seed
Batch = Tensor | Mapping[str, Any]
STATE = {"perturbation", "velocity", "history", "settings"}
WITHOUT_EFFECT_ON_FIT = {"perturbation", "history", "epochs", "stop_share", "criterion"}


@dataclass(eq=False)
class UniversalPerturbation(Attack):
    """One perturbation that is added to every image (Moosavi-Dezfooli et al. 2017, arXiv 1610.08401; of segmentation
    networks: Metzen et al. 2017, arXiv 1704.05712).

    :meth:`fit` learns it on one set of images. The attack adds it to images that it has never seen, without a gradient
    of them: image + window · r, within bounds and mask. It is learned by projected stochastic steps over batches
    (Shafahi et al. 2020, arXiv 1811.11304), with the momentum of MI-FGSM (Dong et al. 2018, arXiv 1710.06081) and Π the
    projection onto the ball ‖r‖ ≤ epsilon, from r = 0 to the last iterate::

        g ← mean over the batch of window · ∇L(clamp(image + window · r)),    v ← momentum · v + g / ‖g‖₁
        r ← Π(r + step · sign v)       norm "linf"
        r ← Π(r + step · v / ‖v‖₂)     norm "l2"

    The gradient is that at the image within its bounds, as PGD takes it: through the clamp a pixel that is cut off
    would have none. L is as in :class:`~monai_shield.attacks.pgd.PGD`. Shafahi et al. cut L so that no image outweighs
    the others; the loss "jensen_shannon" is bounded by itself. Images of another size than those it was learned on are
    refused. An image with nothing to attack stays as it is.

    Args:
        epsilon: budget, as a fraction of the window.
        perturbation: r (C,spatial) within the ball, in units of the window, or the file that :meth:`save` or
            :meth:`fit` wrote; None for one that has still to be fitted.
        norm: norm of the budget, "linf" or "l2".
        step_size: length of a step, as a fraction of the window; by default epsilon / 10.
        momentum: share of the sum of past gradients that is kept; 0 for the gradient itself.
        epochs: how often :meth:`fit` goes through the images.
        seed: epoch i of :meth:`fit` has torch's random state of (seed, i), so that a loader which shuffles by it
            gives the same order each time.
        loss: a name in :data:`~monai_shield.attacks.losses.LOSSES`, or a callable like those.
        target: adversarial label as in :class:`~monai_shield.attacks.dag.DAG`, or one (1,1,spatial) or (1,spatial) for
            every image; None for an untargeted attack.

    Attributes:
        history: mean share of the attacked pixels not yet fooled, of each epoch of :meth:`fit` while it went on.

    Example::

        {"_target_": "monai_shield.attacks.UniversalPerturbation", "epsilon": 0.0314, "perturbation": "universal.pt"}
    """

    info: ClassVar[Info] = Info(
        "Universal perturbation", "Shafahi et al., Universal Adversarial Training", 2020, "1811.11304"
    )
    examples: ClassVar[Examples] = (
        {"epsilon": 0.1, "norm": "linf"},
        {"epsilon": 2.0, "norm": "l2", "target": "runner_up"},
    )

    epsilon: float
    perturbation: Tensor | str | PathLike[str] | None = None
    norm: str = "linf"
    step_size: float | None = None
    momentum: float = 0.9
    epochs: int = 10
    seed: int = 0
    loss: str | Loss = "cross_entropy"
    target: Target | None = None
    history: list[float] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(epsilon=self.epsilon, step_size=self.step_size)
        check_at_least(1, epochs=self.epochs)
        check_at_least(0, momentum=self.momentum)
        check_one_of(NORMS, norm=self.norm)
        loss_called(self.loss)
        self._velocity: Tensor | None = None
        if isinstance(self.perturbation, str | PathLike):
            state = _read(self.perturbation)
            self.perturbation, self.history = state["perturbation"], state["history"]
        if self.perturbation is not None:
            self._check_perturbation(self.perturbation)

    @classmethod
    def example(cls, network: nn.Module, image: Tensor, **settings: Any) -> Self:
        """One with a perturbation that was drawn at random, not learned."""
        perturbation = settings["epsilon"] * unit_noise(image.shape[1:], settings["norm"], seed=0, index=0)
        return cls(**settings, perturbation=perturbation)

    def fit(
        self,
        network: nn.Module,
        batches: Iterable[Batch],
        *,
        key_image: str = "image",
        key_label: str | None = None,
        key_mask: str | None = None,
        checkpoint: str | PathLike[str] | None = None,
        progress: bool = True,
    ) -> Self:
        """Learn the perturbation. The network and the global random state are afterward as they were.

        Args:
            network: network to attack, as in :meth:`__call__`; the images are moved to its device.
            batches: the images, gone through once an epoch: a loader, or a list. A batch is images (B,C,spatial), or a
                dictionary. All images have one size.
            key_image: key of the images in a dictionary.
            key_label: key of the label (B,1,spatial) to lead away from; None for the network's own clean prediction.
            key_mask: key of the mask (B,1,spatial) of pixels that may be attacked; None for all.
            checkpoint: file that is written after each epoch. Where it is there already, learning goes on from it: a
                run that was killed, or ``epochs`` that were raised. One file is for one network and one set of images.
            progress: whether to show a progress bar.

        Raises:
            TypeError: when the network is not a module, or a batch is neither images nor a dictionary.
            KeyError: when a dictionary lacks a key.
            ValueError: when there is nothing to learn from, images differ in size, a gradient is not finite, or the
                checkpoint cannot be read or has other settings or more epochs.
        """
        if isinstance(batches, Iterator):
            raise ValueError("batches must be gone through once an epoch: give a loader or a list, not an iterator.")
        self.perturbation, self._velocity, self.history = None, None, []
        if checkpoint is not None and Path(checkpoint).exists():
            self._resume(checkpoint)
        perturbation = self.perturbation
        first = next(network.parameters(), None) if isinstance(network, nn.Module) else None
        device = torch.device("cpu") if first is None else first.device
        rule = self._rule(device)
        number = len(batches) if isinstance(batches, Sized) else None
        bar = tqdm(
            total=None if number is None else number * self.epochs,
            initial=len(self.history) * (number or 0),
            desc="learning a universal perturbation",
            unit="batch",
            disable=not progress,
        )
        with crafting(network, device) as target, bar:
            for epoch in range(len(self.history), self.epochs):
                seed_torch(image_generator(self.seed, epoch, EPOCH_STREAM).initial_seed(), device)
                parts = (_parts(batch, (key_image, key_label, key_mask), device) for batch in batches)
                perturbation, remaining = self._learn(target, parts, perturbation, rule, epoch / self.epochs, bar)
                # only now, so that whatever stops an epoch leaves the state of the last whole one
                self.perturbation, self._velocity = perturbation, rule.memory.get("velocity")
                self.history.append(remaining)
                bar.set_postfix(remaining=f"{remaining:.3f}")
                if checkpoint is not None:
                    self.save(checkpoint)
        return self

    def save(self, path: str | PathLike[str]) -> None:
        """Write the perturbation, and what :meth:`fit` goes on with, to a file, whole or not at all."""
        state = {
            "perturbation": self._fitted().cpu().clone(),
            "velocity": None if self._velocity is None else self._velocity.cpu().clone(),
            "history": self.history,
            "settings": self._settings(),
        }
        save_tensors(state, Path(path))

    def _run(self, network: nn.Module, problem: Problem) -> Outcome:
        image = self._added(self._fitted().to(problem.image), problem)
        image = torch.where(per_image(problem.number > 0, image), image, problem.image)
        return outcome_at(network, image, problem, self.success_criterion())

    def _adversarial_label(self, target: Target, label: Tensor, logits: Tensor) -> Tensor:
        adversarial = super()._adversarial_label(target, label, logits)
        return adversarial.expand(len(label), *adversarial.shape[1:]) if len(adversarial) == 1 else adversarial

    def _learn(
        self,
        network: nn.Module,
        batches: Iterable[tuple[Tensor, Pixels, Pixels]],
        perturbation: Tensor | None,
        rule: Steepest,
        progress: float,
        bar: tqdm,
    ) -> tuple[Tensor, float]:
        """Go through the batches once: the perturbation, and the mean share of the attacked pixels not yet fooled."""
        loss, shares = loss_called(self.loss), []
        for image, label, mask in batches:
            problem = self.pose(network, image, label, mask, None)
            perturbation = torch.zeros_like(problem.image[0]) if perturbation is None else perturbation.to(image.device)
            adversarial = self._added(perturbation, problem).requires_grad_()
            logits = logits_of(network, adversarial)
            not_fooled = problem.not_fooled(logits.detach().argmax(1))
            value = loss(logits, problem, not_fooled, progress)
            gradient = finite_gradient(value, adversarial)
            mean = (problem.confine(gradient) * problem.window).mean(0, keepdim=True)
            perturbation = rule(perturbation.unsqueeze(0), mean, value, _of_perturbation(problem)).squeeze(0)
            shares.append(problem.share(not_fooled)[problem.number > 0])
            bar.update()
        if perturbation is None or not any(len(share) for share in shares):
            raise ValueError("the batches have no image with anything to attack.")
        return perturbation, float(torch.cat(shares).mean())

    def _rule(self, device: torch.device) -> Steepest:
        ball = Ball(self.epsilon, self.norm)
        step = self.epsilon / 10 if self.step_size is None else self.step_size
        rule = Steepest(ball.direction, ball.project, step, self.momentum)
        if self._velocity is not None:
            rule.memory["velocity"] = self._velocity.to(device)
        return rule

    def _added(self, perturbation: Tensor, problem: Problem) -> Tensor:
        """The images (B,C,spatial) with the perturbation (C,spatial), within bounds, support and ball."""
        here, there = tuple(perturbation.shape), tuple(problem.image.shape[1:])
        if here != there:
            raise ValueError(f"the universal perturbation is for images {here}, got {there}.")
        image = problem.image + problem.confine(perturbation * problem.window)
        return Ball(self.epsilon, self.norm).project(image, problem)

    def _fitted(self) -> Tensor:
        if not isinstance(self.perturbation, Tensor):
            raise RuntimeError("the universal perturbation has not been fitted: call fit(), or give it or its file.")
        return self.perturbation

    def _check_perturbation(self, perturbation: Any) -> None:
        if not isinstance(perturbation, Tensor) or perturbation.ndim not in (3, 4):
            raise ValueError("the perturbation must be a tensor (C,H,W[,D]).")
        if not perturbation.is_floating_point() or not bool(perturbation.isfinite().all()):
            raise ValueError("the perturbation must hold finite floats.")
        length = float(torch.linalg.vector_norm(perturbation.double(), math.inf if self.norm == "linf" else 2))
        if length > self.epsilon * (1 + 1e-5):  # room for the rounding of float32
            raise ValueError(f"the perturbation has the norm {length:g}, more than the epsilon {self.epsilon:g}.")

    def _resume(self, checkpoint: str | PathLike[str]) -> None:
        state, settings = _read(checkpoint), self._settings()
        others = sorted(name for name in settings if settings[name] != state["settings"].get(name))
        if others:
            raise ValueError(f"checkpoint '{checkpoint}' was written with other settings: {', '.join(others)}.")
        if len(state["history"]) > self.epochs:
            raise ValueError(f"checkpoint '{checkpoint}' has {len(state['history'])} epochs, not {self.epochs}.")
        self._check_perturbation(state["perturbation"])
        self.perturbation, self._velocity = state["perturbation"], state["velocity"]
        self.history = state["history"]

    def _settings(self) -> dict[str, str]:
        """The settings that a fit depends on, as words."""
        names = [each.name for each in fields(self) if each.name not in WITHOUT_EFFECT_ON_FIT]
        return {name: stable_repr(getattr(self, name)) for name in names}


def _of_perturbation(problem: Problem) -> Problem:
    """The problem of the perturbation itself: an image that is 0 when clean, in units of the window, without bounds."""
    first = problem.select(torch.zeros(1, dtype=torch.long, device=problem.image.device))
    one = torch.ones_like(first.window)
    clean = torch.zeros_like(first.image)
    return replace(first, image=clean, support=None, low=-math.inf * one, high=math.inf * one, window=one)


def _parts(batch: Batch, keys: Sequence[str | None], device: torch.device) -> tuple[Tensor, Pixels, Pixels]:
    """Image, label and mask of a batch, the image on the device."""
    if isinstance(batch, Tensor):
        batch = {str(keys[0]): batch}
    if not isinstance(batch, Mapping):
        raise TypeError(f"a batch must be images or a dictionary, got {type(batch).__name__}.")
    image, label, mask = (entry_of(batch, key) for key in keys)
    return image.to(device), label, mask


def _read(path: str | PathLike[str]) -> dict[str, Any]:
    """The state that :meth:`UniversalPerturbation.save` wrote."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"perturbation file '{path}' is missing.")
    try:
        state = read_weights(path)
    except Exception as error:
        raise ValueError(f"perturbation file '{path}' cannot be loaded: {first_line(error)}") from error
    if not isinstance(state, dict) or set(state) != STATE:
        raise ValueError(f"file '{path}' does not hold a universal perturbation.")
    return state
