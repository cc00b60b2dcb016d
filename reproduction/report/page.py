# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""From the stored results of a study of defenses to figures and one page that stands alone."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from monai_shield.report import html
from monai_shield.utils import atomic_path
from reproduction.image_set import MEAN, POOLED, VARIANTS
from reproduction.report.figures import bare_bars, defense_bars, radial_figure, roc_figure, shift_figure, spectra_figure
from reproduction.tables import (
    all_targets,
    attack_columns,
    attack_setting_table,
    auc_table,
    comparison_table,
    defense_table,
    detector_groups,
    rival_table,
    structure_table,
    target_table,
    training_table,
    undefended_table,
)

Results = Mapping[str, Any]
Figures = Mapping[str, bytes]
#: What a group of detectors is about; another one is told by its name alone.
GROUPS = {
    "paper": "Table 1: the detectors of the paper",
    "representation": "Detectors by representation of the spectrum",
    "layout": "Detectors by layout of the spectrum",
    "length": "Detectors by length of their training",
    "magnet": "The detectors of MagNet",
    "baseline": "Baselines, for which no network was trained but a reformer for one",
}


GIVEN_BODY = (
    "Scores and thresholds are those of the logarithm of the detector's score, less what a cubic in the logarithm of "
    "the share of foreground says, fitted to the clean validation slices."
)


def render_defenses(folder: str | Path, output: str | Path | None = None) -> Path:
    """
    Draw the figures and write ``report.html`` of a study.

    Args:
        folder: with its ``results.json`` and ``spectra.npz``.
        output: where to; by default into the same folder.

    Returns:
        the page's path.

    Raises:
        FileNotFoundError: where a result is missing.
    """
    root, target = Path(folder), Path(output or folder)
    for name in ("results.json", "spectra.npz"):
        if not (root / name).is_file():
            raise FileNotFoundError(f"'{root / name}' is missing: run the study first.")
    results = json.loads((root / "results.json").read_text())
    with np.load(root / "spectra.npz", allow_pickle=False) as file:
        figures = defense_figures(results, dict(file))
    for name, picture in figures.items():
        with atomic_path(target / f"{name}.png") as temporary:
            temporary.write_bytes(picture)
    page = target / "report.html"
    with atomic_path(page) as temporary:
        temporary.write_text(defense_page(results, figures), encoding="utf-8")
    return page


def defense_figures(results: Results, spectra: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """Every figure, as a PNG file, by its name, which :func:`defense_captions` has too."""
    found = {
        _bars_name(target, variant): defense_bars(results, target, variant)
        for target in all_targets(results)
        for variant in VARIANTS
    }
    found |= {_roc_name(group): roc_figure(results, group) for group in detector_groups(results)}
    return found | {
        "bare_targets": bare_bars(results),
        "spectra": spectra_figure(results, spectra),
        "shift": shift_figure(spectra),
        "radial": radial_figure(results, spectra),
    }


def defense_captions(results: Results) -> dict[str, str]:
    """What each figure shows, by its name."""
    found = {
        _bars_name(target, variant): f"Defenses{_of(target)}: Dice against the pooled attacks, {variant}, with "
        "95 % intervals; – where nothing was accepted (Figure 4 of the paper)."
        for target in all_targets(results)
        for variant in VARIANTS
    }
    found |= {
        _roc_name(group): f"ROC curves of the group '{group}' against the pooled attacks, mean over the targets; of "
        "each detector the first seed."
        for group in detector_groups(results)
    }
    return found | {
        "bare_targets": "Dice of the targets without a defense under each attack, exported, with 95 % intervals; "
        "the line at the end of a row is clean.",
        "spectra": "Log spectra of one test slice, clean and attacked (exported), and below each the perturbation in "
        "space with its range (Figure 2 of the paper).",
        "shift": "The clean spectrum of that slice, as the transform gives it and shifted (Figure 3 of the paper).",
        "radial": "Power by frequency, mean over the attacked test slices.",
    }


def defense_page(results: Results, figures: Figures) -> str:
    """The page: what was done, the figures, every table, each where it belongs."""
    sections = list(_sections(results, figures, defense_captions(results)))
    names = {f"part-{number}": title for number, (title, _) in enumerate(sections, 1)}
    return html.page(
        "monai-shield: defenses of segmentation networks against adversarial images",
        [
            _introduction(results),
            html.contents(names),
            *(html.section(title, *foreground, name=name) for name, (title, foreground) in zip(names, sections)),
        ],
        footer="; ".join(f"{key}: {value}" for key, value in results["provenance"].items()),
        wide=True,
    )


def _introduction(results: Results) -> str:
    settings = results["settings"]
    slices, subjects = settings["slices"], settings["subjects"]
    return html.paragraphs(
        f"Trained on {slices['train']} slices of {subjects['train']} subjects, thresholds from {slices['val']} "
        f"slices of {subjects['val']}, attacks on {slices['test']} slices of {subjects['test']}. In brackets: "
        f"95 % intervals by a bootstrap over subjects. A threshold lets no more than "
        f"{settings['t_fp']:.0%} of the validation slices be rejected.",
        "Pooled is the mean over "
        + ", ".join(name for name, attack in settings["attacks"].items() if attack["pooled"])
        + ". Exported attacks were written to a file of the clean file's type, with the background restored.",
    )


def _sections(results: Results, figures: Figures, captions: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Titles and what stands below."""

    def picture(name: str) -> str:
        return html.embedded_image(figures[name], captions[name], captions[name])

    yield "Targets on clean test scans", [_table(target_table(results)), _table(structure_table(results))]
    yield "Attacks on bare targets", [picture("bare_targets"), _table(undefended_table(results))]
    yield "What the attacks do to spectra", [html.beside(*map(picture, ("spectra", "shift", "radial")))]
    for group in detector_groups(results):
        tables = _both(partial(auc_table, results, group))
        yield (
            GROUPS.get(group, f"Detectors: {group}"),
            [
                html.paragraphs(
                    "ROC-AUC against the pooled attacks, in percent. Seeds: the lowest and highest mean of the "
                    "trainings. Above own: percentage of the attacked slices that score above the clean slice they "
                    "were made from. Adjusted: the mean where each score is judged against the validation slices "
                    "with as much foreground."
                ),
                tables,
                picture(_roc_name(group)),
            ],
        )
    yield (
        "Detectors by attack",
        [html.paragraphs("ROC-AUC of every detector, in percent.")]
        + [
            html.folded(attack, _both(partial(auc_table, results, None, attack=attack)))
            for attack in attack_columns(results)
        ],
    )
    if results["comparisons"]:
        yield (
            "Detectors compared",
            [
                html.paragraphs("Differences of ROC-AUC against the pooled attacks, in percentage points."),
                _both(partial(comparison_table, results)),
            ],
        )
    for target in all_targets(results):
        yield (
            f"Table 2: defenses{_of(target)}",
            [html.beside(*(picture(_bars_name(target, variant)) for variant in VARIANTS))]
            + [html.part(variant, _table(defense_table(results, target, POOLED, variant))) for variant in VARIANTS],
        )
    adjusted = [html.part(v, _table(defense_table(results, MEAN, POOLED, v, adjusted=True))) for v in VARIANTS]
    yield f"Table 2: defenses{_of(MEAN)}, given foreground", [html.paragraphs(GIVEN_BODY), *adjusted]
    if results["rivals"]:
        note = "Defenses measured on fewer slices, against the pooled attacks; the AUC is that of their own error."
        yield "Rivals", [html.paragraphs(note), *(html.part(v, _table(rival_table(results, v))) for v in VARIANTS)]
    yield "Settings", [_settings(results)]


def _both(table: Callable[[str], str]) -> str:
    """One table of the exported attacks beside that of the raw ones."""
    return html.beside(*(html.part(variant, _table(table(variant))) for variant in VARIANTS))


def _table(markdown: str) -> str:
    return html.table_of_markdown(markdown)


def _settings(results: Results) -> str:
    """How attacks were made and networks trained."""
    trained = html.folded("How the networks were trained", _table(training_table(results)))
    return f"{_table(attack_setting_table(results))}\n{trained}"


def _bars_name(target: str, variant: str) -> str:
    return f"defenses_{_plain(target)}_{variant}"


def _roc_name(group: str) -> str:
    return f"roc_{_plain(group)}"


def _plain(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"\W+", "_", name.lower())


def _of(target: str) -> str:
    return ", mean over the targets" if target == MEAN else f" of {target}"
