# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Weights, calibration and sums of a bundle, altered by somebody who may know how to write the sum anew."""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fuzz.case import Mutant, pick

WEIGHTS = ("model.pt", "shield/detector.pt", "shield/reformer.pt")
HOW = (
    "bits", "bytes", "truncated", "another's", "permuted", "scaled", "zero", "NaN", "half", "missing", "pickle",
    "payload", "payload in zip", "extra key", "key less", "wrapped", "a folder", "empty", "link", "other shape",
)  # fmt: skip


class Payload:
    """A pickle that makes a folder where it is read without care."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.place),)


def write_sum(file: Path) -> None:
    """Record the sum of a file anew, as ``sha256sum`` does."""
    sums = file.parent / "SHA256SUMS"
    lines = [line for line in sums.read_text().splitlines() if not line.endswith(f"  {file.name}")]
    lines.append(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}")
    sums.write_text("".join(f"{line}\n" for line in lines))


def mutate_weights(random: np.random.Generator, root: Path) -> Mutant:
    """One of the three weight files, in most cases with its sum written anew."""
    name = pick(random, WEIGHTS)
    file = root / "models" / name
    payload = root.parents[1] / "payload"
    how = pick(random, HOW)
    summed = random.random() < 0.75
    content = bytearray(file.read_bytes())
    if how == "bits":
        for at in random.integers(0, len(content), int(random.integers(1, 10))):
            content[int(at)] ^= 1 << int(random.integers(8))
        file.write_bytes(bytes(content))
    elif how == "bytes":
        at = int(random.integers(len(content) - 100))
        content[at : at + 100] = random.bytes(100)
        file.write_bytes(bytes(content))
    elif how == "truncated":
        file.write_bytes(bytes(content[: int(random.integers(len(content)))]))
    elif how == "another's":
        file.write_bytes((root / "models" / pick(random, [w for w in WEIGHTS if w != name])).read_bytes())
    elif how == "missing":
        file.unlink()
    elif how == "a folder":
        file.unlink()
        file.mkdir()
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "link":
        moved = file.rename(file.with_name("moved.bin"))
        file.symlink_to(moved)
    elif how == "pickle":
        file.write_bytes(pickle.dumps({"a": 1}))
    elif how == "payload":
        file.write_bytes(pickle.dumps(Payload(payload)))
    elif how == "payload in zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Payload(payload), protocol=2))
            archive.writestr("archive/version", "3\n")
    else:
        torch.save(_changed(random, torch.load(file, weights_only=True), how), file)
    if summed and file.is_file():
        write_sum(file)
    detail = f"{name}: {how}{', its sum written anew' if summed else ''}"
    return Mutant("", detail, [], named=(file.name, file.stem, "target", "weights"), payload=payload)


def _changed(random: np.random.Generator, state: dict[str, Any], how: str) -> Any:
    keys = [key for key, value in state.items() if isinstance(value, torch.Tensor) and value.is_floating_point()]
    last = [key for key in keys if "final_conv" in key] or keys[-2:]
    key = pick(random, keys)
    if how == "permuted":
        order = torch.from_numpy(random.permutation(len(state[last[0]])))
        return state | {name: state[name][order] for name in last if len(state[name]) == len(order)}
    if how == "wrapped":
        return {"state_dict": state}
    if how == "half":
        return {name: value.half() if name in keys else value for name, value in state.items()}
    if how == "extra key":
        return state | {"extra": torch.zeros(1)}
    if how == "key less":
        return {name: value for name, value in state.items() if name != key}
    if how == "other shape":
        return state | {key: torch.cat([state[key].flatten(), torch.zeros(1)])}
    factor = {"scaled": pick(random, (1.0001, 1.05, -1.0, 100.0)), "zero": 0.0, "NaN": float("nan")}[how]
    return state | {key: state[key] * factor}


def mutate_calibration(random: np.random.Generator, root: Path) -> Mutant:
    """What a detector decides by, its sum written anew."""
    file = root / "models" / "shield" / "detector.pt"
    state = torch.load(file, weights_only=True)
    calibration = dict(state["_extra_state"])
    scores, threshold, limit = (calibration[key] for key in ("scores", "threshold", "volume_limit"))
    made: dict[str, Any] = {
        "threshold": (1e9, -1e9, float("nan"), float("inf"), threshold * 1.01, threshold + 1, 0.0, None, "1", 10**400),
        "volume_limit": (0.0, 0.999, 1.0, 2.0, -1.0, float("nan"), None, limit + 0.05, "0.1"),
        "scores": (scores[torch.from_numpy(random.permutation(len(scores)))], scores.flip(0), scores * 0, scores + 10,
                   scores * torch.nan, scores[:5], scores[:0], scores[None], scores.float(), scores.long(), None, [1.0],
                   torch.cat([scores, scores[-1:] + 1e9]), torch.cat([scores, torch.tensor([torch.inf])])),
        "t_fp": (0.5, 0.0, 1.0, 0.06, -1.0, float("nan"), None, "0.05"),
        "rule": ("empirical", "conformal", "nonsense", "", None, 1),
        "num_volumes": (0, -1, 10**6, None, 1.5),
        "source": ("", "another place", None, 1, "x" * 10**6),
        "details": ({}, None, {"a": "b"}, [1]),
    }  # fmt: skip
    made |= {key: (None, 0, "", "other", {}) for key in calibration.keys() - made.keys()}
    how = pick(random, ("value",) * 12 + ("key less", "extra key", "all gone", "a list", "buffer", "buffer", "buffer"))
    key = pick(random, sorted(calibration))
    detail = how
    if how == "value":
        key = pick(random, sorted(made, key=lambda name: (name not in ("threshold", "volume_limit", "scores"), name)))
        calibration[key] = pick(random, made[key])
        shown = calibration[key]
        detail = f"{key} = {tuple(shown.shape) if isinstance(shown, torch.Tensor) else repr(shown)[:40]}"
    elif how == "key less":
        del calibration[key]
        detail += f" {key}"
    elif how == "extra key":
        calibration["extra"] = 1
    elif how == "buffer":
        key = pick(random, [name for name in state if isinstance(state[name], torch.Tensor) and "network" not in name])
        factor = pick(random, (0.5, 2.0, 1e9, 0.0, -1.0, float("nan")))
        state[key] = state[key] * factor
        detail = f"{key} times {factor}"
    state["_extra_state"] = {"all gone": {}, "a list": [1, 2]}.get(how, calibration)
    torch.save(state, file)
    write_sum(file)
    return Mutant("", detail, [], named=(file.name, "calibrat", key))


def mutate_sums(random: np.random.Generator, root: Path) -> Mutant:
    """The file of the sums, spoiled."""
    weights = root / "models" / pick(random, WEIGHTS)
    sums = weights.parent / "SHA256SUMS"
    text = sums.read_text()
    digest = text.split()[0]
    how, content = pick(
        random,
        (
            ("binary", random.bytes(200)),
            ("NUL bytes", b"\0" * 100),
            ("empty", b""),
            ("one word", b"nothing"),
            ("words without a name", b"a\nb\nc\n"),
            ("a line less", "".join(text.splitlines(True)[1:]).encode()),
            ("upper case", text.upper().replace(".PT", ".pt").encode()),
            ("upper case sums", "".join(f"{a.upper()}  {b}\n" for a, b in map(str.split, text.splitlines())).encode()),
            ("CRLF", text.replace("\n", "\r\n").encode()),
            ("stars", text.replace("  ", " *").encode()),
            ("tabs", text.replace("  ", "\t").encode()),
            ("comments", b"# sums\n" + text.encode()),
            ("no end of line", text.rstrip().encode()),
            ("twice, wrong last", text.encode() + text.replace(digest, "0" * 64).encode()),
            ("twice, wrong first", text.replace(digest, "0" * 64).encode() + text.encode()),
            ("a digit", text.replace(digest, "0" + digest[1:] if digest[0] != "0" else "1" + digest[1:]).encode()),
            ("short", text.replace(digest, digest[:32]).encode()),
            ("UTF-16", text.encode("utf-16")),
            ("latin-1", b"\xe9" + text.encode()),
            ("byte order mark", b"\xef\xbb\xbf" + text.encode()),
            ("paths", text.replace("  ", "  ./").encode()),
            ("a folder", None),
            ("missing", None),
            ("dangling link", None),
        ),
    )
    sums.unlink()
    if how == "a folder":
        sums.mkdir()
    elif how == "dangling link":
        sums.symlink_to("nothing")
    elif content is not None:
        sums.write_bytes(content)
    return Mutant(
        "", f"{sums.relative_to(root)} {how}", [], named=("SHA256SUMS", weights.name, "detector.pt", "model.pt")
    )
