# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What an attack needs of a MONAI bundle: its network with weights, its preprocessing, and how both work together."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.inferers import Inferer, SimpleInferer, SliceInferer, SlidingWindowInferer, SlidingWindowInfererAdapt
from monai.transforms import Compose
from torch import nn

from monai_shield.attacks import MultiLabel, SelectOutput, SlidingWindowNetwork
from monai_shield.attacks.problem import logits_of
from monai_shield.bundle.files import root_cause
from monai_shield.bundle.trust import require_trust
from monai_shield.data import slices_of
from monai_shield.errors import BundleError
from monai_shield.inferers import ShieldInferer
from monai_shield.networks.heads import Head, check_head
from monai_shield.transforms import Foreground
from monai_shield.utils import read_weights

NAMES = ("inference.json", "inference.yaml", "inference.yml")


@dataclass(frozen=True)
class BundleTarget:
    """
    The network of a bundle as an attack sees it: whole images in, logits out, without a shield.

    Args:
        name: name of the bundle.
        network: (B,C,spatial) to logits (B,K,spatial), whatever windows the inferer cuts; with a sigmoid head one class
            for each combination of structures (:class:`~monai_shield.attacks.MultiLabel`).
        preprocessing: from a file to the network.
        slice_axis: spatial axis of the preprocessed volume along which a 2D network gets its slices; None where it gets
            the image whole.
        head: what the channels stand for, as said by the config's ``head``, else its shield, else its postprocessing;
            None where it is read from the channels (:func:`~monai_shield.networks.head_of`).
        structures: names by class or, of a sigmoid head, by channel; as far as the metadata knows them.
        batch_size: slices at once.
        device: where to compute.
        foreground: which pixels of the network's input are foreground, as the config's ``foreground`` says; None where
            it says nothing.
        fingerprint: of weights, preprocessing, inferer and foreground.
    """

    name: str
    network: nn.Module
    preprocessing: Compose
    slice_axis: int | None
    head: Head | None
    structures: Mapping[int, str]
    batch_size: int
    device: torch.device
    foreground: Foreground | None
    fingerprint: str

    @property
    def multi_label(self) -> bool:
        """Whether the bundle says that the head is a sigmoid."""
        return self.head == "sigmoid"

    @classmethod
    def open(
        cls,
        bundle: str | Path,
        device: str | None = None,
        weights: str | Path | None = None,
        *,
        trust: bool = False,
    ) -> BundleTarget:
        """
        Build it from a bundle in the layout of MONAI's model zoo, which runs the code in its config and its modules.

        The weights are those of `weights`, else of the ``CheckpointLoader`` in the inference config, else what its
        ``initialize`` loads, else ``models/model.pt``. They are read as weights only.

        Args:
            bundle: folder of the bundle.
            device: where to compute; by default the GPU where there is one.
            weights: file of weights to take instead of the bundle's own.
            trust: whether to run the bundle's code where it is not one of this repository's.

        Raises:
            BundleError: where something is missing, cannot be built, or is not known how to attack.
            BundleTrustError: where the bundle is not trusted; nothing of it was run then.
        """
        root = Path(bundle).resolve()
        config = next((root / "configs" / name for name in NAMES if (root / "configs" / name).is_file()), None)
        if config is None:
            raise BundleError(f"no bundle in '{bundle}': it has no configs/inference.json or inference.yaml.")
        place = _device(device)
        require_trust(root, trust)
        with _importable(root):
            parser = _parser(root, config, place)
            network = _build(parser, "network" if "network" in parser else "network_def", config)
            if not isinstance(network, nn.Module):
                raise BundleError(f"'{config}': the network is a {type(network).__name__}, not a module.")
            _load(parser, network, root, config, weights)
            preprocessing = _build(parser, "preprocessing", config)
            inferer = _build(parser, "inferer", config)
            foreground = _build(parser, "foreground", config) if "foreground" in parser else None
        head = _head(parser, inferer, config)
        state = hashlib.sha256(f"{_sum_of(network)} {head}".encode())
        for part in ("preprocessing", "inferer", "postprocessing", "foreground"):
            state.update(json.dumps(parser.get(part), sort_keys=True, default=str).encode())
        whole, axis, batch_size = _as_run_by(inferer, network.to(place).eval())
        return cls(
            name=root.name,
            network=MultiLabel(whole) if head == "sigmoid" else whole,
            preprocessing=preprocessing,
            slice_axis=axis,
            head=head,
            structures=_structures(parser, head == "sigmoid"),
            batch_size=batch_size,
            device=place,
            foreground=foreground if isinstance(foreground, Foreground) else None,
            fingerprint=state.hexdigest(),
        )

    def cases(self, volume: torch.Tensor) -> torch.Tensor:
        """What the network gets of a preprocessed image (C,spatial): its slices (S,C,H,W), or all of it (1,C,spatial).

        Raises:
            BundleError: where a network of slices gets something else than a volume.
        """
        if self.slice_axis is None:
            return volume[None]
        if volume.ndim != 4:
            raise BundleError(f"the inferer cuts volumes into slices, got an image {tuple(volume.shape)}.")
        return slices_of(volume, self.slice_axis)

    @torch.no_grad()
    def predict(self, volume: torch.Tensor) -> tuple[torch.Tensor, int]:
        """The class (1,spatial) of each pixel of a preprocessed image (C,spatial), int64 on the CPU; how many there
        are."""
        found, number = [], 0
        for batch in self.cases(volume).split(self.batch_size):
            head = None if self.multi_label else self.head  # those of a MultiLabel are classes already
            logits = logits_of(self.network, batch.contiguous().to(self.device), head)
            found.append(logits.argmax(1, keepdim=True).cpu())
            number = logits.shape[1]
        cases = torch.cat(found)
        return cases[0] if self.slice_axis is None else cases.movedim(0, self.slice_axis + 1), number


@contextmanager
def _importable(root: Path) -> Iterator[None]:
    """Within it the bundle's own modules can be imported, as where MONAI runs it: from its folder.

    They are not compiled into it: what lies in __pycache__ belongs to no signature."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
        sys.path.remove(str(root))


def _device(device: str | None) -> torch.device:
    try:
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:  # what torch raises for a GPU that is not there
        raise BundleError(f"no device '{device}': {root_cause(error)}") from error
    return place


def _parser(root: Path, config: Path, device: torch.device) -> ConfigParser:
    parser = ConfigParser()
    try:
        parser.read_config(str(config))
        if (root / "configs" / "metadata.json").is_file():
            parser.read_meta(str(root / "configs" / "metadata.json"))
    except Exception as error:
        raise BundleError(f"'{config}' cannot be read: {root_cause(error)}") from error
    parser["bundle_root"] = str(root)
    parser["device"] = f"$__import__('torch').device('{device}')"
    return parser


def _build(parser: ConfigParser, name: str, config: Path) -> Any:
    if name not in parser:
        raise BundleError(f"'{config}' has no '{name}'.")
    try:
        return parser.get_parsed_content(name)
    except Exception as error:
        raise BundleError(f"'{config}': '{name}' cannot be built: {root_cause(error)}") from error


def _load(parser: ConfigParser, network: nn.Module, root: Path, config: Path, weights: str | Path | None) -> None:
    """Fill the network with its weights."""
    if weights is not None:
        _read(network, Path(weights), "model")
        return
    loader = _checkpoint_loader(parser.config)
    if loader is not None:
        names = list(loader.get("load_dict") or {"model": None})
        path = loader.get("load_path")
        if isinstance(path, str) and path[:1] in "$@%":
            parser["_monai_shield_load_path"] = path
            path = _build(parser, "_monai_shield_load_path", config)
        _read(network, Path(str(path)), names[0])
        return
    before = _sum_of(network)
    if "initialize" in parser:
        _build(parser, "initialize", config)
    if _sum_of(network) == before:
        _read(network, root / "models" / "model.pt", "model")


def _checkpoint_loader(config: Any) -> Mapping[str, Any] | None:
    """The first CheckpointLoader in a config that is not switched off."""
    for entry in _walk(config):
        if str(entry.get("_target_", "")).split(".")[-1] == "CheckpointLoader" and entry.get("_disabled_") is not True:
            return entry
    return None


def _walk(config: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping in a config."""
    if isinstance(config, Mapping):
        yield config
        for value in config.values():
            yield from _walk(value)
    elif isinstance(config, list):
        for value in config:
            yield from _walk(value)


def _read(network: nn.Module, path: Path, name: str) -> None:
    if not path.is_file():
        raise BundleError(f"weight file '{path}' is missing.")
    try:
        state = read_weights(path)
        network.load_state_dict(state[name] if isinstance(state.get(name), Mapping) else state)
    except Exception as error:
        raise BundleError(f"weight file '{path}' cannot be loaded: {root_cause(error)}") from error


def _sum_of(network: nn.Module) -> str:
    found = hashlib.sha256()
    for key, value in network.state_dict().items():
        found.update(key.encode())
        if isinstance(value, torch.Tensor):
            found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _head(parser: ConfigParser, inferer: Inferer, config: Path) -> Head | None:
    """What the channels stand for; a ``head`` that is no string is a part of a network, and says nothing of that."""
    declared = _build(parser, "head", config) if isinstance(parser.get("head"), str) else None
    if not isinstance(declared, str):
        declared = inferer.head if isinstance(inferer, ShieldInferer) else None
    if declared is None and _has_sigmoid(parser.get("postprocessing")):
        return "sigmoid"
    try:
        return check_head(declared)
    except ValueError as error:
        raise BundleError(f"'{config}': {error}") from error


def _has_sigmoid(postprocessing: Any) -> bool:
    return any(
        str(entry.get("_target_", "")).split(".")[-1] in ("Activationsd", "ActivationsD", "ActivationsDict")
        and entry.get("sigmoid") is True
        for entry in _walk(postprocessing)
    )


def _as_run_by(inferer: Inferer, network: nn.Module) -> tuple[nn.Module, int | None, int]:
    """The network as the inferer runs it, the axis it cuts slices along, and how many it takes at once."""
    plain = SelectOutput(network)
    if type(inferer) in (SlidingWindowInferer, SlidingWindowInfererAdapt):
        assert isinstance(inferer, SlidingWindowInferer)
        try:
            return SlidingWindowNetwork.from_inferer(plain, inferer), None, 1
        except ValueError as error:
            raise BundleError(str(error)) from error
    if type(inferer) is SliceInferer:
        names = ("sw_batch_size", "overlap", "mode", "sigma_scale", "padding_mode", "cval")
        settings = {name: getattr(inferer, name) for name in names}
        windows = SlidingWindowNetwork(plain, inferer.orig_roi_size, **settings)
        return windows, inferer.spatial_dim, 8
    if isinstance(inferer, ShieldInferer):
        return plain, inferer.slice_axis, inferer.batch_size
    if type(inferer) is SimpleInferer:
        return plain, None, 1
    raise BundleError(f"no attack through a {type(inferer).__name__} is known.")


def _structures(parser: ConfigParser, multi_label: bool) -> dict[int, str]:
    """Names of classes, or of channels, from the metadata."""
    outputs = (parser.get("_meta_::network_data_format") or {}).get("outputs") or {}
    names = (outputs.get("pred") or {}).get("channel_def") or {}
    found = {int(key): str(value) for key, value in names.items() if str(key).isdigit()}
    return found if multi_label else {key: value for key, value in found.items() if key > 0}
