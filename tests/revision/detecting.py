# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Facts of detectors: what they see, score, calibrate, decide; of their combinations; of what is plausible."""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import nn

from revision.adapting import calibrate, call, fit, volume_is_rejected
from revision.compact import Facts
from revision.inputs import CLASSES, Blur, brains, draw, network
from revision.naming import Names

ROOM = "monai_shield.detectors"
SIZES = {"2d": (16, 14), "3d": (10, 9, 8)}
NUMBER = 12


def detector_facts(names: Names, facts: Facts) -> None:
    """Add them all."""
    kinds = sorted(names.key_before(f"{each.__module__}.{each.__name__}") for each in names.find(f"{ROOM}.DETECTORS"))
    facts.add("detector/registry", ",".join(kinds))
    for step in (_calibration, _plausibility):
        facts.step(step, names, facts)
    for dims, size in SIZES.items():
        for each in (_views, _detectors, _joined, _statistics):
            facts.step(each, names, facts, dims, size)


def _target(size: tuple[int, ...]) -> nn.Module:
    return network(len(size))


def _make_views(names: Names, size: tuple[int, ...], reformer: Any = None, **settings: Any) -> Any:
    return call(names, f"{ROOM}.Views", brains(NUMBER, *size), _target(size), reformer or Blur(), **settings)


def _calibration(names: Names, facts: Facts) -> None:
    scores = torch.cat([draw(60), torch.tensor([0.5, 0.5, 0.5]).double()])
    asked = torch.cat([torch.linspace(-0.1, 1.1, 40).double(), scores[:20], torch.tensor([torch.nan, torch.inf])])
    threshold_of, kind = names.find(f"{ROOM}.threshold_of"), names.find(f"{ROOM}.Calibration")
    rates = (0.05, 0.1, 0.29, 0.5, Fraction(1, 3))
    for rule in ("conformal", "empirical"):
        facts.add(f"calibration/threshold/{rule}", [threshold_of(scores, rate, rule) for rate in rates])
        settings = names.settings(
            f"{ROOM}.Calibration.fit", {"volumes": [f"v{k % 5}" for k in range(63)], "source": "s"}
        )
        calibration = names.method(kind, "fit", scores, 0.1, rule, **settings)
        facts.add(f"calibration/{rule}/state", names.before(names.method(calibration, "state")))
        facts.add(f"calibration/{rule}/p_value", names.method(calibration, "p_value", asked))
        facts.add(f"calibration/{rule}/rank", names.method(calibration, "rank", asked))
        facts.add(f"calibration/{rule}/rejects", names.method(calibration, "rejects", asked))
        shares = [volume_is_rejected(names, calibration, share) for share in np.linspace(0, 0.5, 26)]
        facts.add(f"calibration/{rule}/rejects_volume", torch.tensor(shares))
    names.method(calibration, "check")
    plain = names.method(kind, "fit", scores)
    facts.add("calibration/plain/threshold", names.of(plain, "threshold"))
    facts.add("calibration/plain/t_fp", names.of(plain, "t_fp"))
    refused = {
        "constant": lambda: names.method(kind, "fit", torch.ones(40)),
        "not finite": lambda: names.method(kind, "fit", torch.tensor([1.0, torch.nan] * 30)),
        "few": lambda: names.method(kind, "fit", draw(10), 0.05),
        "rate": lambda: names.method(kind, "fit", draw(10), 1.5),
    }
    for name, attempt in refused.items():
        facts.add(f"calibration/refused/{name}", error_of(attempt))


def error_of(attempt: Any) -> str:
    """The kind of error that an attempt ends with."""
    try:
        attempt()
    except Exception as error:
        return type(error).__name__
    return "nothing"


def _views(names: Names, facts: Facts, dims: str, size: tuple[int, ...]) -> None:
    views = _make_views(names, size)
    for shift in (False, True):
        facts.add(f"views/{dims}/magnitude/{shift}", names.method(views, "magnitude", shift))
        facts.add(f"views/{dims}/spectrum/{shift}", names.method(views, "spectrum", shift))
    for name in ("body", "body_share", "prediction", "reformed", "reformed_prediction", "head"):
        facts.add(f"views/{dims}/{name}", names.of(views, name))
    facts.add(f"views/{dims}/mean_over_body", names.method(views, "mean_over_body", draw(NUMBER, *size, seed=3)))
    facts.add(f"views/{dims}/prediction_under", names.method(views, "prediction_under", lambda image: image / 2))
    other = _make_views(names, size, body_above=0.4)
    facts.add(f"views/{dims}/body_above", names.of(other, "body"))


def made_detectors(names: Names, size: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    """Every kind, with every representation, built but not fitted."""
    conv = nn.Conv2d if len(size) == 2 else nn.Conv3d

    def error(channels: int = 1, **settings: Any) -> Any:
        inner = conv(channels, channels, 3, padding=1).double()
        for number, parameter in enumerate(inner.parameters()):
            parameter.data = (draw(*parameter.shape, seed=40 + number) - 0.5) / 2
        made = names.call(f"{ROOM}.ReconstructionDetector", network=inner, **settings)
        return made.double()

    yield "space", error(domain="space")
    yield "space_l1", error(domain="space", p=1.0)
    for domain in ("frequency", "shifted_frequency"):
        for part in ("magnitude", "log_magnitude", "real_imaginary"):
            channels = 2 if part == "real_imaginary" else 1
            yield f"{domain}_{part}", error(channels, domain=domain, spatial_size=size, part=part)
    for scaling in ("global", "none"):
        yield f"scaling_{scaling}", error(spatial_size=size, scaling=scaling)
    yield "consistency", names.call(f"{ROOM}.PredictionConsistency")
    yield "consistency_everywhere", names.call(f"{ROOM}.PredictionConsistency", body_only=False)
    yield "consistency_own", names.call(f"{ROOM}.PredictionConsistency", reformer=Blur())
    yield "entropy", names.call(f"{ROOM}.MeanEntropy")
    yield "entropy_everywhere", names.call(f"{ROOM}.MeanEntropy", body_only=False)
    yield "power", names.call(f"{ROOM}.RadialLogPower", bins=4).double()
    yield "power_floor", names.call(f"{ROOM}.RadialLogPower", bins=3, floor=1e-3).double()
    yield "norm", names.call(f"{ROOM}.SpectrumNorm", spatial_size=size).double()
    yield "energy", names.call(f"{ROOM}.HighFrequencyEnergy")
    yield "energy_low", names.call(f"{ROOM}.HighFrequencyEnergy", radius=0.2)
    if len(size) == 2:
        yield "noise", names.call(f"{ROOM}.LaplacianNoise")
    yield "zeros", names.call(f"{ROOM}.ZeroShare")


def _decide(names: Names, facts: Facts, name: str, detector: Any, views: Any, clean: torch.Tensor) -> None:
    """Scores, threshold, p-values, decisions; what is stored of a detector; its gradient."""
    score = detector(views).to(clean.dtype)
    facts.add(f"{name}/score", score)
    calibration = names.method(names.find(f"{ROOM}.Calibration"), "fit", clean, 0.1)
    detector.calibration = calibration
    facts.add(f"{name}/threshold", names.of(names.method(detector, "calibrated"), "threshold"))
    facts.add(f"{name}/p_value", names.method(calibration, "p_value", score))
    facts.add(f"{name}/rejects", names.method(calibration, "rejects", score))
    state = {names.key_before(key): value for key, value in detector.state_dict().items()}
    facts.add(f"{name}/state", ",".join(sorted(state)))
    for key in ("mean", "std", "precision"):
        if key in state:
            facts.add(f"{name}/state/{key}", state[key])


def fitted(names: Names, detector: Any, images: torch.Tensor) -> Any:
    """A detector that was fitted, where it can be."""
    with torch.no_grad():
        fit(names, detector, images, [names.call(f"{ROOM}.Views", images, _target(tuple(images.shape[2:])), Blur())])
    return detector.eval()


def _detectors(names: Names, facts: Facts, dims: str, size: tuple[int, ...]) -> None:
    train = brains(NUMBER, *size, seed=7)
    for name, built in made_detectors(names, size):
        detector = fitted(names, built, train)
        with torch.no_grad():
            clean = detector(names.call(f"{ROOM}.Views", train, _target(size), Blur()))
            if name == "zeros":  # its scores were in float32 whatever the image is
                clean = clean.float()
            _decide(names, facts, f"detector/{name}/{dims}", detector, _make_views(names, size), clean)
        image = brains(NUMBER, *size).requires_grad_()
        score = detector(names.call(f"{ROOM}.Views", image, _target(size), Blur()))
        if score.requires_grad:
            (gradient,) = torch.autograd.grad(score.sum(), image)
            facts.add(f"detector/{name}/{dims}/gradient", gradient)
    power = names.call(f"{ROOM}.RadialLogPower", bins=4).double()
    facts.add(f"detector/power/{dims}/profile", names.method(power, "profile", _make_views(names, size)))
    logits = 4 * draw(3, CLASSES, *size, seed=1) - 2
    for head in ("softmax", "sigmoid"):
        settings = names.settings(f"{ROOM}.jensen_shannon", {"head": head})
        facts.add(
            f"detector/jensen_shannon/{dims}/{head}", names.call(f"{ROOM}.jensen_shannon", logits, -logits, **settings)
        )
        facts.add(f"detector/entropy/{dims}/{head}", names.call(f"{ROOM}.entropy", logits, **settings))
    facts.add(
        f"detector/jensen_shannon/{dims}/one", names.call(f"{ROOM}.jensen_shannon", logits[:, :1], -logits[:, :1])
    )
    facts.add(f"detector/entropy/{dims}/one", names.call(f"{ROOM}.entropy", logits[:, :1]))


def _joined(names: Names, facts: Facts, dims: str, size: tuple[int, ...]) -> None:
    """Combined and sequential detectors."""
    number = 3 * NUMBER
    train = brains(number, *size, seed=7)
    kinds = {"norm", "consistency", "energy"}
    for rule in ("max", "mean"):
        for degree in (0, 3):
            parts = {name: fitted(names, made, train) for name, made in made_detectors(names, size) if name in kinds}
            detector = names.call(f"{ROOM}.CombinedDetector", parts, rule=rule, degree=degree).double()
            name = f"detector/combined_{rule}_{degree}/{dims}"
            with torch.no_grad():
                views = names.call(f"{ROOM}.Views", train, _target(size), Blur())
                scores = names.method(detector, "single_scores", views)
                facts.add(f"{name}/single", scores)
                fit(names, detector, train, [views])
                clean = detector(views)
                _decide(names, facts, name, detector, _make_views(names, size), clean)
            for buffer in ("weights", "deviation", "body_range"):
                facts.add(f"{name}/{buffer}", names.of(detector, buffer))
    for rule in ("conformal", "empirical"):
        parts = {name: fitted(names, made, train) for name, made in made_detectors(names, size) if name in kinds}
        detector = names.call(f"{ROOM}.SequentialDetector", parts)
        with torch.no_grad():
            views = names.call(f"{ROOM}.Views", train, _target(size), Blur())
            calibrate(names, detector, [views], 0.3, rule, [f"v{k % 4}" for k in range(number)])
            score = detector(_make_views(names, size))
        name = f"detector/sequential_{rule}/{dims}"
        facts.add(f"{name}/score", score)
        calibration = names.method(detector, "calibrated")
        facts.add(f"{name}/clean", names.of(calibration, "scores"))
        facts.add(f"{name}/limit", names.of(calibration, "volume_limit"))
        facts.add(f"{name}/rejects", names.method(calibration, "rejects", score))
        for part, each in parts.items():
            facts.add(f"{name}/threshold/{part}", names.of(each.calibration, "threshold"))


def _statistics(names: Names, facts: Facts, dims: str, size: tuple[int, ...]) -> None:
    for number, direction in enumerate((1.0, -1.0)):
        affine = torch.diag(torch.tensor([-1.5, 2.0 * direction, 1.0, 1.0], dtype=torch.float64))
        image = brains(3, *size)[2]
        label = (draw(*size, seed=3) * CLASSES).long() * (image[0] > 0)
        found = names.call(f"{ROOM}.subject_statistics", image, label, CLASSES, affine)
        facts.table(f"statistics/{dims}/{number}", found)
        facts.table(
            f"statistics/{dims}/{number}/higher",
            call(names, f"{ROOM}.subject_statistics", image, label, CLASSES, affine, foreground_above=0.6),
        )
        facts.add(
            f"statistics/{dims}/{number}/shares",
            names.call("monai_shield.transforms.border_shares", image[0] > 0, affine),
        )
    logits = draw(CLASSES, *size, seed=5) - 0.6
    for head in ("softmax", "sigmoid", None):
        facts.add(f"statistics/{dims}/label/{head}", names.call(f"{ROOM}.predicted_label", logits, head))
    facts.add(f"statistics/{dims}/label/one", names.call(f"{ROOM}.predicted_label", logits[:1]))
    pairs = ((1, None), (4, None), (4, "sigmoid"), (4, "softmax"))
    facts.add(
        f"statistics/{dims}/classes", torch.tensor([names.call(f"{ROOM}.number_of_classes", *pair) for pair in pairs])
    )


def _plausibility(names: Names, facts: Facts) -> None:
    subjects, affine = [], torch.diag(torch.tensor([-8.0, 8.0, 8.0, 1.0], dtype=torch.float64))
    images = brains(9, 20, 18, 16)
    for number in range(9):
        label = (draw(20, 18, 16, seed=number) * CLASSES).long() * (images[number, 0] > 0)
        subjects.append(names.call(f"{ROOM}.subject_statistics", images[number], label, CLASSES, affine))
    known = names.method(names.find(f"{ROOM}.Plausibility"), "fit", subjects[:5])
    state = names.method(known, "state")
    facts.add("plausibility/names", ",".join(names.of(known, "names")))
    facts.add("plausibility/values", names.of(known, "values"))
    facts.add("plausibility/state", ",".join(sorted(names.key_before(key) for key in state)))

    def judged(subject: dict[str, float]) -> list[int]:
        judgement = names.method(known, "judge", subject)
        return [int(bool(names.of(judgement, "reason"))), len(names.of(judgement, "findings"))]

    facts.add("plausibility/judged", torch.tensor([judged(subject) for subject in subjects]))
    for name in ("cut/x", "cut/y", "cut/z"):
        found = [judged(subject | {name: 0.9}) for subject in subjects]
        facts.add(f"plausibility/cut/{name[-1]}", torch.tensor(found))
    # subjects that hardly differ: what passes is then what the margins let pass, whole or cut off
    likes = [{name: value * (1 + 1e-3 * k) for name, value in subjects[6].items()} for k in range(5)]
    known = names.method(names.find(f"{ROOM}.Plausibility"), "fit", likes)
    for name, value in subjects[6].items():
        steps = [0.02 * k for k in range(-60, 61)]
        changed = [value + step for step in steps] if name[0] in "abc" else [value * math.exp(step) for step in steps]
        for cut in (0.0, 0.9):
            found = [judged(likes[2] | {"cut/z": cut, name: each}) for each in changed]
            facts.add(f"plausibility/margin/{name}/{cut}", torch.tensor(found))
