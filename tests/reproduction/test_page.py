# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import base64
import re

import pytest

from monai_shield.report.pages import table_cells
from reproduction.report.page import defense_captions, defense_page, render_defenses
from reproduction.tables import defense_tables


@pytest.fixture(scope="module")
def page(rendered_study):
    return (rendered_study[1] / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def figures(stored_study):
    """A stand-in for every figure."""
    return {name: name.encode() for name in defense_captions(stored_study[0])}


def test_the_page_stands_alone_and_its_links_lead_to_its_parts(page, read_page):
    reader = read_page(page)
    assert not {"script", "link", "iframe"} & set(reader.tags)
    names = [attributes["id"] for _, attributes in reader.attributes if "id" in attributes]
    assert len(names) == len(set(names)) > 10
    links = [address for address in reader.addresses if not address.startswith("data:image/png;base64,")]
    assert links == [f"#{name}" for name in names]
    for outside in ("http://", "https://", "url(", "@import"):
        assert outside not in page


def test_the_contents_say_the_headings(page):
    assert re.findall(r'<a href="#[^"]+">(.*?)</a>', page) == re.findall(r"<h2>(.*?)</h2>", page)


def test_every_table_is_on_the_page_once(stored_study, page, read_page):
    shown = read_page(page).tables
    for title, table in defense_tables(stored_study[0]).items():
        assert shown.count(table_cells(table)) == 1, title


def test_every_figure_is_on_the_page_and_beside_it(stored_study, rendered_study, page, read_page):
    captions = defense_captions(stored_study[0])
    shown = {
        attributes["alt"]: base64.b64decode(attributes["src"].split(",", 1)[1])
        for tag, attributes in read_page(page).attributes
        if tag == "img"
    }
    files = {path.stem: path.read_bytes() for path in rendered_study[1].glob("*.png")}
    assert shown == {captions[name]: picture for name, picture in files.items()}
    assert len(set(captions.values())) == len(captions)


def test_exported_and_raw_stand_side_by_side(stored_study, page, read_page):
    tables = defense_tables(stored_study[0])
    rows = [re.split("</section>|</details>", text)[0] for text in page.split('<div class="beside">')[1:]]
    beside = [read_page("".join(re.findall("<table>.*?</table>", row, re.DOTALL))).tables for row in rows]
    for title in ("AUC, paper", "AUC by detector, DAG A", "Comparisons"):
        assert [table_cells(tables[f"{title}, {variant}"]) for variant in ("exported", "raw")] in beside


def test_what_is_missing_is_a_dash(stored_study, figures, page, made_up_study):
    results, _ = made_up_study
    # of the defenses with adjusted scores the page shows the mean of the targets
    shown = [row for row in results["defenses"] if row["target"] == "mean" or not row["adjusted"]]
    missing = sum(row["accepted"]["value"] is None and row["attack"] == "pooled" for row in shown)
    assert page.count("<td>–</td>") == missing > 0
    assert "None" not in page.replace("revision: None", "")
    for row in results["undefended"]:
        row["norm_l2"] = None
    assert defense_page(results, figures).count("<td>–</td>") == missing + len(results["undefended"])


def test_names_are_text_and_no_markup(page, read_page):
    assert "PGD <4/255>" in {piece.strip() for piece in read_page(page).text}
    assert "<4/255>" not in page


def test_the_same_results_are_the_same_page(made_up_study, figures):
    assert defense_page(made_up_study[0], figures) == defense_page(made_up_study[0], figures)


def test_without_comparisons_nothing_is_said_of_them(made_up_study, figures, read_page):
    results, _ = made_up_study
    assert "Detectors compared" in defense_page(results, figures)
    results["comparisons"] = []
    page = defense_page(results, figures)
    read_page(page)
    assert "Detectors compared" not in page


def test_a_group_without_a_title_is_told_by_its_name(made_up_study):
    results, _ = made_up_study
    for key in ("detectors", "detection", "roc"):
        for row in results[key]:
            row["group"] = {"layout": "a <new> one"}.get(row["group"], row["group"])
    figures = dict.fromkeys(defense_captions(results), b"")
    assert "roc_a_new_one" in figures
    assert "<h2>Detectors: a &lt;new&gt; one</h2>" in defense_page(results, figures)


@pytest.mark.parametrize("missing", ["results.json", "spectra.npz"])
def test_a_missing_result_is_named(missing, rendered_study, tmp_path):
    for name in {"results.json", "spectra.npz"} - {missing}:
        (tmp_path / name).write_bytes((rendered_study[0] / name).read_bytes())
    with pytest.raises(FileNotFoundError, match=missing):
        render_defenses(tmp_path)
    assert not list(tmp_path.glob("*.html"))


def test_the_results_stay_as_they_were_and_alone(rendered_study):
    assert {path.name for path in rendered_study[0].iterdir()} == {"results.json", "spectra.npz"}
