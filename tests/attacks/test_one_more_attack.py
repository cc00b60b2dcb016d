# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A new attack is one file and one line of a list: the contract tests and the table of the pages take it from there."""

import os
import subprocess
import sys
from pathlib import Path

FILE = '''
from dataclasses import dataclass

import torch

from monai_shield.attacks import Attack
from monai_shield.attacks.ball import Ball
from monai_shield.attacks.loop import outcome_at
from monai_shield.info import Info


@dataclass(eq=False)
class Brighter(Attack):
    """Every pixel brighter by epsilon, or darker."""

    info = Info("Brighter", "made up for a test")
    examples = ({"epsilon": 0.1}, {"epsilon": 0.2, "darker": True})

    epsilon: float
    darker: bool = False

    def _run(self, network, problem):
        way = problem.confine(torch.full_like(problem.image, -self.epsilon if self.darker else self.epsilon))
        image = Ball(self.epsilon, "linf").project(problem.image + way * problem.window, problem)
        attacked = problem.attacked.flatten(1).any(1).reshape(-1, *[1] * (image.ndim - 1))
        image = torch.where(attacked, image, problem.image)
        return outcome_at(network, image, problem, self.success_criterion())
'''
LINE = 'from brighter import Brighter; from monai_shield.attacks import ATTACKS; ATTACKS["brighter"] = Brighter\n'
USES = """
import added
from docs.build import attack_list

row = next(line for line in attack_list().splitlines() if "`brighter`" in line)
assert [each.strip() for each in row.strip("|").split("|")] == [
    "`brighter`", "`Brighter`", "Brighter", "made up for a test"
], row
"""


def test_one_file_and_one_line(tmp_path):
    (tmp_path / "brighter.py").write_text(FILE)
    (tmp_path / "added.py").write_text(LINE)
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    contract = sorted(str(file) for file in here.glob("test_contract_*.py"))
    words = ["-m", "pytest", "-p", "added", "-p", "no:cacheprovider", "-k", "brighter", *contract]
    found = subprocess.run(
        [sys.executable, *words], env=environment, cwd=here.parents[1], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert int(found.stdout.split(" passed")[0].split()[-1]) > 50, found.stdout
    subprocess.run([sys.executable, "-c", USES], env=environment, cwd=here.parents[1], check=True)
