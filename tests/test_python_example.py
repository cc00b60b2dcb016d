# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The Python example of the pages runs as it stands there."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "docs" / "python_example.py"


def test_it_runs_and_says_what_became_of_each_image(capsys):
    made = runpy.run_path(str(EXAMPLE))
    lines = capsys.readouterr().out.splitlines()
    assert made["logits"].shape == (2, 3, 64, 64)
    decisions = made["logits"].meta["shield"]
    assert len(lines) == len(decisions) == 2
    for decision, line in zip(decisions, lines):
        assert 0 < decision.p_value <= 1
        assert decision.rejected == (decision.score > decision.threshold) == bool(decision.reason)
        assert str(decision.rejected) in line


def test_it_is_the_one_of_the_first_page():
    code = EXAMPLE.read_text().split('"""\n\n', 1)[1]
    assert f"```python\n{code}```" in (ROOT / "README.md").read_text()
