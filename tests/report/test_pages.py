# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import base64

import pytest

from monai_shield.errors import UserError
from monai_shield.evaluation.tables import markdown_table
from monai_shield.report import render_page

TEMPLATE = """\
{% extends "base.html" %}
{% from "macros.html" import markdown_table, picture, table %}
{% block title %}{{ title }}{% endblock %}
{% block content %}
<p>{{ text }}</p>
{{ table(["", "x"], [["a", "1"], ["b & c", "<2>"]]) }}
{{ markdown_table(markdown) }}
{{ picture(png, 'what "it" shows', "caption & more") }}
{% endblock %}
"""
ROWS = [["DAG, raw", "0.98 (0.97–0.99)"], ["PGD <4/255>", "–"]]


@pytest.fixture
def page(tmp_path):
    (tmp_path / "page.html").write_text(TEMPLATE)
    content = {"title": "a < b & c", "text": "1 < 2", "png": b"\x89PNG", "provenance": {"made": "<here>", "on": "cpu"}}
    return render_page("page.html", tmp_path, markdown=markdown_table(["attack", "AUC"], ROWS), **content)


def test_every_element_is_closed_and_text_is_escaped(page, read_page):
    text = " ".join(read_page(page).text)
    for words in ("a < b & c", "1 < 2", "b & c", "<2>", "caption & more", "made: <here>; on: cpu"):
        assert words in text


def test_nothing_is_loaded_from_anywhere(page, read_page):
    reader = read_page(page)
    assert reader.addresses
    assert all(address.startswith("data:") for address in reader.addresses)
    assert not {"script", "link", "iframe"} & set(reader.tags)
    for outside in ("http://", "https://", "//cdn", "url(", "@import"):
        assert outside not in page


def test_the_picture_is_inside(page, read_page):
    (image,) = (attributes for tag, attributes in read_page(page).attributes if tag == "img")
    assert base64.b64decode(image["src"].split(",", 1)[1]) == b"\x89PNG"
    assert image["alt"] == 'what "it" shows'


def test_a_phone_shows_it_at_its_own_width(page, read_page):
    reader = read_page(page)
    (viewport,) = (a for tag, a in reader.attributes if tag == "meta" and a.get("name") == "viewport")
    assert viewport["content"].startswith("width=device-width")
    # whatever is wide either shrinks or scrolls inside its own box
    assert "img { display: block; width: 100%" in page
    assert page.count("<table") == page.count('<div class="scroll"><table') == 2


def test_a_markdown_table_becomes_the_same_table(page, read_page):
    plain, markdown = read_page(page).tables
    assert plain == [["", "x"], ["a", "1"], ["b & c", "<2>"]]
    assert markdown == [["attack", "AUC"], *ROWS]


def test_results_that_lack_something_are_refused_in_one_line(tmp_path):
    (tmp_path / "page.html").write_text(TEMPLATE)
    with pytest.raises(UserError, match=r"^the results lack what their page shows \('markdown' is undefined\)"):
        render_page("page.html", tmp_path, title="", text="", provenance={})
