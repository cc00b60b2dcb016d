# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What has another shape than in the revision before, not only another name: the same quantity on both sides."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from operator import attrgetter
from typing import Any

import torch

from revision.naming import Names

Views = list[Any]


def call(names: Names, dotted: str, *args: Any, **settings: Any) -> Any:
    """Call what the old dotted name stands for, with old arguments."""
    adapt = None if names.is_before else SHAPES.get(dotted)
    return names.call(dotted, *args, **settings) if adapt is None else adapt(names, dotted, *args, **settings)


def _with_foreground(old: str) -> Callable[..., Any]:
    """A threshold is a rule of what is foreground."""

    def adapted(names: Names, dotted: str, *args: Any, **settings: Any) -> Any:
        if old in settings:
            from monai_shield.transforms import Foreground

            settings["foreground"] = Foreground(above=settings.pop(old))
        return names.find(dotted)(*args, **settings)

    return adapted


def _foreground_share(names: Names, dotted: str, image: torch.Tensor) -> torch.Tensor:
    from monai_shield.transforms import Foreground

    return Foreground(above=0.0).share(image.float())


def _make_attack(names: Names, dotted: str, name: str, settings: Mapping[str, Any]) -> Any:
    """What the command line gives is checked before the attacks are imported."""
    from monai_shield.command_line import check_settings

    return names.find("monai_shield.attacks.ATTACKS")[name](**check_settings(name, settings))


def _bundle_attack(names: Names, dotted: str, *args: Any, slices: int | None = None, **settings: Any) -> Any:
    from monai_shield.command_line import AttackScope

    return names.find(dotted)(*args, scope=AttackScope(slices=slices), **settings)


def _defense_study(
    names: Names, dotted: str, *, data: Any, output_dir: Any, comparisons: Sequence[Any] = (), **settings: Any
) -> Any:
    """The parts of a study are a grid, its numbers are settings."""
    from reproduction import Grid, StudySettings

    numbers = {key: settings.pop(key) for key in ("seed", "seeds", "groups", "t_fp", "batch_size") if key in settings}
    renamed = {"hardened": "robust_targets", "rivals": "baseline_defenses", "baselines": "baseline_detectors"}
    grid = Grid(**{renamed.get(key, key): part for key, part in settings.items()}, comparisons=comparisons)
    return names.find(dotted)(data, grid, output_dir, StudySettings(**numbers), "cpu")


def _train_wgan(
    names: Names,
    dotted: str,
    generator: Any,
    critic: Any,
    images: torch.Tensor,
    seed: int,
    checkpoint: Any,
    **settings: Any,
) -> Any:
    from reproduction.training import TrainingRun
    from reproduction.wgan import WGANTraining

    run = TrainingRun(seed, checkpoint, torch.device("cpu"))
    return names.find(dotted)(generator, critic, images, WGANTraining(**settings), run)


def _attacked_network(settings: dict[str, Any]) -> Any:
    """What two evaluations share, out of their settings."""
    from monai_shield.evaluation import AttackedNetwork

    classes = settings.pop("num_classes")
    kept = ("network", "attacks", "datalist", "preprocessing", "slices_per_volume", "output_dir")
    shared = {key: settings.pop(key) for key in kept}
    return AttackedNetwork(**shared, structures=[f"structure {k}" for k in range(1, classes)])


def _evaluation(names: Names, dotted: str, **settings: Any) -> Any:
    return names.find(dotted)(_attacked_network(settings), **settings)


#: Old name to what is called in its place.
SHAPES: dict[str, Callable[..., Any]] = {
    "monai_shield.detectors.Views": _with_foreground("body_above"),
    "monai_shield.detectors.subject_statistics": _with_foreground("foreground_above"),
    "monai_shield.transforms.MeasureBorder": _with_foreground("foreground_above"),
    "monai_shield.data.body_share": _foreground_share,
    "monai_shield.bundle.make_attack": _make_attack,
    "monai_shield.bundle.BundleAttack": _bundle_attack,
    "monai_shield.studies.DefenseStudy": _defense_study,
    "monai_shield.studies.ShieldEvaluation": _evaluation,
    "monai_shield.studies.AttackStudy": _evaluation,
    "monai_shield.studies.wgan.train_wgan": _train_wgan,
}


def volume_is_rejected(names: Names, calibration: Any, share: float) -> bool:
    """Whether a volume with this share of rejected slices is rejected."""
    if names.is_before:
        return calibration.rejects_volume(share)
    from monai_shield.inferers.decisions import decide_volume

    far = torch.arange(50) < round(50 * share)
    scores = torch.where(far, calibration.threshold + 1, calibration.threshold - 1)
    return decide_volume(scores.double(), torch.ones(50, dtype=torch.bool), calibration, 0).rejected


def bundle_target(names: Names, bundle: str) -> Any:
    """A bundle's network; without a declared foreground, as before, see ``DECIDED`` in renames.py."""
    target = names.find("monai_shield.bundle.BundleTarget").open(bundle, "cpu", trust=True)
    return target if names.is_before else replace(target, foreground=None)


def scan_record(names: Names, decision: Any, positions: Sequence[float], slab: tuple[float, float]) -> dict[str, Any]:
    """What the demo tells of a scan; its name is no longer there."""
    kind = names.find("monai_shield.report.demo_result.scan_record")
    found = kind(decision, positions, slab, "scan") if names.is_before else kind(decision, positions, slab)
    return {key: value for key, value in found.items() if key != "file"}


def directions(names: Names) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """The steepest directions along a gradient, by old names."""
    if names.is_before:
        return names.find("monai_shield.attacks.loop.DIRECTIONS")
    from monai_shield.attacks.ball import Ball, unit_linf

    return {"sign": Ball(1.0, "linf").direction, "linf": unit_linf, "l2": Ball(1.0, "l2").direction}


def into_ball(names: Names, image: torch.Tensor, problem: Any, epsilon: float, norm: str) -> torch.Tensor:
    """The nearest image within a ball."""
    if names.is_before:
        return names.call("monai_shield.attacks.loop.into_ball", image, problem, epsilon=epsilon, norm=norm)
    from monai_shield.attacks.ball import Ball

    return Ball(epsilon, norm).project(image, problem)


#: Where a study keeps what it kept itself.
OF_STUDY = {
    "targets": "grid.targets",
    "attacks": "grid.attacks",
    "adversarial_key": "images.adversarial_key",
    "labels": "images.labels",
    "trained_target": "networks.trained_target",
    "detector": "networks.detector",
    "described": "settings_as_dict",
    "detectors": "grid.detectors",
    "reformers": "grid.reformers",
    "defenses": "grid.defenses",
    "baselines": "grid.baseline_detectors",
    "hardened": "grid.robust_targets",
    "rivals.parts": "grid.baseline_defenses",
    "consistency_reformer": "grid.consistency_reformer",
    "seed": "settings.seed",
    "seeds": "settings.seeds",
    "t_fp": "settings.t_fp",
    "batch_size": "settings.batch_size",
}


def of_study(names: Names, study: Any, old: str) -> Any:
    """What a study has, by its old name."""
    return attrgetter(old if names.is_before else OF_STUDY.get(old, old))(study)


def attack_study_summary(names: Names, study: Any, results: Any, resamples: int) -> Any:
    """The numbers of an attack study."""
    if names.is_before:
        return study.summary(results, resamples=resamples)
    from monai_shield.evaluation.attack_study_summary import attack_study_summary as summary

    return summary(results, resamples)


def study_summary(names: Names, study: Any, comparisons: Sequence[Any], resamples: int) -> Any:
    """The rows of a study; what is compared is now a part of its grid."""
    kind = names.find("monai_shield.studies.defense_summary.DefenseSummary")
    return kind(study, comparisons, resamples=resamples) if names.is_before else kind(study, resamples=resamples)


def shield_score(names: Names, shielded: Any) -> torch.Tensor:
    """The score that a shielded network remembers."""
    return shielded.score if names.is_before else shielded.detector(shielded.views)


def fit(names: Names, detector: Any, images: torch.Tensor, views: Views) -> None:
    """
    Fit a detector.

    Args:
        names: old names to the code.
        detector: anything; most have nothing to fit.
        images: clean training images.
        views: of the same images.
    """
    if not names.is_before:
        detector.fit(views)
    elif hasattr(detector, "single_scores"):
        (each,) = views
        if hasattr(detector, "fit"):
            detector.fit(detector.single_scores(each), each.body_share)
    elif hasattr(detector, "fit"):
        detector.fit(list(images))


def calibrate(names: Names, detector: Any, views: Views, t_fp: float, rule: str, volumes: Sequence[str]) -> None:
    """Calibrate a sequence of detectors."""
    (each,) = views
    detector.calibrate(detector.single_scores(each) if names.is_before else views, t_fp, rule, volumes)


def decision_entries(decision: Any) -> dict[str, Any]:
    """A decision by the names of its entries, however it is kept."""
    if is_dataclass(decision) and not isinstance(decision, type):
        return asdict(decision)
    return json.loads(decision) if isinstance(decision, str) else dict(decision)


def made_decision(names: Names, entries: Mapping[str, Any]) -> Any:
    """A decision as it stands in the meta data of a prediction."""
    if names.is_before:
        return json.dumps(entries)
    return names.call("monai_shield.inferers.ImageDecision", **entries)
