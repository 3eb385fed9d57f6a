"""Scans of the digital twin in coil voltages, and virtual detectors as masks; no twin needed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscope.errors import OutOfRange
from autoscope.records import Measure, Scan, SpectrumImage
from environments.instruments.detwin.acquisition import _blocks
from environments.instruments.detwin.config import Annulus
from environments.instruments.detwin.geometry import angles_rad, binned, mask, plan

FIELDS_M = {1e3: 1e-4, 1e4: 1e-5, 1e5: 1e-6}


@given(
    st.floats(1e-8, 9e-5),
    st.integers(1, 64),
    st.integers(1, 64),
    st.floats(-4e-4, 4e-4),
    st.floats(-4e-4, 4e-4),
)
def test_the_coils_draw_the_field_asked_for_at_the_place_asked_for(fov_m, width, height, x_m, y_m):
    action = Scan(fov_m=fov_m, width_px=width, height_px=height, dwell_s=1e-6, centre_x_m=x_m, centre_y_m=y_m)
    longer_m = fov_m * max(1.0, height / width)
    try:
        drawn = plan(action, FIELDS_M)
    except OutOfRange:
        assert longer_m > 0.99e-4 or max(abs(x_m), abs(y_m)) + longer_m / 2 > 4.99e-4
        return
    per_v = FIELDS_M[drawn.magnification] / 2.0
    for (low, high), centre_m in ((drawn.voltage_h, x_m), (drawn.voltage_v, y_m)):
        assert (high - low) * per_v == pytest.approx(longer_m)
        assert -(low + high) / 2.0 * per_v == pytest.approx(centre_m, abs=1e-12)
        assert max(abs(low), abs(high)) <= 10.0 + 1e-9


def test_the_smallest_field_that_holds_the_scan_is_chosen():
    assert plan(Scan(fov_m=9e-7, width_px=8, height_px=8, dwell_s=1e-6), FIELDS_M).magnification == 1e5
    assert plan(Scan(fov_m=9e-7, width_px=8, height_px=16, dwell_s=1e-6), FIELDS_M).magnification == 1e4
    assert plan(Measure(x_m=8e-6, y_m=0.0, dwell_s=1.0), FIELDS_M).magnification == 1e4


@pytest.mark.parametrize("rotation_rad", [0.0, 0.4])
def test_bands_of_rows_lie_where_the_whole_scan_puts_them(rotation_rad):
    whole = SpectrumImage(
        fov_m=1e-7,
        width_px=20,
        height_px=13,
        dwell_s=1e-3,
        centre_x_m=3e-8,
        centre_y_m=-2e-8,
        rotation_rad=rotation_rad,
    )

    def places(action):
        v, u = (np.arange(n) - (n - 1) / 2.0 for n in (action.height_px, action.width_px))
        step = action.fov_m / action.width_px
        c, s = np.cos(action.rotation_rad), np.sin(action.rotation_rad)
        x = action.centre_x_m + step * (c * u[None] - s * v[:, None])
        y = action.centre_y_m + step * (s * u[None] + c * v[:, None])
        return np.stack([x, y])

    bands = list(_blocks(whole))
    assert [first for first, _ in bands] == [0, 3, 6, 9, 12]
    np.testing.assert_allclose(np.concatenate([places(b) for _, b in bands], axis=1), places(whole), atol=1e-20)


def test_rings_that_touch_share_no_pixel_and_lose_none():
    inner, outer = Annulus(outer_rad=0.02), Annulus(inner_rad=0.02, outer_rad=1.0)
    first, second = (mask((16, 16), 4e-3, ring) for ring in (inner, outer))
    assert not (first & second).any()
    assert (first | second).all()
    assert angles_rad((16, 16), 4e-3)[8, 8] == 0.0


def test_binning_keeps_every_electron():
    cube = np.random.default_rng(0).random((2, 3, 8, 8)).astype(np.float32)
    small = binned(cube, 4)
    assert small.shape == (2, 3, 4, 4)
    np.testing.assert_allclose(small[1, 2, 0, 1], cube[1, 2, 0:2, 2:4].sum(), rtol=1e-6)


def test_a_ring_inside_out_is_refused():
    with pytest.raises(ValueError, match="below the outer"):
        Annulus(inner_rad=0.1, outer_rad=0.05)
