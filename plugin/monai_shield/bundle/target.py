# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The network of a bundle as an attack sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from monai.inferers import Inferer
from monai.transforms import Compose
from torch import nn

from monai_shield.attacks import MultiLabel
from monai_shield.attacks.problem import logits_of
from monai_shield.bundle.config import BundleConfig, importable
from monai_shield.bundle.inferer import inference_of
from monai_shield.bundle.weights import load_network_weights
from monai_shield.command_line import inference_config, require_trust
from monai_shield.data import slices_of
from monai_shield.errors import BundleError
from monai_shield.fingerprints import fingerprint_of
from monai_shield.inferers import ShieldInferer
from monai_shield.networks.heads import Head, check_head
from monai_shield.transforms import Foreground
from monai_shield.utils import first_line, root_cause


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
        fingerprint: of weights, preprocessing and inferer.
        foreground: which pixels are foreground, as the config's ``foreground`` says; None where it says nothing.
    """

    name: str
    network: nn.Module
    preprocessing: Compose
    slice_axis: int | None
    head: Head | None
    structures: Mapping[int, str]
    batch_size: int
    device: torch.device
    fingerprint: str
    foreground: Foreground | None = None

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

        Args:
            bundle: folder of the bundle.
            device: where to compute; by default the GPU where there is one.
            weights: file of weights to take instead of the bundle's own
                (:func:`~monai_shield.bundle.weights.load_network_weights`).
            trust: whether to run the bundle's code where it is not one of this repository's.

        Raises:
            BundleError: where something is missing, cannot be built, or is not known how to attack.
            BundleTrustError: where the bundle is not trusted; nothing of it was run then.
        """
        root = inference_config(bundle).parents[1]
        place = _device(device)
        require_trust(root, trust)
        config = BundleConfig.read(root, place)
        with importable(root):
            network = config.build("network" if "network" in config.parser else "network_def")
            if not isinstance(network, nn.Module):
                raise BundleError(f"'{config.file}': the network is a {type(network).__name__}, not a module.")
            preprocessing, inferer = config.build("preprocessing"), config.build("inferer")
            inference = inference_of(inferer, network)
            head = _head(config, inferer)
            foreground = config.build("foreground") if "foreground" in config.parser else None
            load_network_weights(config, network, weights)
        network.to(place).eval()
        parts = [config.parser.get(part) for part in ("preprocessing", "inferer", "postprocessing", "foreground")]
        return cls(
            name=root.name,
            network=MultiLabel(inference.network) if head == "sigmoid" else inference.network,
            preprocessing=preprocessing,
            slice_axis=inference.slice_axis,
            head=head,
            structures=_structures(config, head == "sigmoid"),
            batch_size=inference.batch_size,
            device=place,
            fingerprint=fingerprint_of([network.state_dict(), head, *parts]),
            foreground=foreground if isinstance(foreground, Foreground) else None,
        )

    def cases(self, volume: torch.Tensor) -> torch.Tensor:
        """
        What the network gets of a preprocessed image (C,spatial): its slices (S,C,H,W), or all of it (1,C,spatial).

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
        """
        The class (1,spatial) of each pixel of a preprocessed image (C,spatial), int64 on the CPU, and how many classes
        there are.

        Raises:
            BundleError: where the network does not take the image.
        """
        found, number = [], 0
        head = None if self.multi_label else self.head  # those of a MultiLabel are classes already
        for batch in self.cases(volume).split(self.batch_size):
            try:
                logits = logits_of(self.network, batch.contiguous().to(self.device), head)
            except (RuntimeError, ValueError) as error:
                why = first_line(error).rstrip(".")
                if "channels" in why or "dimensions" in why:
                    why += ": a file must hold one image with all channels of the network"
                raise BundleError(
                    f"the network fails on the preprocessed image {tuple(volume.shape)}: {why}."
                ) from error
            found.append(logits.argmax(1, keepdim=True).cpu())
            number = logits.shape[1]
        return self.volume(torch.cat(found)), number

    def volume(self, cases: torch.Tensor) -> torch.Tensor:
        """The other way around: (C,spatial) of all its slices (S,C,H,W), or of (1,C,spatial)."""
        return cases[0] if self.slice_axis is None else cases.movedim(0, self.slice_axis + 1)


def _device(device: str | None) -> torch.device:
    try:
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:  # what torch raises for a GPU that is not there
        raise BundleError(f"no device '{device}': {root_cause(error)}") from error
    return place


def _head(config: BundleConfig, inferer: Inferer) -> Head | None:
    """What the channels stand for; a ``head`` that is no string is a part of a network, and says nothing of that."""
    declared = config.build("head") if isinstance(config.parser.get("head"), str) else None
    if not isinstance(declared, str):
        declared = inferer.head if isinstance(inferer, ShieldInferer) else None
    activations = config.components("Activationsd", "ActivationsD", "ActivationsDict", within="postprocessing")
    if declared is None and any(each.get("sigmoid") is True for each in activations):
        return "sigmoid"
    try:
        return check_head(declared)
    except ValueError as error:
        raise BundleError(f"'{config.file}': {error}") from error


def _structures(config: BundleConfig, multi_label: bool) -> dict[int, str]:
    """Names of classes, or of channels, from the metadata."""
    outputs = (config.parser.get("_meta_::network_data_format") or {}).get("outputs") or {}
    names = (outputs.get("pred") or {}).get("channel_def") or {}
    found = {int(key): str(value) for key, value in names.items() if str(key).isdigit()}
    return found if multi_label else {key: value for key, value in found.items() if key > 0}
