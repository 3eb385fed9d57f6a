"""Where the pixels of a scan are."""

from __future__ import annotations

import numpy as np
import pytest

from autoscope.records import Scan
from environments.instruments.simulated import ScanConfig
from environments.instruments.simulated.scan import Raster, Tilt, coil_matrix

SQUARE = {"hidden_rotation_rad": 0.0, "scale_error_x": 0.0, "scale_error_y": 0.0, "shear": 0.0, "flyback_lag": 0.0}
ACTION = Scan(fov_m=120e-9, width_px=6, height_px=4, dwell_s=1e-3, centre_x_m=1e-6, centre_y_m=-2e-6)


def still(time_s):
    return np.zeros((len(time_s), 2))


def raster(action=ACTION, tilt=None, start_s=0.0, **changes):
    config = ScanConfig(**(SQUARE | changes))
    return Raster(action, config, coil_matrix(config), tilt or Tilt(), start_s)


def test_pixel_centres_are_where_the_records_say():
    x, y = raster().pixels_m(still)
    i, j = np.indices((4, 6))
    assert x == pytest.approx(1e-6 + ((j + 0.5) / 6 - 0.5) * 120e-9)
    assert y == pytest.approx(-2e-6 + ((i + 0.5) / 4 - 0.5) * 120e-9 * 4 / 6)


def test_rotation_turns_the_field_about_its_centre():
    x, y = raster(ACTION.replace(rotation_rad=np.pi / 2)).pixels_m(still)
    plain_x, plain_y = raster().pixels_m(still)
    assert x == pytest.approx(1e-6 - (plain_y + 2e-6))
    assert y == pytest.approx(-2e-6 + (plain_x - 1e-6))


def test_each_row_sees_its_own_drift():
    x, y = raster(start_s=5.0, line_flyback_s=4e-3).pixels_m(lambda t: np.column_stack([1e-9 * t, -2e-9 * t]))
    plain_x, plain_y = raster().pixels_m(still)
    time = 5.0 + np.arange(4)[:, None] * (6e-3 + 4e-3) + (np.arange(6) + 0.5) * 1e-3
    assert x - plain_x == pytest.approx(1e-9 * time, rel=1e-9)
    assert y - plain_y == pytest.approx(-2e-9 * time, rel=1e-9)


def test_hidden_errors_distort_the_field_by_their_size():
    centred = ACTION.replace(centre_x_m=0.0, centre_y_m=0.0)
    plain_x, plain_y = raster(centred).pixels_m(still)
    x, y = raster(centred, scale_error_x=0.02, scale_error_y=-0.01, shear=0.05).pixels_m(still)
    assert x == pytest.approx(1.02 * plain_x + 0.05 * plain_y)
    assert y == pytest.approx(0.99 * plain_y)
    x, y = raster(centred, hidden_rotation_rad=0.1).pixels_m(still)
    assert np.hypot(x, y) == pytest.approx(np.hypot(plain_x, plain_y))
    assert np.arctan2(y[0, 0], x[0, 0]) - np.arctan2(plain_y[0, 0], plain_x[0, 0]) == pytest.approx(0.1)


def test_lines_begin_late_and_catch_up():
    late = raster(flyback_lag=0.01, lag_time_s=1e-3).pixels_m(still)[0] - raster().pixels_m(still)[0]
    assert late[2] == pytest.approx(-0.01 * 120e-9 * np.exp(-(np.arange(6) + 0.5)), rel=1e-6)


def test_tilt_stretches_the_field_on_the_specimen_and_makes_it_slope():
    tilt = Tilt(alpha_rad=0.3, beta_rad=0.0)
    centred = ACTION.replace(centre_x_m=0.0, centre_y_m=0.0)
    x, y = raster(centred, tilt=tilt).pixels_m(still)
    plain_x, plain_y = raster(centred).pixels_m(still)
    assert x == pytest.approx(plain_x)
    assert y == pytest.approx(plain_y / np.cos(0.3))
    assert tilt.height_m(plain_x, plain_y) == pytest.approx(plain_y * np.tan(0.3))
