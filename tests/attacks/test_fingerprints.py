# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""An attack presents itself alike in every process, so that a run that was killed finds what it has done."""

import os
import subprocess
import sys

from monai_shield.attacks import BIM, PGD, Transfer
from monai_shield.fingerprints import stable_repr
from support.attack_contract import CASES, make, make_image, make_network

TELL = """
from support.attack_contract import CASES, make, make_image, make_network
from monai_shield.fingerprints import fingerprint_of
image = make_image((2, 1, 6, 6))
for name, settings in CASES:
    print(name, fingerprint_of([make(name, settings, make_network(image.shape), image)]))
"""


def test_two_processes_agree_on_every_attack():
    said = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": seed}
        run = subprocess.run([sys.executable, "-c", TELL], env=environment, capture_output=True, text=True, check=True)
        said.append(run.stdout.splitlines())
    assert said[0] == said[1]
    assert [line.split()[0] for line in said[0]] == [name for name, _ in CASES]
    assert len(set(said[0])) == len(CASES)  # settings tell


def test_no_setting_of_an_attack_is_an_address():
    image = make_image((2, 1, 6, 6))
    for name, settings in CASES:
        attack = make(name, settings, make_network(image.shape), image)
        if name != "transfer":  # its substitutes are modules, whose representation stable_repr knows
            assert " at 0x" not in repr(attack)
        assert " at 0x" not in stable_repr(attack)


def test_what_a_transfer_attack_is_made_of_tells():
    first, second = (make_network((1, channels, 6, 6)) for channels in (1, 2))
    found = {
        stable_repr(Transfer(attack, substitute))
        for attack in (PGD(0.1), PGD(0.2), BIM(0.1))
        for substitute in (first, second)
    }
    assert len(found) == 6
