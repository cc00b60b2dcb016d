# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Facts of the attacks, their losses, criteria and target rules, and of what wraps a network for them."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from revision.adapting import directions, into_ball
from revision.compact import Facts
from revision.inputs import CLASSES, Blur, draw, network
from revision.naming import Names

ROOM = "monai_shield.attacks"
SHAPES = {"2d": (4, 1, 9, 8), "3d": (3, 2, 6, 5, 4)}
#: Settings to run each attack with; more than one where a branch of its own is worth it.
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("alma_prox", {"step": 0.02, "max_steps": 12}),
    ("alma_prox", {"step": 0.02, "max_steps": 12, "target": "runner_up", "stop_share": 0.3}),
    ("apgd", {"epsilon": 0.1, "max_steps": 12}),
    ("apgd", {"epsilon": 2.0, "norm": "l2", "max_steps": 12, "stop_early": True, "stop_share": 0.4}),
    ("apgd", {"epsilon": 0.1, "max_steps": 9, "radii": (2.0, 1.0), "shares": (0.5, 0.5), "loss": "jensen_shannon"}),
    ("asma", {"beta": 0.02, "tau": 0.01, "max_steps": 8, "target": "runner_up"}),
    ("bim", {"epsilon": 0.1, "max_steps": 6}),
    ("cos_pgd", {"epsilon": 0.1, "max_steps": 6}),
    ("dag", {"step": 0.02, "max_steps": 12}),
    ("dag", {"step": 0.3, "norm": "l2", "max_steps": 6, "target": "runner_up", "attack_background": True}),
    ("fgsm", {"epsilon": 0.1}),
    ("mi_fgsm", {"epsilon": 0.1, "max_steps": 6, "stop_early": True, "stop_share": 0.4}),
    ("mi_fgsm", {"epsilon": 0.1, "max_steps": 4, "momentum": 0.5}),
    ("pgd", {"epsilon": 0.1, "max_steps": 6}),
    ("pgd", {"epsilon": 2.0, "norm": "l2", "max_steps": 6, "stop_early": True}),
    ("pgd", {"epsilon": 0.1, "max_steps": 6, "target": "background", "random_start": False}),
    ("pgd", {"epsilon": 0.1, "max_steps": 4, "seed": 7, "keep": "fewest", "window": "image", "micro_batch": 2}),
    ("sea", {"epsilon": 0.1, "max_steps": 10}),
    ("sea", {"epsilon": 0.1, "max_steps": 10, "stop_early": True, "stop_share": 0.4, "target": "runner_up"}),
    ("seg_pgd", {"epsilon": 0.1, "max_steps": 6}),
    ("smia", {"epsilon": 0.1, "max_steps": 6}),
    ("square", {"epsilon": 0.1, "max_steps": 12}),
    ("square", {"epsilon": 0.2, "max_steps": 12, "p": 0.5, "stop_share": 0.4, "seed": 3}),
    ("uniform_noise", {"epsilon": 0.1}),
    ("uniform_noise", {"epsilon": 2.0, "norm": "l2", "seed": 5}),
    ("vafa", {"q_max": 0.3, "step_size": 0.02, "max_steps": 6}),
    ("vafa", {"q_max": 0.5, "q_min": 0.1, "step_size": 0.1, "max_steps": 6, "stop_early": True, "stop_share": 0.4}),
]


def attack_facts(names: Names, facts: Facts, folder: Path) -> None:
    """Add them all."""
    attacks = names.find(f"{ROOM}.ATTACKS")
    facts.add("attack/registry", ",".join(sorted(names.key_before(name) for name in attacks)))
    for name, kind in sorted(attacks.items()):
        info = names.of(kind, "info")
        for field in ("name", "year", "arxiv"):
            facts.add(f"attack/info/{names.key_before(name)}/{field}", names.of(info, field))
    for number, (name, settings) in enumerate(SETTINGS):
        for dims, shape in SHAPES.items():
            facts.step(_settled, names, facts, f"attack/{name}/{number}/{dims}", name, settings, shape)
    for step in (_posed, _dag, _losses, _criteria, _transferred, _wrappers):
        facts.step(step, names, facts)
    facts.step(_universal, names, facts, folder)


def _settled(names: Names, facts: Facts, called: str, name: str, settings: dict[str, Any], shape: Any) -> None:
    _run(names, facts, called, _make(names, name, settings), _target(shape), _images(shape))


def _make(names: Names, name: str, settings: dict[str, Any]) -> Any:
    kind = names.find(f"{ROOM}.ATTACKS")[names.word(name)]
    return kind(**names.settings(f"{ROOM}.{name}", settings))


def _images(shape: tuple[int, ...]) -> torch.Tensor:
    """Of different brightness, in no range that anybody could take for granted, one of them constant."""
    image = draw(*shape) * torch.linspace(0.4, 2, shape[0]).double().reshape(-1, *[1] * (len(shape) - 1))
    image[1] = image[1] / 2 + 0.25
    return image


def _target(shape: tuple[int, ...]) -> nn.Module:
    return network(len(shape) - 2, shape[1])


def _run(
    names: Names, facts: Facts, name: str, attack: Any, target: nn.Module, image: torch.Tensor, *more: Any
) -> None:
    _result(names, facts, name, attack(target, image, *more))


def _result(names: Names, facts: Facts, name: str, result: Any) -> None:
    """Three facts: the image, what is counted, what is measured."""
    facts.add(f"{name}/image", names.of(result, "image"))
    counted = [names.of(result, field).long() for field in ("steps", "success", "attacked")]
    facts.add(f"{name}/counted", torch.stack(counted))
    measured = [names.of(result, field).double() for field in ("norm_linf", "norm_l2", "remaining", "window")]
    facts.add(f"{name}/measured", torch.stack(measured))


def _posed(names: Names, facts: Facts) -> None:
    """What is attacked: labels, void pixels, masks, bounds, windows, random starts by index."""
    shape = SHAPES["2d"]
    target, image = _target(shape), _images(shape)
    label = (draw(4, 1, 9, 8, seed=2) * CLASSES).long()
    mask = draw(4, 1, 9, 8, seed=3) < 0.5
    settings = {
        "void": {"ignore_index": 2},
        "foreground": {"attack_background": False},
        "confined": {"confine_to_mask": True},
        "bounded": {"bounds": (0.0, 2.5), "window": "image"},
        "tensor": {"target": (label + 1) % CLASSES},
    }
    for name, extra in settings.items():
        for kind in ("pgd", "square", "uniform_noise"):
            if kind == "pgd" or name != "tensor":
                attack = _make(
                    names, kind, {"epsilon": 0.1} | ({} if kind == "uniform_noise" else {"max_steps": 5}) | extra
                )
                _run(names, facts, f"attack/posed/{name}/{kind}", attack, target, image, label, mask)
    attack = _make(names, "pgd", {"epsilon": 0.1, "max_steps": 3})
    facts.add("attack/posed/index", attack(target, image, index=[7, 3, 11, 0]).image)
    draws = [
        torch.rand(3, generator=names.call(f"{ROOM}.problem.image_generator", seed, index, stream))
        for seed, index, stream in ((0, 0, 0), (0, 5, 1), (9, 2, 2), (3, 1, 3))
    ]
    facts.add("attack/generator", torch.stack(draws))
    facts.add("attack/window_width", names.call(f"{ROOM}.base.window_width", image))


def _dag(names: Names, facts: Facts) -> None:
    """Both settings with every target rule, and the rules alone."""
    rules: dict[str, Any] = {
        "background": names.call(f"{ROOM}.Background"),
        "exchange": names.call(f"{ROOM}.Exchange"),
        "exchange_1_3": names.call(f"{ROOM}.Exchange", classes=(1, 3)),
        "dilate": names.call(f"{ROOM}.Dilate", iterations=2),
        "dilate_2": names.call(f"{ROOM}.Dilate", structure=2, iterations=1),
        "runner_up": names.call(f"{ROOM}.RunnerUp"),
    }
    facts.add("attack/targets", ",".join(sorted(names.key_before(name) for name in names.find(f"{ROOM}.TARGETS"))))
    dag = names.find(f"{ROOM}.DAG")
    for dims, shape in SHAPES.items():
        target, image = _target(shape), _images(shape)
        logits = target(image).detach()
        label = (draw(shape[0], 1, *shape[2:], seed=2) * CLASSES).long()
        for name, rule in rules.items():
            facts.add(f"attack/rule/{name}/{dims}", rule(label[:, 0], logits))
            for setting in ("xie", "park"):
                attack = names.method(dag, setting, rule, step=0.05, max_steps=5)
                _run(names, facts, f"attack/dag_{setting}/{name}/{dims}", attack, target, image, label)
    for setting in ("xie", "park"):
        made = names.method(dag, setting)
        facts.add(f"attack/dag_{setting}/settings", repr((names.of(made, "step"), names.of(made, "norm"))))
        facts.add(f"attack/dag_{setting}/max_steps", names.of(made, "max_steps"))
        facts.add(f"attack/dag_{setting}/attack_background", names.of(made, "attack_background"))


def _problem(names: Names, shape: tuple[int, ...], **settings: Any) -> tuple[Any, torch.Tensor]:
    """What an attack is asked, and the logits of the network."""
    target, image = _target(shape), _images(shape)
    label = (draw(shape[0], 1, *shape[2:], seed=2) * CLASSES).long()
    mask = draw(shape[0], 1, *shape[2:], seed=3) < 0.7
    attack = _make(names, "pgd", {"epsilon": 0.1} | settings)
    problem = names.method(attack, "pose", target, image, label, mask, None)
    return problem, target(image).detach()


def _losses(names: Names, facts: Facts) -> None:
    """Value and gradient of every loss, also of those that an attack brings along."""
    losses = {names.key_before(name): loss for name, loss in names.find(f"{ROOM}.losses.LOSSES").items()}
    facts.put("attack/losses", ["{}", dict.fromkeys(sorted(losses), "there")])
    losses["dag"] = names.find(f"{ROOM}.dag.logit_gap")
    losses["vafa"] = names.find(f"{ROOM}.vafa.dice_cross_entropy")
    for name in ("held_target_logit", "target_iou"):
        losses[name] = names.find(f"{ROOM}.asma.{name}")
    for dims, shape in SHAPES.items():
        for target in (None, "runner_up"):
            problem, logits = _problem(names, shape, target=target)
            held = draw(shape[0], *shape[2:], seed=4) < 0.6
            for name, loss in losses.items():
                if target is None and name in ("held_target_logit", "target_iou", "dag"):
                    continue
                variable = logits.clone().requires_grad_()
                value = loss(variable, problem, held & problem.attacked, 0.3)
                gradient = torch.autograd.grad(value.sum(), variable)[0] if value.requires_grad else 0 * logits
                both = torch.cat([value.detach().double(), gradient.flatten()])
                facts.add(f"attack/loss/{name}/{dims}/{target or 'label'}", both)
    problem, logits = _problem(names, SHAPES["2d"])
    facts.add("attack/margin", names.find(f"{ROOM}.square.margin")(logits, problem, problem.attacked))
    problem, logits = _problem(names, SHAPES["2d"], target="runner_up")
    facts.add("attack/constraints", names.find(f"{ROOM}.alma_prox.constraints")(logits, problem))
    facts.add("attack/checkpoints", names.call(f"{ROOM}.apgd.checkpoints", 100))
    sides = [names.call(f"{ROOM}.square.square_side", 0.3, (40, 30), each / 9) for each in range(10)]
    facts.add("attack/square_side", sides)
    for name, function in directions(names).items():
        facts.add(f"attack/direction/{name}", function(logits - 0.1))
    for norm in names.find(f"{ROOM}.loop.NORMS"):
        facts.add(f"attack/ball/{norm}", into_ball(names, problem.image + logits[:, :1], problem, 0.3, norm))
    coefficients = names.call(f"{ROOM}.vafa.block_dct", draw(2, 1, 8, 12), 4)
    facts.add("attack/dct", coefficients)
    facts.add("attack/idct", names.call(f"{ROOM}.vafa.block_idct", coefficients, 4))


def _criteria(names: Names, facts: Facts) -> None:
    shape = SHAPES["2d"]
    for target in (None, "runner_up"):
        problem, logits = _problem(names, shape, target=target)
        prediction = logits.argmax(1)
        criteria = {"share": names.call(f"{ROOM}.RemainingShare", at_most=0.5)}
        for most in (0.1, 0.2, 0.25, 0.3, 0.4):
            criteria[f"dice_{most}"] = names.call(f"{ROOM}.StructureDice", at_most=most)
            criteria[f"dice_2_{most}"] = names.call(f"{ROOM}.StructureDice", at_most=most, structure=2)
            if target:
                criteria[f"target_{most}"] = names.call(f"{ROOM}.TargetDice", at_least=most)
        criteria["all"] = names.call(f"{ROOM}.AllOf", [criteria["dice_0.3"], criteria["dice_2_0.2"]])
        criteria["any"] = names.call(f"{ROOM}.AnyOf", [criteria["dice_0.3"], criteria["dice_2_0.2"]])
        holding = draw(shape[0], *shape[2:], seed=4) < 0.5
        found = [criterion(prediction, holding & problem.attacked, problem) for criterion in criteria.values()]
        facts.add(f"attack/criteria/{target or 'label'}", torch.stack(found))
    criterion = names.call(f"{ROOM}.StructureDice", at_most=0.5)
    attack = _make(names, "pgd", {"epsilon": 0.5, "max_steps": 10, "stop_early": True, "criterion": criterion})
    _run(names, facts, "attack/criterion", attack, _target(shape), _images(shape))


def _transferred(names: Names, facts: Facts) -> None:
    for dims, shape in SHAPES.items():
        substitutes = [network(len(shape) - 2, shape[1], seed=seed) for seed in (5, 6)]
        for settings in ({}, {"target": "runner_up", "stop_early": True, "stop_share": 0.3}):
            inner = _make(names, "pgd", {"epsilon": 0.3, "max_steps": 5} | settings)
            attack = names.call(f"{ROOM}.Transfer", attack=inner, substitutes=substitutes)
            name = f"attack/transfer/{dims}/{settings.get('target', 'label')}"
            _run(names, facts, name, attack, _target(shape), _images(shape))


def _universal(names: Names, facts: Facts, folder: Path) -> None:
    for dims, shape in SHAPES.items():
        for norm, epsilon in (("linf", 0.2), ("l2", 1.0)):
            settings = {"epsilon": epsilon, "norm": norm, "epochs": 3}
            attack = names.call(f"{ROOM}.UniversalPerturbation", **settings)
            target = _target(shape)
            batches = [{"image": _images(shape)}, {"image": _images(shape) * 0.7}]
            names.method(attack, "fit", target, batches, key_image="image", progress=False)
            name = f"attack/universal/{dims}/{norm}"
            facts.add(f"{name}/perturbation", names.of(attack, "perturbation"))
            facts.add(f"{name}/history", names.of(attack, "history"))
            _run(names, facts, name, attack, target, _images(shape))
            path = folder / f"universal_{dims}_{norm}.pt"
            names.method(attack, "save", path)
            again = names.call(f"{ROOM}.UniversalPerturbation", epsilon=epsilon, norm=norm, perturbation=str(path))
            facts.add(f"{name}/read", again(target, _images(shape)).image)


def _wrappers(names: Names, facts: Facts) -> None:
    """Logits and gradient of a network behind each wrapper."""
    for dims, shape in SHAPES.items():
        target, size = _target(shape), len(shape) - 2
        blurred = nn.Sequential(names.call(f"{ROOM}.BPDA", Blur(), None), target)
        rounded = nn.Sequential(names.call(f"{ROOM}.BPDA", torch.round, torch.sin), target)
        noisy = nn.Sequential(nn.Dropout(0.2), target).train()
        window = names.find(f"{ROOM}.SlidingWindowNetwork")
        wrapped = {
            "bpda": blurred,
            "bpda_surrogate": rounded,
            "eot": names.call(f"{ROOM}.ExpectationNetwork", noisy, draws=3, seed=2),
            "frozen": names.call(f"{ROOM}.FrozenNetwork", target),
            "sliding": window(target, roi_size=(4,) * size),
            "sliding_gaussian": window(target, roi_size=(4,) * size, overlap=0.5, mode="gaussian", sw_batch_size=2),
            "select": names.call(f"{ROOM}.SelectOutput", _Several(target), output=1),
            "multi": names.call(f"{ROOM}.MultiLabel", network(size, shape[1], 2)),
        }
        for name, module in wrapped.items():
            image = _images(shape).requires_grad_()
            logits = module(image)
            (gradient,) = torch.autograd.grad((logits * draw(*logits.shape, seed=9)).sum(), image)
            facts.add(f"attack/wrapper/{name}/{dims}", torch.cat([logits.detach().flatten(), gradient.flatten()]))
    multi = names.find(f"{ROOM}.MultiLabel")
    label = draw(2, 3, 4, 5, seed=1) < 0.5
    encoded = names.method(multi, "encode", label)
    facts.add("attack/multi_label/encoded", encoded)
    facts.add("attack/multi_label/decoded", names.method(multi, "decode", encoded, 3))


class _Several(nn.Module):
    """A network with two outputs."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.inner(image)
        return logits, 2 * logits + 1
