import math

import pytest

from autoscope.config import LimitsConfig
from autoscope.guard.geometry import corners, path, probe_area_m2, wavelength_m
from autoscope.guard.ranges import permitted
from autoscope.records import Capabilities, MicroscopeState, MoveStage, Range, Scan

SCOPE = Capabilities(
    instrument="bench", serial="7", simulated=True, voltage_v=200e3, actions=(), detectors=(),
    ranges={"x_m": Range(low=0.0, high=1.0)},
)  # fmt: skip


def test_corners_of_an_upright_scan_are_those_of_its_field():
    scan = Scan(fov_m=4.0, width_px=4, height_px=2, dwell_s=1.0, centre_x_m=10.0, centre_y_m=20.0)
    assert corners(scan) == [(8.0, 19.0), (12.0, 19.0), (12.0, 21.0), (8.0, 21.0)]


def test_corners_turn_from_x_towards_y_about_the_centre():
    scan = Scan(fov_m=4.0, width_px=4, height_px=2, dwell_s=1.0, centre_x_m=10.0, rotation_rad=math.pi / 6)
    cosine, sine = math.sqrt(3) / 2, 0.5
    expected = [(10 + x * cosine - y * sine, x * sine + y * cosine) for x, y in ((-2, -1), (2, -1), (2, 1), (-2, 1))]
    for found, wanted in zip(corners(scan), expected):
        assert found == pytest.approx(wanted, rel=1e-12)


def test_path_spans_from_start_to_target_on_every_axis():
    state = MicroscopeState(time_s=0.0, x_m=1.0, y_m=2.0, alpha_rad=0.3)
    passed = path(MoveStage(x_m=3.0, alpha_rad=-0.1), state)
    assert (passed["x_m"].low, passed["x_m"].high) == (1.0, 3.0)
    assert (passed["y_m"].low, passed["y_m"].high) == (2.0, 2.0)
    assert (passed["alpha_rad"].low, passed["alpha_rad"].high) == (-0.1, 0.3)
    assert set(passed) == {"x_m", "y_m", "z_m", "alpha_rad", "beta_rad"}


@pytest.mark.parametrize(
    ("voltage_v", "wavelength_pm"), [(60e3, 4.866), (100e3, 3.701), (200e3, 2.508), (300e3, 1.969)]
)
def test_wavelength_is_that_of_published_tables(voltage_v, wavelength_pm):
    assert wavelength_m(voltage_v) * 1e12 == pytest.approx(wavelength_pm, abs=5e-4)


def test_area_of_the_probe_is_airy_disc_plus_disc_of_defocus():
    airy_m2 = math.pi * (0.61 * wavelength_m(200e3) / 0.02) ** 2
    assert probe_area_m2(0.02, 200e3, 0.0) == pytest.approx(airy_m2, rel=1e-12, abs=0.0)
    blurred_m2 = math.pi * (50e-9 * 0.02) ** 2
    for defocus_m in (50e-9, -50e-9):
        assert probe_area_m2(0.02, 200e3, defocus_m) == pytest.approx(airy_m2 + blurred_m2, rel=1e-12, abs=0.0)


def test_limits_may_leave_a_single_point():
    assert permitted(LimitsConfig(x_m=(1.0, 2.0)), SCOPE)["x_m"] == Range(low=1.0, high=1.0)


def test_axes_without_limits_keep_the_range_of_the_instrument():
    assert permitted(LimitsConfig(y_m=(1.0, 2.0)), SCOPE) == {
        "x_m": Range(low=0.0, high=1.0),
        "y_m": Range(low=1.0, high=2.0),
    }
