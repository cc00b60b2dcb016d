# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""
Kill every command, at random moments and inside every write, and see what is left and what comes of it.

``python tests/crash/run.py --number 100 --seed 0 --output runs/crash`` kills 100 times, and for every four kills
fills a disk, makes it read-only or runs two processes on one folder. Started again it goes on where it was;
``--only N`` does one trial anew, ``--write_docs`` puts the table into docs/bad_input.md. The folder of a trial in which
something was wrong is kept.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from stage import Stage  # noqa: E402
from trials import Trial, perform, wrong  # noqa: E402
from world import REPOSITORY, Command, commands, make_world  # noqa: E402

#: So many kills stand beside one trial of another kind.
KILLS = 4
#: Share of the kills over the results of another run; a sixth of it where such a folder is refused.
OVER = 0.3
#: Share of the kills at random moments; the others are at a point of what is written.
RANDOM_MOMENT = 0.3
PHASES = {"write": ("before", "half", "half", "after")}
HARDSHIPS = ("two at once", "full disk", "two at once", "read-only disk", "full disk")
Point = dict[str, Any]
Place = tuple[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=100, help="kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/crash"))
    parser.add_argument("--only", type=int, help="number of one trial, done anew")
    parser.add_argument("--command", help="only commands whose names begin so")
    parser.add_argument("--jobs", type=int, default=2, help="trials at a time")
    parser.add_argument("--write_docs", action="store_true", help="write the table into docs/bad_input.md")
    settings = parser.parse_args(arguments)
    output = settings.output.resolve()
    chosen = {name: each for name, each in commands().items() if name.startswith(settings.command or "")}
    world = make_world(output / "world")
    points = references(chosen, world, output, settings.jobs)
    planned = plan(chosen, points, settings.number, settings.seed)
    kept = output / f"trials_{settings.seed}.jsonl"
    if settings.only is not None:
        planned = [trial for trial in planned if trial.number == settings.only]
        kept = output / "only.jsonl"
        kept.unlink(missing_ok=True)
    records = run(planned, chosen, world, output, kept, settings.jobs)
    text = table(records)
    print(text)  # noqa: T201
    if settings.write_docs:
        from docs.build import fill_markers

        fill_markers(REPOSITORY / "docs" / "bad_input.md", {"crash": text})
    return int(any(wrong(record["found"]) for record in records))


def references(chosen: dict[str, Command], world: Path, output: Path, jobs: int) -> dict[str, list[Point]]:
    """Run every command undisturbed, twice, where that was not done before; returns the points of each."""
    todo = [command for command in chosen.values() if not reference(output, command).is_dir()]
    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(todo), desc="undisturbed", unit="command") as bar:
        for future in as_completed([pool.submit(_refer, command, world, output) for command in todo]):
            future.result()
            bar.update()
    lines = {name: reference(output, command) / "points.jsonl" for name, command in chosen.items()}
    return {name: [json.loads(line) for line in path.read_text().splitlines()] for name, path in lines.items()}


def reference(output: Path, command: Command) -> Path:
    """Where a command's undisturbed runs lie."""
    return output / "undisturbed" / command.name.replace(" ", "_").replace(",", "")


def _refer(command: Command, world: Path, output: Path) -> None:
    final = reference(output, command)
    partial = final.with_name(f"{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for other in (False, True):
        stage = Stage(partial / "run", world, command, partial)
        count = None if other else {"CRASH_COUNT": str(partial / "points.jsonl")}
        partial.mkdir(parents=True, exist_ok=True)
        status = stage.run(other, environment=count)
        if status is None or (not other and status != command.status):
            log = (partial / "run" / "log").read_text()[-3000:]
            raise RuntimeError(f"'{command.name}' ends with {status} though nobody disturbs it:\n{log}")
        stage.out.rename(partial / ("other" if other else "this"))
        shutil.rmtree(partial / "run")
    partial.rename(final)


def plan(chosen: dict[str, Command], points: dict[str, list[Point]], number: int, seed: int) -> list[Trial]:
    """The trials: commands in turn, the places of each in turn; the first ones are those of a shorter plan."""
    trials: list[Trial] = []
    names = list(points)
    generators = {name: random.Random(f"{seed} {name}") for name in names}
    places: dict[str, list[Place]] = {name: [] for name in names}
    kills = hard = 0
    while kills < number:
        if hard < kills // KILLS:
            name = names[(hard + hard // len(names)) % len(names)]
            trials.append(
                _hardship(len(trials), name, HARDSHIPS[hard % len(HARDSHIPS)], points[name], generators[name])
            )
            hard += 1
            continue
        name = names[kills % len(names)]
        over = generators[name].random() < (OVER / 6 if chosen[name].refuses else OVER)
        trial = _killing(len(trials), name, over, points[name], places[name], generators[name])
        kills += len(trial.at)
        trials.append(trial)
    return trials


def _killing(
    number: int, name: str, over: bool, points: list[Point], places: list[Place], generator: random.Random
) -> Trial:
    first = _moment(points, generator) if generator.random() < RANDOM_MOMENT else _place(points, places, generator)
    at, inside = first
    # now and then what goes on is killed as well
    second = (_moment(points[: len(points) // 2 + 1], generator)[0],) if generator.random() < 0.2 else ()
    return Trial(number, "kill", name, over, (at, *second), inside)


def _place(points: list[Point], places: list[Place], generator: random.Random) -> tuple[str, bool]:
    """At one of the files that are written or removed, one file after the other in an order of chance."""
    of = _finals(points)
    if not places:
        found = list(dict.fromkeys((point["kind"], final) for point, final in zip(points, of)))
        places += found + 2 * [place for place in found if place[0] == "write"]
        generator.shuffle(places)
    place = places.pop()
    point = generator.choice([each for each, final in zip(points, of) if (each["kind"], final) == place])
    return _at(point, generator.choice(PHASES.get(place[0], ("before", "after")))), place[0] == "write"


def _finals(points: list[Point]) -> list[str]:
    """What each point writes: of a temporary file, the name it is about to get."""
    found = []
    for number, point in enumerate(points):
        temporary = Path(point["path"]).name.startswith(".")
        following = (each["path"] for each in points[number:] if each["kind"] in ("replace", "rename"))
        found.append(next(following, point["path"]) if temporary else point["path"])
    return found


def _moment(points: list[Point], generator: random.Random) -> tuple[str, bool]:
    """At a moment of the time in which it writes, or of the last second before."""
    begin, end = points[0]["seconds"], points[-1]["seconds"]
    moment = generator.uniform(begin - 1, end)
    passed: list[Point] = [{"kind": "start", "path": "", "nth": 1, "seconds": 0.0}]
    passed += [point for point in points if point["seconds"] <= moment]
    return _at(passed[-1], round(moment - passed[-1]["seconds"], 3)), False


def _at(point: Point, phase: str | float, signal: str = "KILL") -> str:
    return json.dumps([point["kind"], point["path"], point["nth"], phase, signal])


def _hardship(number: int, name: str, kind: str, points: list[Point], generator: random.Random) -> Trial:
    over = generator.random() < 0.4
    if kind == "full disk":
        return Trial(number, kind, name, room=round(generator.uniform(0, 0.9), 3))
    if kind == "read-only disk":
        return Trial(number, kind, name, over)
    # where the first one is only about to begin, the second has done all of it
    point = generator.choice(points[len(points) // 8 :])
    return Trial(number, kind, name, over, (_at(point, generator.choice(("before", "after")), "STOP"),))


def run(
    planned: Sequence[Trial], chosen: dict[str, Command], world: Path, output: Path, kept: Path, jobs: int
) -> list[dict[str, Any]]:
    """Do what was not done before, a line each; returns what was found in all of them."""
    records = {}
    if kept.is_file():
        lines = [json.loads(line) for line in kept.read_text().splitlines() if line.endswith("}")]
        records = {line["number"]: line for line in lines}
    done = {trial.number for trial in planned if _same(records.get(trial.number, {}), trial)}
    todo = [trial for trial in planned if trial.number not in done]

    def do(trial: Trial) -> dict[str, Any]:
        command = chosen[trial.command]
        found = perform(trial, command, output / f"trial_{trial.number}", world, reference(output, command))
        return {**_plain(trial), "found": found}

    with (
        ThreadPoolExecutor(jobs) as pool,
        kept.open("a") as file,
        tqdm(total=len(planned), initial=len(done), desc="killing", unit="trial") as bar,
    ):
        for future in as_completed([pool.submit(do, trial) for trial in todo]):
            record = future.result()
            records[record["number"]] = record
            file.write(json.dumps(record) + "\n")
            file.flush()
            bar.update()
            bar.set_postfix(wrong=sum(wrong(each["found"]) for each in records.values()))
            if wrong(record["found"]):
                bar.write(json.dumps(record))
    return [records[trial.number] for trial in planned]


def _plain(trial: Trial) -> dict[str, Any]:
    return {**vars(trial), "at": list(trial.at)}


def _same(record: dict[str, Any], trial: Trial) -> bool:
    return {key: value for key, value in record.items() if key != "found"} == _plain(trial)


def table(records: Iterable[dict[str, Any]]) -> str:
    """A row a command: what was done to it, and what came of it; and a line with date and revision."""
    from monai_shield.evaluation.provenance import git_revision, today
    from monai_shield.evaluation.tables import markdown_table

    header = ["command", "kills", "inside a write", "over another run", "two at once", "full disk", "read-only disk"]
    header += ["half-written", "of two runs", "other results", "failed", "not in one line", "sum open after a kill"]
    header += ["left over"]
    rows: dict[str, Counter[str]] = {}
    for record in records:
        found = record["found"]
        for name in (record["command"], "all"):
            row = rows.setdefault(name, Counter())
            row["kills"] += found.get("struck", 0)
            row["inside a write"] += int(record["inside"])
            row["over another run"] += int(record["over"] and record["kind"] == "kill")
            row[record["kind"]] += int("skipped" not in found and record["kind"] != "kill")
            row["half-written"] += int("half-written" in found)
            row["of two runs"] += int("mixed" in found)
            row["other results"] += int("differs" in found)
            row["failed"] += int("failed" in found or "sum open at the end" in found)
            row["not in one line"] += int(found.get("said", "one line") != "one line")
            row["sum open after a kill"] += int("sum open" in found)
            row["left over"] += int(found.get("left over", 0) > 0)
    ordered = [name for name in rows if name != "all"] + ["all"]
    body = markdown_table(header, [[name, *(str(rows[name][column]) for column in header[1:])] for name in ordered])
    return f"{body}\n\n{today()}, revision {git_revision()}."


if __name__ == "__main__":
    sys.exit(main())
