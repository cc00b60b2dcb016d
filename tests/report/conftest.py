# Copyright (c) The monai-shield authors.
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
import json
from html.parser import HTMLParser

import numpy as np
import pytest

from monai_shield.report import render_study

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Reader(HTMLParser):
    """Reads a page and notes its text, its links and whether every element is closed where it was opened."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.addresses, self.attributes, self.tags = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text.append(data)

    @classmethod
    def read(cls, page):
        reader = cls()
        reader.feed(page)
        reader.close()
        assert not reader.open, f"never closed: {reader.open}"
        return reader


@pytest.fixture(scope="session")
def read_page():
    """Read a page, (str) -> Reader; fails where an element is not closed where it was opened."""
    return Reader.read


@pytest.fixture(scope="session")
def rendered_study(stored_study, tmp_path_factory):
    """A folder with the results of a study of defenses, and one with its page and figures; to look at only."""
    folder, output = tmp_path_factory.mktemp("results"), tmp_path_factory.mktemp("rendered")
    results, spectra = stored_study
    (folder / "results.json").write_text(json.dumps(results))
    np.savez(folder / "spectra.npz", **spectra)
    assert render_study(folder, output) == output / "report.html"
    return folder, output
