# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Defended against undefended inference of a whole volume: time and peak memory, each in a process of its own.

The undefended run is MONAI's ``SliceInferer`` around the same target. Pairs of runs are taken in turn, and the ratio is
the median of the ratios within a pair, so that a machine whose speed drifts does not decide.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import fire
import torch
from monai.bundle import ConfigParser
from monai.inferers import Inferer, SliceInferer

from monai_shield.bundle import load_weights

CONFIG = Path(__file__).parents[1] / "bundles" / "brain_mri_shield" / "configs" / "inference.json"


def one(kind: str, threads: int = 2, slices: int = 175, batch_size: int = 8) -> None:
    """Infer one volume and print seconds and peak memory as JSON.

    Args:
        kind: "defended" or "undefended".
        threads: number of threads.
        slices: number of coronal slices.
        batch_size: slices at once.
    """
    torch.set_num_threads(threads)
    parser = ConfigParser()
    parser.read_config(CONFIG)
    parser["device"] = "$torch.device('cpu')"
    parser["batch_size"] = batch_size
    network = parser.get_parsed_content("network").eval()
    load_weights(network, parser.get_parsed_content("target_weights"))
    inferer: Inferer
    if kind == "defended":
        inferer = parser.get_parsed_content("inferer")
    else:
        inferer = SliceInferer(spatial_dim=1, roi_size=(192, 192), sw_batch_size=batch_size)
    grid = torch.stack(torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (192, slices, 192)), indexing="ij"))
    foreground = (grid.square().sum(0) < 0.6).float()
    volume = (foreground * (0.5 + 0.1 * torch.randn(foreground.shape, generator=torch.Generator().manual_seed(0))))[
        None, None
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with torch.no_grad():
        inferer(volume[:, :, :, slices // 2 :][:, :, :, : 2 * batch_size], network)  # warm up
        start = time.perf_counter()
        logits = inferer(volume, network)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "peak": peak, "before": before, "shape": list(logits.shape)}))


def main(repeats: int = 3, threads: int = 2, slices: int = 175, batch_size: int = 8) -> None:
    """Print the table.

    Args:
        repeats: pairs of runs.
        threads: number of threads.
        slices: number of coronal slices of the volume, 192 x 192 each.
        batch_size: slices at once.
    """
    runs: dict[str, list[dict[str, float]]] = {"undefended": [], "defended": []}
    for _ in range(repeats):
        for kind, results in runs.items():
            command = [sys.executable, __file__, "one", kind, f"--threads={threads}", f"--slices={slices}"]
            command.append(f"--batch_size={batch_size}")
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results.append(json.loads(done.stdout.strip().splitlines()[-1]))
    print(f"{slices} slices of 192 x 192, {threads} threads, batches of {batch_size}, median of {repeats}\n")
    print("| inference | seconds | ms per slice | peak memory, MiB |")
    print("|---|---|---|---|")
    for kind, results in runs.items():
        seconds = statistics.median(result["seconds"] for result in results)
        peak = statistics.median(result["peak"] for result in results) / 1024
        print(f"| {kind} | {seconds:.2f} | {1000 * seconds / slices:.1f} | {peak:.0f} |")
    pairs = list(zip(runs["defended"], runs["undefended"]))
    ratios = [statistics.median(a[key] / b[key] for a, b in pairs) for key in ("seconds", "peak")]
    print(f"| ratio | {ratios[0]:.2f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    print("\nFloor: the target runs twice (image and reformed image), detector and reformer once each.")


if __name__ == "__main__":
    fire.Fire({"main": main, "one": one} if sys.argv[1:2] == ["one"] else main)
