"""What counts as a find, and what is shown with it."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from autoscope.journal import JournalReader
from autoscope.records import Axis, FrameMeta, FrameRef, Scan
from autoscope.report.crops import picture_of
from autoscope.report.figures import spectrum_figure
from autoscope.report.finds import Usual, bands, finds, ranked
from autoscope.report.pictures import Archive
from autoscope.report.reading import read
from autoscope.report.story import Measurement, Reading, RunClock, RunStory

EDS = Axis(name="energy", unit="eV", size=1000, scale=10.0)


def place(step: int, value: float, std: float = 1.0, x_m: float | None = None, **more) -> Measurement:
    reading = Reading("Pt", value, std, "counts")
    at = step * 1e-8 if x_m is None else x_m
    known = {"slot": 0, "target": f"particle {step}", "reason": "", "predicted_mean": None, "predicted_std": None}
    return Measurement(
        step=step, time_s=float(step), x_m=at, y_m=0.0, readings=(reading,), spectra=(), **(known | more)
    )


def story_of(*measurements: Measurement, **more) -> RunStory:
    clock = RunClock.of([])
    return RunStory("run", {}, clock, 0.0, 100.0, 1, "", measurements=measurements, **more)


def test_highest_values_come_first():
    story = story_of(place(0, 3.0), place(1, 9.0), place(2, 5.0))
    assert [r.value for _, r, _ in ranked(story, "Pt", 2)] == [9.0, 5.0]


def test_a_place_measured_again_counts_once_with_its_most_certain_value():
    unnamed = {"target": ""}
    story = story_of(
        place(0, 50.0, 30.0, x_m=1e-8, **unnamed), place(1, 12.0, 1.0, x_m=1e-8, **unnamed), place(2, 20.0, **unnamed)
    )
    assert [(m.step, times) for m, _, times in ranked(story, "Pt", 9)] == [(2, 1), (1, 2)]


def test_a_particle_measured_again_counts_once_with_the_mean_of_its_longest_spectra_wherever_it_drifted():
    def spectrum(step, value, std, dwell_s):
        meta = FrameMeta(signal="EDS", axes=(EDS,), time_s=0.0, dwell_s=dwell_s, x_m=0.0, y_m=0.0)
        ref = FrameRef(file=f"{step}", sha256="", dtype="uint32", shape=(1000,), meta=meta)
        return replace(place(step, value, std, target="particle 7"), spectra=(ref,))

    short, one, two = spectrum(0, 99.0, 9.0, 1.0), spectrum(1, 400.0, 20.0, 8.0), spectrum(2, 420.0, 20.0, 8.0)
    ((m, reading, times),) = ranked(story_of(short, one, two), "Pt", 9)
    assert (m.step, times) == (1, 3)
    assert (reading.value, reading.std) == (410.0, pytest.approx(20.0 / 2**0.5))


def test_same_position_on_another_sample_is_another_place():
    story = story_of(place(0, 1.0, x_m=0.0), place(1, 2.0, x_m=0.0, slot=1))
    assert len(ranked(story, "Pt", 9)) == 2


def test_only_values_far_above_the_usual_stand_out():
    rng = np.random.default_rng(4)
    noise = [place(k, float(v), 5.0) for k, v in enumerate(rng.normal(0.0, 5.0, 2000))]
    found = finds(story_of(*noise, place(5000, 120.0, 5.0)), "Pt", 24, Archive(lambda ref: None))
    assert [f.stands_out for f in found] == [True] + [False] * 23


def test_usual_is_not_moved_by_a_few_large_values():
    values = np.concatenate([np.random.default_rng(1).normal(10.0, 2.0, 5000), np.full(100, 1e6)])
    usual = Usual.of(values)
    assert usual.value == pytest.approx(10.0, abs=0.2)
    assert usual.spread == pytest.approx(2.0, rel=0.1)


def test_surprise_is_the_error_in_standard_deviations_of_both():
    made = place(0, 17.0, 3.0, predicted_mean=12.0, predicted_std=4.0)
    assert finds(story_of(made), "Pt", 1, Archive(lambda ref: None))[0].surprise == pytest.approx(1.0)
    assert finds(story_of(place(0, 17.0)), "Pt", 1, Archive(lambda ref: None))[0].surprise is None


def test_a_find_is_shown_in_the_last_image_before_its_measurement(surveyed):
    story = read(surveyed)
    later = next(
        m for m in story.measurements if m.time_s > max(p.time_s for p in story.pictures if p.purpose == "align") - 1
    )
    shown = picture_of(story.pictures, later)
    assert shown.purpose == "align"
    early = story.measurements[0]
    assert picture_of(story.pictures, early).purpose == "overview"
    assert picture_of(story.pictures, early).time_s <= early.time_s


def test_focus_images_are_never_shown_for_a_find(surveyed):
    story = read(surveyed)
    only_focus = tuple(p for p in story.pictures if p.purpose == "focus")
    assert only_focus
    assert picture_of(only_focus, story.measurements[0]) is None


def test_without_an_image_before_the_first_one_after_is_shown(surveyed):
    story = read(surveyed)
    m = replace(story.measurements[0], time_s=-1.0)
    assert picture_of(story.pictures, m) == next(p for p in story.pictures if p.purpose == "overview")


def test_the_measured_place_lies_in_the_middle_of_its_crop(surveyed):
    story = read(surveyed)
    best = finds(story, "Pt", 3, Archive(JournalReader.open(surveyed).load_frame))
    for find in best:
        data = io.BytesIO(base64.b64decode(find.crop.uri.split(",", 1)[1]))
        levels = np.asarray(Image.open(data).convert("L")).astype(float)
        n = len(levels)
        middle = levels[n // 2 - 2 : n // 2 + 2, n // 2 - 2 : n // 2 + 2].mean()
        assert middle > 1.5 * np.median(levels)


def test_spectrum_of_a_find_is_the_one_recorded(surveyed):
    reader, story = JournalReader.open(surveyed), read(surveyed)
    find = finds(story, "Pt", 1, Archive(reader.load_frame))[0]
    np.testing.assert_array_equal(find.spectrum.level, reader.load_frame(find.measurement.spectra[0]).data)
    assert find.spectrum.energy[[0, -1]].tolist() == [0.0, 9990.0]
    assert sorted((b.low, b.high, b.background) for b in find.spectrum.bands) == [
        (1950.0, 2150.0, False),
        (2300.0, 2500.0, True),
    ]


def test_bands_of_every_scalarizer_are_recognised():
    edge = {"background": ["800 eV", "925 eV"], "band": ["931 eV", "1.01 keV"], "signal": "EELS"}
    assert [(b.low, b.high, b.background) for b in bands(edge, EDS)] == [(800.0, 925.0, True), (931.0, 1010.0, False)]
    ratio = {"numerator": ["1 keV", "2 keV"], "denominator": ["3 keV", "4 keV"], "pseudocounts": 0.0}
    assert len(list(bands(ratio, EDS))) == 2
    two = {"band": ["2 keV", "3 keV"], "background": [["1 keV", "1.5 keV"], ["4 keV", "5 keV"]]}
    assert [b.background for b in bands(two, EDS)] == [False, True, True]


def test_options_that_are_no_bands_are_passed_over():
    odd = {"band": None, "signal": "EDS", "path": ["a.npz", "b.npz"], "fit_channels": 5, "window": ["1 nm", "2 nm"]}
    assert list(bands(odd, EDS)) == []


def test_a_find_whose_frames_are_gone_is_still_a_find(surveyed):
    from autoscope.errors import JournalCorrupt

    def gone(ref):
        raise JournalCorrupt("is absent", where=ref.file)

    archive = Archive(gone)
    find = finds(read(surveyed), "Pt", 1, archive)[0]
    assert (find.crop, find.spectrum) == (None, None)
    assert len(archive.unreadable) == 2


def test_a_drawn_spectrum_stays_inside_its_frame(surveyed):
    find = finds(read(surveyed), "Pt", 1, Archive(JournalReader.open(surveyed).load_frame))[0]
    drawn = str(spectrum_figure(find.spectrum))
    coordinates = [float(v) for d in re.findall(r' d="([^"]+)"', drawn) for v in re.findall(r"[\d.]+", d)]
    assert len(coordinates) > 200
    assert max(coordinates) <= 220


def test_drift_since_the_only_image_of_a_place_is_taken_out(night):
    """A particle at the rim, seen in the overview only: the newer, smaller image tells how far the sample moved."""
    made = night(detectors=("HAADF",))
    made.go(0)
    rng = np.random.default_rng(5)
    inner = [(*rng.uniform(-3.5e-7, 3.5e-7, 2), 2e-8, 2.0) for _ in range(14)]
    rim, drift = np.array([-6.0e-7, 1.0e-7]), np.array([4.5e-8, -3.0e-8])
    scan = Scan(fov_m=1.5e-6, width_px=128, height_px=128, dwell_s=1e-6)
    overview = made.image(128, 1.5e-6, [*inner, (*rim, 2e-8, 3.0)])
    made.act(scan, "overview", "tile 0", frames=(overview,))
    moved = [(x + drift[0], y + drift[1], r, b) for x, y, r, b in inner]
    close = scan.replace(fov_m=9e-7, width_px=96, height_px=96)
    made.act(close, "align", "tile 0", frames=(made.image(96, 9e-7, moved),))
    made.catalogue[0] = (0, *(rim + drift), 1.0)
    made.spectrum(0, known=False)
    folder = made.close()
    find = finds(read(folder), "Pt", 1, Archive(JournalReader.open(folder).load_frame))[0]
    assert find.crop.picture.purpose == "overview"
    assert find.crop.drift_m == pytest.approx(np.hypot(*drift), abs=6e-9)
    levels = np.asarray(Image.open(io.BytesIO(base64.b64decode(find.crop.uri.split(",", 1)[1]))).convert("L"))
    brightest = np.argwhere(levels > 0.9 * levels.max()).mean(axis=0)
    np.testing.assert_allclose(brightest, (len(levels) - 1) / 2, atol=1.0)
