# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Facts of reformers, losses, networks, the shield inferer, attacks that know the shield, metrics."""

from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor, decollate_batch
from monai.inferers import SlidingWindowInferer
from torch import nn

from revision.adapting import decision_entries, shield_score
from revision.compact import Facts
from revision.detecting import NUMBER, ROOM, SIZES, error_of, fitted, made_detectors
from revision.inputs import CLASSES, Blur, Bright, brains, draw, network
from revision.naming import Names


def defense_facts(names: Names, facts: Facts) -> None:
    """Add them all."""
    for step in (_networks, _shield, _adaptive, _metrics):
        facts.step(step, names, facts)
    for dims, size in SIZES.items():
        for each in (_reformers, _losses):
            facts.step(each, names, facts, dims, size)


def _reformers(names: Names, facts: Facts, dims: str, size: tuple[int, ...]) -> None:
    image = brains(NUMBER, *size)
    for bits in (1, 3, 8):
        facts.add(f"reformer/bit_depth/{bits}/{dims}", names.call("monai_shield.reformers.BitDepth", bits=bits)(image))
    batch = names.call("monai_shield.reformers.ReformerBatch", noise_std=0.1, seed=3)
    names.method(batch, "set_random_state", 5)
    facts.add(f"reformer/batch/{dims}", list(batch({"image": image.float()})))
    if dims == "2d":
        generator = _Generator()
        defense = names.call(
            "monai_shield.reformers.DefenseGAN",
            generator,
            3,
            steps=20,
            restarts=2,
            learning_rate=1.0,
            size=(8, 8),
            seed=4,
        ).double()
        small, error = names.method(defense, "reconstruct", image)
        facts.add("reformer/gan/small", small)
        facts.add("reformer/gan/error", error)
        facts.add("reformer/gan/image", defense(image))
        facts.add("reformer/gan/starts", names.of(defense, "starts"))
        facts.add("reformer/resample/up", names.call("monai_shield.reformers.resample", image, (21, 19)))
        facts.add("reformer/resample/down", names.call("monai_shield.reformers.resample", image, (7, 9)))


class _Generator(nn.Module):
    """Images of 8 x 8 that depend on three numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(draw(64, 3, seed=2) - 0.5)

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        return torch.sin(latent @ self.matrix.T).view(-1, 1, 8, 8)


def _losses(names: Names, facts: Facts, dims: str, size: tuple[int, ...]) -> None:
    room = "monai_shield.losses"
    label = (draw(3, 1, *size, seed=4) * CLASSES).long()
    facts.add(f"loss/boundary/{dims}", names.call(f"{room}.label_boundary", label))
    weights = names.call(f"{room}.median_frequency_weights", list(label), CLASSES + 1, power=0.5)
    facts.add(f"loss/weights/{dims}", weights)
    soft = (draw(3, CLASSES, *size, seed=6) * 4).softmax(1)
    for name, settings in {
        "plain": {},
        "weighted": {"class_weights": weights[:CLASSES], "boundary_weight": 2.0, "dice_weight": 0.5},
    }.items():
        loss = names.call(f"{room}.WeightedLogisticDiceLoss", **settings)
        for kind, target in {"hard": label, "soft": soft}.items():
            logits = (draw(3, CLASSES, *size, seed=5) * 4 - 2).requires_grad_()
            value = loss(logits, target)
            (gradient,) = torch.autograd.grad(value, logits)
            facts.add(f"loss/{name}/{kind}/{dims}", torch.cat([value.detach().reshape(1), gradient.flatten()]))


def _networks(names: Names, facts: Facts) -> None:
    """Outputs with weights of one seed: neither the layers nor the order in which they are drawn may change."""
    room = "monai_shield.networks"
    for dims in (2, 3):
        made = {
            "segnet": (f"{room}.SegNet", (dims, 1, 3), {"features": (4, 6), "convs_per_stage": (2, 1)}),
            "densenet": (
                f"{room}.FCDenseNet",
                (dims, 1, 3),
                {
                    "down_layers": (2, 2),
                    "bottleneck_layers": 2,
                    "up_layers": (2, 2),
                    "growth_rate": 3,
                    "init_features": 4,
                },
            ),
            "magnet_1": (f"{room}.MagNetAutoencoderI", (dims, 1), {}),
            "magnet_2": (f"{room}.MagNetAutoencoderII", (dims, 1), {}),
        }
        image = draw(2, 1, *(16, 16, 8)[:dims], seed=2)
        for name, (dotted, args, settings) in made.items():
            torch.manual_seed(11)
            module = names.call(dotted, *args, **settings)
            _network(names, facts, f"network/{name}/{dims}d", module, image)
    torch.manual_seed(11)
    _network(names, facts, "network/generator", names.call(f"{room}.dcgan_generator", 4, (6, 4)), draw(2, 4, seed=2))
    torch.manual_seed(11)
    _network(names, facts, "network/critic", names.call(f"{room}.dcgan_critic", (4, 6), size=16), draw(2, 1, 16, 16))
    image = draw(2, 1, 12, 10)
    torch.manual_seed(11)
    inner = nn.Conv2d(1, 1, 3, padding=1)
    low = names.call(f"{room}.LowPass", radius=0.2)
    wrapped = {
        "low_pass": low,
        "filtered": names.call(f"{room}.FilteredNetwork", low, inner),
        "filtered_residual": names.call(f"{room}.FilteredNetwork", low, inner, residual=True),
        "rolled": names.call(f"{room}.RolledNetwork", inner, shifts=(3, 2)),
        "shuffled": names.call(f"{room}.ShuffledNetwork", inner, seed=3),
        "circular": names.call(f"{room}.circular_padding", nn.Sequential(nn.Conv2d(1, 2, 3, padding=1))),
    }
    for name, module in wrapped.items():
        facts.add(f"network/{name}", module.double()(image).detach())
    facts.add("network/low_pass/3d", low(draw(2, 1, 8, 9, 7)))
    logits = draw(2, 3, 4, 5) * 4 - 2
    facts.add("network/class_logits", names.call(f"{room}.class_logits", logits, "sigmoid"))
    facts.add("network/class_logits_one", names.call(f"{room}.class_logits", logits[:, :1]))
    facts.add("network/binary_logits", names.call(f"{room}.binary_logits", logits))
    torch.manual_seed(11)
    full = names.call(f"{room}.FCDenseNet103", 2, 1, 3)
    facts.add("network/densenet103/parameters", sum(each.numel() for each in full.parameters()))
    torch.manual_seed(11)
    full = names.call(f"{room}.SegNet", 2, 1, 28)
    facts.add("network/segnet/parameters", sum(each.numel() for each in full.parameters()))


def _network(names: Names, facts: Facts, name: str, module: nn.Module, image: torch.Tensor) -> None:
    module = module.double()
    shapes = {names.key_before(key): tuple(value.shape) for key, value in module.state_dict().items()}
    facts.lines(f"{name}/weights", {key: str(shape) for key, shape in shapes.items()})
    torch.manual_seed(12)
    facts.add(f"{name}/training", module.train()(image).detach())
    facts.add(f"{name}/evaluation", module.eval()(image).detach())


def _shield(names: Names, facts: Facts) -> None:
    """Logits and decisions of images, of volumes in slices, and of windows."""
    size = SIZES["2d"]
    train = brains(40, *size, seed=7).float()
    detector = names.call(f"{ROOM}.HighFrequencyEnergy", radius=0.3)
    with torch.no_grad():
        clean = detector(names.call(f"{ROOM}.Views", train, Bright(), Blur()))
    detector.calibration = names.method(
        names.find(f"{ROOM}.Calibration"), "fit", clean, 0.1, "conformal", [k // 4 for k in range(40)]
    )
    noisy = brains(8, *size).float() + 0.05 * draw(8, 1, *size, seed=8).float()
    noisy[3] = noisy[3] * (noisy[3] > 0.99)
    made = names.find("monai_shield.inferers.ShieldInferer")
    shield = made(detector, Blur(), **names.settings("monai_shield.inferers.ShieldInferer", {"batch_size": 3}))
    _answer(names, facts, "shield/images", shield(noisy, Bright()))
    volume = torch.stack([each.movedim(0, 2) for each in (noisy, train[:8])])
    affine = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    settings = {"slice_axis": 1, "batch_size": 4, "min_body": 0.1}
    shield = made(detector, Blur(), **names.settings("monai_shield.inferers.ShieldInferer", settings))
    _answer(names, facts, "shield/volumes", shield(MetaTensor(volume, affine=affine), Bright()))
    shield = made(detector, None, **names.settings("monai_shield.inferers.ShieldInferer", {"on_reject": "raise"}))
    facts.add("shield/raised", error_of(lambda: shield(noisy, Bright())))
    windows = SlidingWindowInferer((8, 8))
    shield = made(detector, Blur())
    _answer(names, facts, "shield/windows", shield(noisy, lambda image: windows(image, Bright())))
    facts.add("shield/lost", error_of(lambda: windows(noisy, lambda image: shield(image, Bright()))))
    for name, bad in {"nan": noisy * torch.nan, "empty": noisy * 0, "dims": noisy[0]}.items():
        facts.add(f"shield/refused/{name}", error_of(lambda bad=bad: shield(bad, Bright())))
    record = names.call(f"{ROOM}.shield_record", detector, Blur(), None, Bright(), t_fp=0.1)
    facts.add("shield/weights_sum", names.call(f"{ROOM}.weights_sum", Bright()))
    facts.add("shield/record", ",".join(sorted(record)))


def _answer(names: Names, facts: Facts, name: str, logits: Any) -> None:
    facts.add(f"{name}/logits", logits.as_tensor())
    decisions = []
    for decision in logits.meta["shield"]:
        found = names.before(decision_entries(decision))
        found["reason"], found["findings"] = bool(found["reason"]), len(found["findings"])
        decisions.append(found)
    facts.table(f"{name}/decisions", decisions)
    label = logits.as_tensor()[0].argmax(0, keepdim=True)
    decision = names.call("monai_shield.transforms.shield_decision", decollate_batch(logits)[0])
    facts.add(f"{name}/emptied", names.call("monai_shield.transforms.empty_rejected", label, decision))
    facts.add(f"{name}/decision", ",".join(sorted(names.key_before(key) for key in decision_entries(decision))))


def _adaptive(names: Names, facts: Facts) -> None:
    for dims, size in SIZES.items():
        target, image = network(len(size)), brains(4, *size)
        for name in ("norm", "consistency", "energy", "space"):
            detector = fitted(names, dict(made_detectors(names, size))[name], brains(40, *size, seed=7))
            with torch.no_grad():
                clean = detector(names.call(f"{ROOM}.Views", brains(40, *size, seed=7), target, Blur()))
            detector.calibration = names.method(names.find(f"{ROOM}.Calibration"), "fit", clean, 0.1)
            settings = {"detector": detector, "reformer": Blur(), "epsilon": 0.1, "max_steps": 5, "margin": 0.01}
            attack = names.call("monai_shield.adaptive.AdaptivePGD", **settings)
            result = attack(target, image)
            facts.add(f"adaptive/{name}/{dims}/image", names.of(result, "image"))
            facts.add(f"adaptive/{name}/{dims}/steps", names.of(result, "steps"))
            facts.add(f"adaptive/{name}/{dims}/remaining", names.of(result, "remaining"))
            shielded = names.call("monai_shield.adaptive.ShieldedNetwork", target, detector, Blur())
            facts.add(f"adaptive/{name}/{dims}/logits", shielded(image).detach())
            facts.add(f"adaptive/{name}/{dims}/score", shield_score(names, shielded).detach())


def _metrics(names: Names, facts: Facts) -> None:
    room = "monai_shield.metrics"
    random = np.random.default_rng(5)
    clean, attacked = random.normal(0, 1, 30).round(1), random.normal(1, 1, 40).round(1)
    attacked[3], attacked[7] = np.nan, np.inf
    facts.add("metric/auc", names.call(f"{room}.detection_auc", clean, attacked))
    facts.add("metric/roc", names.call(f"{room}.detection_roc", clean, attacked, np.linspace(0, 1, 11)))
    facts.add("metric/pair_order", names.call(f"{room}.pair_order", clean, attacked))
    facts.add("metric/outranks", names.call(f"{room}.outranks", clean, attacked[:30]))
    for dims, size in SIZES.items():
        one, other = ((draw(3, 1, *size, seed=seed) * CLASSES).long() for seed in (1, 2))
        one[0][one[0] == 2], other[0][other[0] == 2], other[1][other[1] == 3] = 0, 0, 0
        counts = names.call(f"{room}.overlap_counts", one, other, CLASSES + 1)
        facts.add(f"metric/counts/{dims}", counts)
        facts.add(f"metric/dice/{dims}", names.call(f"{room}.dice_of_counts", counts))
    dice, defended, rejected = random.random(50), random.random(50), random.random(50) < 0.3
    facts.add("metric/harm", names.call(f"{room}.residual_harm", dice, defended, rejected))
    subjects = [f"p{number}" for number in random.integers(0, 9, 50)]
    for seed, level in ((0, 0.95), (3, 0.8)):
        ends = names.call(
            f"{room}.person_bootstrap",
            lambda rows: float(dice[rows].mean()),
            subjects,
            resamples=200,
            level=level,
            seed=seed,
        )
        facts.add(f"metric/bootstrap/{seed}", list(ends))
    scans = ["a", "b", "c", "a", "d", "e", "c"]
    draws = names.call(f"{room}.PersonResamples", scans, resamples=100, seed=2)
    facts.add("metric/resamples/weights", names.of(draws, "weights"))
    values = np.array([0.1, 0.5, np.nan, 0.3, 0.9, 0.7, 0.2])
    mean = names.method(draws, "mean", values)
    facts.add("metric/resamples/mean", mean)
    facts.add("metric/resamples/interval", names.before(names.method(draws, "interval", mean)))
    places = random.integers(0, 7, 30), random.integers(0, 7, 40)
    facts.add("metric/resamples/auc", names.method(draws, "auc", clean, attacked, *places))
