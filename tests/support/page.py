# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A page as a browser reads it."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "input", "hr"}
CELLS = {"th", "td"}


class Reader(HTMLParser):
    """Reads a page and notes its text, links and tables, and whether every element is closed where it was opened."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.addresses, self.attributes, self.tags = [], [], [], [], []
        self.tables = []  # of rows of the cells' texts

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in CELLS:
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text.append(data)
        if CELLS & set(self.open):
            self.tables[-1][-1][-1] += " ".join(data.split())

    @classmethod
    def read(cls, page):
        reader = cls()
        reader.feed(page)
        reader.close()
        assert not reader.open, f"never closed: {reader.open}"
        return reader
