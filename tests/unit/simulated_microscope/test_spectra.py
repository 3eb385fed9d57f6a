"""Spectra: counts, averaging over the probe and its drift, spectrum images."""

from __future__ import annotations

import numpy as np
import pytest

from autoscope.errors import ConfigError
from autoscope.exposure import electrons
from autoscope.records import Axis, Measure, MoveStage, SetOptics, SpectrumImage, SpectrumSignal

POINT = Measure(x_m=0.0, y_m=0.0, dwell_s=0.01)
CUBE = SpectrumImage(fov_m=80e-9, width_px=8, height_px=6, dwell_s=1e-3)


def test_spectrum_counts_have_poisson_mean_and_variance(bench, analytic):
    b = bench(analytic(spectrum_at=lambda x, y: np.full(np.shape(x), 3e-5)))
    data = np.stack([b.do(POINT).frames[0].data for _ in range(400)]).astype(float)
    expected = electrons(50e-12, 0.01) * 3e-5
    assert data.dtype == float
    assert data.mean() == pytest.approx(expected, abs=5 * np.sqrt(expected / data.size))
    assert data.var() == pytest.approx(expected, rel=5 * np.sqrt(2 / data.size))


def test_spectrum_frame_carries_the_energy_axis_and_place(bench, analytic):
    b = bench(analytic())
    b.do(MoveStage(x_m=1e-7))
    frame = b.do(POINT.replace(x_m=2e-8)).frames[0]
    assert frame.meta.axes == (analytic().signals[0].axis,)
    assert frame.data.dtype == np.uint32
    assert frame.meta.x_m == pytest.approx(1.2e-7)


def test_spectrum_is_averaged_over_the_probe(bench, analytic):
    curvature = 1e11
    b = bench(analytic(spectrum_at=lambda x, y: 1e-5 + curvature * x**2))
    b.do(SetOptics(defocus_m=2e-6))
    sigma = 25e-3 * 2e-6 / 2
    counts = b.do(POINT.replace(dwell_s=10.0)).frames[0].data
    expected = electrons(50e-12, 10.0) * (1e-5 + curvature * sigma**2)
    assert counts.mean() == pytest.approx(expected, rel=2e-3)


def test_spectrum_is_averaged_over_the_drift_during_the_dwell(bench, analytic, perfect):
    curvature, speed, dwell = 1e11, 2e-9, 10.0
    config = perfect.replace(drift=perfect.drift.replace(ramp_x_m_per_s=speed))
    b = bench(analytic(spectrum_at=lambda x, y: 1e-5 + curvature * x**2), config=config)
    counts = b.do(POINT.replace(dwell_s=dwell)).frames[0].data
    overhead = config.scan.point_overhead_s
    mean_square = speed**2 * ((overhead + dwell) ** 3 - overhead**3) / (3 * dwell)
    assert counts.mean() == pytest.approx(electrons(50e-12, dwell) * (1e-5 + curvature * mean_square), rel=2e-3)


def test_points_of_measure_are_offsets_from_the_optical_axis(bench, analytic):
    b = bench(analytic(spectrum_at=lambda x, y: np.where(np.hypot(x - 3e-7, y + 1e-7) < 2e-9, 1e-3, 0.0)))
    b.do(MoveStage(x_m=2e-7, y_m=-2e-7))
    assert b.do(POINT.replace(x_m=1e-7, y_m=1e-7)).frames[0].data.all()
    assert not b.do(POINT).frames[0].data.any()


def test_spectrum_image_has_the_spectrum_of_each_pixel(bench, analytic):
    b = bench(analytic(spectrum_at=lambda x, y: 1e-4 * (2 + x / 40e-9 + 0.5 * y / 30e-9)))
    haadf, cube = b.do(CUBE).frames
    assert haadf.meta.signal == "HAADF"
    assert haadf.data.shape == (6, 8)
    assert cube.data.shape == (6, 8, 16)
    assert cube.data.dtype == np.uint16
    assert [a.name for a in cube.meta.axes] == ["y", "x", "energy"]
    i, j = np.indices((6, 8))
    expected = electrons(50e-12, 1e-3) * 1e-4 * (2 + ((j + 0.5) / 8 - 0.5) * 2 + 0.5 * ((i + 0.5) / 6 - 0.5) * 2)
    z = (cube.data.mean(axis=2) - expected) / np.sqrt(expected / 16)
    assert np.abs(z).max() < 4.5
    assert (z**2).mean() == pytest.approx(1.0, abs=0.6)


def test_spectrum_image_with_a_wide_probe_averages_each_pixel(bench, analytic):
    b = bench(analytic(spectrum_at=lambda x, y: 1e-5 + 1e11 * x**2))
    b.do(SetOptics(defocus_m=1e-6))
    cube = b.do(CUBE.replace(dwell_s=0.1)).frames[1].data
    x = ((np.arange(8) + 0.5) / 8 - 0.5) * 80e-9
    expected = electrons(50e-12, 0.1) * (1e-5 + 1e11 * (x**2 + (25e-3 * 1e-6 / 2) ** 2))
    assert cube.mean(axis=(0, 2)) == pytest.approx(expected, rel=0.01)


def test_spectrum_images_in_chunks_equal_those_in_one_piece(bench, analytic, monkeypatch):
    whole = bench(analytic()).do(CUBE).frames[1]
    monkeypatch.setattr("environments.instruments.simulated.acquisition.CHUNK_BYTES", 1)
    assert bench(analytic()).do(CUBE).frames[1] == whole


def test_spectrum_image_may_go_without_image_detectors(bench, analytic):
    frames = bench(analytic()).do(CUBE.replace(detectors=())).frames
    assert [f.meta.signal for f in frames] == ["EELS"]


def test_specimens_that_disagree_about_an_energy_axis_are_refused(bench, analytic):
    other = SpectrumSignal(name="EELS", axis=Axis(name="energy", unit="eV", size=32))
    with pytest.raises(ConfigError, match="energy axis"):
        bench(analytic(), analytic(signals=(other,)))
