# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The command line: ``python -m reproduction report``."""

import fire

from reproduction.report.page import render_defenses


def report(folder: str = "reproduction/results", output: str | None = None) -> str:
    """
    Write the page and the figures of a study anew, from its results.

    Args:
        folder: with ``results.json`` and ``spectra.npz``.
        output: folder to write to; by default the same.
    """
    return str(render_defenses(folder, output or folder))


if __name__ == "__main__":
    fire.Fire({"report": report}, name="reproduction")
