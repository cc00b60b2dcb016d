# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Mutated names and folders: every file is a good scan, and its results have to find a place."""

from __future__ import annotations

import gzip
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fuzz.case import Mutant, pick
from fuzz.scans import Scan, plain_image

Maker = Callable[[np.random.Generator, list[bytes], Path], Mutant]


def make(random: np.random.Generator, scans: list[Scan], folder: Path) -> Mutant:
    """One run on files whose names or folders are unusual, a plain one last."""
    order = random.permutation(len(scans))
    contents = [plain_image(scans[int(index)].values).to_bytes() for index in order]
    mutant = ROWS[what := pick(random, tuple(ROWS))](random, contents, folder)
    mutant.what, mutant.alone = what, True
    return mutant


def _put(file: Path, content: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    packed = file.name.endswith(".gz")
    file.write_bytes(gzip.compress(content, 1, mtime=0) if packed else content)
    return file


def _suffix(random: np.random.Generator) -> str:
    return pick(random, (".nii", ".nii.gz"))


def _long(random: np.random.Generator, contents: list[bytes], folder: Path) -> Mutant:
    suffix = _suffix(random)
    length = pick(random, (255, 254, 248, 247, 246, 240, 230, 213, 212, 200, int(random.integers(180, 256))))
    letter = pick(random, ("n", "n", "é", "脑"))
    stem = (letter * length).encode()[: length - len(suffix)].decode(errors="ignore")
    files = [_put(folder / f"{stem}{suffix}", contents[0]), _put(folder / "last.nii", contents[1])]
    return Mutant("", f"{len(files[0].name.encode())} bytes of '{letter}'", files)


# Not "a#b", of which MONAI makes "a::b" in what it is given (docs/upstream.md); in a folder it is a name like others.
SPECIAL = (
    "a b", " a", "a ", "it's", 'say "a"', "a\nb", "a\rb", "a\tb", "\x1b[31ma", "naïve", "脑", "🧠", "\u202egnp",
    "-a", "--help", ".a", "..a", "%a", "%s%d%n", "a%20b", "$a", "$__import__('os').mkdir('payload')", "${HOME}", "@a",
    "@device", "a::b", "a;b", "a,b", "[1]", "{0}", "{file}", "a*", "a?", "~", "~root", "\\\\a", "a\\nb", "a|b",
    "<b>", "&amp;", "null", "None", "nan", "0", "1e5", "true", "a.b", "a.b.c", "1.2.840.113619", "a.", "a_seg",
    "a_shield", "shield", "_seg", "_", "a.nii", "a.gz", "a.tar", "a.label", "CON", "a_seg.nii", "seg", "\udcff\udcfe",
)  # fmt: skip


def _special(random: np.random.Generator, contents: list[bytes], folder: Path) -> Mutant:
    name = pick(random, SPECIAL).replace("\0", "")
    suffix = _suffix(random)
    place = folder if random.random() < 0.7 else folder / pick(random, SPECIAL).replace("\0", "")
    files = [_put(place / f"{name}{suffix}", contents[0]), _put(folder / "last.nii", contents[1])]
    mutant = Mutant("", f"{str(files[0].relative_to(folder))!r}", files, payload=folder / "payload", directory=folder)
    # alone such a name is an expression to the one who reads the config
    if random.random() < 0.3 and not str(files[0].relative_to(folder)).startswith("$"):
        mutant.dataset = [str(file.relative_to(folder)) for file in files]
        mutant.files = [Path(name) for name in mutant.dataset]
        mutant.detail += ", relative"
    return mutant


def _no_name(random: np.random.Generator, contents: list[bytes], folder: Path) -> Mutant:
    name = pick(random, (".nii", ".nii.gz", ".gz", ".nii.nii", "..nii", ".nii.nii.gz", ".gz.nii"))
    return Mutant("", f"'{name}'", [_put(folder / name, contents[0]), _put(folder / "last.nii", contents[1])])


PAIRS = (
    ("a.nii", "a.nii.gz"),
    ("a.nii", "sub/a.nii"),
    ("a.nii", "A.nii"),
    ("a.nii", "a_seg.nii.gz"),
    ("a.nii.gz", "a_seg.nii"),
    ("a.b.nii", "a.c.nii"),
    ("a.nii", "a.b.nii"),
    ("1.2.3.nii.gz", "1.2.4.nii.gz"),
    ("a.nii", "a.nii.nii"),
    ("a.nii", "a.gz.nii"),
    ("a.nii.gz", "a.nii.nii.gz"),
    ("a_shield.nii", "a.nii"),
    ("shield.nii", ".nii"),
    ("a.nii", "./a.nii"),
    ("a.nii", "a.nii"),
    ("a.nii", "sub/../a.nii"),
    ("a.tar.nii.gz", "a.nii"),
    ("a.nii", "a .nii"),
)


def _pairs(random: np.random.Generator, contents: list[bytes], folder: Path) -> Mutant:
    """Two files of different scans whose results may meet."""
    names = list(pick(random, PAIRS))
    if random.random() < 0.1:
        names = [unicodedata.normalize(form, "é.nii") for form in ("NFC", "NFD")]
    random.shuffle(names)
    (folder / "sub").mkdir()
    # as text: a Path would take "./" and ".." for what they are
    files = [Path(os.path.join(folder, name)) for name in names]
    for file, content in zip(files, contents):
        _put(file, content)
    dataset: list[str] | None = [os.path.join(folder, name) for name in names]
    return Mutant("", f"{names[0]!r} and {names[1]!r}", files, dataset=dataset, named=("a", "é"))


def _folders(random: np.random.Generator, contents: list[bytes], folder: Path) -> Mutant:
    """A folder as the data set, with names to be found."""
    source = folder / "scans"
    names = {pick(random, ("a", "b", "a_seg", "x.y", "-c", ".d")) + pick(random, ENDINGS) for _ in range(3)}
    files = [_put(source / name, content) for name, content in zip(sorted(names), contents)]
    if random.random() < 0.1:
        files = [file for file in files if file.unlink()]
    if random.random() < 0.2:
        (source / "folder.nii").mkdir()  # no file, and nothing to be answered
    (source / "notes.txt").write_text("nothing")
    output = pick(random, (None, None, source, folder, source / "out"))
    return Mutant(
        "", f"folder of {sorted(names)}, results in {output}".replace(str(folder), "."), files, dataset=str(source),
        output_dir=output,
    )  # fmt: skip


ENDINGS = (".nii", ".nii", ".nii.gz", ".NII", ".NII.GZ", ".Nii.gz")


OUTPUTS = (
    "dataset", "parent", "link to the dataset", "through ..", "a file", "below a file", "deep", "long", "dots",
    "percent", "dollar", "spaces", "null device", "dangling link", "label is a folder", "JSON is a folder",
    "summary is a folder", "label is a link to the input", "label is a hard link of the input",
    "JSON is a link to the input",
)  # fmt: skip


def _output(random: np.random.Generator, contents: list[bytes], folder: Path) -> Mutant:
    """An output folder that is in the way, or in whose way something lies."""
    source, out = folder / "scans", folder / "out"
    files = [_put(source / name, content) for name, content in zip(("a.nii.gz", "a_seg.nii.gz", "b.nii"), contents)]
    how = pick(random, OUTPUTS)
    if how == "dataset":
        out = source
    elif how == "parent":
        files, out = [source.parent / f.name if f.rename(source.parent / f.name) else f for f in files], folder
    elif how == "link to the dataset":
        out.symlink_to(source)
    elif how == "through ..":
        out = Path(os.path.join(source, "..", "scans"))
    elif how == "a file":
        out.write_text("in the way")
    elif how == "below a file":
        out.write_text("in the way")
        out = out / "below"
    elif how == "deep":
        out = out.joinpath(*["d" * 100] * 20)
    elif how == "long":
        out = out.joinpath(*["d" * 200] * 30)
    elif how == "dangling link":
        out.symlink_to(folder / "nowhere")
    elif how in ("dots", "percent", "dollar", "spaces"):
        out = folder / {"dots": "a.b/c.nii", "percent": "%out", "dollar": "$out @x", "spaces": " o u t "}[how]
    elif how == "null device":
        out = Path("/dev/null")
    else:
        name, kind = how.split(" is a ")
        place = out / {"label": "a_seg.nii.gz", "JSON": "a_shield.json", "summary": "shield.json"}[name]
        out.mkdir()
        if kind == "folder":
            place.mkdir()
        elif kind == "link to the input":
            place.symlink_to(files[2])
        else:
            os.link(files[1], place)
    return Mutant("", how, files, output_dir=out, named=("output_dir", "out", "scans", "/dev/null"))


#: Row of the table: what makes the files of a run.
ROWS: dict[str, Maker] = {
    "name: long": _long,
    "name: special characters": _special,
    "name: only an ending": _no_name,
    "name: two that may meet": _pairs,
    "name: a folder of files": _folders,
    "name: output folder": _output,
}
