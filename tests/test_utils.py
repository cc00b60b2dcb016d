# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Weights are written whole, and read only as they were written."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from monai_shield.utils import SUMS_FILE, atomic_path, load_weights, save_weights, seed_torch, write_sum


def test_round_trip_and_sha256sum_agrees(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    save_weights(network, tmp_path / "a.pt")
    save_weights(nn.Linear(2, 2), tmp_path / "b.pt")
    again = load_weights(nn.Linear(3, 2), tmp_path / "a.pt")
    assert torch.equal(network.weight, again.weight)
    subprocess.run(["sha256sum", "--check", "--strict", SUMS_FILE], cwd=tmp_path, check=True, capture_output=True)


def test_weights_are_the_same_in_either_memory_format(tmp_path: Path) -> None:
    network = nn.Conv2d(2, 3, 3)
    save_weights(network, tmp_path / "a.pt")
    again = load_weights(nn.Conv2d(2, 3, 3), tmp_path / "a.pt", channels_last=True)
    assert torch.equal(network.weight, again.weight)
    assert again.weight.is_contiguous(memory_format=torch.channels_last)


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    save_weights(nn.Linear(3, 2), file)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"a\.pt' was altered"):
        load_weights(nn.Linear(3, 2), file)


def test_missing_unrecorded_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.pt' is missing"):
        load_weights(nn.Linear(3, 2), tmp_path / "a.pt")
    save_weights(nn.Linear(3, 2), tmp_path / "a.pt")
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_weights(nn.Linear(3, 3), tmp_path / "a.pt")
    (tmp_path / SUMS_FILE).unlink()
    with pytest.raises(ValueError, match="no sum"):
        load_weights(nn.Linear(3, 2), tmp_path / "a.pt")


def test_code_in_a_weight_file_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"weight": Evil()}, tmp_path / "evil.pt")
    write_sum(tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_weights(nn.Linear(3, 2), tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def killed_halfway() -> None:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("ne")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        killed_halfway()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_the_same_seed_the_same_draws_on_the_cpu() -> None:
    with torch.random.fork_rng(devices=()):
        seed_torch(3, torch.device("cpu"))
        drawn = torch.rand(4)
        torch.manual_seed(3)
        torch.testing.assert_close(torch.rand(4), drawn, rtol=0, atol=0)
