# Copyright (c) The monai-shield authors.
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The command line: ``python -m monai_shield demo`` and ``python -m monai_shield report``, with ``--help`` each."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

__all__ = ["demo", "main", "report"]


def demo(
    output: str = "demo",
    models_dir: str | None = None,
    persons: int = 4,
    every_nth_slice: int = 4,
    slices: int = 24,
    seed: int = 0,
) -> str:
    """
    Attack a made-up brain and see whether the shield notices and repairs it. No data set, no internet.

    Args:
        output: folder to write to; report.html is the page to open.
        models_dir: folder of the weights; by default the one the bundle ships with.
        persons: clean people the shield is calibrated on.
        every_nth_slice: of each of them.
        slices: slices to attack.
        seed: of the people.
    """
    from monai_shield.bundle import find_bundle
    from monai_shield.report import Demo, closing_words

    name = "brain_mri_shield"
    root = find_bundle(name)
    if not (Path(root) / "configs").is_dir():
        root = find_bundle(name, Path(__file__).parent)  # installed in place, called from somewhere else
    story = Demo(output, root, models_dir, persons, every_nth_slice, slices, seed)
    return closing_words(story.run(), output)


def report(folder: str = "demo") -> str:
    """
    Write report.html anew, from the numbers and files of a demo or from the results of an evaluation.

    Args:
        folder: with the result.json of a demo, or the results.json of an evaluation.
    """
    from monai_shield.report import render_demo, render_study

    if (Path(folder) / "results.json").is_file():
        return str(render_study(folder))
    render_demo(folder)
    return str(Path(folder) / "report.html")


def main() -> None:
    """Run a command; what its user can mend ends in one line instead of a traceback."""
    import fire

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        fire.Fire({"demo": demo, "report": report}, name="monai-shield")
    except (ImportError, FileNotFoundError) as error:
        raise SystemExit(f"monai-shield: {error}") from error
    except RuntimeError as error:
        from monai_shield.report import DemoError

        if not isinstance(error, DemoError):
            raise
        raise SystemExit(f"monai-shield: {error}") from error


if __name__ == "__main__":
    main()
