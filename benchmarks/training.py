# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Training throughput of the bundle's three networks, in slices per second, and the bare forward and backward pass."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import fire
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.transforms import Compose

CONFIGS = Path(__file__).parents[1] / "bundles" / "brain_mri_shield" / "configs"


def rate(step: Callable[[], object], images: int, seconds: float) -> float:
    """Images per second of a step, measured over about so many seconds."""
    step()
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        step()
        steps += 1
    return steps * images / (time.perf_counter() - start)


def main(seconds: float = 20.0, threads: int = 2) -> None:
    """Print the table.

    Args:
        seconds: how long each figure is measured.
        threads: number of threads.
    """
    torch.set_num_threads(threads)
    print(f"{threads} threads, {seconds:.0f} s each\n")
    print("| training | slices per second | bare pass | share |")
    print("|---|---|---|---|")
    for name in ("train", "train_detector", "train_reformer"):
        parser = ConfigParser()
        parser.read_config(CONFIGS / f"{name}.json")
        parser.update({"bundle_root": str(CONFIGS.parent), "device": "cpu"})
        random = torch.Generator().manual_seed(0)
        items = [{"image": torch.rand(1, 192, 192, generator=random)} for _ in range(16)]
        if name == "train":
            items = [item | {"label": torch.randint(0, 4, (1, 192, 192), generator=random)} for item in items]
        transform = Compose(parser.get_parsed_content("random_transforms"))
        loader = DataLoader(Dataset(items * 50, transform), batch_size=8, shuffle=True)
        network = parser.get_parsed_content("network_def").train()
        optimizer = torch.optim.Adam(network.parameters(), 1e-4)
        batches = itertools.chain.from_iterable(itertools.repeat(loader))
        first = next(batches)
        size = tuple(first["image"].shape[2:])

        def loss_of(batch: dict, network: torch.nn.Module = network) -> torch.Tensor:
            output = network(torch.as_tensor(batch["image"]))
            if "label" in batch:
                return torch.nn.functional.cross_entropy(output, torch.as_tensor(batch["label"])[:, 0].long())
            return torch.nn.functional.mse_loss(output, torch.as_tensor(batch["image"]))

        def learn(batch: dict, optimizer: torch.optim.Optimizer = optimizer) -> None:
            optimizer.zero_grad()
            loss_of(batch).backward()
            optimizer.step()

        whole = rate(lambda batches=batches: learn(next(batches)), 8, seconds)
        bare = rate(lambda first=first: loss_of(first).backward(), 8, seconds)
        print(f"| {name} ({size[0]} x {size[1]}) | {whole:.1f} | {bare:.1f} | {whole / bare:.2f} |")


if __name__ == "__main__":
    fire.Fire(main)
