# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Entropy of predictions: closed forms, and its identity with the Jensen-Shannon divergence."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_shield.detectors import MeanEntropy, Views, entropy, jensen_shannon

SIZES = [(4, 5), (3, 4, 5)]


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("labels", [2, 3, 28])
def test_between_sure_and_even(labels: int) -> None:
    even = torch.full((1, labels, 2, 2), 7.0)
    sure = even.clone()
    sure[:, 0] = 80
    torch.testing.assert_close(entropy(even), torch.full((1, 2, 2), math.log(labels)))
    torch.testing.assert_close(entropy(sure), torch.zeros(1, 2, 2))


@settings(max_examples=25, deadline=None)
@given(p=st.floats(0.001, 0.999))
def test_of_two_labels_and_of_one_sigmoid(p: float) -> None:
    by_hand = -p * math.log(p) - (1 - p) * math.log(1 - p)
    logit = torch.full((1, 1, 1, 1), math.log(p / (1 - p)), dtype=torch.float64)
    assert float(entropy(torch.cat([logit, 0 * logit], 1))) == pytest.approx(by_hand)
    assert float(entropy(logit, head="sigmoid")) == pytest.approx(by_hand)


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_of_softmax_and_of_sigmoids_by_torch(size: tuple[int, ...]) -> None:
    z = logits(2, 4, *size)
    softmax = torch.distributions.Categorical(logits=z.movedim(1, -1)).entropy()
    torch.testing.assert_close(entropy(z), softmax)
    torch.testing.assert_close(
        entropy(z, head="sigmoid"), torch.distributions.Bernoulli(logits=z).entropy().mean(dim=1)
    )


def test_divergence_is_what_mixing_adds_to_the_entropy() -> None:
    """JS(p, q) = H((p + q) / 2) - (H(p) + H(q)) / 2."""
    first, second = logits(2, 3, 4, 5), logits(2, 3, 4, 5, seed=1)
    mixture = ((first.softmax(1) + second.softmax(1)) / 2).log()
    added = entropy(mixture) - (entropy(first) + entropy(second)) / 2
    torch.testing.assert_close(jensen_shannon(first, second), added)


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_counts_the_foreground_alone(size: tuple[int, ...]) -> None:
    image = torch.zeros(2, 1, *size)
    image[:, :, 0] = 1  # the foreground is the first row; in doubt there and sure elsewhere
    views = Views(image, lambda x: torch.cat([80 * (1 - x), 0 * x], 1))
    torch.testing.assert_close(MeanEntropy()(views), torch.full((2,), math.log(2)))
    torch.testing.assert_close(MeanEntropy(foreground_only=False)(views), torch.full((2,), math.log(2) / size[0]))


def test_the_detector_averages_the_map() -> None:
    image, z = 0.1 + torch.rand(2, 1, 4, 5), logits(2, 3, 4, 5)
    views = Views(image, lambda x: z)
    torch.testing.assert_close(MeanEntropy()(views), entropy(z).flatten(1).mean(1))
    sigmoid, by_hand = Views(image, lambda x: z, head="sigmoid"), entropy(z, "sigmoid").flatten(1).mean(1)
    torch.testing.assert_close(MeanEntropy()(sigmoid), by_hand)
    torch.testing.assert_close(MeanEntropy(foreground_only=False)(sigmoid), by_hand)


def test_takes_the_prediction_that_is_the_answer() -> None:
    calls: list[int] = []

    def target(x: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        return torch.cat([x, -x], 1)

    views = Views(torch.rand(3, 1, 4, 4), target)
    MeanEntropy()(views)
    _ = views.reformed_prediction
    assert calls == [3]


def test_gradient_is_that_of_finite_differences() -> None:
    image = (0.1 + torch.rand(2, 1, 3, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: MeanEntropy()(Views(x, lambda y: torch.cat([3 * y, 1 - y], 1))), image)


def test_needs_a_target() -> None:
    with pytest.raises(ValueError, match="no target"):
        MeanEntropy()(Views(torch.rand(1, 1, 4, 4)))
