# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Where cases are answered and judged: one bundle, its probes, and what is known of plain files."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

from fuzz import mutate_bundle, mutate_container, mutate_data, mutate_header, mutate_name
from fuzz.answer import Answer, answer
from fuzz.case import Mutant, generator, part_of
from fuzz.oracle import PLANTED, Results, Verdict, judge_start, stem_of, wrong
from fuzz.scans import Scan, plain_image
from fuzz.twin import AGREEMENT, VARIANTS, compare, key_of, resampled, twin_of

MAKERS = {
    "header": mutate_header.make,
    "data": mutate_data.make,
    "container": mutate_container.make,
    "name": mutate_name.make,
}
#: The outcome of a case is the worst of its files.
SEVERITY = ("wrong", "refused", "rejected", "right")
KEEP = {"on_reject": "keep"}
#: Larger files are known by their length and time alone.
READ = 1 << 26


@dataclass
class Hooks:
    """Called at each sign of life; before the product runs, with its cases; and after it ran."""

    beat: Callable[[], None] = lambda: None
    start: Callable[[dict[int, Mutant]], None] = lambda mutants: None
    stop: Callable[[], None] = lambda: None


@dataclass
class Bench:
    """
    Makes, answers and judges cases.

    Args:
        bundle: the plain bundle.
        probes: a file that it accepts and one that it rejects.
        scans: what is mutated.
        folder: to work in.
        seed: of the cases.
    """

    bundle: Path
    probes: list[Path]
    scans: list[Scan]
    folder: Path
    seed: int
    hooks: Hooks = field(default_factory=Hooks)
    known: dict[str, Verdict] = field(default_factory=dict)
    expected: list[Verdict] = field(default_factory=list)

    def make(self, number: int) -> Mutant:
        """One case, in a folder of its own."""
        random = generator(self.seed, number)
        part = part_of(random)
        folder = self.folder / str(number)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if part == "bundle":
            return mutate_bundle.make(random, self.bundle, self.probes, folder)
        return MAKERS[part](random, self.scans, folder)

    def solve(self, numbers: Sequence[int], report: Callable[[int, Mutant, Verdict], None]) -> None:
        """Make, answer and judge cases: those that need no run of their own in one, as a folder of files is."""
        made = {number: self.make(number) for number in numbers}
        together = [number for number in numbers if not made[number].alone]
        verdicts = self._run({number: made[number] for number in together}) if together else {}
        company = {n: v for n, v in verdicts.items() if v.outcome == "wrong" and len(together) > 1}
        for number in numbers:
            if number not in verdicts:
                verdicts[number] = self._run({number: made[number]})[number]
            if number not in company:
                report(number, made[number], verdicts[number])
        # what is wrong in company is so alone, or is a finding of its own; where the run failed, who did it is to blame
        for number in company:
            made[number] = self.make(number)
            verdicts[number] = self._run({number: made[number]})[number]
        blamed = any(verdicts[number].outcome == "wrong" for number in company)
        for number, first in company.items():
            if verdicts[number].outcome != "wrong" and not (blamed and first.shared):
                verdicts[number] = wrong(f"in a run with {together}, not alone: {first.why}", first.reason)
                blamed = True
            report(number, made[number], verdicts[number])

    def _run(self, mutants: dict[int, Mutant]) -> dict[int, Verdict]:
        numbers = list(mutants)
        first = mutants[numbers[0]]
        out = first.output_dir or self.folder / f"out{numbers[0]}"
        if first.output_dir is None:
            shutil.rmtree(out, ignore_errors=True)
            for number, mutant in mutants.items():
                self._plant(number, mutant, out)
        files = [file for mutant in mutants.values() for file in mutant.files]
        given = [str(file) for file in files]
        places = [(mutant.directory or Path()) / file for mutant in mutants.values() for file in mutant.files]
        before = [fingerprint(place) for place in places]
        self.hooks.start(mutants)
        dataset = first.dataset or given
        # rejected labels are compared as well where files stand together; alone they are emptied, as shipped
        keep = {} if first.alone else KEEP
        found = answer(first.bundle or self.bundle, dataset, out, self.hooks.beat, first.directory, keep)
        self.hooks.stop()
        touched = {place for place, mark in zip(places, before) if fingerprint(place) != mark}
        if first.bundle is not None:
            verdicts = {numbers[0]: self._judge_bundle(first, found)}
        elif found.code is None:
            named = (*first.named, str(dataset)) if isinstance(dataset, str) else first.named
            verdicts = {number: judge_start(found, places, named) for number in mutants}
            if not first.alone:
                verdicts = {n: wrong(f"the run ended with an error: {v.reason[:200]}") for n, v in verdicts.items()}
                for verdict in verdicts.values():
                    verdict.shared = True
        else:
            verdicts = self._judge_files(mutants, Results(found, kept=not first.alone, inputs=places))
        for number, mutant in mutants.items():
            changed = [file for file in mutant.files if (mutant.directory or Path()) / file in touched]
            if changed:
                verdicts[number] = wrong(f"an input was changed or removed: {changed[0].name!r}")
            if mutant.payload is not None and mutant.payload.exists():
                verdicts[number] = wrong("code that came with the file was run")
        return verdicts

    def _plant(self, number: int, mutant: Mutant, out: Path) -> None:
        """Half of the files were answered before, when they were another scan: its results lie there."""
        if not self.expected or mutant.bundle is not None or not generator(self.seed + 1, number).random() < 0.5:
            return
        out.mkdir(parents=True, exist_ok=True)
        for file in mutant.files[:1]:
            stem = stem_of(file)
            if stem == file.name or len(stem.encode(errors="surrogateescape")) > 200:
                continue
            shutil.copyfile(self.expected[0].label, out / f"{stem}_seg.nii.gz")
            record = self.expected[0].record | {"file": str(file), PLANTED: True}
            (out / f"{stem}_shield.json").write_text(json.dumps(record))

    def _judge_files(self, mutants: dict[int, Mutant], results: Results) -> dict[int, Verdict]:
        judged: dict[int, list[tuple[Path, Verdict]]] = {}
        for number, mutant in mutants.items():
            names = mutant.dataset if isinstance(mutant.dataset, list) else [str(file) for file in mutant.files]
            places = [(mutant.directory or Path()) / file for file in mutant.files]
            judged[number] = [(place, results.judge(place, name)) for place, name in zip(places, names)]
        self._compare(judged, results.kept)
        fault, left = results.fault(), results.left()
        owners = {
            name: [n for n in judged if len(judged) == 1 or f"c{n}" in re.split(r"[._/-]", name)] for name in left
        }
        verdicts = {}
        for number, pairs in judged.items():
            worst = sorted((v for _, v in pairs), key=lambda v: SEVERITY.index(v.outcome))
            verdicts[number] = worst[0] if pairs else Verdict("right")
            ours = [name for name, numbers in owners.items() if number in numbers or not numbers]
            if verdicts[number].outcome != "wrong" and (fault or ours):
                verdicts[number] = wrong(fault or f"left behind: {ours[:3]}", verdicts[number].reason)
                verdicts[number].shared = True
            elif len(pairs) > 1 and pairs[-1][1].outcome == "refused" and pairs[-1][0].name == "last.nii":
                verdicts[number] = wrong("a plain file was refused", pairs[-1][1].reason)
        return verdicts

    def _compare(self, judged: dict[int, list[tuple[Path, Verdict]]], kept: bool) -> None:
        """Answer the plain twins that are not known yet, and hold every label against its twin's."""
        answered = ("right", "rejected") if kept else ("right",)
        pending = [(pairs, i) for pairs in judged.values() for i, (_, v) in enumerate(pairs) if v.outcome in answered]
        for variant in range(VARIANTS):
            twins = [twin_of(pairs[index][0], variant) for pairs, index in pending]
            keys = [f"{key_of(twin)}{'k' if kept else 'e'}" for twin in twins]
            self._answer_twins({key: twin for key, twin in zip(keys, twins) if key not in self.known}, kept)
            again = []
            for (pairs, index), key, twin in zip(pending, keys, twins):
                file, verdict = pairs[index]
                compared = compare(file, verdict, self.known[key])
                if compared.outcome == "wrong" and variant < VARIANTS - 1 and resampled(twin.affine):
                    again.append((pairs, index))
                else:
                    pairs[index] = (file, compared)
            pending = again

    def _answer_twins(self, twins: dict[str, nib.Nifti1Image], kept: bool) -> None:
        """Answer plain files, to be known from then on."""
        if not twins:
            return
        folder = self.folder / "twins"
        folder.mkdir(parents=True, exist_ok=True)
        files = {key: folder / f"{key}.nii" for key in twins}
        for key, twin in twins.items():
            nib.save(twin, files[key])
        given = [str(file) for file in files.values()]
        settings = KEEP if kept else {}
        results = Results(answer(self.bundle, given, folder / "out", self.hooks.beat, settings=settings), kept=kept)
        for key, file in files.items():
            self.known[key] = results.judge(file, str(file))
            if self.known[key].label is not None:
                saved = folder / f"{key}_label.nii.gz"
                self.known[key].label = self.known[key].label.replace(saved)
            file.unlink()
        shutil.rmtree(folder / "out")

    def know_probes(self) -> None:
        """
        What the plain bundle makes of the probes.

        Raises:
            RuntimeError: where that is not one accepted and one rejected.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        out = self.folder / "probes"
        found = answer(self.bundle, [str(probe) for probe in self.probes], out)
        results = Results(found)
        self.expected = [results.judge(probe, str(probe)) for probe in self.probes]
        if [verdict.outcome for verdict in self.expected] != ["right", "rejected"]:
            raise RuntimeError(f"the plain bundle makes of its probes {self.expected}, {found.errors}.")

    def _judge_bundle(self, mutant: Mutant, found: Answer) -> Verdict:
        """An altered bundle: refused, or its decisions and labels are those of the plain one."""
        if found.code is None:
            return judge_start(found, [*mutant.files, mutant.bundle or Path()], mutant.named, mutant.foreign)
        results = Results(found, mutant.foreign)
        verdicts = [results.judge(file, str(file)) for file in mutant.files]
        for file, verdict, expected in zip(mutant.files, verdicts, self.expected):
            kept = verdict.why == "rejected, and its label is not empty" and not mutant.labels
            if verdict.outcome == "refused" or kept:
                continue
            if verdict.outcome == "wrong":
                return verdict
            fault = _differs(verdict, expected, mutant.labels)
            if fault:
                return wrong(f"{file.stem}: {fault}", verdict.reason)
        fault, left = results.fault(), results.left()
        if fault or left:
            return wrong(fault or f"left behind: {left[:3]}")
        return next((v for v in verdicts if v.outcome == "refused"), Verdict("right", label=verdicts[0].label))


def _differs(verdict: Verdict, expected: Verdict, labels: bool) -> str:
    for key in ("status", "threshold", "slice_threshold", "scored"):
        if verdict.record.get(key) != expected.record.get(key):
            return f"{key} {verdict.record.get(key)}, without the change {expected.record.get(key)}"
    for key in ("slice_scores", "slice_p_values"):
        ours, theirs = (
            np.array([np.nan if s is None else s for s in v.record.get(key, [])], float) for v in (verdict, expected)
        )
        if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=1e-3, atol=1e-3, equal_nan=True):
            return f"other {key.replace('_', ' ')} than without the change"
    if labels and verdict.label is not None and expected.label is not None:
        ours, theirs = (np.asarray(nib.load(v.label).dataobj) for v in (verdict, expected))
        share = float((ours == theirs)[(ours != 0) | (theirs != 0)].mean()) if (ours.any() or theirs.any()) else 1.0
        if share <= AGREEMENT:
            return f"agreement with the label without the change {share:.3f}"
    return ""


def fingerprint(path: Path) -> tuple[object, ...]:
    """What would be another after a change of the file; links, pipes and devices are not opened."""
    try:
        found = path.lstat()
    except (OSError, ValueError) as error:
        return (type(error).__name__,)
    mark: tuple[object, ...] = (found.st_mode, found.st_size, found.st_mtime_ns, found.st_ino)
    if stat.S_ISREG(found.st_mode) and found.st_size <= READ:
        mark += (hashlib.sha256(path.read_bytes()).hexdigest(),)
    return mark


def strange(values: np.ndarray) -> nib.Nifti1Image:
    """A scan that must be rejected: another contrast and a grid over it."""
    inverted = np.where(values > 0, values.max() + 1 - values, 0)
    return plain_image((inverted * (1 + np.indices(values.shape).sum(axis=0) % 2)).astype(np.int16))
