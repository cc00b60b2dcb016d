# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A case of the search: what is given to the bundle, made from (seed, number) alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: Share of the cases of each part.
PARTS = {"header": 0.46, "data": 0.16, "container": 0.14, "name": 0.10, "bundle": 0.14}


@dataclass
class Mutant:
    """
    One mutation, as made.

    Args:
        what: row of the table.
        detail: what exactly was done, in words.
        files: what the run is given, in order; all of them are judged.
        alone: whether it has a run of its own, since it may hang or needs settings of its own.
        dataset: given as ``dataset_dir`` in place of the list of files, such as their folder.
        output_dir: where the results go, where it matters.
        bundle: the bundle that answers, where it is not the plain one.
        named: an error before the first file names one of these; any file or folder of the case will do otherwise.
        labels: whether the bundle's labels must be those of the plain bundle, or only its decisions.
        foreign: whether errors may be in the words of those who read a config.
        payload: a file that must not be there afterwards.
        directory: working directory of the run.
    """

    what: str
    detail: str
    files: list[Path]
    alone: bool = False
    dataset: str | list[str] | None = None
    output_dir: Path | None = None
    bundle: Path | None = None
    named: Sequence[str] = ()
    labels: bool = True
    foreign: bool = False
    payload: Path | None = None
    directory: Path | None = None


def generator(seed: int, number: int) -> np.random.Generator:
    """The random numbers of one case."""
    return np.random.default_rng([seed, number])


def part_of(random: np.random.Generator) -> str:
    """Which part of the search a case belongs to: the first thing drawn."""
    return str(random.choice(list(PARTS), p=list(PARTS.values())))


def pick(random: np.random.Generator, choices):
    """One of a sequence, as it is: numpy's own choice makes arrays of tuples."""
    return choices[int(random.integers(len(choices)))]
