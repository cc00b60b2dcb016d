# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What the channels of a network's logits stand for: classes that exclude each other, or labels of their own."""

from typing import Any, Literal, cast, get_args

import torch

Head = Literal["softmax", "sigmoid"]

MAX_CHANNELS = 8


def single_output(output: Any) -> torch.Tensor:
    """
    What a network returned, where it is one tensor of logits.

    Raises:
        TypeError: for the list or dictionary of a network with several outputs, or anything else.
    """
    if isinstance(output, torch.Tensor):
        return output
    several = isinstance(output, list | tuple | dict)
    hint = ": wrap it in monai_shield.attacks.SelectOutput" if several else ""
    raise TypeError(f"the network must return a tensor of logits, got {type(output).__name__}{hint}.")


def check_head(head: str | None) -> Head | None:
    """
    A declared head, refused where it is none.

    Raises:
        ValueError: for anything but "softmax", "sigmoid" and None.
    """
    if head is not None and head not in get_args(Head):
        raise ValueError(f"unknown head '{head}': choose one of {', '.join(get_args(Head))}.")
    return cast("Head | None", head)


def head_of(logits: torch.Tensor, declared: Head | None = None) -> Head:
    """
    The kind of head that gave these logits. Attacks, detectors and the saved label all ask here.

    Args:
        logits: (B, K, ...).
        declared: what the network's owner says; None to read it from the channels: one is a sigmoid, several are a
            softmax. Several sigmoids cannot be told from a softmax and must be declared.

    Raises:
        ValueError: for an unknown head, or a softmax over one channel, which is 1 whatever its logit.
    """
    check_head(declared)
    if logits.shape[1] == 1 and declared == "softmax":
        raise ValueError("head 'softmax' is declared, but the network has one channel: declare 'sigmoid'.")
    if declared is not None:
        return declared
    return "sigmoid" if logits.shape[1] == 1 else "softmax"


def class_logits(logits: torch.Tensor, head: Head | None = None) -> torch.Tensor:
    """
    Logits of classes that exclude each other: their argmax is the label, their softmax the probability.

    Those of a softmax are these already. Of K sigmoids a class is a combination of labels: bit k of its number says
    whether label k is there, and its logit is the sum of the channels that are. One channel z becomes (0, z).

    Args:
        logits: (B, K, ...).
        head: see :func:`head_of`.

    Returns:
        (B, K, ...), or (B, 2^K, ...) of a sigmoid head.

    Raises:
        ValueError: as :func:`head_of`, or for more than 8 sigmoids: 2^K classes would not fit into memory.
    """
    if head_of(logits, head) == "softmax":
        return logits
    check_channels(logits.shape[1])
    classes = torch.zeros_like(logits[:, :1])
    for k in range(logits.shape[1]):
        classes = torch.cat([classes, classes + logits[:, k : k + 1]], dim=1)
    return classes


def binary_logits(logits: torch.Tensor) -> torch.Tensor:
    """Each channel a label of its own, (B, K, ...), as logits of a softmax over it and its absence, (B, 2, K, ...)."""
    return torch.stack([logits, torch.zeros_like(logits)], dim=1)


def check_channels(channels: int) -> None:
    """
    Refuse sigmoid channels whose combinations would be too many.

    Raises:
        ValueError: for more than 8.
    """
    if channels > MAX_CHANNELS:
        raise ValueError(f"{channels} channels would make 2^{channels} classes; there may be {MAX_CHANNELS} at most.")
