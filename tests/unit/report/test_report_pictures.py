"""Images on the axes of the stage: sampling, crops, mosaic."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autoscope.errors import JournalCorrupt
from autoscope.journal import JournalReader
from autoscope.records import Axis, Frame, FrameMeta, FrameRef
from autoscope.report.mosaic import bounds, busiest_slot, mosaic, overviews
from autoscope.report.pictures import Archive, Footprint, contrast, data_uri, grey, sample
from autoscope.report.reading import read
from autoscope.report.story import Picture


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))).convert("RGBA"))


def meta(x_m=0.0, y_m=0.0, size=(20, 30), pixel_m=1e-9, rotation_rad=0.0, unit="m", offset=0.0) -> FrameMeta:
    axes = tuple(Axis(name=n, unit=unit, size=s, offset=offset, scale=pixel_m) for n, s in zip("yx", size))
    return FrameMeta(signal="HAADF", axes=axes, time_s=0.0, dwell_s=1.0, x_m=x_m, y_m=y_m, rotation_rad=rotation_rad)


def picture(number: int, frame_meta: FrameMeta, *, purpose="overview", slot=0) -> Picture:
    shape = tuple(a.size for a in frame_meta.axes)
    ref = FrameRef(file=f"{number}.npy", sha256="", shape=shape, dtype="<u2", meta=frame_meta)
    return Picture(number, float(number), slot, purpose, "", ref)


class Shelf:
    """Gives arrays by file name."""

    def __init__(self, **arrays):
        self.arrays = arrays

    def __call__(self, ref):
        name = ref.file.removesuffix(".npy")
        if f"f{name}" not in self.arrays:
            raise JournalCorrupt("is absent", where=ref.file)
        return Frame(ref.meta, np.array(self.arrays[f"f{name}"]))


@given(st.floats(-3.0, 3.0), st.floats(-1e-6, 1e-6), st.floats(-1e-6, 1e-6), st.integers(0, 19), st.integers(0, 29))
def test_a_pixel_found_on_the_stage_is_found_again_in_the_image(turn, x_m, y_m, row, column):
    footprint = Footprint.of(meta(x_m, y_m, rotation_rad=turn))
    du, dv = (column - 14.5) * 1e-9, (row - 9.5) * 1e-9
    stage = (
        x_m + math.cos(turn) * du - math.sin(turn) * dv,  # turned from x towards y, as scans are
        y_m + math.sin(turn) * du + math.cos(turn) * dv,
    )
    assert footprint.pixels(*stage) == pytest.approx((row, column), abs=1e-6)


def test_centre_of_an_image_does_not_depend_on_where_its_axes_start():
    assert Footprint.of(meta(offset=0.0)).pixels(0.0, 0.0) == Footprint.of(meta(offset=-7e-9)).pixels(0.0, 0.0)


def test_an_image_in_pixels_or_seconds_has_no_place():
    assert Footprint.of(meta(unit="s")) is None
    assert Footprint.of(meta(unit="")) is None


def test_axes_in_nanometres_are_understood():
    assert Footprint.of(meta(unit="nm", pixel_m=2.0)).pixel_x_m == pytest.approx(2e-9)


def test_corners_lie_on_the_rim():
    footprint = Footprint.of(meta(3e-9, -2e-9, rotation_rad=0.4))
    found = np.array([footprint.pixels(x, y) for x, y in footprint.corners_m()])
    np.testing.assert_allclose(found, [(-0.5, -0.5), (-0.5, 29.5), (19.5, 29.5), (19.5, -0.5)], atol=1e-9)


def test_sampling_at_the_pixels_gives_the_image_itself():
    data = np.arange(600, dtype=np.uint16).reshape(20, 30)
    x_m, y_m = ((np.arange(n) - (n - 1) / 2) * 1e-9 for n in (30, 20))
    np.testing.assert_allclose(sample(data, Footprint.of(meta()), x_m, y_m), data, rtol=1e-6, atol=1e-3)


def test_coarse_sampling_averages_so_that_a_bright_pixel_is_not_lost():
    data = np.zeros((20, 30), dtype=np.uint16)
    data[13, 17] = 1000
    x_m, y_m = (np.arange(n) * 5e-9 + 2e-9 - size * 0.5e-9 + 0.5e-9 for n, size in ((6, 30), (4, 20)))
    found = sample(data, Footprint.of(meta()), x_m, y_m)
    expected = data.reshape(4, 5, 6, 5).mean(axis=(1, 3))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_outside_the_image_there_is_nothing():
    found = sample(np.ones((20, 30)), Footprint.of(meta()), np.array([-14.9e-9, -15.1e-9]), np.array([0.0]))
    assert np.isfinite(found).tolist() == [[True, False]]


def test_contrast_of_nothing_and_of_a_flat_image_still_has_an_extent():
    for values in (np.array([np.nan]), np.full(9, 7.0)):
        low, high = contrast(values)
        assert high > low


def test_grey_levels_keep_their_order_and_fill_the_range():
    levels = grey(np.array([0.0, 1.0, 2.0, 10.0, 20.0], dtype=np.float32), 0.0, 10.0)
    assert levels[0] == 0
    assert levels[3] == levels[4] == 255
    assert np.all(np.diff(levels[:4].astype(int)) > 0)


def test_an_image_in_text_has_the_levels_and_holes_it_was_given():
    levels = np.full((16, 24), 90, dtype=np.uint8)
    shown = np.ones((16, 24), dtype=bool)
    shown[:, 12:] = False
    found = decoded(data_uri(levels, shown))
    assert found.shape == (16, 24, 4)
    np.testing.assert_array_equal(found[..., 3] > 0, shown)
    np.testing.assert_allclose(found[:, :10, 0], 90, atol=3)


def test_tiles_stand_where_the_stage_stood_and_later_ones_lie_above():
    shelf = Shelf(f0=np.full((20, 30), 10), f1=np.full((20, 30), 200), f2=np.full((20, 30), 90))
    tiles = [picture(0, meta(0.0)), picture(1, meta(60e-9)), picture(2, meta(15e-9))]
    around = bounds(tiles, np.zeros((0, 2)))
    made = mosaic(tiles, Archive(shelf), around)
    found = decoded(made.uri)

    def level(x_m):
        column = int((x_m - made.bounds.left_m) / made.pixel_m)
        return found[found.shape[0] // 2, column]

    assert made.tiles == 3
    assert level(-10e-9)[0] < level(10e-9)[0] < level(60e-9)[0]
    assert level(38e-9)[3] == 0  # nobody looked there


def test_exposures_of_different_dwell_are_levelled():
    long = meta(60e-9).replace(dwell_s=4.0)
    tiles = [picture(0, meta(0.0)), picture(1, long)]
    made = mosaic(
        tiles, Archive(Shelf(f0=np.full((20, 30), 50), f1=np.full((20, 30), 200))), bounds(tiles, np.zeros((0, 2)))
    )
    found = decoded(made.uri)
    assert np.ptp(found[..., 0][found[..., 3] > 0].astype(int)) <= 3


def test_a_large_survey_is_not_finer_than_the_page_needs():
    tiles = [picture(k, meta(k * 1e-6, size=(64, 64), pixel_m=15e-9)) for k in range(40)]
    around = bounds(tiles, np.zeros((0, 2)))
    made = mosaic(tiles, Archive(Shelf(**{f"f{k}": np.ones((64, 64)) for k in range(40)})), around)
    assert max(decoded(made.uri).shape) <= 2001


def test_a_tile_that_cannot_be_trusted_is_left_out_and_remembered():
    tiles = [picture(0, meta()), picture(1, meta(30e-9))]
    archive = Archive(Shelf(f0=np.ones((20, 30))))
    assert mosaic(tiles, archive, bounds(tiles, np.zeros((0, 2)))).tiles == 1
    assert list(archive.unreadable) == ["1.npy"]
    assert mosaic(tiles[1:], archive, bounds(tiles, np.zeros((0, 2)))) is None


def test_only_one_picture_is_in_memory_at_a_time():
    import weakref

    alive: list[weakref.ref] = []

    def load(ref):
        assert sum(r() is not None for r in alive) <= 1  # the one just pasted may not have been let go yet
        frame = Frame(ref.meta, np.ones((20, 30)))
        alive.append(weakref.ref(frame))
        return frame

    tiles = [picture(k, meta(k * 30e-9)) for k in range(12)]
    assert mosaic(tiles, Archive(load), bounds(tiles, np.zeros((0, 2)))).tiles == 12


def test_mosaic_is_made_of_overviews_else_of_the_widest_images(surveyed):
    story = read(surveyed)
    assert {p.purpose for p in overviews(story, 0)} == {"overview"}
    from dataclasses import replace

    renamed = replace(
        story, pictures=tuple(replace(p, purpose="x" if p.purpose == "overview" else "focus") for p in story.pictures)
    )
    assert {p.purpose for p in overviews(renamed, 0)} == {"x"}
    assert overviews(replace(story, pictures=()), 0) == []
    assert busiest_slot(story) == 0


def test_a_point_measured_lies_on_its_particle_in_the_mosaic(surveyed):
    """The brightest surroundings belong to the richest particles: coordinates of images and spectra agree."""
    story, reader = read(surveyed), JournalReader.open(surveyed)
    tiles = overviews(story, 0)
    around = bounds(tiles, np.zeros((0, 2)))
    made = mosaic(tiles, Archive(reader.load_frame), around)
    levels = decoded(made.uri)[..., 0].astype(float)
    at = [
        levels[int((m.y_m - around.top_m) / made.pixel_m), int((m.x_m - around.left_m) / made.pixel_m)]
        for m in story.measurements
    ]
    assert np.median(at) > 2 * np.median(levels)
