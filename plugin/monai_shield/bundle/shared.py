# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What several configs of a bundle need stands in one of them; the others take it from there."""

from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.transforms import Compose

from monai_shield.errors import BundleError
from monai_shield.locks import or_exit
from monai_shield.transforms import MergeLabelsd
from monai_shield.transforms.label import LabelMap


def shared_part(bundle_root: str | Path, key: str, config: str = "inference.json", **settings: Any) -> Any:
    """
    A part of another config of the same bundle, built, with some settings replaced.

    MONAI's own ``%file::key`` looks for the file from the working directory.

    Args:
        bundle_root: folder of the bundle.
        key: id of the part in that config, such as ``preprocessing`` or ``train#trainer``.
        config: file in the bundle's folder ``configs``.
        settings: entries of that config, or of the part itself, that are something else here.

    Raises:
        SystemExit: with one line, where there is no such bundle, config, part or setting.

    Example::

        "preprocessing": {
            "_target_": "monai_shield.bundle.shared_part",
            "bundle_root": "@bundle_root",
            "key": "preprocessing",
            "pixdim": [2.0, 2.0, 2.0]
        }
    """
    return or_exit(_parser, Path(bundle_root), key, config, settings).get_parsed_content(key)


def labeled_preprocessing(bundle_root: str | Path, label_map: LabelMap, **settings: Any) -> Compose:
    """
    The preprocessing of ``inference.json`` for an image and its label, whose values become classes.

    That config has its spatial transforms act on ``keys``, with interpolation ``modes``.

    Args:
        bundle_root: folder of the bundle.
        label_map: name of a structure to its values in a file.
        settings: as in :func:`shared_part`.

    Raises:
        SystemExit: as :func:`shared_part`.
    """
    both: dict[str, Any] = {"keys": ["image", "label"], "modes": ["bilinear", "nearest"]}
    return Compose([shared_part(bundle_root, "preprocessing", **both, **settings), MergeLabelsd("label", label_map)])


def _parser(root: Path, key: str, config: str, settings: dict[str, Any]) -> ConfigParser:
    file = root / "configs" / config
    if not file.is_file():
        raise BundleError(f"no bundle in '{root}', or none with configs/{config}.")
    parser = ConfigParser(ConfigParser.load_config_file(file))
    if key not in parser:
        raise BundleError(f"'{file}' has no '{key}'.")
    given = {"bundle_root": str(root), **settings} if "bundle_root" in parser else settings
    for name, value in given.items():
        place = next((place for place in (name, f"{key}#{name}") if place in parser), None)
        if place is None:
            raise BundleError(f"'{file}' has no '{name}', neither has its '{key}'.")
        parser[place] = value
    return parser
