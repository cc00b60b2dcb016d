# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A network that sees a volume window by window, attacked as a whole with the memory of one batch of windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from monai.data import MetaTensor
from monai.data.utils import compute_importance_map
from monai.inferers import SlidingWindowInferer, SlidingWindowInfererAdapt, sliding_window_inference
from torch import Tensor, nn
from torch.nn import functional

from monai_shield.attacks.inputs import with_meta_of
from monai_shield.networks.heads import single_output

SETTINGS = ("roi_size", "sw_batch_size", "overlap", "mode", "sigma_scale", "padding_mode", "cval")


class SlidingWindowNetwork(nn.Module):
    """What :class:`monai.inferers.SlidingWindowInferer` makes of a network, as a network of its own.

    The blended logits are MONAI's own, z = Σ_i w_i · f(x_i) / Σ_i w_i over the windows i that cover a pixel. The
    gradient by the image is that of automatic differentiation through all windows, but in two passes: the forward pass
    keeps no graph; the backward pass computes each batch of windows a second time, with a graph, and pushes
    w_i / Σ w · ∂L/∂z back through it. So there are the activations of one batch of windows at a time, whatever the size
    of the volume, for one more forward pass. Windows that the loss does not depend on are skipped.

    The gradient reaches the image only, not the network's parameters, and only once (no second derivatives). A network
    that draws from torch's random state, or runs under autocast, does the same in the second pass.

    Args:
        network: network (B,C,window) to logits (B,K,window).
        roi_size: size of a window, in pixels; as in MONAI, the image's own size where it is not positive.
        sw_batch_size: windows in a batch.
        overlap: overlap of neighboring windows, as a fraction of the window.
        mode: weights w, "constant" or "gaussian".
        sigma_scale: standard deviation of the Gaussian, as a fraction of the window.
        padding_mode: how an image smaller than the window is padded, as :func:`torch.nn.functional.pad` has it.
        cval: value it is padded with when ``padding_mode`` is "constant".
    """

    def __init__(
        self,
        network: nn.Module,
        roi_size: Sequence[int] | int,
        sw_batch_size: int = 1,
        overlap: Sequence[float] | float = 0.25,
        mode: str = "constant",
        sigma_scale: Sequence[float] | float = 0.125,
        padding_mode: str = "constant",
        cval: float = 0.0,
    ) -> None:
        super().__init__()
        if sw_batch_size < 1:
            raise ValueError(f"sw_batch_size must be positive, got {sw_batch_size}.")
        self.network, self.roi_size, self.sw_batch_size, self.overlap = network, roi_size, sw_batch_size, overlap
        self.mode, self.sigma_scale, self.padding_mode, self.cval = mode, sigma_scale, padding_mode, cval

    @classmethod
    def from_inferer(cls, network: nn.Module, inferer: SlidingWindowInferer) -> SlidingWindowNetwork:
        """The network as ``inferer`` runs it; where the inferer stitches, buffers and shows progress is left out. One
        that does something else, or tells the network where its windows lie, is refused."""
        if type(inferer) not in (SlidingWindowInferer, SlidingWindowInfererAdapt):
            raise TypeError(f"inferer must be a SlidingWindowInferer, got {type(inferer).__name__}.")
        if inferer.with_coord:
            raise ValueError("an inferer with with_coord is not supported.")
        return cls(network, **{name: getattr(inferer, name) for name in SETTINGS})

    def forward(self, image: Tensor) -> Tensor:
        """Blended logits (B,K,spatial) of an image (B,C,spatial); a MetaTensor when the image is one. A ``TypeError``
        or ``ValueError`` says that the network does not return logits on the window's pixels."""
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        return with_meta_of(_Blend.apply(plain, self), image)


class _Blend(torch.autograd.Function):
    """Sliding window inference whose backward pass computes the windows again."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, settings: SlidingWindowNetwork) -> Tensor:
        visits: list[tuple[list[tuple[slice, ...]], _State]] = []

        def predict(windows: Tensor, places: list[list[slice]]) -> Tensor:
            visits.append(([tuple(place) for place in places], _State(image.device)))
            logits = single_output(settings.network(windows))
            if logits.shape[:1] + logits.shape[2:] != windows.shape[:1] + windows.shape[2:]:
                raise ValueError(f"logits {tuple(logits.shape)} do not lie on the windows {tuple(windows.shape)}.")
            # MONAI weights them in place
            return logits.clone()

        chosen = {name: getattr(settings, name) for name in SETTINGS}
        logits = sliding_window_inference(image, predictor=predict, with_coord=True, **chosen)
        ctx.save_for_backward(image)
        ctx.settings, ctx.visits = settings, visits
        assert isinstance(logits, Tensor)  # one in, one out
        return logits

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (image,) = ctx.saved_tensors
        settings: SlidingWindowNetwork = ctx.settings
        (first, *_), _ = ctx.visits[0]
        window = tuple(place.stop - place.start for place in first[2:])
        missing = [max(wanted - size, 0) for size, wanted in zip(image.shape[2:], window)]
        # what MONAI adds to an image smaller than its window, before and after each axis, the last axis first
        padding = [end for each in reversed(missing) for end in (each // 2, each - each // 2)]

        image = image.detach().requires_grad_()
        with torch.enable_grad():
            value = settings.cval if settings.padding_mode == "constant" else None
            padded = functional.pad(image, padding, settings.padding_mode, value)
        pixels = padded.detach()
        weight = compute_importance_map(
            window, mode=settings.mode, sigma_scale=settings.sigma_scale, device=image.device, dtype=image.dtype
        )[None, None]
        total = torch.zeros_like(pixels[:1, :1])
        for places, _ in ctx.visits:
            for place in places:
                if place[0].start == 0:
                    total[place] += weight
        share = functional.pad(gradient, padding) / total

        collected = torch.zeros_like(pixels)
        for places, state in ctx.visits:
            wanted = torch.cat([share[place] for place in places]) * weight
            if not bool(wanted.any()):
                continue
            windows = torch.cat([pixels[place] for place in places]).requires_grad_()
            with torch.enable_grad(), state.again():
                logits = settings.network(windows)
            (parts,) = torch.autograd.grad(logits, windows, wanted.to(logits.dtype))
            for place, part in zip(places, parts):
                collected[place] += part
        (result,) = torch.autograd.grad(padded, image, collected)
        return result, None


class _State:
    """What a forward pass depends on beside its input: the random state and autocast, as they are now on ``device``."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.random = torch.get_rng_state()
        self.random_cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        self.autocast_enabled = torch.is_autocast_enabled(device.type)
        self.autocast_dtype = torch.get_autocast_dtype(device.type)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Within it everything is as it was; on the way out the random state is what it was before."""
        devices = [] if self.random_cuda is None else [self.device]
        autocast = torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=self.autocast_enabled)
        with torch.random.fork_rng(devices), autocast:
            torch.set_rng_state(self.random)
            if self.random_cuda is not None:
                torch.cuda.set_rng_state(self.random_cuda, self.device)
            yield
