# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What the channels of logits stand for: declared or read, the same for everyone who asks."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from monai_shield.attacks.problem import logits_of
from monai_shield.detectors import Views
from monai_shield.networks import binary_logits, class_logits, head_of

SIZES = [(4, 5), (3, 4, 5)]


def draw(channels: int, size: tuple[int, ...]) -> torch.Tensor:
    return 3 * torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(
    ("channels", "declared", "head"),
    [
        (1, None, "sigmoid"),
        (1, "sigmoid", "sigmoid"),
        (2, None, "softmax"),
        (3, "softmax", "softmax"),
        (3, "sigmoid", "sigmoid"),
    ],
)
def test_declared_or_read_from_the_channels(channels, declared, head) -> None:
    assert head_of(draw(channels, (4, 5)), declared) == head
    assert Views(torch.rand(2, 1, 4, 5), lambda x: draw(channels, (4, 5)), head=declared).head == head


def test_a_softmax_over_one_channel_is_refused_by_everyone() -> None:
    image, identity = torch.rand(2, 1, 4, 5), torch.nn.Identity()
    for ask in (
        lambda: head_of(image, "softmax"),
        lambda: class_logits(image, "softmax"),
        lambda: logits_of(identity, image, "softmax"),
        lambda: Views(image, identity, head="softmax").head,
    ):
        with pytest.raises(ValueError, match=r"^head 'softmax' is declared, but the network has one channel") as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown head 'argmax': choose one of softmax, sigmoid"):
        Views(torch.rand(1, 1, 4, 5), head="argmax")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown head 'tanh'"):
        head_of(draw(2, (4, 5)), "tanh")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_one_sigmoid_has_two_classes(size: tuple[int, ...]) -> None:
    z = draw(1, size)
    for head in (None, "sigmoid"):
        logits = class_logits(z, head)  # type: ignore[arg-type]
        torch.testing.assert_close(logits.softmax(1)[:, 1:], z.sigmoid())
        assert torch.equal(logits.argmax(1, keepdim=True), (z > 0).long())
        assert torch.equal(logits, logits_of(torch.nn.Identity(), z, head))  # type: ignore[arg-type]
    label = (z > 1).double()
    both = cross_entropy(logits, label[:, 0].long()), binary_cross_entropy_with_logits(z, label)
    torch.testing.assert_close(*both)


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_several_channels_are_left_alone_or_combined(size: tuple[int, ...]) -> None:
    z = draw(3, size)
    assert class_logits(z) is z
    assert class_logits(z, "softmax") is z
    combined = class_logits(z, "sigmoid")
    assert combined.shape[1] == 8
    assert torch.equal(combined.argmax(1), sum((z[:, k] > 0).long() << k for k in range(3)))


def test_a_label_and_its_absence() -> None:
    z = draw(3, (4, 5))
    pairs = binary_logits(z)
    assert pairs.shape == (2, 2, 3, 4, 5)
    torch.testing.assert_close(pairs.softmax(1)[:, 0], z.sigmoid())


def test_too_many_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="9 channels would make"):
        class_logits(draw(9, (2, 2)), "sigmoid")
