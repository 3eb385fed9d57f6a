"""Counting statistics and electronics of detectors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from environments.instruments.simulated import DetectorConfig
from environments.instruments.simulated.detectors import count_electrons, count_spectrum, detect, read_out

N = 200_000


@pytest.mark.parametrize("mean", [0.3, 4.0, 8.0, 9.5, 40.0, 700.0])
def test_counts_of_images_follow_the_poisson_distribution(mean):
    counts = count_electrons(np.full((400, N // 400), mean, dtype=np.float32), np.random.default_rng(5)).ravel()
    low, high = (int(q) for q in stats.poisson.ppf([1e-3, 1 - 1e-3], mean))
    edges = np.unique(np.linspace(low, high, min(high - low + 1, 40)).astype(int))
    observed = np.histogram(counts, bins=[-0.5, *(edges + 0.5), np.inf])[0]
    below = stats.poisson.cdf(edges, mean)
    expected = np.diff([0.0, *below, 1.0]) * N
    assert stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-4


@pytest.mark.parametrize("mean", [1.0, 8.0, 25.0, 5000.0])
def test_variance_of_counts_equals_mean(mean):
    counts = count_electrons(np.full((400, N // 400), mean, dtype=np.float32), np.random.default_rng(6))
    assert counts.mean(dtype=np.float64) == pytest.approx(mean, abs=5 * np.sqrt(mean / N))
    assert counts.var(dtype=np.float64) == pytest.approx(mean, rel=5 * np.sqrt((2 + 1 / mean) / N))


def test_counts_are_whole_and_never_negative_where_few_and_many_meet():
    mean = np.linspace(0.0, 16.0, 40_000, dtype=np.float32).reshape(200, 200)
    counts = count_electrons(mean, np.random.default_rng(7))
    assert np.array_equal(counts, np.rint(counts))
    assert counts.min() == 0.0
    assert not counts[mean == 0.0].any()


def test_read_out_is_linear_with_gain_and_offset():
    quiet = DetectorConfig(name="HAADF", gain=3.0, offset=100.0, readout=0.0)
    values = read_out(np.array([[0.0, 1.0, 50.0]], dtype=np.float32), quiet, np.random.default_rng(0))
    assert values.dtype == np.uint16
    assert values.tolist() == [[100, 103, 250]]


def test_signal_saturates_at_the_depth_of_the_detector():
    shallow = DetectorConfig(name="HAADF", offset=0.0, readout=0.0, bits=12)
    values = read_out(np.array([[4094.0, 4095.0, 1e9]], dtype=np.float32), shallow, np.random.default_rng(0))
    assert values.tolist() == [[4094, 4095, 4095]]


def test_readout_noise_has_its_standard_deviation_without_beam():
    config = DetectorConfig(name="HAADF", offset=200.0, readout=6.0)
    dark = detect(np.zeros((300, 300), dtype=np.float32), config, np.random.default_rng(1))
    assert dark.mean() == pytest.approx(200.0, abs=0.1)
    assert dark.std() == pytest.approx(np.hypot(6.0, np.sqrt(1 / 12)), rel=0.02)


def test_spectrum_counts_have_poisson_mean_and_variance_and_stop_at_the_top():
    counts = count_spectrum(np.full(N, 30.0), np.random.default_rng(2), np.uint32)
    assert counts.dtype == np.uint32
    assert counts.mean() == pytest.approx(30.0, abs=5 * np.sqrt(30 / N))
    assert counts.var() == pytest.approx(30.0, rel=5 * np.sqrt(2 / N))
    assert count_spectrum(np.array([1e7]), np.random.default_rng(2), np.uint16).tolist() == [65535]
