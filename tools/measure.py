# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Facts about the code: sizes, import circles, parameters, expressions in configs, duplicated blocks."""

import ast
import json
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx

ROOT = Path(__file__).parents[1]
#: Folder of each package to the name that it is imported by.
PACKAGES = {"plugin/monai_shield": "monai_shield", "reproduction": "reproduction"}
#: Lines that two files may share.
BLOCK = 6
#: Parameters of a function or a constructor that are still told apart.
PARAMETERS = 10

Place = tuple[str, int]


def source_files(folder: str) -> list[Path]:
    """The Python files of a folder of the repository."""
    return sorted((ROOT / folder).rglob("*.py"))


def config_files() -> list[Path]:
    """The configs of the bundles and those that bundles share; not the metadata, whose layout is MONAI's."""
    found = sorted([*ROOT.glob("bundles/*/configs/*.json"), *ROOT.glob("configs/*/*.json")])
    return [file for file in found if file.name != "metadata.json"]


def line_counts(folder: str) -> dict[str, int]:
    """Physical lines of each Python file of a folder."""
    return {file.relative_to(ROOT).as_posix(): len(file.read_text().splitlines()) for file in source_files(folder)}


def modules() -> dict[str, Path]:
    """Every module of the packages by its dotted name."""
    found = {}
    for folder, package in PACKAGES.items():
        for file in source_files(folder):
            parts = file.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *(part for part in parts if part != "__init__")))] = file
    return found


def import_graph() -> networkx.DiGraph:
    """Which module imports which, wherever in the file, relative imports and those for types included."""
    known = modules()
    graph = networkx.DiGraph()
    graph.add_nodes_from(known)
    for name, file in known.items():
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        for node in ast.walk(ast.parse(file.read_text())):
            graph.add_edges_from((name, other) for other in _imported(node, package, known) if other != name)
    return graph


def _imported(node: ast.AST, package: str, known: dict[str, Path]) -> Iterator[str]:
    """The modules that a statement imports. A name that is no module belongs to the module it is imported from."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in known)
    elif isinstance(node, ast.ImportFrom):
        parents = package.split(".")
        base = parents[: len(parents) - node.level + 1] if node.level else []
        source = ".".join([*base, *([node.module] if node.module else [])])
        for alias in node.names:
            yield from (other for other in (f"{source}.{alias.name}",) if other in known)
            if f"{source}.{alias.name}" not in known and source in known:
                yield source


def circles() -> list[list[str]]:
    """Modules that import each other, directly or through others."""
    return [sorted(group) for group in networkx.strongly_connected_components(import_graph()) if len(group) > 1]


def long_signatures() -> list[str]:
    """
    Functions and constructors with too many parameters.

    The settings that a dataclass inherits do not count, nor do the commands: their parameters are flags.
    """
    found = []
    for folder in PACKAGES:
        for file in (file for file in source_files(folder) if file.name != "__main__.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                number = _parameters(node)
                if number > PARAMETERS:
                    found.append(f"{file.relative_to(ROOT).as_posix()}: {node.name}, {number}")  # type: ignore[attr-defined]
    return found


def _parameters(node: ast.AST) -> int:
    if isinstance(node, ast.FunctionDef):
        names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        return len([name for name in names if name not in ("self", "cls")])
    if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(each) for each in node.decorator_list):
        fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
        kept = [ast.unparse(each) for each in fields]
        return len([text for text in kept if "ClassVar" not in text and "init=False" not in text])
    return 0


def expressions() -> list[str]:
    """The ``$`` expressions of all configs."""
    return [text for file in config_files() for text in _texts(json.loads(file.read_text())) if text.startswith("$")]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def with_control_flow() -> list[str]:
    """Those expressions that branch, loop or define a function."""
    kinds = (ast.IfExp, ast.Lambda, ast.BoolOp, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    found = []
    for text in expressions():
        code = text.removeprefix("$").replace("@", "_").replace("::", "_").replace("#", "_")
        tree = ast.parse(code)
        if any(isinstance(node, kinds) for node in ast.walk(tree)):
            found.append(text)
    return found


def duplicated_blocks() -> list[str]:
    """
    Blocks of six lines that stand in two places of the plugin and the configs.

    Blank lines, comments, imports and lines of brackets do not count.
    """
    places: dict[tuple[str, ...], list[Place]] = defaultdict(list)
    numbers: dict[str, list[int]] = {}
    for file in [*source_files("plugin"), *config_files()]:
        name, lines = file.relative_to(ROOT).as_posix(), list(_counting_lines(file))
        numbers[name] = [number for number, _ in lines]
        for start in range(len(lines) - BLOCK + 1):
            places[tuple(text for _, text in lines[start : start + BLOCK])].append((name, start))
    repeated = [found for found in places.values() if len(found) > 1]
    known = set(map(tuple, repeated))
    # of a longer block only the beginning is told
    starts = [found for found in repeated if tuple((name, start - 1) for name, start in found) not in known]
    return [" = ".join(f"{name}:{numbers[name][start]}" for name, start in found) for found in starts]


def _counting_lines(file: Path) -> Iterator[tuple[int, str]]:
    text = file.read_text()
    skipped = set()
    if file.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                skipped |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if words.strip("()[]{},:\" '") and not words.startswith("#") and number not in skipped:
            yield number, words


def facts() -> dict[str, str]:
    """The measures by name, as text."""
    found = {}
    for folder in PACKAGES:
        counts = line_counts(folder)
        longest = max(counts, key=lambda name: counts[name])
        name = PACKAGES[folder]
        found |= {
            f"{name}: files": str(len(counts)),
            f"{name}: physical lines": f"{sum(counts.values()):,}",
            f"{name}: median file": f"{statistics.median(counts.values()):g} lines",
            f"{name}: longest file": f"{counts[longest]} lines, `{longest}`",
        }
    configs = [len(file.read_text().splitlines()) for file in ROOT.glob("bundles/*/configs/*.json")]
    return found | {
        "import circles": str(len(circles())),
        f"functions with more than {PARAMETERS} parameters": str(len(long_signatures())),
        "bundle configs: lines": f"{sum(configs):,}",
        "`$` expressions in configs": str(len(expressions())),
        "of these with control flow": str(len(with_control_flow())),
        f"duplicated blocks of {BLOCK} lines": str(len(duplicated_blocks())),
    }


def main(details: bool = False) -> str:
    """
    Measure the code.

    Args:
        details: name the places behind each number that is to be 0.
    """
    lines = [f"{name}: {value}" for name, value in facts().items()]
    if details:
        found = (circles(), long_signatures(), with_control_flow(), duplicated_blocks())
        lines += [str(each) for group in found for each in group]
    return "\n".join(lines)


if __name__ == "__main__":
    import fire

    fire.Fire(main, name="measure")
