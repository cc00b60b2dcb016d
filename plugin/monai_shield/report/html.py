# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""One page that stands alone: pictures inside, no script, nothing loaded from anywhere, and readable on a phone."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; color: #1a1a1a; background: #fff;
       font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #ddd; }
h3 { font-size: 1rem; margin: 1rem 0 0; }
p { margin: .4rem 0; }
.notice { background: #fff6e0; border-left: .3rem solid #e0a000; padding: .6rem .8rem; margin: 1rem 0; }
body.wide { max-width: 104rem; }
.wide p, .wide nav { max-width: 60rem; }
nav ul { columns: 16rem; margin: .4rem 0; padding-left: 1.2rem; }
summary { cursor: pointer; padding: .3rem 0; }
.beside { display: flex; flex-wrap: wrap; gap: 0 2rem; align-items: flex-start; }
.beside > * { flex: 1 1 44rem; min-width: 0; }
.beside > figure { flex-basis: 30rem; }
figure { margin: 1rem 0; }
.wide figure { max-width: 42rem; }
img { display: block; width: 100%; height: auto; }
figcaption { color: #555; font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #ddd; }
thead th { border-bottom: 2px solid #999; }
code { background: #f2f2f2; padding: 0 .2rem; overflow-wrap: anywhere; }
footer { color: #555; font-size: .85rem; margin-top: 2rem; border-top: 1px solid #ddd; }
"""


def page(title: str, body: Iterable[str], footer: str = "", wide: bool = False) -> str:
    """
    A whole page.

    Args:
        title: plain text, of the browser's tab and of the heading.
        body: pieces of HTML, in order.
        footer: plain text at the bottom.
        wide: give tables room side by side where the screen has it.
    """
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        '<body class="wide">' if wide else "<body>",
        "<main>",
        f"<h1>{escape(title)}</h1>",
        *body,
        "</main>",
        f"<footer><p>{escape(footer)}</p></footer>" if footer else "",
        "</body>",
        "</html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def section(title: str, *body: str, name: str = "") -> str:
    """A section with a plain-text heading and pieces of HTML; :func:`contents` leads to one that has a name."""
    start = f'<section id="{escape(name)}">' if name else "<section>"
    return "\n".join([start, f"<h2>{escape(title)}</h2>", *body, "</section>"])


def part(title: str, *body: str) -> str:
    """A part of a section with a plain-text heading and pieces of HTML."""
    return "\n".join(["<div>", f"<h3>{escape(title)}</h3>", *body, "</div>"])


def beside(*body: str) -> str:
    """Pieces of HTML side by side; a narrow screen shows one below the other."""
    return "\n".join(['<div class="beside">', *body, "</div>"])


def folded(title: str, *body: str) -> str:
    """Pieces of HTML that a reader unfolds, under a plain-text title."""
    return "\n".join(["<details>", f"<summary>{escape(title)}</summary>", *body, "</details>"])


def contents(titles: Mapping[str, str]) -> str:
    """Links to the sections of the page, from their names to their titles."""
    links = "".join(f'<li><a href="#{escape(name)}">{escape(title)}</a></li>' for name, title in titles.items())
    return f'<nav aria-label="contents"><ul>{links}</ul></nav>'


def paragraphs(*texts: str) -> str:
    """Plain texts, a paragraph each."""
    return "\n".join(f"<p>{escape(text)}</p>" for text in texts)


def notice(text: str) -> str:
    """A plain text that nobody shall overlook."""
    return f'<p class="notice">{escape(text)}</p>'


def embedded_image(png: bytes, description: str, caption: str = "") -> str:
    """
    A picture inside the page.

    Args:
        png: the PNG file.
        description: what it shows, for those who do not see it.
        caption: plain text below.
    """
    data = base64.b64encode(png).decode("ascii")
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="data:image/png;base64,{data}" alt="{escape(description)}">{below}</figure>'


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain texts, the first column of which names the rows; a narrow screen scrolls it sideways."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    lines = ['<div class="scroll"><table>', f"<thead><tr>{head}</tr></thead>", "<tbody>"]
    for name, *cells in rows:
        data = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{data}</tr>')
    return "\n".join([*lines, "</tbody>", "</table></div>"])


def table_of_markdown(text: str) -> str:
    """The same of a Markdown table as :func:`monai_shield.evaluation.tables.markdown_table` writes it."""
    lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.strip().splitlines()]
    return table(lines[0], lines[2:])
