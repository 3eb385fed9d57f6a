"""The width of the probe, against ray tracing and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.constants as si
from scipy.optimize import minimize_scalar

from environments.instruments.simulated import GunConfig, LensConfig
from environments.instruments.simulated.optics import (
    STENCIL,
    STENCIL_WEIGHTS,
    Probe,
    diffraction_sigma_m,
    focus_spread_m,
    form_probe,
    source_sigma_m,
    spherical_sigma_m,
    stencil_m,
    third_order_m2,
    wavelength_m,
)

ALPHA = 25e-3


def rays(rng, n=400_000):
    radius = ALPHA * np.sqrt(rng.random(n))
    phase = 2 * np.pi * rng.random(n)
    return np.array([radius * np.cos(phase), radius * np.sin(phase)])


@pytest.mark.parametrize(("voltage_v", "pm"), [(80e3, 4.1757), (200e3, 2.5079), (300e3, 1.9687)])
def test_wavelength_is_that_of_published_tables(voltage_v, pm):
    assert wavelength_m(voltage_v) == pytest.approx(pm * 1e-12, rel=1e-4)


@pytest.mark.parametrize(
    ("f", "a", "b"), [(0.0, 0.0, 0.0), (80e-9, 0.0, 0.0), (-50e-9, 20e-9, 30e-9), (0.0, 0.0, 40e-9)]
)
def test_covariance_of_the_probe_equals_that_of_traced_rays(f, a, b):
    cs = 1e-4  # large, so that the spherical term matters
    t = rays(np.random.default_rng(1))
    gaussian_focus = f - 2.0 / 3.0 * cs * ALPHA**2
    d = np.array([[gaussian_focus + a, b], [b, gaussian_focus - a]])
    traced = np.cov(d @ t + cs * (t**2).sum(axis=0) * t)
    probe = Probe(ALPHA, spherical_sigma_m(cs, ALPHA) ** 2, a, b)
    assert probe.covariance_m2(f) == pytest.approx(traced, rel=0.01, abs=0.01 * np.trace(traced))


def third_order(x, y, coma, threefold):
    """Return the terms of third order of the aberration function, as `SetOptics` defines them."""
    t, p = np.hypot(x, y), np.arctan2(y, x)
    c21 = coma[0] * np.cos(p) + coma[1] * np.sin(p)
    return t**3 / 3.0 * (c21 + threefold[0] * np.cos(3 * p) + threefold[1] * np.sin(3 * p))


@pytest.mark.parametrize(
    ("coma", "threefold"),
    [((3e-6, 0.0), (0.0, 0.0)), ((1e-6, -2e-6), (0.0, 0.0)), ((0.0, 0.0), (2e-6, 1e-6)), ((2e-6, 1e-6), (-1e-6, 3e-6))],
)
def test_covariance_of_coma_and_threefold_equals_that_of_traced_rays(coma, threefold):
    x, y = rays(np.random.default_rng(2))
    h = ALPHA * 1e-5
    slope = [
        (third_order(x + h * ex, y + h * ey, coma, threefold) - third_order(x - h * ex, y - h * ey, coma, threefold))
        / (2 * h)
        for ex, ey in ((1, 0), (0, 1))
    ]
    traced = np.cov(slope)
    xx, xy, yy = third_order_m2(coma, threefold, ALPHA)
    assert np.array([[xx, xy], [xy, yy]]) == pytest.approx(traced, rel=0.01, abs=0.01 * np.trace(traced))
    focus = np.cov(np.array([x, y]) * 1e-7, slope)  # odd against even: they add
    assert np.abs(focus[:2, 2:]).max() < 0.01 * math.sqrt(np.trace(focus[:2, :2]) * np.trace(traced))


def test_threefold_astigmatism_alone_widens_all_directions_alike():
    xx, xy, yy = third_order_m2((0.0, 0.0), (1e-6, -2e-6), ALPHA)
    assert (xx, xy) == (pytest.approx(yy), pytest.approx(0.0, abs=1e-12 * xx))


def test_rms_radius_is_a_hyperbola_of_defocus_with_its_minimum_in_focus():
    probe = form_probe(GunConfig(), LensConfig(), current_a=50e-12, convergence_rad=ALPHA)
    defocus = np.linspace(-200e-9, 200e-9, 41)
    squared = np.array([probe.rms_m(f) ** 2 for f in defocus])
    assert squared == pytest.approx(probe.rms_m(0.0) ** 2 + defocus**2 * ALPHA**2 / 2, rel=1e-12)
    best = minimize_scalar(probe.rms_m, bounds=(-1e-7, 1.3e-7), method="bounded", options={"xatol": 1e-12})
    assert abs(best.x) < 1e-10


def test_variances_of_all_contributions_add():
    gun, lens = GunConfig(), LensConfig(spherical_m=5e-4)
    probe = form_probe(gun, lens, current_a=2e-10, convergence_rad=ALPHA)
    parts = (
        source_sigma_m(2e-10, ALPHA, gun.voltage_v, gun.reduced_brightness),
        diffraction_sigma_m(gun.voltage_v, ALPHA),
        spherical_sigma_m(5e-4, ALPHA),
        focus_spread_m(lens.chromatic_m, gun.energy_spread_ev, gun.voltage_v) * ALPHA / 2,
    )
    assert min(parts) > 0
    assert probe.rms_m(0.0) ** 2 == pytest.approx(2 * sum(p**2 for p in parts), rel=1e-12)


def test_source_grows_with_the_square_root_of_current_and_carries_it():
    small, large = (source_sigma_m(i, ALPHA, 200e3, 5e7) for i in (1e-11, 4e-11))
    assert large == pytest.approx(2 * small, rel=1e-12)
    fw50 = small * 2 * math.sqrt(2 * math.log(2))
    corrected_v = 200e3 * (1 + si.e * 200e3 / (2 * si.m_e * si.c**2))
    current = 5e7 * corrected_v * (math.pi / 4 * fw50**2) * (math.pi * ALPHA**2)
    assert current == pytest.approx(1e-11, rel=1e-6)


def test_focus_spread_is_the_change_of_relativistic_voltage():
    # the strength of a magnetic lens goes with V* = V (1 + eV / 2 m c^2)
    def corrected(v):
        return v * (1 + si.e * v / (2 * si.m_e * si.c**2))

    slope = (corrected(200e3 + 1) - corrected(200e3 - 1)) / 2
    sigma_v = 0.8 / (2 * math.sqrt(2 * math.log(2)))
    assert focus_spread_m(1e-3, 0.8, 200e3) == pytest.approx(1e-3 * sigma_v * slope / corrected(200e3), rel=1e-6)


def test_astigmatism_stretches_the_probe_along_one_axis_and_swaps_through_focus():
    probe = Probe(ALPHA, 1e-24, 30e-9, 0.0)
    over, under = probe.covariance_m2(40e-9), probe.covariance_m2(-40e-9)
    assert over[0, 0] > 10 * over[1, 1]
    assert under[1, 1] == pytest.approx(over[0, 0])
    diagonal = Probe(ALPHA, 1e-24, 0.0, 30e-9).covariance_m2(40e-9)
    assert diagonal[0, 0] == pytest.approx(diagonal[1, 1])
    assert diagonal[0, 1] > 0.9 * diagonal[0, 0]


def test_stigmators_cancel_hidden_astigmatism():
    lens = LensConfig(hidden_stigmator_a_m=12e-9, hidden_stigmator_b_m=-7e-9)
    cured = form_probe(
        GunConfig(), lens, current_a=5e-11, convergence_rad=ALPHA, stigmator_a_m=-12e-9, stigmator_b_m=7e-9
    )
    clean = form_probe(GunConfig(), LensConfig(), current_a=5e-11, convergence_rad=ALPHA)
    assert cured.rms_m(3e-8) == pytest.approx(clean.rms_m(3e-8), rel=1e-12)


@pytest.mark.parametrize(("p", "q"), [(p, q) for p in range(6) for q in range(6 - p)])
def test_stencil_integrates_polynomials_of_degree_five_exactly(p, q):
    def moment(n):
        return 0.0 if n % 2 else math.prod(range(1, n, 2))

    x, y = STENCIL.T
    assert STENCIL_WEIGHTS @ (x**p * y**q) == pytest.approx(moment(p) * moment(q), abs=1e-12)


def test_stencil_has_the_second_moments_asked_for():
    xx, xy, yy = np.array([4.0, 1.0]), np.array([-1.5, 0.0]), np.array([1.0, 9.0])
    dx, dy = stencil_m(xx, xy, yy)
    assert dx.shape == dy.shape == (7, 2)
    for product, moment in ((dx * dx, xx), (dx * dy, xy), (dy * dy, yy)):
        assert STENCIL_WEIGHTS @ product == pytest.approx(moment)
