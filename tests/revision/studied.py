# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Facts of a study that trains, attacks and measures: on the same machine only."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from revision.adapting import call, of_study
from revision.compact import Facts
from revision.inputs import TinyTarget
from revision.naming import Names
from revision.studying import ROOM, made_study, summarized


def trained_study(names: Names, facts: Facts, subjects: dict[str, Any], folder: Path) -> None:
    """A study that trains, attacks, exports, scores and measures; with robust targets and a baseline defense."""
    training = names.call(f"{ROOM}.Training", 1, batch_size=4)
    networks = "monai_shield.networks"
    gan = names.call(
        f"{ROOM}.DefenseGANPart",
        partial(names.find(f"{networks}.dcgan_generator"), 4, (4, 4)),
        partial(names.find(f"{networks}.dcgan_critic"), (4, 4), size=16),
        latent=4,
        steps=2,
        size=16,
        every=2,
        training={"checkpoint_interval": 1, "critic_steps": 1, "batch_size": 4},
        search={"steps": 3, "restarts": 1},
    )
    attack = names.call("monai_shield.attacks.PGD", epsilon=0.05, max_steps=1)
    network = partial(TinyTarget, 3)
    robust = {
        "tiny, adversarial": names.call(f"{ROOM}.AdversarialTarget", network, training, after="tiny", attack=attack),
        "tiny, distilled": names.call(f"{ROOM}.DistilledTarget", network, training, after="tiny"),
    }
    tiny = names.call(f"{ROOM}.TargetPart", network, training)
    study = made_study(names, subjects, folder / "study", targets={"tiny": tiny}, hardened=robust, rivals={"gan": gan})
    names.method(study, "run")
    for name in ("tiny", *robust):
        state = of_study(names, study, "trained_target")(name).state_dict()
        facts.add(f"study/run/target/{name}", dict(state))
    for name in ("spatial", "shifted"):
        state = of_study(names, study, "detector")(name).state_dict()
        facts.add(f"study/run/detector/{name}", {key: value for key, value in state.items() if not key.startswith("_")})
    summarized(names, facts, "study/run", study)


def generator(names: Names, facts: Facts, folder: Path) -> None:
    """A few steps of the Wasserstein GAN."""
    networks = "monai_shield.networks"
    images = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(4)
    made = names.call(f"{networks}.dcgan_generator", 4, (4, 4))
    critic = names.call(f"{networks}.dcgan_critic", (4, 4), size=16)
    mix = torch.rand(6, generator=torch.Generator().manual_seed(5))
    facts.add(
        "study/gan/penalty", names.call(f"{ROOM}.wgan.gradient_penalty", critic, images, images.flip(0), mix).detach()
    )
    settings = {"latent": 4, "steps": 2, "critic_steps": 2, "batch_size": 4, "checkpoint_interval": 1, "seed": 6}
    trained = call(names, f"{ROOM}.wgan.train_wgan", made, critic, images, checkpoint=folder / "gan.pt", **settings)
    facts.add("study/gan/image", trained(torch.ones(1, 4)).detach())
