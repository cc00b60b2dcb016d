# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Nothing that was measured has changed since the revision before: its facts, by old names, are in snapshot.json."""

import json
from pathlib import Path

import pytest

from revision.compact import alike, compact
from revision.naming import Names
from revision.page import PAGE, page
from revision.process import changes, facts_in_process

SNAPSHOT = Path(__file__).with_name("snapshot.json")
REPOSITORY = Path(__file__).parents[2]
PARTS = sorted({name.split("/")[0] for name in json.loads(SNAPSHOT.read_text())["records"]})


@pytest.fixture(scope="module")
def found():
    """The facts of the working tree."""
    return facts_in_process(REPOSITORY, portable=True)


@pytest.fixture(scope="module")
def before():
    return json.loads(SNAPSHOT.read_text())


def test_every_fact_can_be_computed(found):
    assert not found["failures"], "\n".join(found["failures"].values())


@pytest.mark.parametrize("part", PARTS)
def test_nothing_that_was_measured_has_changed(found, before, part):
    records = {name: record for name, record in before["records"].items() if name.split("/")[0] == part}
    different = changes({"records": records, "tolerances": before["tolerances"]}, found | {"failures": {}})
    assert not different, "\n".join(f"{name}: {words}" for name, words in different.items())


def test_the_table_can_be_read_backward():
    names = Names()
    for old, new in names.files.items():
        assert names.path_before(f"{new}/file") == f"{old}/file"
        assert names.path(names.path_before(new)) == new
    for table, back in ((names.identifiers, names.identifiers_back), (names.values, names.values_back)):
        for place, entries in table.items():
            assert {back[place][new]: new for new in entries.values()} == entries
    for old in names.names:
        names.find(old)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.001]),
        ([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]),
        ([1.0, float("nan")], [1.0, 0.0]),
        ([1, 2], [2, 1]),
        ([[1.0, 2.0]], [1.0, 2.0]),
        ("a", "b"),
        (True, 1),
    ],
)
def test_a_changed_value_is_another_one(one, other):
    assert not alike(compact(one), compact(other), 1e-5)
    assert alike(compact(one), compact(one), 1e-5)


def test_another_rounding_is_the_same_value_but_not_the_same_bits():
    one, other = compact([1.0, 2.0, 3.0]), compact([1.0, 2.0, 3.0 + 1e-12])
    assert alike(one, other, 1e-5)
    assert not alike(one, other, 0.0)


def test_the_page_of_renames_is_current():
    assert PAGE.read_text() == page(), "PYTHONPATH=tests python -m revision.page"
