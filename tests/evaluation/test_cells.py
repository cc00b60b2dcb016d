# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import resource
from functools import partial

import pytest
import torch
from monai.networks.layers import MedianFilter
from torch import nn

from monai_shield.attacks import DAG, PGD
from monai_shield.detectors import HighFrequencyEnergy, PredictionConsistency
from monai_shield.evaluation.cells import CellStore
from monai_shield.fingerprints import fingerprint_of, stable_repr


def test_a_cell_is_made_once(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"value": torch.tensor([1.0, 2.0]), "subject": "a"}

    first = CellStore(tmp_path).get("scan", "PGD 4/255", "same", make)
    again = CellStore(tmp_path).get("scan", "PGD 4/255", "same", make)
    assert len(made) == 1
    assert torch.equal(first["value"], again["value"])
    assert again["subject"] == "a"
    CellStore(tmp_path).get("scan", "PGD 4/255", "other", make)
    CellStore(tmp_path).get("scan", "DAG", "same", make)
    CellStore(tmp_path).get("another", "DAG", "same", make)
    assert len(made) == 4


def test_one_that_was_stopped_leaves_nothing(tmp_path):
    def killed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CellStore(tmp_path).get("scan", "DAG", "same", killed)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert CellStore(tmp_path).get("scan", "DAG", "same", dict) == {}


def test_a_full_disk_is_called_one(tmp_path):
    """torch.save would tell of a position that it did not expect."""
    store, (soft, hard) = CellStore(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            store.put("volume", "name", "f" * 64, {"values": torch.zeros(10000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_fingerprint_is_that_of_the_settings():
    assert fingerprint_of([DAG(), 3]) == fingerprint_of([DAG(), 3])
    different = [
        [DAG(), 3],
        [DAG(), 4],
        [DAG(max_steps=201), 3],
        [PGD(0.1), 3],
        [PGD(0.2), 3],
        [3, DAG()],
        ["DAG()", 3],
    ]
    assert len({fingerprint_of(parts) for parts in different}) == len(different)


def test_a_module_presents_its_settings_and_weights_wherever_it_is():
    different = [
        MedianFilter(1, spatial_dims=2),
        MedianFilter(2, spatial_dims=2),
        partial(PredictionConsistency, reformer=MedianFilter(1, spatial_dims=2)),
        partial(PredictionConsistency, reformer=MedianFilter(2, spatial_dims=2)),
        {"energy": HighFrequencyEnergy(0.37)},
        {"energy": HighFrequencyEnergy(0.2)},
        [nn.Linear(1, 1)],
        [nn.Linear(1, 1)],  # with other weights
        (nn.Sequential(nn.ReLU()), nn.Dropout(0.1)),
        (nn.Sequential(nn.ReLU()), nn.Dropout(0.2)),
    ]
    assert len({fingerprint_of([part]) for part in different}) == len(different)
    assert fingerprint_of([MedianFilter(1, spatial_dims=2)]) == fingerprint_of([MedianFilter(1, spatial_dims=2)])
    trained, network = nn.Linear(1, 1), nn.Linear(1, 1)
    network.load_state_dict(trained.state_dict())
    assert fingerprint_of([trained]) == fingerprint_of([network.eval()])


def test_what_is_no_module_presents_itself_as_python_does():
    for part in (DAG(), partial(PGD, 0.1, max_steps=3), {"a": [1, "b"]}, [0.1, None]):
        assert stable_repr(part) == repr(part)
