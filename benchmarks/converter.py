# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""
How fast the converter's shifted magnitude is beside MONAI, numpy, scipy, and the bare transform that nothing can beat.

    python benchmarks/converter.py --repeats 50 --threads 2

All are timed in turn in every repeat, each after an untimed call of its own, so that what else the machine does falls
on all alike. "median" and "fastest" are over the repeats. Wall-clock times of two threads mean little while something
else holds the processors; there, ``--clock cpu --threads 1`` counts only the time spent computing.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import scipy.fft
import torch
from monai.transforms.utils import Fourier

from monai_shield.transforms import frequency_magnitude

SHAPES = [(16, 1, 256, 256), (16, 1, 255, 253)]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
OURS, MONAI, FLOOR = "monai-shield", "MONAI", "bare rfft2"


def contenders(image: torch.Tensor, threads: int) -> dict[str, Callable[[], object]]:
    """Each a full shifted magnitude of ``image``, except the floor, which is only half a spectrum."""
    array, axes = image.numpy(), (-2, -1)
    return {
        OURS: lambda: frequency_magnitude(image, 2),
        MONAI: lambda: abs(Fourier.shift_fourier(image, 2)),
        "numpy": lambda: np.fft.fftshift(np.abs(np.fft.fft2(array)), axes),
        "scipy": lambda: scipy.fft.fftshift(np.abs(scipy.fft.fft2(array, workers=threads)), axes),
        FLOOR: lambda: torch.fft.rfft2(image, norm="forward"),
    }


def measure(
    functions: dict[str, Callable[[], object]], repeats: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Milliseconds of each repeat of each function, taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            function()
            start = clock()
            function()
            times[name].append(1e3 * (clock() - start))
    return times


def show(shape: tuple[int, ...], times: dict[str, list[float]]) -> None:
    medians = {name: statistics.median(values) for name, values in times.items()}
    fastest = {name: min(values) for name, values in times.items()}
    print(f"\n{'x'.join(map(str, shape))} float32")
    print(f"  {'':14}{'median ms':>10}{'fastest ms':>12}   {OURS} is faster by (median, fastest)")
    for name in times:
        ratios = medians[name] / medians[OURS], fastest[name] / fastest[OURS]
        print(f"  {name:14}{medians[name]:10.2f}{fastest[name]:12.2f}   {ratios[0]:12.2f}x{ratios[1]:10.2f}x")
    above = medians[OURS] / medians[FLOOR], fastest[OURS] / fastest[FLOOR]
    limit = medians[MONAI] / medians[FLOOR], fastest[MONAI] / fastest[FLOOR]
    print(f"  from the floor: {above[0]:.2f}x its time (fastest {above[1]:.2f}x); the floor itself is {limit[0]:.2f}x")
    print(f"  (fastest {limit[1]:.2f}x) faster than MONAI, and no method on this transform can be more.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=50, help="timed calls of each (default: 50)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch and workers of scipy (default: 2)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="wall or processor time (default: wall)")
    arguments = parser.parse_args()
    if arguments.repeats < 1 or arguments.threads < 1:
        parser.error("--repeats and --threads must be at least 1")
    torch.set_num_threads(arguments.threads)
    print(
        f"{arguments.clock} time, {platform.machine()}, {os.cpu_count()} CPUs, {arguments.threads} threads, "
        f"{arguments.repeats} repeats; Python {sys.version.split()[0]}, torch {torch.__version__}, "
        f"numpy {np.__version__}, scipy {scipy.__version__}; "
        f"{time.strftime('%Y-%m-%d')}; load before the run {os.getloadavg()[0]:.1f}"
    )
    generator = torch.Generator().manual_seed(0)
    for shape in SHAPES:
        image = torch.rand(shape, generator=generator)
        show(shape, measure(contenders(image, arguments.threads), arguments.repeats, CLOCKS[arguments.clock]))


if __name__ == "__main__":
    main()
