# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import csv
import math

import pytest

from monai_shield.evaluation.tables import digits
from reproduction.published import PAPER_AUC
from reproduction.tables import (
    TABLES,
    auc_table,
    comparison_table,
    defense_table,
    defense_tables,
    structure_table,
    target_table,
    undefended_table,
    write_rows,
)


def cells(table):
    """Header and rows of a Markdown table."""
    header, rule, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    assert all(set(cell) == {"-"} for cell in rule)
    assert all(len(row) == len(header) for row in rows)
    return header, rows


@pytest.fixture
def results(made_up_study):
    return made_up_study[0]


def stored(rows, **wanted):
    (row,) = (row for row in rows if all(row[key] == value for key, value in wanted.items()))
    return row


ALL = ("UNet", "SegNet", "DenseNet", "UNet, distilled")


def test_targets_and_structures_have_a_place_each(results):
    assert [row[0] for row in cells(target_table(results))[1]] == [*ALL]
    header, rows = cells(structure_table(results))
    assert header == ["structure", *ALL]
    value = results["targets"][2]["structures"]["right part"]["value"]
    assert stored([{"name": row[0], "cell": row[3]} for row in rows], name="right part")["cell"].startswith(
        f"{value:.3f} ("
    )


def test_a_perturbation_is_told_in_steps_of_8_bits(results):
    results["undefended"][0]["norm_l2"] = None
    header, rows = cells(undefended_table(results))
    assert len(rows) == (3 + 1) * 2 * 2
    first = dict(zip(header, rows[0]))
    assert (first["L∞, /255"], first["L2"], first["steps"], first["slices"]) == ("2.0", "–", "20", "3")


@pytest.mark.parametrize("variant", ["raw", "exported"])
@pytest.mark.parametrize("attack", ["DAG A", "pooled"])
def test_every_auc_is_that_of_its_detector_target_attack_and_variant(results, attack, variant):
    header, rows = cells(auc_table(results, None, variant, attack))
    assert [row[0] for row in rows] == [row["detector"] for row in results["detectors"]]
    for row in rows:
        found = dict(zip(header, row))
        for target in ("UNet", "SegNet", "DenseNet", "mean"):
            which = {"detector": row[0], "target": target, "attack": attack, "variant": variant}
            value = stored(results["detection"], **which)["auc"]["value"]
            assert float(found[target].split(" ")[0]) == pytest.approx(value, abs=0.05001)
        assert found["seeds"] == "60.0–71.2"
        assert "(" in found["mean"]
        assert "(" not in found["UNet"]


def test_the_column_of_the_paper_is_filled_where_the_paper_has_a_number(results):
    header, rows = cells(auc_table(results, None, "raw"))
    paper = {row[0]: row[header.index("paper")] for row in rows}
    assert paper.pop("UNet shifted") == "98.1"
    assert set(paper.values()) == {""}


def test_the_means_of_the_paper_are_those_of_its_targets():
    for name, row in PAPER_AUC.items():
        mean = sum(row[target] for target in ("UNet", "SegNet", "DenseNet")) / 3
        assert row["mean"] == pytest.approx(mean, abs=0.011), name


def test_a_group_holds_its_detectors_only(results):
    assert [row[0] for row in cells(auc_table(results, "layout", "raw"))[1]] == ["rolled"]


def test_what_is_no_number_is_a_dash(results):
    for row in results["detection"]:
        row["auc"] = row["paired_win_rate"] = row["adjusted"] = dict.fromkeys(("value", "low", "high"))
        row["seeds"] = [None, None]
    header, rows = cells(auc_table(results, "layout", "raw"))
    assert dict(zip(header, rows[0])) == {
        "detector": "rolled",
        "parameters": "1,234",
        **dict.fromkeys(("UNet", "SegNet", "DenseNet", "mean", "seeds", "paired win rate", "adjusted"), "–"),
        "paper": "",
    }
    header, rows = cells(defense_table(results, "mean", "pooled", "exported"))
    assert [dict(zip(header, row))["of the accepted"] == "–" for row in rows] == [True, False]


@pytest.mark.parametrize(
    ("value", "told"), [(-0.0004, "0.000"), (-0.0006, "-0.001"), (0.0, "0.000"), (math.inf, "inf"), (math.nan, "–")]
)
def test_a_rounded_zero_has_no_sign(value, told):
    assert digits(value) == told


def test_an_error_is_told_with_its_norm(results):
    _, rows = cells(defense_tables(results)["How the networks were trained"])
    norms = {row[0]: row[4] for row in rows}
    for row in results["detectors"]:
        if row["detector"] in norms:
            assert norms[row["detector"]] == ("L1" if row["group"] == "magnet" else "L2")
    assert set(norms.values()) == {"", "L1", "L2"}


def test_one_seed_has_no_range(results):
    for row in results["detection"]:
        row["seeds"] = row["seeds"][:1]
    header, rows = cells(auc_table(results, None, "raw"))
    assert {row[header.index("seeds")] for row in rows} == {""}


def test_differences_stand_in_the_column_of_their_target(results):
    header, rows = cells(comparison_table(results, "raw"))
    assert [row[0] for row in rows] == ["UNet shifted − share of zeros"]
    for target, cell in zip(header[1:], rows[0][1:]):
        where = {"target": target, "attack": "pooled", "variant": "raw"}
        assert cell.startswith(f"{stored(results['comparisons'], **where)['difference']['value']:.1f} (")


def test_without_comparisons_there_is_no_table_of_them(results, tmp_path):
    assert {"Comparisons, raw", "Comparisons, exported"} <= set(defense_tables(results))
    results["comparisons"] = []
    assert not [title for title in defense_tables(results) if title.startswith("Comparisons")]
    write_rows(results, tmp_path)
    assert (tmp_path / "comparisons.csv").read_text() == ""


def test_every_target_has_its_defenses_in_both_variants(results):
    tables = defense_tables(results)
    for target in ("UNet", "SegNet", "DenseNet", "mean"):
        for variant in ("raw", "exported"):
            _, rows = cells(tables[f"Defenses of {target}, pooled, {variant}"])
            assert [row[0] for row in rows] == ["13", "MagNet"]
            for row in rows:
                where = {"defense": row[0], "target": target, "attack": "pooled", "variant": variant}
                found = stored(results["defenses"], **where, adjusted=False)
                assert row[3].startswith(f"{found['auc']['value']:.1f} (")


def test_csv_files_have_every_row_and_three_columns_an_interval(results, tmp_path):
    results["detection"][0]["seeds"] = [None, 60.0]
    write_rows(results, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{table}.csv" for table in TABLES}
    for table in TABLES:
        with (tmp_path / f"{table}.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) == len(results[table])
    with (tmp_path / "detection.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ["detector", "group", "target", "attack", "variant"]
    intervals = {f"{name} {end}" for name in ("auc", "paired_win_rate", "adjusted") for end in ("value", "low", "high")}
    assert set(rows[0]) == {*columns, *intervals, "seeds"}
    for row, expected in zip(rows, results["detection"]):
        assert [row[name] for name in columns] == [expected[name] for name in columns]
        assert math.isclose(float(row["auc low"]), expected["auc"]["low"])
    assert [rows[0]["seeds"], rows[1]["seeds"]] == [" 60", "60 71.25"]
    with (tmp_path / "defenses.csv").open(newline="") as file:
        assert {row["accepted value"] == "" for row in csv.DictReader(file) if row["defense"] == "13"} == {True}
