# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import copy
import math

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor
from torch import nn

from monai_shield.attacks import UniformNoise, UniversalPerturbation
from monai_shield.attacks.losses import LOSSES
from monai_shield.attacks.targets import Background

WIDE = (-1000.0, 1000.0)
WEIGHT = torch.tensor([[0.5, -1.0, 0.0], [-0.5, 1.0, 2.0]], dtype=torch.float64)
NORMAL = WEIGHT[1] - WEIGHT[0]  # the margin between the two classes falls along it
LENGTH = {"linf": float(NORMAL.abs().sum()), "l2": float(NORMAL.norm())}  # its dual norms

every_norm = pytest.mark.parametrize("norm", ["linf", "l2"])
every_dims = pytest.mark.parametrize("dims", [2, 3])


def linear(dims=2):
    """A 1x1 convolution of three channels into two classes."""
    network = (nn.Conv2d if dims == 2 else nn.Conv3d)(3, 2, 1).double()
    network.weight.data.copy_(WEIGHT.reshape(2, 3, *[1] * dims))
    network.bias.data.copy_(torch.tensor([0.3, -0.1]))
    return network


def draw(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sides(dims):
    """The class of each place, as ±1, the same in all images (1,1,spatial)."""
    return torch.where(draw(1, 1, *(5, 4, 3)[:dims], seed=1) < 0.5, -1.0, 1.0).double()


def along(values):
    """(B,1,spatial) times the normal (B,3,spatial)."""
    return values * NORMAL.reshape(1, 3, *[1] * (values.ndim - 2))


def images_of_margin(margins, side, seed=0):
    """Images that differ in all but this: image i has z_1 - z_0 = side · margins[i] at every pixel (i.e. one direction
    leads out of the class in all of them)."""
    network = linear(side.ndim - 2)
    image = draw(len(margins), 3, *side.shape[2:], seed=seed) - 0.5
    logits = network(image).detach()
    wanted = side * torch.tensor(margins, dtype=torch.float64).reshape(-1, *[1] * (side.ndim - 1))
    return image + along(wanted - (logits[:, 1:] - logits[:, :1])) / NORMAL.square().sum()


def optimum(margin, side, norm):
    """Norm of the smallest perturbation that takes every pixel of all images of that margin over the boundary.

    At one pixel it is margin / ‖normal‖₁ under L∞ and margin / ‖normal‖₂ under L2; pixels do not share channels, so
    that under L2 the image needs the root of their number times that. No perturbation of one image does with less.
    """
    return margin / LENGTH[norm] * (1 if norm == "linf" else math.sqrt(side.numel()))


class Centered(nn.Module):
    def forward(self, image):
        return image - 0.5


def small_network(dims=2):
    """A network that predicts each of its three classes about as often."""
    conv = nn.Conv2d if dims == 2 else nn.Conv3d
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = conv(1, 8, 3, padding=1, bias=False), nn.Tanh(), conv(8, 3, 3, padding=1, bias=False)
        return nn.Sequential(Centered(), *layers).double()


def scenes(number, dims=2, seed=0):
    """Images that share a scene."""
    spatial = (10, 9, 5)[:dims]
    return 0.7 * draw(1, 1, *spatial, seed=99) + 0.3 * draw(number, 1, *spatial, seed=seed)


def fitted(network, images, batch_size=4, **settings):
    return UniversalPerturbation(**settings).fit(network, images.split(batch_size), progress=False)


@every_dims
@every_norm
@pytest.mark.parametrize("target", [None, "runner_up"])
def test_at_125_percent_of_the_optimum_unseen_images_fall_and_at_99_percent_none(norm, target, dims):
    network, side = linear(dims), sides(dims)
    seen, unseen = (images_of_margin([1.3] * 6, side, seed) for seed in (0, 1))
    best = optimum(1.3, side, norm)
    settings = {"norm": norm, "target": target, "bounds": WIDE, "stop_share": 0.0, "epochs": 8}
    for images in (seen, unseen):
        result = fitted(network, seen, epsilon=1.25 * best, **settings)(network, images)
        assert result.success.tolist() == [True] * 6
        assert result.remaining.tolist() == [0.0] * 6
        assert result.steps.tolist() == [0] * 6
        result = fitted(network, seen, epsilon=0.99 * best, **settings)(network, images)
        assert result.success.tolist() == [False] * 6
        assert result.remaining.tolist() == [1.0] * 6


@every_norm
def test_the_perturbation_of_a_linear_network_is_known(norm):
    side, epsilon = sides(2), 0.4
    images = images_of_margin([1.0] * 6, side)
    away = -along(side)[0]
    away = away.sign() if norm == "linf" else away / away.norm()
    attack = fitted(linear(), images, epsilon=epsilon, norm=norm, bounds=WIDE, epochs=8)
    torch.testing.assert_close(attack.perturbation, epsilon * away, rtol=0, atol=1e-12)


def test_those_images_fall_whose_own_optimum_lies_below_epsilon():
    side, margins = sides(2), [0.5, 1.0, 1.5, 2.0]
    images = images_of_margin(margins, side)
    for epsilon in (0.2, 0.3, 0.45, 0.6):
        result = fitted(linear(), images, epsilon=epsilon, bounds=WIDE, epochs=20)(linear(), images)
        assert result.success.tolist() == [optimum(margin, side, "linf") < epsilon for margin in margins]


def test_of_two_images_that_are_opposites_no_pixel_falls_in_both():
    side = sides(2)
    images = torch.cat([images_of_margin([1.0], side), images_of_margin([0.8], -side)])
    result = fitted(linear(), images, epsilon=9.0, bounds=WIDE)(linear(), images)
    assert result.remaining.sum() == 1


def test_a_wrong_label_is_led_away_from_too():
    # with the other class as the label there is nothing to do, and the perturbation leads deeper into the prediction
    side = sides(2)
    images = images_of_margin([1.0] * 4, side)
    wrong = (side < 0).expand(4, -1, -1, -1)
    attack = UniversalPerturbation(0.2, bounds=WIDE, epochs=10)
    attack.fit(
        linear(), [{"scan": images, "truth": wrong.double()}], key_image="scan", key_label="truth", progress=False
    )
    torch.testing.assert_close(attack.perturbation, 0.2 * along(side)[0].sign(), rtol=0, atol=1e-12)
    assert attack.history == [0.0] * 10


def test_only_pixels_of_the_mask_are_learned_from():
    side = sides(2)
    images = images_of_margin([1.0] * 4, side)
    mask = torch.zeros(4, 1, 5, 4)
    mask[:, :, :2] = 1
    batches = [{"image": images, "mask": mask}]
    attack = UniversalPerturbation(0.2, bounds=WIDE, epochs=10).fit(linear(), batches, key_mask="mask", progress=False)
    expected = -0.2 * along(side)[0].sign() * mask[0]
    torch.testing.assert_close(attack.perturbation, expected, rtol=0, atol=1e-12)


@every_dims
@every_norm
def test_it_is_the_same_for_every_image_up_to_window_and_bounds(norm, dims):
    network, images = small_network(dims), scenes(8, dims)
    epsilon = 0.1 if norm == "linf" else 1.0
    attack = fitted(network, images[:4], epsilon=epsilon, norm=norm, bounds=WIDE, epochs=3)
    scale = torch.linspace(0.5, 4, 4, dtype=torch.float64).reshape(-1, *[1] * (dims + 1))
    attack.window = "image"
    result = attack(network, images[4:] * scale)
    window = result.window.reshape(scale.shape)
    torch.testing.assert_close(
        (result.image - images[4:] * scale) / window,
        attack.perturbation.expand_as(images[4:]),
        rtol=0,
        atol=1e-12,
    )
    assert bool((result.norm_linf > 0).all())

    attack.window, attack.bounds = 1.0, None
    free = images[4:] + attack.perturbation
    low, high = (images[4:].flatten(1).aminmax(dim=1)[i].reshape(scale.shape) for i in (0, 1))
    torch.testing.assert_close(attack(network, images[4:]).image, free.clamp(low, high), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.08), ("l2", 0.8)])
@pytest.mark.parametrize(("loss", "dims"), [*((loss, 2) for loss in sorted(LOSSES)), ("cross_entropy", 3)])
def test_learned_on_one_half_it_misleads_the_other_more_than_noise(norm, epsilon, loss, dims):
    network, images = small_network(dims), scenes(32, dims)
    attack = fitted(network, images[:16], epsilon=epsilon, norm=norm, loss=loss, epochs=6)
    result = attack(network, images[16:])
    noise = UniformNoise(epsilon, norm=norm)(network, images[16:])
    assert 1 - result.remaining.mean() > 1.15 * (1 - noise.remaining.mean())
    assert attack.history[-1] < attack.history[0]
    size = result.norm_linf if norm == "linf" else result.norm_l2
    assert bool((size <= epsilon * (1 + 1e-9)).all())


@pytest.mark.parametrize("target", ["background", Background(), torch.zeros(1, 1, 10, 9)])
def test_toward_a_target(target):
    network, images = small_network(), scenes(32)
    settings = {"epsilon": 0.3, "bounds": WIDE, "epochs": 8}
    attack = fitted(network, images[:16], target=target, **settings)
    result = attack(network, images[16:])
    became = network(result.image).argmax(1) == 0
    clean = network(images[16:]).argmax(1) == 0
    assert became.double().mean() > clean.double().mean() + 0.2
    torch.testing.assert_close(result.remaining, (~became & ~clean).flatten(1).sum(1).double() / result.attacked)
    away = fitted(network, images[:16], **settings)(network, images[16:])
    assert (network(away.image).argmax(1) == 0).double().mean() < became.double().mean()


def shuffled(images, **settings):
    return DataLoader(Dataset([{"image": image} for image in images]), batch_size=3, shuffle=True, **settings)


def test_a_seed_is_one_perturbation():
    network, images = small_network(), scenes(9)
    found = []
    for seed in (0, 0, 1):
        torch.rand(1)  # whatever the caller's random state is
        attack = UniversalPerturbation(0.1, epochs=2, seed=seed).fit(network, shuffled(images), progress=False)
        found.append(attack.perturbation)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path):
    class Killed(Exception):
        pass

    class Killing(Dataset):
        """Images that end the run when the third epoch has begun."""

        asked = 0

        def __getitem__(self, item):
            self.asked += 1
            if self.asked > 2 * 9 + 4:
                raise Killed
            return super().__getitem__(item)

    network, images, file = small_network(), scenes(9), tmp_path / "runs" / "universal.pt"
    expected = UniversalPerturbation(0.1, epochs=4).fit(network, shuffled(images), progress=False)

    attack = UniversalPerturbation(0.1, epochs=4)
    loader = DataLoader(Killing([{"image": image} for image in images]), batch_size=3, shuffle=True)
    with pytest.raises(Killed):
        attack.fit(network, loader, checkpoint=file, progress=False)
    assert attack.history == expected.history[:2]
    assert [path.name for path in file.parent.iterdir()] == [file.name]

    attack = UniversalPerturbation(0.1, epochs=4)
    attack.fit(network, shuffled(images), checkpoint=file, progress=False)
    assert torch.equal(attack.perturbation, expected.perturbation)
    assert attack.history == expected.history

    done = UniversalPerturbation(0.1, epochs=4).fit(network, shuffled(images), checkpoint=file, progress=False)
    assert torch.equal(done.perturbation, expected.perturbation)
    more = UniversalPerturbation(0.1, epochs=5).fit(network, shuffled(images), checkpoint=file, progress=False)
    assert more.history[:4] == expected.history
    assert len(more.history) == 5
    again = more.fit(network, shuffled(images), progress=False)  # without a checkpoint: from the beginning
    assert again.history == more.history


def test_the_settings_of_a_checkpoint_are_words_that_stay(tmp_path):
    # written by version 0.1, so that its checkpoints are gone on with
    words = {"bounds": "None", "window": "1.0", "ignore_index": "None", "attack_background": "True"}
    words |= {"confine_to_mask": "False", "micro_batch": "None", "epsilon": "0.1", "norm": "'linf'"}
    words |= {"step_size": "None", "momentum": "0.9", "seed": "0", "loss": "'cross_entropy'", "target": "None"}
    network, images, file = small_network(), scenes(4), tmp_path / "universal.pt"
    expected = fitted(network, images, epsilon=0.1, epochs=2)
    UniversalPerturbation(0.1, epochs=1).fit(network, [images], checkpoint=file, progress=False)
    state = torch.load(file, weights_only=True)
    assert state["settings"] == words
    torch.save(state | {"settings": words}, file)
    found = UniversalPerturbation(0.1, epochs=2).fit(network, [images], checkpoint=file, progress=False)
    assert found.history == expected.history


def test_a_loss_of_ones_own_does_not_hinder_going_on(tmp_path):
    def gap(logits, problem, not_fooled, progress):
        return (logits[:, 0] - logits[:, 1]).flatten(1).mean(1)

    file = tmp_path / "universal.pt"
    for epochs in (1, 2):
        attack = UniversalPerturbation(0.1, epochs=epochs, loss=gap)
        attack.fit(small_network(), [scenes(4)], checkpoint=file, progress=False)
        assert " at 0x" not in str(torch.load(file, weights_only=True)["settings"])
    assert len(attack.history) == 2


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    network, images, file = small_network(), scenes(4), tmp_path / "universal.pt"
    UniversalPerturbation(0.1, epochs=2).fit(network, [images], checkpoint=file, progress=False)
    for other, message in [
        ({"epsilon": 0.2}, "settings: epsilon"),
        ({"loss": "seg_pgd", "target": Background(), "seed": 1}, "settings: loss, seed, target"),
        ({"epochs": 1}, "has 2 epochs, not 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            UniversalPerturbation(**{"epsilon": 0.1, "epochs": 2, **other}).fit(network, [images], checkpoint=file)
    file.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be loaded"):
        UniversalPerturbation(0.1).fit(network, [images], checkpoint=file)


def test_from_a_config_with_its_file(tmp_path):
    network, images, file = small_network(), scenes(8), tmp_path / "universal.pt"
    attack = fitted(network, images[:4], epsilon=0.1, epochs=2)
    attack.save(file)
    config = {
        "attack": {
            "_target_": "monai_shield.attacks.UniversalPerturbation",
            "epsilon": 0.1,
            "perturbation": str(file),
            "bounds": [0, 1],
        }
    }
    found = ConfigParser(config).get_parsed_content("attack")
    assert found.history == attack.history
    attack.bounds = (0, 1)
    assert torch.equal(found(network, images[4:]).image, attack(network, images[4:]).image)
    state = torch.load(file, weights_only=True)
    assert torch.equal(state["perturbation"], attack.perturbation)
    given = UniversalPerturbation(0.1, state["perturbation"], bounds=(0, 1))
    assert torch.equal(given(network, images[4:]).image, attack(network, images[4:]).image)


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        UniversalPerturbation(0.1, tmp_path / "none.pt")
    for content, message in [
        (nn.Identity(), "cannot be loaded"),  # a pickle of code
        ({"perturbation": torch.zeros(1, 4, 4)}, "does not hold"),
        (torch.zeros(1, 4, 4), "does not hold"),
    ]:
        torch.save(content, tmp_path / "other.pt")
        with pytest.raises(ValueError, match=message):
            UniversalPerturbation(0.1, tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("perturbation", "message"),
    [
        (torch.full((1, 4, 4), 0.11), "more than the epsilon"),
        (torch.full((4, 4), 0.1), "must be a tensor"),
        ([[0.1]], "must be a tensor"),
        (torch.zeros(1, 4, 4, dtype=torch.int16), "finite floats"),
        (torch.full((1, 4, 4), math.nan), "finite floats"),
    ],
)
def test_what_is_no_perturbation_of_that_size_is_refused(perturbation, message):
    with pytest.raises(ValueError, match=message):
        UniversalPerturbation(0.1, perturbation)
    assert UniversalPerturbation(0.4, torch.full((1, 4, 4), 0.1), norm="l2")
    with pytest.raises(ValueError, match="more than the epsilon"):
        UniversalPerturbation(0.39, torch.full((1, 4, 4), 0.1), norm="l2")


def test_it_refuses_before_it_is_fitted_and_images_of_another_size(tmp_path):
    network, images = small_network(), scenes(4)
    attack = UniversalPerturbation(0.1, epochs=1)
    with pytest.raises(RuntimeError, match="has not been fitted"):
        attack(network, images)
    with pytest.raises(RuntimeError, match="has not been fitted"):
        attack.save(tmp_path / "universal.pt")
    attack.fit(network, [images], progress=False)
    with pytest.raises(ValueError, match=r"for images \(1, 10, 9\), got \(1, 9, 10\)"):
        attack(network, images.mT)
    with pytest.raises(ValueError, match=r"for images \(1, 10, 9\), got \(1, 9, 10\)"):
        attack.fit(network, [images, images.mT], progress=False)


def test_fit_leaves_network_and_random_state_as_before():
    network = nn.Sequential(small_network(), nn.BatchNorm2d(3), nn.Dropout(0.5)).double().train()
    network[1].eval()
    network[0][1].weight.requires_grad_(False)
    images = scenes(9)
    network(images).square().mean().backward()
    modes = [module.training for module in network.modules()]
    wanted = [parameter.requires_grad for parameter in network.parameters()]
    gradients = [None if p.grad is None else p.grad.clone() for p in network.parameters()]
    state, random_state = copy.deepcopy(network.state_dict()), torch.get_rng_state()

    def check():
        assert [module.training for module in network.modules()] == modes
        assert [parameter.requires_grad for parameter in network.parameters()] == wanted
        for parameter, gradient in zip(network.parameters(), gradients):
            assert (parameter.grad is None) == (gradient is None)
            assert gradient is None or torch.equal(parameter.grad, gradient)
        assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
        assert torch.equal(torch.get_rng_state(), random_state)

    attack, loader = UniversalPerturbation(0.1, epochs=2), shuffled(images)
    torch.set_rng_state(random_state)  # MONAI's loader draws when it is made
    attack.fit(network, loader, progress=False)
    check()
    with pytest.raises(ValueError, match="for images"):
        attack.fit(network, [images, images.mT], progress=False)
    check()
    with torch.no_grad():
        in_evaluation = fitted(network.eval(), images, epsilon=0.1, epochs=2)
        assert torch.equal(
            fitted(network.train(), images, epsilon=0.1, epochs=2).perturbation, in_evaluation.perturbation
        )


def test_metatensors_of_a_loader_are_images():
    network, images = small_network(), scenes(4)
    plain = fitted(network, images, epsilon=0.1, epochs=1)
    meta = fitted(network, MetaTensor(images), epsilon=0.1, epochs=1)
    assert torch.equal(meta.perturbation, plain.perturbation)
    assert not isinstance(meta.perturbation, MetaTensor)


def test_images_with_nothing_to_attack_teach_nothing():
    network, images = small_network(), scenes(6)
    mask = torch.ones(6, 1, 10, 9)
    mask[3:] = 0
    attack = UniversalPerturbation(0.1, epochs=2)
    attack.fit(network, [{"image": images, "mask": mask}], key_mask="mask", progress=False)
    assert torch.equal(attack.perturbation, fitted(network, images[:3], epsilon=0.1, epochs=2).perturbation)
    with pytest.raises(ValueError, match="anything to attack"):
        attack.fit(network, [{"image": images, "mask": 0 * mask}], key_mask="mask", progress=False)


@pytest.mark.parametrize(
    ("batches", "keys", "error", "message"),
    [
        (iter([scenes(2)]), {}, ValueError, "not an iterator"),
        ([], {}, ValueError, "anything to attack"),
        ([[scenes(2)]], {}, TypeError, "images or a dictionary"),
        ([{"scan": scenes(2)}], {}, KeyError, "no 'image'"),
        ([{"image": scenes(2)}], {"key_label": "label"}, KeyError, "no 'label'"),
        ([scenes(2)], {"key_mask": "mask"}, KeyError, "no 'mask'"),
    ],
)
def test_batches_that_are_none_are_refused(batches, keys, error, message):
    with pytest.raises(error, match=message):
        UniversalPerturbation(0.1).fit(small_network(), batches, progress=False, **keys)


def test_what_has_no_gradient_to_learn_from_is_refused():
    class Broken(nn.Module):
        def forward(self, image):
            return torch.cat([image, (image * 0).sqrt()], 1)

    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        UniversalPerturbation(0.1).fit(lambda image: image, [scenes(2)], progress=False)
    with pytest.raises(ValueError, match="not finite"):
        UniversalPerturbation(0.1).fit(Broken(), [scenes(2)], progress=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epsilon": 0.0},
        {"epsilon": math.nan},
        {"epochs": 0},
        {"step_size": 0.0},
        {"momentum": -0.1},
        {"norm": "l1"},
        {"loss": "hinge"},
        {"target": "foreground"},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must |no loss|no target"):
        UniversalPerturbation(**{"epsilon": 0.1, **wrong})
