# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""An attack as an Ignite handler."""

from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from monai.engines.workflow import Workflow
from torch import nn

from monai_shield.attacks.base import Attack
from monai_shield.attacks.inputs import entry_of, plain, with_meta_of
from monai_shield.attacks.problem import image_generator

CHOICE_STREAM = 1  # set apart from the random starts of the attacks, which may have the same seed


class AttackHandler:
    """Replaces the images of each batch by adversarial ones before the engine sees them.

    Attached to a ``SupervisedEvaluator`` it judges a network under attack, to a ``SupervisedTrainer`` it makes
    adversarial training. The network is crafted against in evaluation mode; its modes, parameters and gradients, and
    the global random state, stay as they were. The loader's own batch is not altered.

    Args:
        attack: the attack.
        network: network to attack, on the engine's device.
        key_image: key of the image (B,C,spatial) in the batch.
        key_label: key of the label (B,1,spatial) the attack leads away from; None for the network's own prediction.
        key_mask: key of the mask (B,1,spatial) of pixels that may be attacked; None for all.
        output_key: key, in the batch and in the output of a MONAI engine, of a float (B,1) that is 1 where the image
            was attacked and 0 where not; fit for ``ROCAUC``. None to leave it out.
        probability: each image is attacked with this probability.
        seed: whether an image is attacked comes from (seed, its index). The index, which also seeds the random start
            of an attack, counts the images since the engine started to run, of all processes together: image i of the
            process r of n is i · n + r, its place in the data set as a ``DistributedSampler`` deals it out.

    Raises:
        ValueError: when ``probability`` is not in [0, 1].

    Example::

        {"_target_": "monai_shield.handlers.AttackHandler",
         "attack": {"_target_": "monai_shield.attacks.PGD", "epsilon": 0.0157},
         "network": "@network"}
    """

    def __init__(
        self,
        attack: Attack,
        network: nn.Module,
        key_image: str = "image",
        key_label: str | None = None,
        key_mask: str | None = None,
        output_key: str | None = "is_adversarial",
        probability: float = 1.0,
        seed: int = 0,
    ) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be in [0, 1], got {probability}.")
        self.attack = attack
        self.network = network
        self.key_image = key_image
        self.key_label = key_label
        self.key_mask = key_mask
        self.output_key = output_key
        self.probability = probability
        self.seed = seed
        self._seen = 0

    def attach(self, engine: Engine) -> None:
        """Attach to ``engine``: attack at the start of each iteration, and tell its output which were attacked."""
        engine.add_event_handler(Events.STARTED, self._restart)
        engine.add_event_handler(Events.ITERATION_STARTED, self)
        if isinstance(engine, Workflow) and self.output_key is not None:
            engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._flag_output)

    def __call__(self, engine: Engine) -> None:
        """Replace the image in ``engine.state.batch``.

        Raises:
            TypeError: when the batch is not a dictionary.
            KeyError: when it lacks a key.
        """
        batch = engine.state.batch
        if not isinstance(batch, Mapping):
            raise TypeError(f"AttackHandler needs batches that are dictionaries, got {type(batch).__name__}.")
        device = self._device(engine)
        image, label, mask = (
            None if key is None else plain(entry_of(batch, key)).to(device)
            for key in (self.key_image, self.key_label, self.key_mask)
        )

        processes = idist.get_world_size()
        first = self._seen * processes + idist.get_rank()
        index = range(first, first + len(image) * processes, processes)
        self._seen += len(image)
        rows = [row for row, place in enumerate(index) if self._chosen(place)]
        if rows:
            where = (None if each is None else each[rows] for each in (label, mask))
            image[rows] = self.attack(self.network, image[rows], *where, index=[index[row] for row in rows]).image

        attacked = {self.key_image: with_meta_of(image, batch[self.key_image])}
        if self.output_key is not None:
            flags = torch.zeros(len(image), 1, device=device)
            flags[rows] = 1
            attacked[self.output_key] = flags
        engine.state.batch = {**batch, **attacked}

    def _restart(self, engine: Engine) -> None:
        self._seen = 0

    def _flag_output(self, engine: Engine) -> None:
        output: Any = engine.state.output
        batch: Any = engine.state.batch
        output[self.output_key] = batch[self.output_key]

    def _chosen(self, index: int) -> bool:
        draw = torch.rand((), generator=image_generator(self.seed, index, CHOICE_STREAM))
        return float(draw) < self.probability

    def _device(self, engine: Engine) -> torch.device | None:
        """The engine's device; on a bare Ignite engine the network's; None leaves the batch where it is."""
        device = getattr(engine.state, "device", None)
        if device is None:
            device = next((parameter.device for parameter in self.network.parameters()), None)
        return device
