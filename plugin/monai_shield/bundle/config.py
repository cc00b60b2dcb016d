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
    """
    An inference config whose parts are built when they are asked for, which runs the code in it.

    Args:
        root: folder of the bundle.
        file: the config.
        parser: the config and the bundle's metadata.
    """

    root: Path
    file: Path
    parser: ConfigParser

    @classmethod
    def read(cls, bundle: str | Path, device: torch.device) -> "BundleConfig":
        """
        Read the config, JSON or YAML, without running anything of it.

        Args:
            bundle: folder of the bundle.
            device: what ``device`` stands for.

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
    for value in config.values() if isinstance(config, Mapping) else config if isinstance(config, list) else ():
        yield from _mappings(value)


@contextmanager
def importable(root: Path) -> Iterator[None]:
    """
    Within it a bundle's own modules can be imported, as where MONAI runs the bundle: from its folder.

    They are not compiled into it: what lies in __pycache__ belongs to no signature.
    """
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
        sys.path.remove(str(root))
