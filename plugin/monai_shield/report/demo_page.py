# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""From the folder of a demo to its picture and its page; nothing is computed again."""

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from monai_shield.report import html
from monai_shield.report.demo_attack import read_voxels
from monai_shield.report.figures import (
    SliceScores,
    SliceView,
    draw_images,
    draw_scores,
    draw_segmentations,
    draw_spectra,
    one_figure,
    png,
    scan_scores,
)
from monai_shield.report.words import ILLUSTRATION, calibration_words, findings, headline
from monai_shield.utils import atomic_path

RESULT, FIGURE, PAGE = "result.json", "figure.png", "report.html"


def render_demo(folder: str | Path) -> dict[str, Any]:
    """
    Write ``figure.png`` and ``report.html`` from the ``result.json`` and the NIfTI files of a demo.

    Returns:
        the result.

    Raises:
        FileNotFoundError: where one of the files is missing.
    """
    root = Path(folder)
    if not (root / RESULT).is_file():
        raise FileNotFoundError(f"'{root / RESULT}' is missing: run the demo first.")
    result = json.loads((root / RESULT).read_text())
    view = shown_slice(root, result)
    scans = [
        scan_scores("attacked scan", result["scans"]["attacked"]["slices"], attacked=True),
        scan_scores("clean scan", result["scans"]["clean"]["slices"], attacked=False),
    ]
    threshold, slab = result["calibration"]["threshold"], result["slab_mm"]
    whole = one_figure(
        view, scans, threshold, slab, title=f"coronal slice at {result['shown_slice']['position_mm']} mm"
    )
    with atomic_path(root / FIGURE) as temporary:
        temporary.write_bytes(whole)
    with atomic_path(root / PAGE) as temporary:
        temporary.write_text(demo_page(result, view, scans), encoding="utf-8")
    return result


def shown_slice(folder: str | Path, result: Mapping[str, Any]) -> SliceView:
    """The slice that the demo shows, read from its files."""
    root, files, shown = Path(folder), result["files"], result["shown_slice"]

    def slice_of(name: str) -> np.ndarray:
        file = root / files[name]
        if not file.is_file():
            raise FileNotFoundError(f"'{file}' is missing: run the demo again.")
        return np.take(read_voxels(file), shown["file_index"], axis=shown["file_axis"])

    low, high = result["intensity_window"]
    height, width = result["spatial_size"]
    return SliceView(
        clean=(slice_of("clean").astype(np.float64) - low) / (high - low),
        attacked=(slice_of("attacked").astype(np.float64) - low) / (high - low),
        before=slice_of("clean, undefended"),
        after=slice_of("attacked, undefended"),
        defended=slice_of("attacked, reformed"),
        classes=len(result["dice"]["structures"]) + 1,
        spectrum_size=(height, width),
        rejected=shown["rejected"],
    )


def demo_page(result: Mapping[str, Any], view: SliceView, scans: list[SliceScores]) -> str:
    """The page of a demo: what happened, the pictures, the numbers, how it was made."""
    found = findings(result)
    threshold, slab = result["calibration"]["threshold"], result["slab_mm"]
    happened = [f"<h3>{escape(each.name)}</h3>\n{html.paragraphs(each.text)}" for each in found]
    return html.page(
        "monai-shield: one attack, seen from both sides",
        [
            html.paragraphs(headline(result)),
            html.notice(ILLUSTRATION),
            html.section("What happened", *happened),
            html.section("What the attack did to the image", *_image_pictures(result, view)),
            html.section("What it did to the segmentation", *_segmentation_pictures(view)),
            html.section(
                "What the detector saw",
                html.embedded_image(
                    png(draw_scores, scans, threshold, slab, height=4.0),
                    "the score of every slice of both scans against the threshold",
                    "The score of every coronal slice from the back of the head to the front. Outside the attacked "
                    "slab the two scans hold the same voxels; where their scores differ there, it is because the "
                    "intensity window is measured on each scan anew.",
                ),
                html.paragraphs(calibration_words(result)),
            ),
            html.section("The numbers", html.table(["", "clean scan", "attacked scan"], number_rows(result))),
            html.section("Dice by structure in the attacked slab", _structure_table(result)),
            html.section("How it was made", *_making(result)),
        ],
        footer=_footer(result),
    )


def number_rows(result: Mapping[str, Any]) -> list[list[str]]:
    """The table of numbers: name, clean scan, attacked scan."""
    clean, attacked = result["scans"]["clean"], result["scans"]["attacked"]
    dice, calibration = result["dice"], result["calibration"]
    both = (clean, attacked)
    return [
        ["rejected as a whole", *("yes" if scan["rejected"] else "no" for scan in both)],
        ["score: share of slices rejected", *(_number(scan["score"]) for scan in both)],
        ["its limit", *(_number(scan["threshold"]) for scan in both)],
        ["p-value of the scan", *(_p_value(scan, calibration) for scan in both)],
        ["slices rejected", *(f"{scan['slices_rejected']} of {scan['slices_scored']}" for scan in both)],
        [
            "of those in the attacked slab",
            *(f"{scan['slab_slices_rejected']} of {scan['slab_slices_scored']}" for scan in both),
        ],
        ["median p-value of a slice in the slab", *(_number(scan["slab_median_p_value"]) for scan in both)],
        ["threshold of a slice's score", *[_number(calibration["threshold"])] * 2],
        ["Dice in the slab, undefended", "1 (the reference)", _number(dice["slab"]["attacked"])],
        [
            "Dice in the slab, reformed",
            _number(dice["slab"]["clean_reformed"]),
            _number(dice["slab"]["attacked_reformed"]),
        ],
        ["Dice of the whole scan, undefended", "1 (the reference)", _number(dice["scan"]["attacked"])],
        [
            "Dice of the whole scan, reformed",
            _number(dice["scan"]["clean_reformed"]),
            _number(dice["scan"]["attacked_reformed"]),
        ],
    ]


def _image_pictures(result: Mapping[str, Any], view: SliceView) -> list[str]:
    shown = result["shown_slice"]
    return [
        html.embedded_image(
            png(draw_images, view),
            "a coronal slice, the same slice attacked, and the difference",
            f"Coronal slice at {shown['position_mm']} mm, the middle of the attacked slab, as read back from the "
            f"files; the patient's left is on the right. The perturbation is drawn on a scale of its own.",
        ),
        html.embedded_image(
            png(draw_spectra, view),
            "log spectra: clean without the shift, clean, attacked",
            "Log magnitude of the Fourier transform of that slice, as in Figures 2 and 3 of Park et al. 2020 "
            "(arXiv 2009.11090). The detector reads the shifted one, with the zero frequency in the center.",
        ),
    ]


def _segmentation_pictures(view: SliceView) -> list[str]:
    return [
        html.embedded_image(
            png(draw_segmentations, view),
            "segmentation before the attack, after it, and after it behind the reformer",
            "One color a structure, dark on the left side of the body, light on the right. Dice compares with the "
            "target's own answer to the clean scan, not with an expert's.",
        )
    ]


def _structure_table(result: Mapping[str, Any]) -> str:
    ways = {
        "attacked": "attacked, undefended",
        "attacked_reformed": "attacked, reformed",
        "clean_reformed": "clean, reformed",
    }
    rows = [
        [name, *(_number(values[way]) for way in ways)]
        for name, values in result["dice"]["structures"].items()
        if any(value is not None for value in values.values())
    ]
    return html.table(["structure", *ways.values()], rows)


def _making(result: Mapping[str, Any]) -> list[str]:
    subject, seconds = result["subject"], result["seconds"]
    taken = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    steps = html.paragraphs(
        f"The subject is number {subject['number']} of the embedded cohort (seed {subject['seed']}): the MNI152 "
        f"template, deformed, with the noise of a single scan. Nothing was downloaded.",
        f"Time: {taken}; in all {sum(seconds.values()):.0f} s on {result['provenance']['threads']} threads.",
        "The site's calibration and the defended inference are the bundle's own commands:",
    )
    commands = "\n".join(f"<p><code>{escape(command)}</code></p>" for command in result["commands"])
    files = "\n".join(
        f"<tr><th scope='row'>{escape(name)}</th><td><code>{escape(file)}</code></td></tr>"
        for name, file in result["files"].items()
    )
    return [steps, commands, f'<div class="scroll"><table><tbody>\n{files}\n</tbody></table></div>']


def _footer(result: Mapping[str, Any]) -> str:
    made = result["provenance"]
    return (
        f"Made on {made['date']} by python -m monai_shield demo with monai-shield {made['monai_shield']} "
        f"(revision {made['revision']}), MONAI {made['monai']}, torch {made['torch']}, on {made['device']}."
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _p_value(scan: Mapping[str, Any], calibration: Mapping[str, Any]) -> str:
    needed = calibration["subjects_needed_for_a_promise_per_subject"]
    return f"– (needs {needed} subjects)" if scan["p_value"] is None else _number(scan["p_value"])
