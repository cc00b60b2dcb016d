# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Every attack: which networks it takes, and that it leaves them and the random state as they were."""

import os

import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn

from monai_shield.attacks import ATTACKS, PGD, Attack
from support.attack_contract import CASES, SHAPES, every_attack, make, make_image, make_network


@every_attack
def test_network_and_random_state_are_as_before(name, settings):
    shape = SHAPES[0]
    network = make_network(shape).train()
    network.features[1].eval()  # a frozen normalization inside a network in training
    network.head.bias.requires_grad_(False)
    network(make_image(shape)).square().mean().backward()
    modes = [module.training for module in network.modules()]
    wanted = [parameter.requires_grad for parameter in network.parameters()]
    gradients = [None if p.grad is None else p.grad.clone() for p in network.parameters()]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    random_state = torch.get_rng_state()

    def check():
        assert [module.training for module in network.modules()] == modes
        assert [parameter.requires_grad for parameter in network.parameters()] == wanted
        for parameter, gradient in zip(network.parameters(), gradients):
            assert (parameter.grad is None) == (gradient is None)
            assert gradient is None or torch.equal(parameter.grad, gradient)
        assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
        assert torch.equal(torch.get_rng_state(), random_state)

    image = make_image(shape)
    attack = make(name, settings, network, image)
    in_training = attack(network, image)
    check()
    with pytest.raises(RuntimeError, match="channels"):
        attack(network, make_image((2, 3, 8, 8)))
    check()
    assert torch.equal(in_training.image, attack(network.eval(), image).image)  # it was crafted in evaluation mode


@every_attack
def test_a_network_that_draws_leaves_the_random_state_too(name, settings):
    class Drawing(nn.Module):
        def forward(self, image):
            return torch.cat([image - 0.5, 0.01 * torch.randn_like(image)], 1)

    before = torch.get_rng_state()
    network, image = Drawing(), make_image((2, 1, 5, 5))
    make(name, settings, network, image)(network, image)
    assert torch.equal(torch.get_rng_state(), before)


@every_attack
def test_callers_without_gradients(name, settings):
    network, image = make_network(SHAPES[0]).eval(), make_image(SHAPES[0])
    attack = make(name, settings, network, image)
    expected = attack(network, image, network(image).argmax(1)).image
    with torch.no_grad():
        assert torch.equal(attack(network, image, network(image).argmax(1)).image, expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert torch.equal(attack(network, image + 0, network(image).argmax(1)).image, expected)
        assert torch.is_inference_mode_enabled()


@every_attack
def test_a_sigmoid_head_is_a_softmax_over_zero_and_its_logit(name, settings):
    class Two(nn.Module):
        def __init__(self, one):
            super().__init__()
            self.one = one

        def forward(self, image):
            logit = self.one(image)
            return torch.cat([torch.zeros_like(logit), logit], 1)

    image = make_image((2, 1, 6, 6))
    one = nn.Conv2d(1, 1, 3, padding=1).double()
    found, expected = (make(name, settings, each, image)(each, image).image for each in (one, Two(one)))
    assert torch.equal(found, expected)


@every_attack
def test_torchscript(name, settings):
    network, image = make_network(SHAPES[0]), make_image(SHAPES[0])
    scripted = torch.jit.script(network.train())
    found, expected = (make(name, settings, each, image)(each, image).image for each in (scripted, network))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert all(module.training for module in scripted.modules())


def test_a_wrapper_for_distributed_training_can_go_on_training(tmp_path):
    if not torch.distributed.is_available():
        pytest.skip("this torch has no torch.distributed")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        network = nn.parallel.DistributedDataParallel(make_network(SHAPES[0]))
        image = make_image(SHAPES[0])
        for _ in range(2):
            PGD(0.1, max_steps=2)(network, image)
            network(image).square().mean().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("name", "settings"), [row for row in CASES if ATTACKS[row[0]].example.__func__ is Attack.example.__func__]
)
def test_from_a_config(name, settings):
    kind = ATTACKS[name]
    config = {"attack": {"_target_": f"{kind.__module__}.{kind.__qualname__}", "bounds": [0, 1], **settings}}
    attack = ConfigParser(config).get_parsed_content("attack")
    network, image = make_network(SHAPES[0]), make_image(SHAPES[0])
    expected = make(name, settings, network, image, bounds=(0, 1))(network, image).image
    assert torch.equal(attack(network, image).image, expected)
