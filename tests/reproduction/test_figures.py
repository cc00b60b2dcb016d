# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import struct

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from reproduction.report import figures as module


def size_of_png(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data[12:16] == b"IHDR"
    return struct.unpack(">II", data[16:24])


@pytest.fixture
def drawn(monkeypatch):
    """What a figure shows, before it becomes a file."""
    figures = []

    def keep(figure, dpi):
        assert isinstance(figure, Figure)
        figures.append(figure)
        return b""

    monkeypatch.setattr(module, "rendered", keep)
    return figures


def test_every_figure_is_a_png_that_a_phone_can_show(rendered_study):
    figures = {path.stem: path.read_bytes() for path in rendered_study[1].glob("*.png")}
    bars = {f"defenses_{target}_{v}" for target in ("unet", "segnet", "densenet", "mean") for v in ("raw", "exported")}
    curves = {f"roc_{group}" for group in ("paper", "representation", "layout", "length", "magnet", "baseline")}
    assert set(figures) == bars | curves | {"bare_targets", "spectra", "shift", "radial"}
    for name, picture in figures.items():
        width, height = size_of_png(picture)
        assert width == round(module.WIDTH * module.DPI) <= 10 * module.DPI, name
        assert 0.2 * width < height < 4 * width, name
        assert len(picture) < 400_000, name


def test_the_same_results_are_the_same_files(made_up_study, rendered_study):
    results, spectra = made_up_study
    again = {
        "bare_targets": module.bare_bars(results),
        "defenses_unet_raw": module.defense_bars(results, "UNet", "raw"),
        "roc_paper": module.roc_figure(results, "paper"),
        "spectra": module.spectra_figure(results, spectra),
        "shift": module.shift_figure(spectra),
        "radial": module.radial_figure(results, spectra),
    }
    for name, picture in again.items():
        assert picture == (rendered_study[1] / f"{name}.png").read_bytes(), name


def test_a_bar_is_as_long_as_the_dice_and_its_line_is_the_interval(made_up_study, drawn):
    results, _ = made_up_study
    module.defense_bars(results, "SegNet", "exported")
    (axes,) = drawn[0].axes
    where = {"target": "SegNet", "attack": "pooled", "variant": "exported", "adjusted": False}
    rows = [row for row in results["defenses"] if all(row[key] == value for key, value in where.items())]
    for bars, lines, (name, _, color) in zip(axes.containers, axes.collections, module.DICE_BARS, strict=True):
        for bar, line, row in zip(bars, lines.get_segments(), rows, strict=True):
            value, low, high = (row[name][key] for key in ("value", "low", "high"))
            if value is None:
                assert np.isnan(bar.get_width())
            else:
                assert bar.get_width() == value
                assert line[:, 0].tolist() == [low, high]
            assert to_hex(bar.get_facecolor()) == color.lower()
    ends = [bar.get_y() + edge * bar.get_height() for bars in axes.containers for bar in bars for edge in (0, 1)]
    bottom, top = axes.get_ylim()
    assert top <= min(ends) < max(ends) <= bottom
    assert axes.get_xlim()[1] >= 1
    lines = [line.get_xdata()[0] for line in axes.lines]
    assert lines == [rows[0]["clean"]["value"], rows[0]["undefended"]["value"]]


def test_a_bare_target_has_a_bar_an_attack_and_a_line_for_clean(made_up_study, drawn):
    results, _ = made_up_study
    module.bare_bars(results)
    (axes,) = drawn[0].axes
    targets = [row["target"] for row in results["targets"]]
    assert [bars.get_label() for bars in axes.containers] == targets
    for number, (target, bars) in enumerate(zip(targets, axes.containers, strict=True)):
        where = {"target": target, "variant": "exported"}
        rows = [row for row in results["undefended"] if all(row[key] == value for key, value in where.items())]
        interval, clean = (lines.get_segments() for lines in axes.collections[2 * number : 2 * number + 2])
        for bar, whisker, line, row in zip(bars, interval, clean, rows, strict=True):
            assert bar.get_width() == row["attacked"]["value"]
            assert whisker[:, 0].tolist() == [row["attacked"]["low"], row["attacked"]["high"]]
            assert line[:, 0].tolist() == [row["clean"]["value"]] * 2
    assert [label.get_text() for label in axes.get_yticklabels()] == ["DAG A", "PGD <4/255>"]
    assert axes.yaxis_inverted()


def test_what_is_missing_is_a_dash_and_no_bar_of_length_0(made_up_study, drawn):
    module.defense_bars(made_up_study[0], "UNet", "raw")
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["–"]


def test_a_defense_names_its_detectors_and_its_reformer(made_up_study, drawn):
    module.defense_bars(made_up_study[0], "UNet", "raw")
    labels = [label.get_text().replace("\n", " ") for label in drawn[0].axes[0].get_yticklabels()]
    assert labels == ["13: UNet shifted → UNet", "MagNet: MagNet AE I, then MagNet AE II → MagNet"]


def test_a_curve_is_what_is_stored_and_exported_stands_first(made_up_study, drawn):
    results, _ = made_up_study
    for row in results["roc"]:
        row["true_positive_rate"] = [0.25 if row["variant"] == "raw" else 0.75] * len(row["true_positive_rate"])
    results["roc"][0]["true_positive_rate"][0] = None
    module.roc_figure(results, "paper")
    exported, raw = drawn[0].axes
    assert exported.get_title().endswith("exported")
    np.testing.assert_array_equal(exported.lines[0].get_xydata(), np.c_[np.linspace(0, 1, 101), np.full(101, 0.75)])
    assert np.isnan(raw.lines[0].get_ydata()[0])
    assert set(raw.lines[0].get_ydata()[1:]) == {0.25}


def test_two_dozen_curves_can_be_told_apart(made_up_study, drawn):
    results, _ = made_up_study
    template = results["roc"][0]
    results["roc"] = [
        {**template, "detector": f"detector {number}", "variant": variant}
        for number in range(24)
        for variant in ("raw", "exported")
    ]
    module.roc_figure(results, "paper")
    for axes in drawn[0].axes:
        curves = axes.lines[:24]
        assert len({(curve.get_color(), curve.get_linestyle()) for curve in curves}) == 24
        widths = [curve.get_linewidth() for curve in curves]
        assert widths == sorted(widths, reverse=True)
        assert widths[-1] >= 1


def test_a_ring_without_a_frequency_is_passed_over(made_up_study, drawn):
    results, spectra = made_up_study
    module.radial_figure(results, spectra)
    for axes in drawn[0].axes:
        assert [line.get_label() for line in axes.lines] == ["clean", "DAG A", "PGD <4/255>"]
        for line in axes.lines:
            # the middle of each ring between 0 and 0.5 cycles per pixel; the second one of eight is empty
            np.testing.assert_allclose(line.get_xdata(), np.delete((np.arange(8) + 0.5) / 16, 1))
            assert np.isfinite(line.get_ydata()).all()
    np.testing.assert_array_equal(
        drawn[0].axes[0].lines[1].get_ydata(), np.delete(spectra["radial DAG A, exported"], 1)
    )


@pytest.mark.parametrize("number", [1, 3, 4, 7])
def test_every_attack_has_its_spectrum_and_its_perturbation_below(number, made_up_study, drawn):
    _, spectra = made_up_study
    names = [f"attack {each}" for each in range(number)]
    for place, name in enumerate(names):
        spectra[f"spectrum {name}, exported"] = spectra["spectrum clean"] + place
        spectra[f"perturbation {name}, exported"] = np.full((24, 16), (place + 1) / 100, np.float16)
    module.spectra_figure({"undefended": [{"attack": name} for name in names]}, spectra)
    panels = [axes for axes in drawn[0].axes if axes.images]
    titles = [axes.get_title() for axes in panels]
    assert titles.count("clean") == 1
    for place, name in enumerate(names):
        above, below = panels[titles.index(name)], panels[titles.index(f"± {(place + 1) / 100:.3f}")]
        first, second = above.get_subplotspec(), below.get_subplotspec()
        assert (second.rowspan.start, second.colspan) == (first.rowspan.start + 1, first.colspan)
        np.testing.assert_array_equal(
            above.images[0].get_array(), spectra[f"spectrum {name}, exported"].astype(np.float32).T
        )
    assert len(panels) == 1 + 2 * number
    assert len({axes.images[0].get_clim() for axes in panels if not axes.get_title().startswith("±")}) == 1


def test_an_attack_that_changed_nothing_is_drawn(made_up_study, drawn):
    module.spectra_figure(*made_up_study)
    (title,) = {axes.get_title() for axes in drawn[0].axes if axes.get_title().startswith("±")}
    assert title == "± 0.000"


def test_the_spectrum_as_transformed_stands_before_the_shifted_one(made_up_study, drawn):
    _, spectra = made_up_study
    module.shift_figure(spectra)
    first, second = (axes.images[0].get_array() for axes in drawn[0].axes)
    np.testing.assert_array_equal(first, spectra["unshifted clean"].astype(np.float32).T)
    np.testing.assert_array_equal(second, spectra["spectrum clean"].astype(np.float32).T)
