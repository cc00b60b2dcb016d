# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What every layer uses: files written whole, weights read only as they were written, one seed on one device."""

import hashlib
import io
import json
import logging
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from monai_shield.errors import UserError

logger = logging.getLogger(__name__)

#: Beside the weights, in the format of ``sha256sum -c``.
SUMS_FILE = "SHA256SUMS"
#: How the name of a file begins that is not whole yet; what a kill leaves of it can be swept.
TEMPORARY = ".unfinished-"
_SUM = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path in the same folder that becomes `path` only once the block is left without an error."""
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays: nibabel and torch read it. The name does not: a long one would grow too long. Not mkstemp, whose
    # files nobody else may read.
    suffix = "".join(final.suffixes[-2:]) if final.name.lower().endswith(".nii.gz") else final.suffix
    temporary = final.with_name(f"{TEMPORARY}{uuid.uuid4().hex}{suffix}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # else after a power cut the new name may be there before the content
        os.replace(temporary, final)
    except OSError as error:
        if error.filename is None:  # a full disk does not say whose
            error.filename = str(final)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def root_cause(error: BaseException) -> str:
    """What went wrong first, in one line: MONAI wraps the error of a transform in one that names the transform."""
    while error.__cause__ is not None and not isinstance(error, (FileNotFoundError, ValueError, UserError)):
        error = error.__cause__
    if "cannot find a suitable writer" in str(error):  # of SaveImage: what it failed with is its last line
        return str(error).strip().splitlines()[-1]
    return first_line(error)


def write_json(content: Any, path: str | Path) -> None:
    """Write JSON, whole or not at all; a number that is not finite is refused."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def default_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def sha256(path: str | Path) -> str:
    """The SHA-256 sum of a file, in hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _read_sums(sums_file: Path) -> dict[str, str]:
    """Name of each file to its sum, in lower case."""
    if not sums_file.is_file():
        return {}
    found = {}
    for line in filter(None, map(str.strip, sums_file.read_text("utf-8", "replace").splitlines())):
        match = _SUM.fullmatch(line)
        if match is None:
            raise ValueError(f"'{sums_file}' is damaged: it is no list of SHA-256 sums.")
        found[match[2]] = match[1].lower()
    return found


def write_sum(path: str | Path) -> None:
    """Record the sum of a file in the ``SHA256SUMS`` of its folder."""
    file = Path(path)
    sums_file = file.parent / SUMS_FILE
    with FileLock(sums_file.with_name(f".{SUMS_FILE}.lock")):  # of two trainings in one folder each has its line
        sums = _read_sums(sums_file) | {file.name: sha256(file)}
        with atomic_path(sums_file) as temporary:
            temporary.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())))


def verify_sum(path: str | Path) -> None:
    """
    Check a file against the ``SHA256SUMS`` of its folder.

    Raises:
        FileNotFoundError: where the file is missing.
        ValueError: where its sum is not recorded, or is another.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"weight file '{file}' is missing.")
    recorded = _read_sums(file.parent / SUMS_FILE).get(file.name)
    if recorded is None:
        raise ValueError(f"weight file '{file}' has no sum in '{file.parent / SUMS_FILE}'.")
    if recorded != sha256(file):
        raise ValueError(f"weight file '{file}' was altered: its SHA-256 sum is not the recorded one.")


def save_weights(network: torch.nn.Module, path: str | Path) -> None:
    """Write a network's state, whole or not at all, and its sum beside it."""
    state = {
        key: value.detach().cpu().contiguous() if isinstance(value, torch.Tensor) else value
        for key, value in network.state_dict().items()
    }
    save_tensors(state, path)
    write_sum(path)


def load_weights(
    network: torch.nn.Module, path: str | Path, calibrated: bool = True, channels_last: bool = False
) -> Any:
    """
    Load a network's state, every key of it, from a file whose sum is right; returns the network.

    Args:
        network: the network to fill.
        path: file of weights.
        calibrated: whether a detector's calibration is loaded, too.
        channels_last: whether weights of 2D convolutions lie channels last in memory, which is faster.

    Raises:
        FileNotFoundError: where the file is missing.
        ValueError: where the file was altered, cannot be read, or belongs to another network.
    """
    verify_sum(path)
    try:
        state = read_weights(path)
        if not isinstance(state, Mapping):
            raise ValueError("it holds no weights by name.")
    except ValueError as error:
        raise ValueError(f"weight file '{path}' cannot be loaded: {error}") from None
    if not calibrated:
        state = {key: {} if key.endswith("_extra_state") else value for key, value in state.items()}
    try:
        network.load_state_dict(state)
    except Exception as error:  # of a state that fits not, torch tells on many lines
        logger.debug("", exc_info=error)
        why = f"it is not that of a {type(network).__name__}" if isinstance(error, RuntimeError) else first_line(error)
        raise ValueError(f"weight file '{path}' cannot be loaded: {why.rstrip('.')}.") from None
    return network.to(memory_format=torch.channels_last) if channels_last else network  # type: ignore[call-overload]


def read_weights(path: str | os.PathLike[str]) -> Any:
    """
    The content of a file of weights, on the CPU; nothing in it is run.

    Raises:
        ValueError: where it is damaged, or holds anything but tensors and plain values, in one line.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch's own message is a page of advice how to load it all the same
        logger.debug("", exc_info=error)
        raise ValueError("it is damaged, or holds other objects than weights, which could run code.") from None


def save_tensors(content: Any, path: str | Path) -> None:
    """
    Write tensors and plain values with ``torch.save``, whole or not at all, the same bytes for the same content.

    Into memory first: torch tells of a full disk as of a position that it did not expect, and writes the name of the
    file into it.
    """
    whole = io.BytesIO()
    torch.save(content, whole)
    with atomic_path(path) as temporary:
        temporary.write_bytes(whole.getbuffer())


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's own random state, on the CPU and on one device; ``torch.manual_seed`` would reach every device."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
