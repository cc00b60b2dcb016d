# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The weights of a bundle's network, from where the bundle has them."""

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from monai_shield.bundle.config import BundleConfig
from monai_shield.errors import BundleError
from monai_shield.fingerprints import fingerprint_of
from monai_shield.utils import read_weights, root_cause


def load_network_weights(config: BundleConfig, network: nn.Module, weights: str | Path | None = None) -> None:
    """
    Fill a bundle's network with its weights, which are read as weights only.

    They are those of the file `weights`, else of the ``CheckpointLoader`` in the config, else what its ``initialize``
    loads, else ``models/model.pt``.

    Raises:
        BundleError: where the file is missing, or is not that of the network.
    """
    loader = next((each for each in config.components("CheckpointLoader") if each.get("_disabled_") is not True), None)
    if weights is not None:
        _read(network, Path(weights), "model")
    elif loader is not None:
        path = loader.get("load_path")
        if isinstance(path, str) and path[:1] in "$@%":
            config.parser["_monai_shield_load_path"] = path
            path = config.build("_monai_shield_load_path")
        _read(network, Path(str(path)), next(iter(loader.get("load_dict") or {"model": None})))
    else:
        before = fingerprint_of([network.state_dict()])
        if "initialize" in config.parser:
            config.build("initialize")
        if fingerprint_of([network.state_dict()]) == before:
            _read(network, config.root / "models" / "model.pt", "model")


def _read(network: nn.Module, path: Path, name: str) -> None:
    if not path.is_file():
        raise BundleError(f"weight file '{path}' is missing.")
    try:
        state = read_weights(path)
        network.load_state_dict(state[name] if isinstance(state.get(name), Mapping) else state)
    except Exception as error:
        raise BundleError(f"weight file '{path}' cannot be loaded: {root_cause(error)}") from error
