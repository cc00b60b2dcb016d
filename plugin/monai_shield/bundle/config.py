# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The inference config of a bundle in the layout of MONAI's model zoo."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from monai_shield.command_line import inference_config
from monai_shield.errors import BundleError
from monai_shield.utils import root_cause


@dataclass(frozen=True)
class BundleConfig:
    """A bundle's folder, its inference config, and the parser that builds its parts, which runs the code in it."""

    root: Path
    file: Path
    parser: ConfigParser

    @classmethod
    def read(cls, bundle: str | Path, device: torch.device) -> "BundleConfig":
        """
        Read the config, JSON or YAML, without running anything of it; its ``device`` is the one given.

        Raises:
            BundleError: where there is none, or it cannot be read.
        """
        file = inference_config(bundle)
        root, parser = file.parents[1], ConfigParser()
        metadata = file.with_name("metadata.json")
        try:
            parser.read_config(str(file))
            if metadata.is_file():
                parser.read_meta(str(metadata))
        except Exception as error:
            raise BundleError(f"'{file}' cannot be read: {root_cause(error)}") from error
        parser["bundle_root"] = str(root)
        parser["device"] = f"$__import__('torch').device('{device}')"
        return cls(root, file, parser)

    def build(self, name: str) -> Any:
        """
        A part of the config, built.

        Raises:
            BundleError: where it is missing or cannot be built.
        """
        if name not in self.parser:
            raise BundleError(f"'{self.file}' has no '{name}'.")
        try:
            return self.parser.get_parsed_content(name)
        except Exception as error:
            raise BundleError(f"'{self.file}': '{name}' cannot be built: {root_cause(error)}") from error

    def components(self, *classes: str, within: str = "") -> Iterator[Mapping[str, Any]]:
        """What the config, or a part of it, says of every component of these classes."""
        for entry in _mappings(self.parser.get(within)):
            if str(entry.get("_target_", "")).split(".")[-1] in classes:
                yield entry


def _mappings(config: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(config, Mapping):
        yield config
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from _mappings(value)


@contextmanager
def importable(root: Path) -> Iterator[None]:
    """Within it a bundle's own modules can be imported, as from its folder, where MONAI runs it. They are not compiled
    into it: what lies in __pycache__ belongs to no signature."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
        sys.path.remove(str(root))
