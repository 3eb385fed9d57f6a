"""Images: counts, focus, astigmatism, saturation, directions."""

from __future__ import annotations

import numpy as np
import pytest

from autoscope.exposure import electrons
from autoscope.records import MoveStage, Scan, SetOptics
from environments.instruments.simulated import DetectorConfig, LensConfig

FIELD = Scan(fov_m=100e-9, width_px=128, height_px=128, dwell_s=4e-6)
PERIOD = 5e-9


def image(bench, action=FIELD):
    return bench.do(action).frames[0].data.astype(float)


def stripes(x, y):
    return 0.3 + 0.2 * np.cos(2 * np.pi * x / PERIOD)


def grid(x, y):
    return 0.3 + 0.1 * np.cos(2 * np.pi * x / PERIOD) + 0.1 * np.cos(2 * np.pi * y / PERIOD)


def bright_spot(x, y):
    return 0.02 + 0.5 * np.exp(-(x**2 + y**2) / (2 * (4e-9) ** 2))


def amplitude(data, axis):
    """Return the amplitude of the stripes along an axis, relative to the mean."""
    profile = data.mean(axis=1 - axis) / data.mean()
    n = len(profile)
    return 2 * abs((profile * np.exp(-2j * np.pi * np.arange(n) * (100e-9 / n) / PERIOD)).mean())


def place(data, action=FIELD):
    weight = data - np.median(data)
    weight[weight < 0.3 * weight.max()] = 0
    i, j = np.indices(data.shape)
    pixel = action.fov_m / action.width_px
    x, y = ((weight * k).sum() / weight.sum() for k in (j, i))
    return (x + 0.5 - data.shape[1] / 2) * pixel, (y + 0.5 - data.shape[0] / 2) * pixel


def test_mean_and_variance_of_counts_are_those_of_the_beam(bench, analytic):
    data = image(
        bench(analytic(yield_at=lambda x, y: np.full(x.shape, 0.08))), FIELD.replace(width_px=400, height_px=400)
    )
    expected = electrons(50e-12, 4e-6) * 0.08
    assert data.mean() == pytest.approx(expected, abs=5 * np.sqrt(expected / data.size))
    assert data.var() == pytest.approx(expected, rel=5 * np.sqrt(2 / data.size))


def test_each_detector_gives_its_own_frame_in_the_order_asked(bench, analytic):
    frames = bench(analytic()).do(FIELD.replace(detectors=("BF", "HAADF"))).frames
    assert [f.meta.signal for f in frames] == ["BF", "HAADF"]
    assert frames[0].data.mean() == pytest.approx(2 * frames[1].data.mean(), rel=0.01)


def test_stage_to_the_right_moves_features_to_the_left(bench, analytic):
    b = bench(analytic(yield_at=bright_spot))
    b.do(MoveStage(x_m=20e-9, y_m=-10e-9))
    assert place(image(b)) == pytest.approx((-20e-9, 10e-9), abs=0.3e-9)


def test_scan_centre_and_stage_move_the_view_alike(bench, analytic):
    b = bench(analytic(yield_at=bright_spot))
    shifted = FIELD.replace(centre_x_m=20e-9, centre_y_m=-10e-9)
    assert place(image(b, shifted)) == pytest.approx((-20e-9, 10e-9), abs=0.3e-9)
    b.do(MoveStage(x_m=-20e-9, y_m=10e-9))
    assert place(image(b, shifted)) == pytest.approx((0.0, 0.0), abs=0.3e-9)


def test_positive_drift_moves_features_backwards_and_truth_tells(bench, analytic, perfect):
    drift = perfect.drift.replace(ramp_x_m_per_s=1e-9)
    b = bench(analytic(yield_at=bright_spot), config=perfect.replace(drift=drift))
    b.clock.wait(15.0)
    assert b.microscope.truth()["drift_m"] == pytest.approx((15e-9, 0.0))
    assert place(image(b))[0] == pytest.approx(-15.1e-9, abs=0.4e-9)


def test_point_of_height_h_is_in_focus_at_defocus_minus_h(bench, analytic):
    b = bench(analytic(yield_at=stripes, height_at=lambda x, y: np.full(np.shape(x), 70e-9)))
    seen = {}
    for defocus_m in (-140e-9, -70e-9, 0.0, 70e-9):
        b.do(SetOptics(defocus_m=defocus_m))
        seen[defocus_m] = amplitude(image(b), axis=1)
        sigma = 25e-3 * abs(defocus_m + 70e-9) / 2
        assert seen[defocus_m] == pytest.approx(2 / 3 * np.exp(-2 * (np.pi * sigma / PERIOD) ** 2), rel=0.03)
    assert max(seen, key=seen.get) == -70e-9


def test_stage_height_adds_to_defocus(bench, analytic):
    b = bench(analytic(yield_at=stripes))
    b.do(MoveStage(z_m=90e-9))
    assert b.microscope.truth()["true_defocus_m"] == pytest.approx(90e-9)
    blurred = amplitude(image(b), axis=1)
    b.do(SetOptics(defocus_m=-90e-9))
    assert b.microscope.truth()["true_defocus_m"] == pytest.approx(0.0, abs=1e-15)
    assert amplitude(image(b), axis=1) > 2 * blurred


def test_hidden_defocus_is_where_the_read_back_does_not_say(bench, analytic, perfect):
    b = bench(analytic(), config=perfect.replace(lens=LensConfig(hidden_defocus_m=-40e-9)))
    assert b.microscope.state().defocus_m == 0.0
    assert b.microscope.truth()["true_defocus_m"] == pytest.approx(-40e-9)


def test_astigmatism_blurs_one_direction_and_the_stigmator_cures_it(bench, analytic, perfect):
    b = bench(analytic(yield_at=grid), config=perfect.replace(lens=LensConfig(hidden_stigmator_a_m=40e-9)))
    blurred = 1 / 3 * np.exp(-2 * (np.pi * 25e-3 * 80e-9 / 2 / PERIOD) ** 2)
    b.do(SetOptics(defocus_m=40e-9))
    data = image(b)
    assert (amplitude(data, axis=0), amplitude(data, axis=1)) == pytest.approx((1 / 3, blurred), rel=0.03)
    b.do(SetOptics(defocus_m=-40e-9))
    data = image(b)
    assert (amplitude(data, axis=0), amplitude(data, axis=1)) == pytest.approx((blurred, 1 / 3), rel=0.03)
    b.do(SetOptics(defocus_m=0.0, stigmator_a_m=-40e-9))
    data = image(b)
    assert amplitude(data, axis=0) == pytest.approx(amplitude(data, axis=1), rel=0.05)
    assert amplitude(data, axis=0) == pytest.approx(1 / 3, rel=0.05)


def test_more_current_makes_a_wider_probe_and_more_counts(bench, analytic):
    b = bench(analytic())
    fine, few = b.microscope.truth()["probe_rms_m"], image(b).mean()
    b.do(SetOptics(beam_current_a=500e-12))
    assert b.microscope.truth()["probe_rms_m"] > 1.5 * fine
    assert image(b).mean() == pytest.approx(10 * few, rel=0.01)


def test_bright_fields_saturate_at_the_depth_of_the_detector(bench, analytic, perfect):
    b = bench(
        analytic(yield_at=lambda x, y: np.full(x.shape, 0.5)),
        config=perfect.replace(detectors=(DetectorConfig(name="HAADF", bits=8),)),
    )
    assert (image(b) == 255).all()


def test_sloping_specimen_is_sharp_only_along_its_line_of_focus(bench, analytic):
    b = bench(analytic(yield_at=stripes))
    b.do(MoveStage(alpha_rad=0.5))
    wide = FIELD.replace(fov_m=400e-9, width_px=512, height_px=512)
    data = image(b, wide)

    def contrast(row):
        part = data[row - 16 : row + 16]
        return part.mean(axis=0).std() / part.mean()

    def expected(row):
        defocus = (row / 512 - 0.5) * 400e-9 * np.tan(0.5)
        return 2 / 3 / np.sqrt(2) * np.exp(-2 * (np.pi * 25e-3 * defocus / 2 / PERIOD) ** 2)

    assert [contrast(row) for row in (16, 96, 256, 496)] == pytest.approx(
        [expected(row) for row in (16, 96, 256, 496)], rel=0.1
    )


def test_frames_say_where_and_how_as_the_microscope_believes(bench, analytic, perfect):
    b = bench(analytic(), config=perfect.replace(drift=perfect.drift.replace(ramp_x_m_per_s=1e-9)))
    b.do(MoveStage(x_m=1e-6))
    b.do(SetOptics(defocus_m=-20e-9))
    meta = b.do(FIELD.replace(centre_x_m=30e-9, centre_y_m=5e-9, height_px=64, rotation_rad=0.2)).frames[0].meta
    y, x = meta.axes
    assert (y.name, y.unit, y.size, x.size) == ("y", "m", 64, 128)
    assert x.scale == y.scale == pytest.approx(100e-9 / 128)
    assert x.values().mean() == pytest.approx(0.0, abs=1e-20)
    assert (meta.x_m, meta.y_m) == pytest.approx((1.03e-6, 5e-9))
    assert (meta.rotation_rad, meta.defocus_m, meta.beam_current_a) == (0.2, -20e-9, 50e-12)
    dose = electrons(50e-12, 4e-6) / (100e-9 / 128) ** 2
    assert meta.dose_e_per_m2 == pytest.approx(dose)
