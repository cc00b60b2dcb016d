# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import struct

import numpy as np
import pytest
from matplotlib.figure import Figure

from monai_shield.report import figures

ROWS, COLUMNS, CLASSES = 40, 48, 28
SIZE = (48, 64)


def size_of_png(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data[12:16] == b"IHDR"
    return struct.unpack(">II", data[16:24])


@pytest.fixture
def view():
    random = np.random.default_rng(0)
    clean = np.zeros((ROWS, COLUMNS))
    clean[8:32, 8:40] = 0.5 + 0.1 * random.standard_normal((24, 32))
    label = np.zeros((ROWS, COLUMNS), dtype=np.uint8)
    label[8:32, 8:24], label[8:32, 24:40] = 1, CLASSES - 1
    return figures.SliceView(
        clean=clean,
        attacked=clean + 0.02 * (clean > 0) * random.standard_normal(clean.shape),
        before=label,
        after=np.zeros_like(label),
        defended=label,
        classes=CLASSES,
        spectrum_size=SIZE,
        rejected=True,
    )


@pytest.fixture
def scans():
    records = [{"position_mm": float(mm), "score": float(mm % 3)} for mm in (3, 1, 2)]
    return {"clean": [*records, {"position_mm": 4.0, "score": None}]}


def test_the_whole_picture_is_a_png_of_its_size(view, scans):
    size = size_of_png(figures.one_figure(view, scans, 1.0, (1.5, 2.5)))
    assert size == (round(figures.WIDTH * figures.DPI), round(figures.HEIGHT * figures.DPI))


def test_a_row_is_a_png_of_its_size(view, scans):
    for draw, arguments in (
        (figures.draw_images, (view,)),
        (figures.draw_segmentations, (view,)),
        (figures.draw_spectra, (view,)),
        (figures.draw_scores, (scans, 1.0)),
    ):
        data = figures.png(draw, *arguments, height=3.0)
        assert size_of_png(data) == (round(figures.WIDTH * figures.DPI), round(3.0 * figures.DPI))


def test_the_same_picture_is_the_same_file(view, scans):
    assert figures.png(figures.draw_images, view) == figures.png(figures.draw_images, view)


def test_the_brightest_pixel_of_a_shifted_spectrum_is_in_the_center(view):
    figure = Figure()
    figures.draw_spectra(figure, view)
    plain, clean, attacked = (axes.images[0].get_array() for axes in figure.axes[:3])

    def brightest(shown):  # drawn transposed
        return np.unravel_index(int(np.argmax(shown)), shown.shape)[::-1]

    assert brightest(plain) == (0, 0)
    assert brightest(clean) == brightest(attacked) == (SIZE[0] // 2, SIZE[1] // 2)


def test_a_spectrum_says_the_mean_intensity_and_does_not_depend_on_where_the_slice_lies(view):
    spectrum = figures.log_spectrum(view.clean, SIZE)
    mean = view.clean.sum() / np.prod(SIZE)
    assert spectrum[SIZE[0] // 2, SIZE[1] // 2] == pytest.approx(np.log(mean), abs=1e-5)
    elsewhere = np.zeros(SIZE)
    elsewhere[-ROWS:, -COLUMNS:] = view.clean
    # in float32 a frequency that is nearly absent is known to rounding errors of the strongest only
    np.testing.assert_allclose(np.exp(figures.log_spectrum(elsewhere)), np.exp(spectrum), rtol=0, atol=1e-6)


def test_a_slice_larger_than_its_spectrum_is_refused(view):
    with pytest.raises(ValueError, match="larger than"):
        figures.log_spectrum(view.clean, (ROWS - 1, COLUMNS))


def test_superior_is_up_and_the_perturbation_is_in_percent_of_the_window(view):
    figure = Figure()
    figures.draw_images(figure, view)
    shown = figure.axes[0].images[0]
    assert shown.origin == "lower"
    np.testing.assert_array_equal(shown.get_array(), view.clean.T)
    np.testing.assert_allclose(figure.axes[2].images[0].get_array(), 100 * (view.attacked - view.clean).T)


def test_images_share_one_gray_scale_and_spectra_one_color_scale(view):
    figure = Figure()
    figures.draw_images(figure, view)
    assert {axes.images[0].get_clim() for axes in figure.axes[:2]} == {(0, 1)}
    figure = Figure()
    figures.draw_spectra(figure, view)
    assert len({axes.images[0].get_clim() for axes in figure.axes[:3]}) == 1


def test_an_image_that_was_not_changed_can_be_drawn(view):
    same = figures.SliceView(**{**vars(view), "attacked": view.clean})
    assert size_of_png(figures.png(figures.draw_images, same))


@pytest.mark.parametrize(("rejected", "word"), [(True, "(rejected)"), (False, "(accepted)"), (None, "reformed")])
def test_the_title_says_what_the_shield_decided(view, rejected, word):
    figure = Figure()
    figures.draw_segmentations(figure, figures.SliceView(**{**vars(view), "rejected": rejected}))
    assert figure.axes[2].get_title().endswith(word)


@pytest.mark.parametrize("classes", [2, 28, 62])
def test_every_structure_has_a_color_and_the_background_none(classes):
    colors = figures.structure_colors(classes)
    assert classes == colors.N
    found = colors(np.arange(classes))
    assert found[0, 3] == 0
    assert (found[1:, 3] == 1).all()
    if classes <= 61:
        assert len({tuple(color) for color in found[1:]}) >= min(classes - 1, 40)


def test_scores_are_drawn_in_order_with_threshold_and_slab(scans):
    figure = Figure()
    figures.draw_scores(figure, scans, 1.5, (0.5, 1.5))
    line, threshold = figure.axes[0].lines
    assert line.get_xydata().tolist() == [[1, 1], [2, 2], [3, 0]]
    assert set(threshold.get_ydata()) == {1.5}
    (shade,) = figure.axes[0].patches
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == (0.5, 1.5)


def test_a_scan_without_any_score_can_be_drawn():
    assert size_of_png(figures.png(figures.draw_scores, {"attacked": []}, 1.0))
