# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A detector is added by one file and its name in the list: tests and pages go through that list."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LATE = '''"""Detection by the mean of an image."""

import torch

from monai_shield.detectors.base import Detector
from monai_shield.detectors.views import Views
from monai_shield.info import Info


class Late(Detector):
    """Mean of an image."""

    info = Info("mean intensity", "made up for a test")

    def forward(self, views: Views) -> torch.Tensor:
        return views.image.flatten(1).mean(dim=1)
'''
#: Prints the table of the pages, then runs the tests of every detector on the new one.
CHECK = """
import runpy, sys
import pytest
print(runpy.run_path("docs/build.py")["detector_list"]())
every_detector = "tests/detectors/test_contract.py"
sys.exit(pytest.main(["-v", "-k", "Late", "-o", "addopts=", "-p", "no:cacheprovider", every_detector]))
"""


def test_tests_and_pages_find_a_detector_that_was_added(tmp_path):
    package = tmp_path / "monai_shield"
    shutil.copytree(ROOT / "plugin" / "monai_shield", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "detectors" / "late.py").write_text(LATE)
    rooms = package / "detectors" / "__init__.py"
    text = rooms.read_text().replace("    ZeroShare,\n)", "    ZeroShare,\n    Late,\n)")
    rooms.write_text(text.replace("\n\nDETECTORS", "\nfrom monai_shield.detectors.late import Late\n\nDETECTORS"))
    places = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": places},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| `Late` | mean intensity | made up for a test |" in " ".join(done.stdout.split()).replace("  ", " ")
    assert all(f"[{test}] PASSED" in done.stdout for test in ("Late-2D", "Late-3D"))
