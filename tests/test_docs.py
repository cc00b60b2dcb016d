# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The pages say what the repository says."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from docs import build
from docs.build import fill_markers
from reproduction.tables import find

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "reproduction" / "results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("bundles/*/docs/README.md"))]
PAGES += [ROOT / "CONTRIBUTING.md", ROOT / "reproduction" / "README.md", *sorted(STUDY.rglob("*.md"))]


def filled(page: Path, parts: Mapping[str, str], folder: Path) -> str:
    """What a page would be with these parts; the page itself stays as it is."""
    copy = folder / "page.md"
    copy.write_text(page.read_text())
    fill_markers(copy, parts)
    return copy.read_text()


@pytest.mark.parametrize("page", build.page_parts(), ids=lambda page: str(page.relative_to(ROOT)))
def test_generated_parts_are_up_to_date(page: Path, tmp_path: Path) -> None:
    assert filled(page, build.page_parts()[page], tmp_path) == page.read_text(), "run 'make docs'"


@pytest.fixture
def study_folder(stored_study: tuple[dict, dict], tmp_path: Path) -> Path:
    """Results of a study, and its pages as they are before they are filled."""
    (tmp_path / "study").mkdir()
    for page in STUDY.glob("*.md"):
        empty = re.sub(r"(<!-- ([^/].*?) -->\n).*?(<!-- /\2 -->)", r"\1\3", page.read_text(), flags=re.DOTALL)
        (tmp_path / "study" / page.name).write_text(empty)
    (tmp_path / "study" / "results.json").write_text(json.dumps(stored_study[0]))
    return tmp_path / "study"


def test_the_page_of_a_study_is_filled_from_its_results(
    stored_study: tuple[dict, dict], study_folder: Path, tmp_path: Path
) -> None:
    pages = sorted(study_folder.glob("*.md"))
    page = "\n".join(filled(each, build.shown_parts(each), tmp_path) for each in pages)
    assert not re.findall(r"<!-- [^/].*? -->\n+<!-- /", page)
    assert "98.1" in page  # what the paper reports stands beside what was found
    # what the page leaves out: detectors against single attacks, and what stands on the second one
    second = (STUDY / "further" / "README.md").read_text()
    left = build.study_parts(stored_study[0]).keys() - set(re.findall(r"<!-- ([^/].*?) -->", page))
    left = {name for name in left if not name.startswith("AUC by detector, ")}
    assert all("attack by attack" in name or name.startswith("Baseline defenses, ") for name in left)
    assert all(f"<!-- {name} -->" in second for name in left)


def test_a_table_that_other_results_have_nothing_of_does_not_stay(
    stored_study: tuple[dict, dict], study_folder: Path, tmp_path: Path
) -> None:
    page = study_folder / "tables.md"
    page.write_text(filled(page, build.shown_parts(page), tmp_path))
    (study_folder / "results.json").write_text(json.dumps(stored_study[0] | {"comparisons": []}))
    again = filled(page, build.shown_parts(page), tmp_path)
    emptied = re.findall(r"<!-- (.*?) -->\n+<!-- /", again)
    assert emptied == [f"Comparisons, {variant}" for variant in ("exported", "raw")]


@pytest.mark.parametrize("folder", [STUDY, STUDY / "further"], ids=lambda folder: folder.name)
def test_every_target_of_a_study_that_is_told_of_has_learned(folder: Path) -> None:
    """An attack on a target that segments nothing tells nothing."""
    targets = json.loads((folder / "results.json").read_text())["targets"]
    assert targets
    assert {row["target"]: row["dice"]["value"] for row in targets if not row["dice"]["value"] > 0.6} == {}


def test_a_page_shows_of_a_study_what_it_has_markers_for(
    stored_study: tuple[dict, dict], study_folder: Path, tmp_path: Path
) -> None:
    results, page = stored_study[0], study_folder / "README.md"
    name = "defense 13, attack by attack"
    page.write_text(f"<!-- {name} -->\n<!-- /{name} -->\n<!-- no table -->\n")
    with pytest.raises(ValueError, match="no markers 'no table'"):
        filled(page, build.shown_parts(page), tmp_path)
    page.write_text(page.read_text() + "old\n<!-- /no table -->\n")
    lines = filled(page, build.shown_parts(page), tmp_path).splitlines()
    rows = [re.split(r"\s*\|\s*", line)[1:] for line in lines if line.startswith("| ")]
    where = {"defense": "13", "variant": "exported", "adjusted": False}
    found = [row for row in find(results["defenses"], **where) if row["attack"] != "pooled"]
    assert len(found) == 3 * 2
    assert [row[:2] for row in rows] == [["target", "attack"], *([row["target"], row["attack"]] for row in found)]
    for shown, row in zip(rows[1:], found):
        assert shown[2].startswith(f"{row['auc']['value']:.1f} ")
        assert shown[5].startswith(f"{row['reformed']['value']:.2f} ")
    assert "old" not in lines


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_nothing_that_is_to_be_filled_is_empty(page: Path) -> None:
    assert not re.findall(r"<!-- ([^/].*?) -->\s*<!-- /", page.read_text())


def anchors(page: Path) -> set[str]:
    """The names of the headings of a page, as they are linked to."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link, name in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text()):
        if not link.startswith("http"):
            target = page.parent / link if link else page
            assert target.exists(), link
            assert not name or name in anchors(target), f"{link}#{name}"


# the page of renames names files of the revision before
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "renames.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_files_named_in_commands_are_there(page: Path) -> None:
    text = page.read_text().replace("$C/", "bundles/brain_mri_shield/configs/")
    for file in re.findall(r"(?<![\w/])(?:bundles|configs|benchmarks|docs|tests)/[\w/]+\.(?:json|py|md)", text):
        assert any((root / file).exists() for root in (ROOT, *ROOT.glob("bundles/*"))), file


def test_markers_are_filled_and_missing_ones_named(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table -->\nold\n<!-- /table -->\nafter\n")
    table = build.markdown_table(["a", "b"], [["1", "22"]])
    assert fill_markers(page, {"table": table}) is True
    assert page.read_text() == f"before\n<!-- table -->\n{table}\n<!-- /table -->\nafter\n"
    assert fill_markers(page, {"table": table}) is False
    with pytest.raises(ValueError, match="no markers 'other'"):
        fill_markers(page, {"other": ""})
