# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Search for files and bundles that are not answered rightly: ``python tests/fuzz/run.py --number 600``.

Every case is a mutation made from (seed, number) alone, answered by the real inference of a bundle with tiny networks,
and judged by an oracle that shares no code with it. Killed, it goes on where it was.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
# What lies here is judged, not what is installed.
sys.path[:0] = [
    str(REPOSITORY / "plugin"),
    str(REPOSITORY / "tests"),
]
# Twice as quick: glibc else gives large blocks back after every batch. And one process is one core.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "4294967296")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "4294967296")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import fire  # noqa: E402
import nibabel as nib  # noqa: E402
from tqdm import tqdm  # noqa: E402

from fuzz.bench import strange  # noqa: E402
from fuzz.pool import solve_all  # noqa: E402
from fuzz.scans import SUBJECTS, load_scans, plain_image  # noqa: E402
from fuzz.table import fill_page, kinds_of_wrong, reasons, summary  # noqa: E402
from support.tiny_bundle import make_tiny_bundle, noisy  # noqa: E402

#: In-plane size of the bundle's networks.
SIZE = 64
#: Deviation of the noise in one of the scans that its shield is calibrated on, whose white matter has about 1500.
NOISE = 150.0
#: What decides how a case is made, answered and judged: an outcome is worth something only while none of it changes.
SOURCES = (
    "plugin/monai_shield/**/*.py",
    "bundles/brain_mri_shield/configs/*.json",
    "tests/fuzz/*.py",
    "tests/support/*.py",
)


def search(
    number: int = 600,
    seed: int = 0,
    output: str = "runs/fuzz",
    only: int | None = None,
    workers: int = 2,
    write_docs: bool = False,
) -> None:
    """
    Try mutations and print what became of them; ends with status 1 where one outcome is wrong.

    Args:
        number: how many cases.
        seed: of the cases.
        output: folder of the outcomes, of the wrong ones' files, and of what it works with.
        only: the number of one case, which is answered anew and printed.
        workers: processes.
        write_docs: write the table into docs/bad_input.md.
    """
    folder = Path(output).resolve()
    code = digest()
    prepare(folder, code)
    log = folder / "outcomes.jsonl"
    settings = {"output": str(folder), "seed": seed}
    if only is not None:
        solve_all([only], settings, 1, lambda outcome: print(json.dumps(outcome, indent=1, ensure_ascii=False)))
        return
    found = {each["number"]: each for each in read(log) if each["seed"] == seed and each["code"] == code}
    missing = [each for each in range(number) if each not in found]
    with log.open("a") as file, tqdm(total=number, initial=number - len(missing), unit="case") as bar:

        def keep(outcome: dict[str, Any]) -> None:
            found[outcome["number"]] = outcome = {"seed": seed, "code": code, **outcome}
            file.write(json.dumps(outcome) + "\n")
            file.flush()
            if outcome["outcome"] == "wrong":
                note(folder / "wrong" / str(outcome["number"]), outcome, output)
            bar.set_postfix(wrong=sum(each["outcome"] == "wrong" for each in found.values()))
            bar.update()

        solve_all(missing, settings, workers, keep)
    outcomes = [found[each] for each in range(number)]
    facts = {"cases": number, "seed": seed, "date": datetime.date.today().isoformat(), "revision": revision()}
    text = summary(outcomes, facts)
    (folder / "reasons.txt").write_text(reasons(outcomes) + "\n")
    print(text)
    if write_docs:
        fill_page(REPOSITORY / "docs" / "bad_input.md", text)
    if any(outcome["outcome"] == "wrong" for outcome in outcomes):
        print(f"\n{kinds_of_wrong(outcomes)}\n\nfiles and commands: {folder / 'wrong'}")
        raise SystemExit(1)


def prepare(folder: Path, code: str) -> None:
    """Make the plain bundle, calibrated on the scans, and its two probes, unless they are there."""
    plain = folder / "plain"
    if (plain / "code.txt").is_file() and (plain / "code.txt").read_text() == code:
        return
    shutil.rmtree(plain, ignore_errors=True)
    plain.mkdir(parents=True)
    scans = load_scans(folder / "scans")
    files = []
    for scan in scans[: len(SUBJECTS)]:
        files.append(plain / f"{scan.name}.nii")
        nib.save(plain_image(scan.values), files[-1])
    files.append(plain / "noisy.nii")
    nib.save(plain_image(noisy(scans[1].values, 40, 2000, deviation=NOISE).astype("int16")), files[-1])
    make_tiny_bundle(plain / "bundles" / "brain_mri_shield", files, size=SIZE)
    nib.save(plain_image(scans[0].values), plain / "plain.nii")
    nib.save(strange(scans[0].values), plain / "strange.nii")
    (plain / "code.txt").write_text(code)


def note(place: Path, outcome: dict[str, Any], output: str) -> None:
    """Beside the files of a wrong outcome: what it is, and the command that makes it again."""
    place.mkdir(parents=True, exist_ok=True)
    command = f"python tests/fuzz/run.py --seed {outcome['seed']} --only {outcome['number']} --output {output}"
    (place / "outcome.json").write_text(json.dumps(outcome | {"command": command}, indent=1) + "\n")


def read(log: Path) -> list[dict[str, Any]]:
    """The outcomes so far; a line that a kill cut is none."""
    lines = log.read_text().splitlines() if log.is_file() else []
    if log.is_file() and not log.read_text().endswith("\n"):
        lines = lines[:-1]
        log.write_text("".join(f"{line}\n" for line in lines))
    return [json.loads(line) for line in lines]


def digest() -> str:
    """Of the sources that decide an outcome."""
    found = hashlib.sha256()
    for pattern in SOURCES:
        for file in sorted(REPOSITORY.glob(pattern)):
            found.update(file.read_bytes())
    return found.hexdigest()[:12]


def revision() -> str:
    """The commit, and whether something was changed since; "unknown" outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


if __name__ == "__main__":
    fire.Fire(search)
