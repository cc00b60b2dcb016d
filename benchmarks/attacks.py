# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""
DAG and PGD beside those of other libraries: time, peak memory, and whether the results agree.

    make bench-peers        or, with the peers installed:  python benchmarks/attacks.py --quick

DAG runs to the same success, each toward the class that is second at the current iterate; PGD takes equal steps from
the clean image. All start from the same images and the same label, the network's own clean prediction. They are timed
in turn in every round, and a ratio is the median of the ratios within a round, so that a machine whose speed drifts
does not decide. Two threads mean little while something else keeps the processors busy; there,
``--clock cpu --threads 1`` counts only the time spent computing. Memory is measured in a process for each.

DAG's results are alike, not equal: in float32 rounding alone parts the same steps after about ten of them (in float64
our DAG and the loop over single images stay together), and adv-lib's clamps otherwise, see tests/peers.
"""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import fire
import torch
import torchattacks
from monai.bundle import ConfigParser
from monai.networks.nets import UNet
from monai.transforms import CenterSpatialCrop, ResizeWithPadOrCrop
from peers import adv_lib_segmentation
from torch import Tensor, nn

from monai_shield.attacks import DAG, PGD, FrozenNetwork, RunnerUp
from monai_shield.attacks.ball import unit_l2
from monai_shield.attacks.dag import logit_gap
from monai_shield.attacks.loop import Steepest, ascend, into_bounds
from monai_shield.attacks.problem import Outcome, Problem
from monai_shield.bundle import load_weights
from monai_shield.data import embedded_cohort, slices_of, volume_datalist
from monai_shield.transforms import DEFAULT_FOREGROUND

CONFIG = Path(__file__).parents[1] / "bundles" / "brain_mri_shield" / "configs" / "inference.json"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
CASES = {"slices": "the brain bundle's target", "window": "a small 3D UNet, not trained"}
OURS, SINGLE = "monai-shield", "one image at a time"

# of the attacked pixels that need not be fooled when DAG is done; random weights are stubborn
STOP_SHARE = {"slices": 0.01, "window": 0.3}
DAG_STEPS = 60  # at most; all of them are done before
DAG_STEP = 1 / 128  # root mean square over the pixels of a step
EPSILON, PGD_STEP = 4 / 255, 1 / 255
MEMORY_STEPS = 3  # what is in memory at once does not grow with the steps

dag = adv_lib_segmentation().dag


@dataclass(frozen=True)
class Case:
    """What is attacked.

    Args:
        network: the target, in evaluation mode.
        image: clean images in [0, 1], (B,1,spatial).
        label: the network's prediction on them (B,spatial); the foreground is attacked.
        stop_share: of the attacked pixels that need not be fooled when DAG is done.
    """

    network: nn.Module
    image: Tensor
    label: Tensor
    stop_share: float

    @property
    def step(self) -> float:
        """L2 norm of a step of DAG, 2 on 256 x 256 pixels."""
        return DAG_STEP * math.sqrt(self.image[0].numel())


def lead(logits: Tensor, label: Tensor) -> Tensor:
    """How far the label's logit lies above the best other one, (B,spatial)."""
    wanted = label.unsqueeze(1)
    return logits.gather(1, wanted).squeeze(1) - logits.scatter(1, wanted, -math.inf).amax(1)


class CurrentRunnerUp(DAG):
    """Our DAG as adv-lib has it: toward the class that is second at the current iterate, not on the clean image."""

    def _run(self, network: nn.Module, problem: Problem) -> Outcome:
        def gap(logits: Tensor, part: Problem, not_fooled: Tensor, progress: float) -> Tensor:
            return logit_gap(
                logits, replace(part, target=RunnerUp()(part.label, logits.detach())), not_fooled, progress
            )

        return ascend(
            network,
            problem,
            loss=gap,
            rule=Steepest(unit_l2, into_bounds, self.step),
            max_steps=self.max_steps,
            criterion=self.success_criterion(),
        )


def our_dag(case: Case, steps: int) -> Tensor:
    attack = CurrentRunnerUp("runner_up", case.step, "l2", steps, bounds=(0, 1), stop_share=case.stop_share)
    return attack(FrozenNetwork(case.network), case.image, case.label).image


def adv_lib_dag(case: Case, steps: int) -> Tensor:
    # it looks at the iterate before each step, so it needs one more to look at the last
    return dag(
        case.network,
        case.image,
        case.label,
        masks=case.label > 0,
        adv_threshold=1 - case.stop_share,
        max_iter=steps + 1,
        γ=case.step,
        p=2,
    )


def dag_one_by_one(case: Case, steps: int) -> Tensor:
    """As the authors of DAG did: one image, one gradient, one step, until it is done."""
    found = []
    for clean, label in zip(case.image.split(1), case.label.split(1)):
        attacked, image = label > 0, clean
        for taken in range(steps + 1):
            image = image.detach().requires_grad_()
            ahead = lead(case.network(image), label)
            not_fooled = attacked & (ahead >= 0)
            if taken == steps or not_fooled.sum() <= case.stop_share * attacked.sum():
                break
            (gradient,) = torch.autograd.grad(-(ahead * not_fooled).sum(), image)
            image = (image + case.step * gradient / gradient.norm()).clamp(0, 1)
        found.append(image.detach())
    return torch.cat(found)


def our_pgd(case: Case, steps: int) -> Tensor:
    attack = PGD(EPSILON, PGD_STEP, steps, random_start=False, keep="last", bounds=(0, 1))
    return attack(FrozenNetwork(case.network), case.image, case.label).image


def torchattacks_pgd(case: Case, steps: int) -> Tensor:
    return torchattacks.PGD(case.network, EPSILON, PGD_STEP, steps, random_start=False)(case.image, case.label)


ATTACKS: dict[str, dict[str, Callable[[Case, int], Tensor]]] = {
    "DAG": {OURS: our_dag, "adv-lib": adv_lib_dag, SINGLE: dag_one_by_one},
    "PGD": {OURS: our_pgd, "torchattacks": torchattacks_pgd},
}


def contenders(attack: str, name: str) -> dict[str, Callable[[Case, int], Tensor]]:
    """Who is compared in an attack on a case; a window is one image as it is."""
    return {who: function for who, function in ATTACKS[attack].items() if who != SINGLE or name != "window"}


def network_of(name: str) -> nn.Module:
    """The network of a case, on the CPU, in evaluation mode."""
    if name == "window":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return UNet(3, 1, 4, (8, 16, 32), (2, 2)).eval()
    parser = ConfigParser(ConfigParser.load_config_file(str(CONFIG)))
    return load_weights(parser.get_parsed_content("network_def"), parser.get_parsed_content("target_weights")).eval()


def prepare(folder: str, quick: bool = False, threads: int = 2) -> None:
    """Write the images and labels of every case, from the first test scan of $SHIELD_DATA or the embedded cohort.

    Args:
        folder: where to.
        quick: few and small ones.
        threads: number of threads.
    """
    torch.set_num_threads(threads)
    data = os.environ.get("SHIELD_DATA")
    with tempfile.TemporaryDirectory() as cohort:
        root = Path(data) / "miccai2012_multiatlas" if data else embedded_cohort(cohort, 0, 0, 1, progress=False)
        scan = volume_datalist(root, "test", labels=False)[0]
        parser = ConfigParser(ConfigParser.load_config_file(str(CONFIG)))
        volume = parser.get_parsed_content("preprocessing")({"image": scan["image"]})["image"].as_tensor().clamp(0, 1)
    slices = slices_of(volume, 1)
    bearing = slices[DEFAULT_FOREGROUND.share(slices) > 0.1]
    fit = ResizeWithPadOrCrop((128, 128) if quick else (256, 256))
    chosen = bearing[torch.linspace(0, len(bearing) - 1, (2 if quick else 8) + 2).long()[1:-1]]
    images = {
        "slices": torch.stack([torch.as_tensor(fit(each)) for each in chosen]),
        "window": torch.as_tensor(CenterSpatialCrop(48 if quick else 96)(volume)).unsqueeze(0),
    }
    for name, image in images.items():
        plain = image.as_subclass(Tensor).contiguous()
        with torch.no_grad():
            label = network_of(name)(plain).argmax(1)
        torch.save({"image": plain, "label": label}, Path(folder) / f"{name}.pt")
    (Path(folder) / "source.txt").write_text(f"{'real' if data else 'embedded'} scan {scan['id']}")


def load(folder: str, name: str) -> Case:
    tensors = torch.load(Path(folder) / f"{name}.pt", weights_only=True)
    return Case(network_of(name), tensors["image"], tensors["label"], STOP_SHARE[name])


def one(folder: str, name: str, attack: str, who: str, threads: int = 2) -> None:
    """Attack once and print the peak memory before and after, in MiB, as JSON.

    Args:
        folder: of :func:`prepare`.
        name: which case.
        attack: which attack.
        who: whose.
        threads: number of threads.
    """
    torch.set_num_threads(threads)
    case = load(folder, name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ATTACKS[attack][who](case, MEMORY_STEPS)
    print(json.dumps({"before": before / 1024, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def ask(*words: str) -> str:
    """Run this file in a process of its own, and what it prints last."""
    done = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True)
    return (done.stdout.strip().splitlines() or [""])[-1]


@dataclass
class Measured:
    """What was measured of one contender: its time in each round, and the rest of its last run."""

    times: list[float]
    passes: float = 0.0  # forward passes for each image, the first on the clean image included
    found: Tensor | None = None


def forward_backward(case: Case) -> None:
    """What no attack can do a step without."""
    image = case.image.clone().requires_grad_()
    torch.autograd.grad(case.network(image).sum(), image)


def measure(
    case: Case, functions: dict[str, Callable[[Case, int], Tensor]], steps: int, rounds: int, clock: str
) -> tuple[dict[str, Measured], list[float]]:
    """Each contender and one bare forward and backward pass over the batch, timed in turn in every round."""
    measured, floor = {who: Measured([]) for who in functions}, []
    seen: list[int] = []
    handle = case.network.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    now = CLOCKS[clock]
    for function in functions.values():
        function(case, 1)
    for number in range(rounds):
        start = now()
        forward_backward(case)
        floor.append(now() - start)
        names = list(functions)
        for who in names[number % len(names) :] + names[: number % len(names)]:
            seen.clear()
            start = now()
            found = functions[who](case, steps)
            measured[who].times.append(now() - start)
            measured[who].passes, measured[who].found = sum(seen) / len(case.image), found
    handle.remove()
    return measured, floor


def share_left(case: Case, image: Tensor) -> Tensor:
    """Share (B,) of the attacked pixels that are still predicted as their label."""
    with torch.no_grad():
        prediction = torch.cat([case.network(each).argmax(1) for each in image.split(1)])
    attacked = case.label > 0
    not_fooled = attacked & (prediction == case.label)
    return not_fooled.flatten(1).sum(1) / attacked.flatten(1).sum(1).clamp(min=1)


def show(attack: str, case: Case, measured: dict[str, Measured], floor: list[float], unit: str) -> None:
    """Print the table of one attack on one case."""
    ours = measured[OURS]
    print(
        f"\n| {attack} | {unit} | ours / theirs | passes | of the floor | done | share left | L2 | cosine with ours |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for who, each in measured.items():
        assert each.found is not None
        assert ours.found is not None
        change, our_change = ((found - case.image).flatten(1) for found in (each.found, ours.found))
        cosine = torch.cosine_similarity(change, our_change)
        left = share_left(case, each.found)
        ratio = statistics.median(a / b for a, b in zip(ours.times, each.times))
        above = statistics.median(time / (bare * each.passes) for time, bare in zip(each.times, floor))
        done, size = int((left <= case.stop_share).sum()), change.norm(dim=1).mean()
        print(
            f"| {who} | {statistics.median(each.times):.2f} | {ratio:.2f} | {each.passes:.1f} | {above:.2f} | "
            f"{done}/{len(left)} | {left.mean():.4f} | {size:.3f} | {cosine.mean():.4f} (least {cosine.min():.4f}) |"
        )
    print(f"| one forward and backward | {statistics.median(floor):.2f} | | 1 | 1 | | | | |")


def show_memory(folder: str, name: str, attacks: tuple[str, ...], threads: int) -> None:
    """Print the memory of attacks on one case; a ratio is of what is above the start."""
    print("\n| attack | peak memory, MiB | above the start | ours / theirs |\n|---|---|---|---|")
    for attack in attacks:
        grown: dict[str, float] = {}
        for who in contenders(attack, name):
            answer = json.loads(ask("one", folder, name, attack, who, f"--threads={threads}"))
            grown[who] = answer["peak"] - answer["before"]
            ratio = grown[OURS] / grown[who]
            print(f"| {attack}, {who} | {answer['peak']:.0f} | {grown[who]:.0f} | {ratio:.2f} |", flush=True)


def main(
    quick: bool = False,
    rounds: int | None = None,
    threads: int = 2,
    clock: str = "wall",
    cases: tuple[str, ...] = tuple(CASES),
    attacks: tuple[str, ...] = tuple(ATTACKS),
    memory: bool = True,
) -> None:
    """Print the tables.

    Args:
        quick: few small images, one round; only to see that it runs.
        rounds: how often each attack is timed, by default 3.
        threads: number of threads.
        clock: "wall" or "cpu".
        cases: which of "slices" and "window", as ``"[slices]"``.
        attacks: which of "DAG" and "PGD", as ``"[PGD]"``.
        memory: whether to measure memory too.
    """
    rounds = rounds or (1 if quick else 3)
    pgd_steps = 2 if quick else 10
    torch.set_num_threads(threads)
    thresholds = os.environ.get("MALLOC_TRIM_THRESHOLD_", "default")
    with tempfile.TemporaryDirectory() as folder:
        # also here: what this process takes counts as the peak of those it starts, so it loads nothing before
        ask("prepare", folder, f"--quick={quick}", f"--threads={threads}")
        print(
            f"{clock} time, median of {rounds} rounds, {threads} threads of {os.cpu_count()}, {platform.machine()}, "
            f"torch {torch.__version__}, glibc trim threshold {thresholds}, {time.strftime('%Y-%m-%d')}; "
            f"{(Path(folder) / 'source.txt').read_text()}; load before the run {os.getloadavg()[0]:.1f}"
        )
        for name in cases if memory else ():
            print(f"\nMemory, {CASES[name]}, {MEMORY_STEPS} steps")
            show_memory(folder, name, attacks, threads)
        for name in cases:
            case = load(folder, name)
            size = " x ".join(map(str, case.image.shape))
            for attack in attacks:
                steps = DAG_STEPS if attack == "DAG" else pgd_steps
                settings = f"steps of {case.step:.2f} (L2)" if attack == "DAG" else f"{steps} steps"
                print(f"\n{attack}, {CASES[name]}, {size}, {settings}")
                measured, floor = measure(case, contenders(attack, name), steps, rounds, clock)
                show(attack, case, measured, floor, f"{clock} seconds")


if __name__ == "__main__":
    commands = {"prepare": prepare, "one": one}
    fire.Fire(commands if sys.argv[1:2] and sys.argv[1] in commands else main)
