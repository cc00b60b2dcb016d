# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys

import pytest
import torch
from ignite.engine import Engine
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ROCAUC, from_engine
from torch import nn

from monai_shield.attacks import DAG, PGD, Transfer, UniformNoise, UniversalPerturbation
from monai_shield.handlers import AttackHandler

CPU = torch.device("cpu")
ATTACK = PGD(0.1, max_steps=3)


def make_network(dims=2):
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(conv(1, 4, 3, padding=1), norm(4), nn.ReLU(), nn.Dropout(0.3), conv(4, 3, 1))


def make_items(number=5, dims=2):
    generator = torch.Generator().manual_seed(1)
    spatial = (6, 5, 4)[:dims]
    return [
        {
            "image": MetaTensor(torch.rand(1, *spatial, generator=generator), meta={"filename_or_obj": f"scan{i}.nii"}),
            "label": torch.randint(0, 3, (1, *spatial), generator=generator).float(),
            "mask": (torch.rand(1, *spatial, generator=generator) < 0.5).float(),
        }
        for i in range(number)
    ]


def make_evaluator(network, items, handlers, batch_size=2, **settings):
    loader = DataLoader(Dataset(items), batch_size=batch_size, num_workers=0)
    return SupervisedEvaluator(CPU, loader, network, val_handlers=handlers, **settings)


class Collect:
    """Keeps the image, prediction and flag of each iteration's decollated output."""

    def __init__(self):
        self.items = []

    def attach(self, engine):
        from ignite.engine import Events

        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: self.items.extend(e.state.output))

    def stack(self, key):
        return torch.stack([torch.as_tensor(item[key]) for item in self.items])


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("key_label", "key_mask"), [(None, None), ("label", "mask")])
def test_evaluator_sees_what_the_attack_makes(dims, key_label, key_mask):
    network, items, collect = make_network(dims), make_items(dims=dims), Collect()
    handler = AttackHandler(ATTACK, network, key_label=key_label, key_mask=key_mask)
    evaluator = make_evaluator(network, items, [handler, collect])
    evaluator.run()

    image, label, mask = (torch.stack([item[key] for item in items]) for key in ("image", "label", "mask"))
    expected = ATTACK(network, image.as_tensor(), label if key_label else None, mask if key_mask else None)
    torch.testing.assert_close(collect.stack("image").as_tensor(), expected.image, rtol=0, atol=1e-6)
    with torch.no_grad():
        prediction = network.eval()(expected.image)
    torch.testing.assert_close(collect.stack("pred").as_tensor(), prediction, rtol=0, atol=1e-5)
    assert bool((collect.stack("is_adversarial") == 1).all())
    assert [item["image"].meta["filename_or_obj"] for item in collect.items] == [f"scan{i}.nii" for i in range(5)]


def test_a_second_run_and_another_batch_size_give_the_same():
    network, items = make_network(), make_items()
    images = []
    for batch_size in (1, 2, 5):
        collect = Collect()
        evaluator = make_evaluator(network, items, [AttackHandler(ATTACK, network), collect], batch_size)
        evaluator.run()
        evaluator.run(2)
        image = collect.stack("image").as_tensor()
        assert torch.equal(image[:5], image[5:])
        images.append(image[:5])
    torch.testing.assert_close(images[0], images[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(images[0], images[2], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["universal", "transfer"])
def test_attacks_that_bring_something_along(kind):
    network, items, collect = make_network(), make_items(), Collect()
    attack = Transfer(ATTACK, make_network().eval())
    if kind == "universal":
        loader = DataLoader(Dataset(make_items()[:3]), batch_size=2, num_workers=0)
        attack = UniversalPerturbation(0.1, epochs=2)
        attack.fit(network, loader, key_label="label", key_mask="mask", progress=False)
    handler = AttackHandler(attack, network, key_label="label", key_mask="mask")
    make_evaluator(network, items, [handler, collect]).run()

    image, label, mask = (torch.stack([item[key] for item in items]) for key in ("image", "label", "mask"))
    expected = attack(network, image.as_tensor(), label, mask).image
    torch.testing.assert_close(collect.stack("image").as_tensor(), expected, rtol=0, atol=1e-6)
    assert bool((expected != image).flatten(1).any(1).all())
    assert bool((collect.stack("is_adversarial") == 1).all())
    assert [item["image"].meta["filename_or_obj"] for item in collect.items] == [f"scan{i}.nii" for i in range(5)]


def test_the_loader_s_own_batches_are_not_altered():
    # a loader may hand out the same dictionary in every epoch
    network = make_network()
    image = torch.rand(2, 1, 6, 5, generator=torch.Generator().manual_seed(0))
    batch = {"image": image.clone(), "label": torch.zeros(2, 1, 6, 5)}
    evaluator = SupervisedEvaluator(CPU, [batch], network, val_handlers=[AttackHandler(ATTACK, network)])
    evaluator.run()
    assert set(batch) == {"image", "label"}
    assert torch.equal(batch["image"], image)


def test_network_and_random_state_are_as_before():
    network = make_network().train()
    network[1].eval()
    network(torch.rand(1, 1, 6, 5, generator=torch.Generator().manual_seed(0))).mean().backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    engine = Engine(lambda engine, batch: random_states.append(torch.get_rng_state()))
    AttackHandler(ATTACK, network, probability=0.5).attach(engine)
    random_states = []
    images = torch.rand(4, 2, 1, 6, 5, generator=torch.Generator().manual_seed(3))
    engine.run([{"image": image} for image in images], max_epochs=1)
    plain, plain_states = Engine(lambda engine, batch: plain_states.append(torch.get_rng_state())), []
    torch.set_rng_state(random_states[0])
    plain.run([{"image": image} for image in images], max_epochs=1)

    assert all(torch.equal(one, random_states[0]) for one in random_states)
    assert [module.training for module in network.modules()] == [True, True, False, True, True, True]
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(p.grad, gradient) for p, gradient in zip(network.parameters(), gradients))
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_probability_chooses_images_by_their_index():
    network, items = make_network(), make_items(40)
    clean = torch.stack([item["image"] for item in items]).as_tensor()
    choices = []
    for batch_size in (3, 8):
        collect = Collect()
        handler = AttackHandler(ATTACK, network, probability=0.5, seed=5)
        make_evaluator(network, items, [handler, collect], batch_size).run()
        changed = (collect.stack("image").as_tensor() != clean).flatten(1).any(1)
        assert torch.equal(changed, collect.stack("is_adversarial").flatten() == 1)
        choices.append(changed)
    assert torch.equal(*choices)
    assert 8 < choices[0].sum() < 32
    for probability, expected in [(0.0, False), (1.0, True)]:
        collect = Collect()
        make_evaluator(network, items, [AttackHandler(ATTACK, network, probability=probability), collect], 8).run()
        assert bool((((collect.stack("image").as_tensor() != clean).flatten(1).any(1)) == expected).all())


def test_flags_feed_the_area_under_the_curve():
    network, items = make_network(), make_items(12)
    clean = {item["image"].meta["filename_or_obj"]: item["image"].as_tensor() for item in items}

    class Score:
        """A score that cannot fail: the distance to the clean image."""

        def attach(self, engine):
            from monai.engines.utils import IterationEvents

            engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self)

        def __call__(self, engine):
            image = engine.state.output["image"]
            names = image.meta["filename_or_obj"]
            distance = [(one.as_tensor() - clean[name]).norm() for one, name in zip(image, names)]
            engine.state.output["score"] = torch.stack(distance).unsqueeze(1)

    metric = ROCAUC(output_transform=from_engine(["score", "is_adversarial"]))
    handler = AttackHandler(ATTACK, network, probability=0.5)
    evaluator = make_evaluator(network, items, [handler, Score()], key_val_metric={"auc": metric})
    evaluator.run()
    assert evaluator.state.metrics["auc"] == 1


def test_trainer_learns_from_adversarial_images():
    # training with the handler is training on the images the attack makes of the network as it then is
    def train(handlers, attack_by_hand):
        network, items = make_network(), make_items(4)
        network[3].p = 0.0
        batch = {key: torch.stack([torch.as_tensor(item[key]) for item in items]) for key in ("image", "label")}
        optimizer = torch.optim.SGD(network.parameters(), 0.1)

        def loss(prediction, label):
            return nn.functional.cross_entropy(prediction, label.squeeze(1).long())

        if not attack_by_hand:
            handlers = [AttackHandler(ATTACK, network, key_label="label")]
            SupervisedTrainer(CPU, 3, [batch], network, optimizer, loss, train_handlers=handlers).run()
            return network
        for epoch in range(3):
            index = range(4 * epoch, 4 * epoch + 4)  # each epoch draws its own random starts
            image = ATTACK(network, batch["image"], batch["label"], index=index).image
            network.train()
            optimizer.zero_grad()
            loss(network(image), batch["label"]).backward()
            optimizer.step()
        return network

    expected = train([], attack_by_hand=True).state_dict()
    for key, value in train([], attack_by_hand=False).state_dict().items():
        torch.testing.assert_close(value, expected[key])


def test_from_a_config():
    config = {
        "network": {"_target_": "monai.networks.nets.BasicUNet", "spatial_dims": 2, "features": [4, 4, 4, 4, 4, 4]},
        "handler": {
            "_target_": "monai_shield.handlers.AttackHandler",
            "attack": {"_target_": "monai_shield.attacks.DAG", "target": "runner_up", "max_steps": 2},
            "network": "@network",
            "output_key": "attacked",
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "$torch.device('cpu')",
            "val_data_loader": [{"image": torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))}],
            "network": "@network",
            "val_handlers": ["@handler"],
        },
    }
    parser = ConfigParser(config, globals={"torch": "torch"})
    evaluator = parser.get_parsed_content("evaluator")
    assert isinstance(parser.get_parsed_content("handler").attack, DAG)
    evaluator.run()
    assert evaluator.state.output[0]["attacked"].tolist() == [1]


def test_adversarial_training_from_a_config_leaves_everything_else_as_it_was():
    """Around each attack: modes, requires_grad, .grad, buffers, random state, optimizer; the batch alone changes."""

    class Watch:
        """Attached before and after the handler, notes the state of everything but the batch."""

        def __init__(self):
            self.notes = []

        def attach(self, engine):
            from ignite.engine import Events

            engine.add_event_handler(Events.ITERATION_STARTED, self)

        def __call__(self, engine):
            network, optimizer = engine.network, engine.optimizer
            tensors = [*network.state_dict().values(), torch.get_rng_state()]
            tensors += [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
            tensors += [each for state in optimizer.state.values() for each in state.values()]
            flags = [module.training for module in network.modules()]
            flags += [parameter.requires_grad for parameter in network.parameters()]
            flags += [parameter.grad is None for parameter in network.parameters()]
            image = torch.as_tensor(engine.state.batch["image"]).clone()
            self.notes.append(([each.clone() for each in tensors], flags, image))

    generator = torch.Generator().manual_seed(0)
    items = [{"image": torch.rand(1, 32, 32, generator=generator), "label": torch.ones(1, 32, 32)} for _ in range(4)]
    before, after = Watch(), Watch()
    config = {
        "network": {"_target_": "monai.networks.nets.BasicUNet", "spatial_dims": 2, "features": [4, 4, 4, 4, 4, 4]}
        | {"norm": "batch", "dropout": 0.2},
        "handler": {
            "_target_": "monai_shield.handlers.AttackHandler",
            "attack": {"_target_": "monai_shield.attacks.PGD", "epsilon": 0.1, "max_steps": 2},
            "network": "@network",
            "key_label": "label",
        },
        "optimizer": {"_target_": "torch.optim.SGD", "params": "$@network.parameters()", "lr": 0.1, "momentum": 0.9},
        "loss": {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True},
        "dataset": {"_target_": "Dataset", "data": items},
        "trainer": {
            "_target_": "SupervisedTrainer",
            "device": "$torch.device('cpu')",
            "max_epochs": 2,
            "train_data_loader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 2},
            "network": "@network",
            "optimizer": "@optimizer",
            "loss_function": "@loss",
            "train_handlers": [before, "@handler", after],
        },
    }
    parser = ConfigParser(config, globals={"torch": "torch"})
    trainer = parser.get_parsed_content("trainer")
    network = parser.get_parsed_content("network")
    next(network.parameters()).requires_grad_(False)  # a layer that is not trained stays so
    start = {key: value.clone() for key, value in network.state_dict().items()}
    trainer.run()

    assert len(before.notes) == len(after.notes) == 4
    for (tensors, flags, clean), (tensors_after, flags_after, adversarial) in zip(before.notes, after.notes):
        assert len(tensors) == len(tensors_after)
        assert all(torch.equal(one, two) for one, two in zip(tensors, tensors_after))
        assert flags == flags_after
        assert 0.05 < float((clean - adversarial).abs().max()) <= 0.1 + 1e-6
    assert len(before.notes[1][0]) > len(before.notes[0][0])  # from the second on there are gradients and momentum
    trained = network.state_dict()
    moved = {key for key, value in trained.items() if not torch.equal(value, start[key])}
    assert next(iter(start)) not in moved
    assert len(moved) > 10


PROCESS = """
import sys
import torch
from ignite.engine import Engine
from monai_shield.attacks import UniformNoise
from monai_shield.handlers import AttackHandler

rank, store, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.distributed.init_process_group("gloo", store=torch.distributed.FileStore(store, 2), rank=rank, world_size=2)
seen, network = [], torch.nn.Conv2d(1, 2, 1)
engine = Engine(lambda engine, batch: seen.append(torch.cat([batch["image"].flatten(1), batch["is_adversarial"]], 1)))
AttackHandler(UniformNoise(0.1, bounds=(0, 1)), network, probability=0.5).attach(engine)
mine = torch.full((10, 1, 3, 3), 0.5)[rank::2]  # as a DistributedSampler deals them out
engine.run([{"image": part} for part in mine.split(2)], max_epochs=1)
torch.save(torch.cat(seen), out)
torch.distributed.destroy_process_group()
"""


def test_two_processes_attack_as_one_does(tmp_path):
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    files = [tmp_path / f"{rank}.pt" for rank in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(rank), str(tmp_path / "store"), str(file)], env=environment
        )
        for rank, file in enumerate(files)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    found = torch.stack([torch.load(file) for file in files], dim=1).flatten(0, 1)

    seen, network = [], nn.Conv2d(1, 2, 1)
    engine = Engine(
        lambda engine, batch: seen.append(torch.cat([batch["image"].flatten(1), batch["is_adversarial"]], 1))
    )
    AttackHandler(UniformNoise(0.1, bounds=(0, 1)), network, probability=0.5).attach(engine)
    engine.run([{"image": torch.full((10, 1, 3, 3), 0.5)}], max_epochs=1)
    assert torch.equal(found, seen[0])
    attacked = found[found[:, -1] == 1]
    assert 1 < len(attacked) < 10
    assert len(attacked.unique(dim=0)) == len(attacked)  # no two draw the same noise


def test_a_bare_ignite_engine():
    network, seen = make_network(), []
    engine = Engine(lambda engine, batch: seen.append(batch))
    AttackHandler(ATTACK, network, key_image="scan", output_key=None).attach(engine)
    image = torch.rand(2, 1, 6, 5, generator=torch.Generator().manual_seed(0))
    engine.run([{"scan": image}], max_epochs=1)
    assert set(seen[0]) == {"scan"}
    assert torch.equal(seen[0]["scan"], ATTACK(network, image).image)


def test_what_is_wrong_is_refused():
    network = make_network()
    for probability in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="probability"):
            AttackHandler(ATTACK, network, probability=probability)
    for batch, error, key_label, message in [
        ([torch.rand(1, 1, 4, 4)], TypeError, None, "dictionaries, got list"),
        ({"scan": torch.rand(1, 1, 4, 4)}, KeyError, None, "no 'image' in the batch, which has scan"),
        ({"image": torch.rand(1, 1, 4, 4)}, KeyError, "label", "no 'label' in the batch, which has image"),
    ]:
        engine = Engine(lambda engine, batch: None)
        AttackHandler(ATTACK, network, key_label=key_label).attach(engine)
        with pytest.raises(error, match=message):
            engine.run([batch], max_epochs=1)
