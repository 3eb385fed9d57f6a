"""Half blocks, braille and maps: what is drawn is what the numbers say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from autoscope.dashboard.colour import IMAGE, NEXT, SPREAD, VALUE, WORTH, coloured, limits, table
from autoscope.dashboard.pixels import pil_image, pixel_widget
from autoscope.dashboard.plotting import Chart, Series, draw
from autoscope.dashboard.raster import UPPER, Mark, strips
from autoscope.dashboard.sampling import Window, sampled
from autoscope.dashboard.widgets.model_map import gridded
from autoscope.model_maps import ModelMaps


def pixels_of(lines):
    """Read the colours back from what is drawn."""
    rows = []
    for strip in lines:
        upper, lower = [], []
        for segment in strip:
            upper += [tuple(segment.style.color.triplet)] * len(segment.text)
            lower += [tuple(segment.style.bgcolor.triplet)] * len(segment.text)
        rows += [upper, lower]
    return np.array(rows, dtype=np.uint8)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 9)).flatmap(
        lambda s: arrays(np.uint8, (2 * s[0], s[1], 3), elements=st.sampled_from([0, 7, 255]))
    )
)
def test_half_blocks_hold_every_pixel(pixels):
    drawn = strips(pixels)
    assert all(strip.cell_length == pixels.shape[1] for strip in drawn)
    np.testing.assert_array_equal(pixels_of(drawn), pixels)


def test_a_mark_replaces_its_cell_alone():
    drawn = strips(np.zeros((4, 5, 3), dtype=np.uint8), {(1, 2): Mark("X", NEXT)})
    assert [strip.text for strip in drawn] == [UPPER * 5, f"{UPPER * 2}X{UPPER * 2}"]


def test_values_take_the_colours_of_matplotlib_and_gaps_the_background():
    import matplotlib as mpl

    assert table(VALUE)[128].tolist() == [round(255 * v) for v in mpl.colormaps["cividis"](128)[:3]]
    shown = coloured(np.array([0.0, 1.0, np.nan]), VALUE, 0.0, 1.0, (9, 9, 9))
    assert shown.tolist() == [table(VALUE)[0].tolist(), table(VALUE)[255].tolist(), [9, 9, 9]]
    assert limits(np.array([np.nan, 3.0, 3.0])) == (2.5, 3.5)
    assert limits(np.array([np.nan])) == (0.0, 1.0)


def test_the_maps_keep_values_apart_for_colour_blind_eyes():
    """Lightness alone (CIE L* from linear luminance) orders the values, so no hue is needed to read a map."""
    for name in (VALUE, "viridis", "magma", "gray"):
        linear = (table(name) / 255.0) ** 2.2
        assert (np.diff(linear @ [0.2126, 0.7152, 0.0722]) > -2e-3).all(), name


def test_a_window_keeps_pixels_square_and_the_whole_of_it_visible():
    window = Window(0.0, 0.0, 4.0, 2.0).fitted(40, 40)
    assert (window.width_m, window.height_m, window.top_m) == (4.0, 4.0, -1.0)
    row, column = window.pixels(np.array([0.05, 3.95, 9.0, np.nan]), np.array([0.05, 1.95, 0.0, 0.0]), 40, 40)
    assert (row.tolist(), column.tolist()) == ([10, 29, -1, -1], [0, 39, -1, -1])


def test_an_image_lies_where_it_was_taken():
    image = np.arange(16.0).reshape(4, 4)
    whole = Window(0.0, 0.0, 4.0, 4.0)
    np.testing.assert_array_equal(sampled(image, whole, whole, 4, 4), image)
    shifted = sampled(image, Window(2.0, 0.0, 4.0, 4.0), whole, 4, 4)
    np.testing.assert_array_equal(shifted[:, 2:], image[:, :2])
    assert np.isnan(shifted[:, :2]).all()


def test_a_single_bright_element_is_not_lost_in_a_small_picture():
    image = np.zeros((100, 100))
    image[37, 53] = 100.0
    whole = Window(0.0, 0.0, 1.0, 1.0)
    shown = sampled(image, whole, whole, 10, 10)
    assert np.unravel_index(shown.argmax(), shown.shape) == (3, 5)
    assert shown.max() == pytest.approx(1.0)


def test_a_line_rises_from_the_lower_left_to_the_upper_right():
    drawn = draw(Chart((Series(np.array([0.0, 1.0]), np.array([0.0, 5.0]), "#ffffff"),)), 40, 9, "#888888")
    columns = [min(k for k, c in enumerate(s.text[10:]) if c != " ") for s in drawn[:-1]]
    assert columns == sorted(columns, reverse=True)
    assert drawn[0].text.startswith("        5")
    assert drawn[-2].text.startswith("        0")
    assert all(strip.cell_length == 40 for strip in drawn)


@pytest.mark.parametrize("size", [(0, 0), (3, 1), (12, 3), (40, 2)], ids=str)
def test_a_chart_fits_any_space(size):
    nothing = draw(Chart(()), *size, "#888888")
    some = draw(Chart((Series(np.array([1.0, np.nan]), np.array([2.0, 3.0]), "#ffffff"),)), *size, "#888888")
    for drawn in (nothing, some):
        assert len(drawn) <= max(size[1], 1)
        assert all(strip.cell_length == size[0] for strip in drawn)


def test_candidates_on_a_lattice_become_an_image_with_gaps_where_there_are_none():
    x, y = (np.array(v, dtype=np.float32) * 1e-9 for v in ([0, 1, 3, 0], [0, 0, 0, 1]))
    layer = np.array([1, 2, 3, 4], dtype=np.float32)
    image, window = gridded(ModelMaps(0, "", "", x, y, {"mean": layer}), layer)
    np.testing.assert_array_equal(image, [[1, 2, np.nan, 3], [4, np.nan, np.nan, np.nan]])
    assert window.width_m == pytest.approx(4e-9)


def test_images_become_grey_pictures_in_pixels_with_outliers_cut():
    image = np.arange(10000.0).reshape(100, 100)
    image[0, 0] = 1e9
    shown = np.asarray(pil_image(image))
    assert shown.shape == (100, 100, 3)
    assert shown[0, 0].tolist() == [255, 255, 255]
    assert shown[50, 50, 0] == pytest.approx(128, abs=3)


def test_without_a_terminal_that_has_pixels_half_blocks_are_used():
    assert pixel_widget() is None  # the tests' output is no terminal


@pytest.mark.parametrize("name", [VALUE, SPREAD, WORTH, IMAGE])
def test_colours_are_those_of_matplotlib(name):
    import matplotlib as mpl

    expected = np.rint(mpl.colormaps[name](np.arange(256))[:, :3] * 255)
    np.testing.assert_array_equal(table(name), expected)
