# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The pages say what the repository says."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("bundles/*/docs/README.md"))]


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """docs/build.py"""
    spec = importlib.util.spec_from_file_location("build_pages", ROOT / "docs" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_up_to_date(build: ModuleType) -> None:
    before = {page: page.read_text() for page in PAGES}
    try:
        assert build.main() is False, "run 'make docs'"
    finally:
        for page, text in before.items():
            page.write_text(text)


def test_the_page_of_a_study_is_filled_from_its_results_and_only_then(
    build: ModuleType, stored_study: tuple[dict, dict], tmp_path: Path
) -> None:
    page = tmp_path / "README.md"
    text = (ROOT / "reproduction" / "results" / "README.md").read_text()
    page.write_text(re.sub(r"(<!-- ([^/].*?) -->\n).*?(<!-- /\2 -->)", r"\1\3", text, flags=re.DOTALL))
    empty = page.read_text()
    assert build.fill_study(tmp_path) is False
    assert page.read_text() == empty
    (tmp_path / "results.json").write_text(json.dumps(stored_study[0]))
    assert build.fill_study(tmp_path) is True
    filled = page.read_bytes()
    assert not re.findall(r"<!-- [^/].*? -->\n+<!-- /", filled.decode())
    assert "98.1" in filled.decode()  # what the paper reports stands beside what was found
    # what the page leaves out: detectors against single attacks, and what stands on the second one
    second = (ROOT / "reproduction" / "results" / "further" / "README.md").read_text()
    left = build.study_parts(stored_study[0]).keys() - set(re.findall(r"<!-- ([^/].*?) -->", text))
    left = {name for name in left if not name.startswith("AUC by detector, ")}
    assert all("attack by attack" in name or name.startswith("Rivals, ") for name in left)
    assert all(f"<!-- {name} -->" in second for name in left)
    assert build.fill_study(tmp_path) is False
    assert page.read_bytes() == filled
    # a table that other results have nothing of does not stay
    (tmp_path / "results.json").write_text(json.dumps(stored_study[0] | {"comparisons": []}))
    assert build.fill_study(tmp_path) is True
    emptied = re.findall(r"<!-- (.*?) -->\n+<!-- /", page.read_text())
    assert emptied == [f"Comparisons, {variant}" for variant in ("exported", "raw")]


@pytest.mark.parametrize("folder", ["study", "study/further"])
def test_every_target_of_a_study_that_is_told_of_has_learned(folder: str) -> None:
    """An attack on a target that segments nothing tells nothing."""
    targets = json.loads((ROOT / "docs" / folder / "results.json").read_text())["targets"]
    assert targets
    assert {row["target"]: row["dice"]["value"] for row in targets if not row["dice"]["value"] > 0.6} == {}


def test_a_page_shows_of_a_study_what_it_has_markers_for(
    build: ModuleType, stored_study: tuple[dict, dict], tmp_path: Path
) -> None:
    results, page = stored_study[0], tmp_path / "README.md"
    (tmp_path / "results.json").write_text(json.dumps(results))
    name = "defense 13, attack by attack"
    page.write_text(f"<!-- {name} -->\n<!-- /{name} -->\n<!-- no table -->\n")
    with pytest.raises(ValueError, match="no markers 'no table'"):
        build.fill_study(tmp_path)
    page.write_text(page.read_text() + "old\n<!-- /no table -->\n")
    assert build.fill_study(tmp_path) is True
    lines = page.read_text().splitlines()
    rows = [re.split(r"\s*\|\s*", line)[1:] for line in lines if line.startswith("| ")]
    where = {"defense": "13", "variant": "exported", "adjusted": False}
    found = [row for row in build.find(results["defenses"], **where) if row["attack"] != "pooled"]
    assert len(found) == 3 * 2
    assert [row[:2] for row in rows] == [["target", "attack"], *([row["target"], row["attack"]] for row in found)]
    for shown, row in zip(rows[1:], found):
        assert shown[2].startswith(f"{row['auc']['value']:.1f} ")
        assert shown[5].startswith(f"{row['reformed']['value']:.2f} ")
    assert "old" not in lines


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_nothing_that_is_to_be_filled_is_empty(page: Path) -> None:
    assert not re.findall(r"<!-- ([^/].*?) -->\s*<!-- /", page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_named_in_commands_are_there(page: Path) -> None:
    text = page.read_text().replace("$C/", "bundles/brain_mri_shield/configs/")
    for file in re.findall(r"(?<![\w/])(?:bundles|configs|benchmarks|docs|tests)/[\w/]+\.(?:json|py|md)", text):
        assert any((root / file).exists() for root in (ROOT, *ROOT.glob("bundles/*"))), file


def test_rooms_import_only_from_rooms_above() -> None:
    import monai_shield

    rooms = list(monai_shield.ROOMS)
    package = Path(monai_shield.__file__).parent
    for number, room in enumerate(rooms):
        files = sorted((package / room).rglob("*.py")) or [package / f"{room}.py"]
        for file in files:
            for other in re.findall(r"^\s*from monai_shield\.(\w+)", file.read_text(), re.MULTILINE):
                assert other in rooms[: number + 1], f"{file.name} of {room} imports from {other}"
