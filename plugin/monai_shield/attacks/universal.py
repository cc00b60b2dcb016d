# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0

"""One perturbation for a whole set of images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field, fields, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from monai_shield.attacks.base import Attack, AttackInfo, crafting
from monai_shield.attacks.loop import DIRECTIONS, NORMS, Loss, Steepest, into_ball, outcome_at
from monai_shield.attacks.losses import loss_called
from monai_shield.attacks.problem import (
    Outcome,
    Problem,
    image_generator,
    logits_of,
    per_image,
    share_held,
)
from monai_shield.attacks.targets import Target
from monai_shield.utils import first_line, read_weights, save_tensors, seed_torch

EPOCH_STREAM = 3  # set apart from the draws of the attacks, which may have the same seed
STATE = {"perturbation", "velocity", "history", "settings"}
WITHOUT_EFFECT_ON_FIT = {"perturbation", "history", "epochs", "stop_share", "criterion"}


@dataclass(eq=False)
class UniversalPerturbation(Attack):
    """One perturbation that is added to every image (Moosavi-Dezfooli et al. 2017, arXiv 1610.08401; of segmentation
    networks: Metzen et al. 2017, arXiv 1704.05712).

    :meth:`fit` learns it on one set of images, the attack then adds it to images that it has never seen, without a
    gradient of them: image + window · r, within bounds and mask. It is learned by projected stochastic steps over
    batches (Shafahi et al. 2020, arXiv 1811.11304), with the momentum of MI-FGSM (Dong et al. 2018, arXiv 1710.06081)
    and Π the projection onto the ball ‖r‖ ≤ epsilon::

        g ← mean over the batch of window · ∇L(clamp(image + window · r)),    v ← momentum · v + g / ‖g‖₁
        r ← Π(r + step · sign v)       norm "linf"
        r ← Π(r + step · v / ‖v‖₂)     norm "l2"

    from r = 0 to the last iterate. The gradient is that at the image within its bounds, as PGD takes it; through the
    clamp a pixel that is cut off there would have none. L is as in :class:`~monai_shield.attacks.pgd.PGD`. Shafahi et
    al. cut L so that no image outweighs the others; the loss "jensen_shannon" is bounded by itself.

    Images of another size than those it was learned on are refused. An image with nothing to attack stays as it is.
    Other settings are those of :class:`~monai_shield.attacks.base.Attack`.

    Args:
        epsilon: budget, as a fraction of the window.
        perturbation: r (C,spatial), in units of the window, or the file that :meth:`save` or a checkpoint of
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
        history: mean share of the attacked pixels that held out, of each epoch of :meth:`fit` while it went on.

    Raises:
        ValueError: when a setting is out of its range, or the perturbation is none, or lies outside the ball.
        FileNotFoundError: when its file is missing.

    Example::

        {"_target_": "monai_shield.attacks.UniversalPerturbation", "epsilon": 0.0314, "perturbation": "universal.pt"}
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="Universal perturbation",
        paper="Shafahi et al., Universal Adversarial Training",
        year=2020,
        arxiv="1811.11304",
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
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {NORMS}, got {self.norm!r}.")
        loss_called(self.loss)
        if not self.epsilon > 0 or self.epochs < 1 or (self.step_size is not None and not self.step_size > 0):
            raise ValueError(
                f"epsilon, epochs and step_size must be positive, got {self.epsilon}, {self.epochs}, {self.step_size}."
            )
        if not self.momentum >= 0:
            raise ValueError(f"momentum must not be negative, got {self.momentum}.")
        self._velocity: Tensor | None = None
        if isinstance(self.perturbation, str | PathLike):
            state = _read(self.perturbation)
            self.perturbation, self.history = state["perturbation"], list(state["history"])
        if self.perturbation is not None:
            self._check_perturbation(self.perturbation)

    def fit(
        self,
        network: nn.Module,
        batches: Iterable[Tensor | Mapping[str, Any]],
        *,
        key_image: str = "image",
        key_label: str | None = None,
        key_mask: str | None = None,
        checkpoint: str | PathLike[str] | None = None,
        progress: bool = True,
    ) -> UniversalPerturbation:
        """Learn the perturbation, from the beginning or from a checkpoint.

        The network, and the global random state, are afterward as they were.

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

        Returns:
            the attack itself.

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
        keys = (key_image, key_label, key_mask)
        number = len(batches) if isinstance(batches, Sized) else None
        with (
            crafting(network, device) as target,
            tqdm(
                total=None if number is None else number * self.epochs,
                initial=len(self.history) * (number or 0),
                desc="learning a universal perturbation",
                unit="batch",
                disable=not progress,
            ) as bar,
        ):
            for epoch in range(len(self.history), self.epochs):
                seed_torch(image_generator(self.seed, epoch, EPOCH_STREAM).initial_seed(), device)
                parts = (_parts(batch, keys, device) for batch in batches)
                perturbation, remaining = self._learn(target, parts, perturbation, rule, epoch / self.epochs, bar)
                # only now, so that whatever stops an epoch leaves the state of the last whole one
                self.perturbation, self._velocity = perturbation, rule.velocity
                self.history.append(remaining)
                bar.set_postfix(remaining=f"{remaining:.3f}")
                if checkpoint is not None:
                    self.save(checkpoint)
        return self

    def save(self, path: str | PathLike[str]) -> None:
        """Write the perturbation, and what is needed to go on with it, whole or not at all.

        Args:
            path: file, which is read with ``weights_only``.

        Raises:
            RuntimeError: when there is none yet.
        """
        save_tensors(self.state_dict(), Path(path))

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`save` writes: "perturbation" (C,spatial), "velocity", "history" and the "settings" of the fit.

        Raises:
            RuntimeError: when there is none yet.
        """
        return {
            "perturbation": self._fitted().cpu().clone(),
            "velocity": None if self._velocity is None else self._velocity.cpu().clone(),
            "history": list(self.history),
            "settings": self._settings(),
        }

    def _run(self, network: nn.Module, problem: Problem) -> Outcome:
        perturbation = self._fitted()
        _check_size(perturbation, problem)
        image = self._added(perturbation.to(problem.image), problem)
        anything = per_image(problem.attacked.flatten(1).any(1), image)
        image = torch.where(anything, image, problem.image)
        return outcome_at(network, image, problem, self.hold_out_rule(problem), self.success_criterion())

    def _adversarial_label(self, label: Tensor, logits: Tensor) -> Tensor:
        adversarial = super()._adversarial_label(label, logits)
        return adversarial.expand(len(label), *adversarial.shape[1:]) if len(adversarial) == 1 else adversarial

    def _learn(
        self,
        network: nn.Module,
        batches: Iterable[tuple[Tensor, Tensor | None, Tensor | None]],
        perturbation: Tensor | None,
        rule: Steepest,
        progress: float,
        bar: tqdm,
    ) -> tuple[Tensor, float]:
        """Go through the batches once: the perturbation, and the mean share of the attacked pixels that held out."""
        loss, shares = loss_called(self.loss), []
        for image, label, mask in batches:
            problem = self.pose(network, image, label, mask, None)
            perturbation = torch.zeros_like(problem.image[0]) if perturbation is None else perturbation.to(image.device)
            _check_size(perturbation, problem)

            adversarial = self._added(perturbation, problem).requires_grad_()
            logits = logits_of(network, adversarial)
            holding = self.hold_out_rule(problem)(logits.detach().argmax(1), problem)
            value = loss(logits, problem, holding, progress)
            (gradient,) = torch.autograd.grad(value.sum(), adversarial)
            if not bool(gradient.isfinite().all()):
                raise ValueError("the network's gradient is not finite.")
            mean = (problem.confine(gradient) * problem.window).mean(0, keepdim=True)
            perturbation = rule(perturbation.unsqueeze(0), mean, value, _of_perturbation(problem)).squeeze(0)
            shares.append(share_held(holding, problem.attacked)[problem.attacked.flatten(1).any(1)])
            bar.update()
        if perturbation is None or not any(len(share) for share in shares):
            raise ValueError("the batches have no image with anything to attack.")
        return perturbation, float(torch.cat(shares).mean())

    def _rule(self, device: torch.device) -> Steepest:
        direction = DIRECTIONS["sign" if self.norm == "linf" else "l2"]
        step = self.epsilon / 10 if self.step_size is None else self.step_size
        rule = Steepest(direction, partial(into_ball, epsilon=self.epsilon, norm=self.norm), step, self.momentum)
        if self._velocity is not None:
            rule.velocity = self._velocity.to(device)
        return rule

    def _added(self, perturbation: Tensor, problem: Problem) -> Tensor:
        """The images (B,C,spatial) with the perturbation (C,spatial), within bounds, support and ball."""
        image = problem.image + problem.confine(perturbation * problem.window)
        return into_ball(image, problem, epsilon=self.epsilon, norm=self.norm)

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
        self.history = list(state["history"])

    def _settings(self) -> dict[str, str]:
        """The settings that a fit depends on, as words."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            # the name of a function, as its repr has an address that is another in the next run
            name: getattr(value, "__qualname__", repr(value))
            for name, value in values.items()
            if name not in WITHOUT_EFFECT_ON_FIT
        }


def _of_perturbation(problem: Problem) -> Problem:
    """The problem of the perturbation itself: an image that is 0 when clean, in units of the window, without bounds."""
    first = problem.select(torch.zeros(1, dtype=torch.long, device=problem.image.device))
    one = torch.ones_like(first.window)
    clean = torch.zeros_like(first.image)
    return replace(first, image=clean, support=None, low=-math.inf * one, high=math.inf * one, window=one)


def _check_size(perturbation: Tensor, problem: Problem) -> None:
    if perturbation.shape != problem.image.shape[1:]:
        raise ValueError(
            f"the universal perturbation is for images {tuple(perturbation.shape)}, "
            f"got {tuple(problem.image.shape[1:])}."
        )


def _parts(
    batch: Tensor | Mapping[str, Any], keys: tuple[str, str | None, str | None], device: torch.device
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Image, label and mask of a batch, the image on the device."""
    if isinstance(batch, Tensor):
        batch = {keys[0]: batch}
    if not isinstance(batch, Mapping):
        raise TypeError(f"a batch must be images or a dictionary, got {type(batch).__name__}.")
    for key in keys:
        if key is not None and key not in batch:
            raise KeyError(f"no {key!r} in the batch, which has {', '.join(map(str, batch))}.")
    image, label, mask = (None if key is None else batch[key] for key in keys)
    assert image is not None  # its key is never None
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
