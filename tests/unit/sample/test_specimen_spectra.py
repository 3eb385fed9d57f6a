"""Spectral responses against closed forms."""

import math

import numpy as np
import pytest

from autoscope.errors import Unsupported
from environments.sample.core_loss import CoreLossConfig, CoreLossResponse
from environments.sample.cross_sections import fluorescence_yield, ionisation_m2
from environments.sample.eds import EdsConfig, EdsResponse, efficiency, line_width_ev
from environments.sample.images import DetectorsConfig, ImageResponse
from environments.sample.kinematics import Electron
from environments.sample.low_loss import (
    LossDensity,
    LowLossConfig,
    LowLossResponse,
    loss_function,
    single_scattering_per_ev,
)
from environments.sample.materials import Drude, element, pure

BEAM = Electron(200e3)
ALUMINIUM = Drude(1.0, 15.0, 0.6)


# --- X-rays


def test_peak_integral_is_cross_section_times_areal_density_times_efficiency():
    config = EdsConfig(grid_stray=0.0)
    cobalt, areal = element("Co"), 3e20
    response = EdsResponse(config, BEAM, [cobalt])
    spectrum = response.spectrum(np.array([areal]))
    energy = response.signal.axis.values()
    window = (energy > 6600) & (energy < 7260)
    sides = (energy > 6300) & (energy < 6500)
    background = np.mean(spectrum[sides] * energy[sides]) * np.sum(1 / energy[window])
    section = ionisation_m2("K", 7709.0, BEAM) * fluorescence_yield("K", 27) / 1.13
    expected = section * areal * 0.9 / (4 * math.pi) * float(efficiency(np.array(6930.0), config))
    assert np.sum(spectrum[window]) - background == pytest.approx(expected, rel=0.01, abs=0)


def test_lines_of_a_family_share_its_photons_by_weight():
    response = EdsResponse(EdsConfig(window_ev=0.0, crystal_m=1.0), BEAM, [element("Cu")])
    (alpha_ev, alpha), (beta_ev, beta), *_ = response.line_counts_m2(element("Cu"))
    assert (alpha_ev, beta_ev) == (8048, 8905)
    assert beta / alpha == pytest.approx(0.13)


def test_line_width_is_the_resolution_at_manganese_and_narrower_below():
    to_fwhm = 2 * math.sqrt(2 * math.log(2))
    assert line_width_ev(5895.0, 128.0) * to_fwhm == pytest.approx(128.0)
    assert line_width_ev(277.0, 128.0) < line_width_ev(2051.0, 128.0) < line_width_ev(9442.0, 128.0)


def test_detector_is_blind_to_the_softest_and_translucent_to_the_hardest_photons():
    soft, middle, hard = efficiency(np.array([100.0, 5000.0, 20000.0]), EdsConfig())
    assert soft < 1e-3
    assert middle > 0.99
    assert 0.2 < hard < 0.6


def test_grid_adds_copper_and_nothing_else():
    clean = EdsResponse(EdsConfig(grid_stray=0.0), BEAM, [element("Pt")])
    stray = EdsResponse(EdsConfig(grid_stray=0.01), BEAM, [element("Pt")])
    extra = stray.template[0] - clean.template[0]
    energy = clean.signal.axis.values()
    assert extra.sum() > 0
    assert np.average(energy, weights=extra) == pytest.approx(8048, abs=15)


# --- low losses


@pytest.fixture(scope="module")
def wide():
    config = LowLossConfig(channels=2048, channel_ev=0.5, offset_ev=-24.0, zero_loss_fwhm_ev=1.0)
    return LowLossResponse(config, [LossDensity.bulk("Al", ALUMINIUM, BEAM, 0.02)])


@pytest.mark.parametrize("mean", [0.0, 0.3, 1.0, 2.5])
def test_multiple_scattering_loses_no_electron(wide, mean):
    assert wide.spectrum(np.array([[mean]])).sum() == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("mean", [0.2, 1.0, 2.0])
def test_orders_of_scattering_are_poisson(wide, mean):
    (spectrum,) = wide.spectrum(np.array([[mean]]))
    loss = wide.signal.axis.values()
    for order in range(4):
        # one plasmon of aluminium is narrow enough to separate the orders; tails of lower orders leak a little
        window = np.abs(loss - 15.0 * order) < 5.0
        expected = math.exp(-mean) * mean**order / math.factorial(order)
        if order == 0:
            assert spectrum[window].sum() == pytest.approx(expected, rel=0.01)
        else:
            assert spectrum[window].sum() == pytest.approx(expected, rel=0.2, abs=0.04)


@pytest.mark.parametrize(("channels", "offset_ev"), [(2048, -24.0), (120, -10.0)])
def test_spectrum_is_the_series_of_self_convolutions(channels, offset_ev):
    """Oracle: the Poisson series summed by direct convolution, on a long and on a short axis (nothing wraps round)."""
    mean, step = 0.7, 0.5
    config = LowLossConfig(channels=channels, channel_ev=step, offset_ev=offset_ev, zero_loss_fwhm_ev=1.0)
    density = LossDensity.bulk("Al", ALUMINIUM, BEAM, 0.02)
    response = LowLossResponse(config, [density])
    loss = np.arange(4097) * step
    single = density.below(loss + step / 2) - density.below(np.maximum(loss - step / 2, 0))
    series, order, weight = np.zeros(4096), np.array([1.0]), math.exp(-mean)
    for n in range(12):
        series[: len(order)] += weight * order
        order = np.convolve(order, single)[:4096]
        weight *= mean / (n + 1)
    (zero_loss,), (found,) = (response.spectrum(np.array([[mu]])) for mu in (0.0, mean))
    expected = np.convolve(zero_loss, series)[:channels]
    assert np.allclose(found, expected, atol=2e-5 if channels < 200 else 1e-7)


def test_loss_function_peaks_at_the_screened_plasma_energy():
    energy = np.linspace(0.5, 30.0, 20_000)
    for drude, peak_ev in ((ALUMINIUM, 15.0), (pure("Ag").drude, 9.0 / math.sqrt(5.0))):
        assert energy[np.argmax(loss_function(drude, energy))] == pytest.approx(peak_ev, abs=0.05)


def test_loss_function_obeys_the_sum_rule():
    energy = np.geomspace(1e-4, 1e5, 400_000)
    total = np.trapezoid(energy * loss_function(ALUMINIUM, energy), energy)
    assert total == pytest.approx(math.pi / 2 * 15.0**2, rel=2e-3)


def test_single_scattering_is_normalised_and_vanishes_at_zero_loss():
    energy = np.concatenate([[0.0], np.geomspace(1e-3, 3e3, 50_000)])
    density = single_scattering_per_ev(pure("C").drude, energy, BEAM, 0.02)
    assert density[0] == 0.0
    assert np.trapezoid(density, energy) == pytest.approx(1.0, rel=1e-3)


def test_a_mode_shows_at_its_energy_with_its_probability():
    config = LowLossConfig(channels=1024, channel_ev=0.02, offset_ev=-2.0, zero_loss_fwhm_ev=0.1)
    response = LowLossResponse(config, [LossDensity.mode("dipole", 3.0, 0.1)])
    with_mode, without = response.spectrum(np.array([[0.01], [0.0]]))
    loss = response.signal.axis.values()
    window = np.abs(loss - 3.0) < 1.0
    assert loss[window][np.argmax(with_mode[window])] == pytest.approx(3.0, abs=0.03)
    assert (with_mode - without)[window].sum() == pytest.approx(0.01, rel=0.06)


def test_an_axis_without_the_zero_loss_peak_is_refused():
    with pytest.raises(ValueError, match="zero-loss"):
        LowLossConfig(offset_ev=3.0)


# --- core losses


def test_edge_counts_are_linear_in_areal_density_and_background_in_thickness():
    response = CoreLossResponse(CoreLossConfig(), BEAM, [element("C"), element("Co")], [pure("C")])
    one = response.spectrum(np.array([1e21, 0.0]), np.array([0.1]))
    two = response.spectrum(np.array([2e21, 0.0]), np.array([0.2]))
    assert np.allclose(two, 2 * one, atol=0)


def test_edges_start_at_their_onsets():
    response = CoreLossResponse(CoreLossConfig(), BEAM, [element("C"), element("Co")], [pure("C")])
    loss = response.signal.axis.values()
    carbon, cobalt = response.edges
    assert loss[np.argmax(np.diff(carbon)) + 1] == pytest.approx(284, abs=1.5)
    assert carbon[loss < 283].max() < 1e-3 * carbon.max()
    assert loss[np.argmax(cobalt)] == pytest.approx(780, abs=3)
    assert cobalt[loss < 740].max() < 0.02 * cobalt.max()


def test_background_is_a_power_law():
    response = CoreLossResponse(CoreLossConfig(background_exponent=3.1), BEAM, [element("C")], [pure("C")])
    loss = response.signal.axis.values()
    slope = np.polyfit(np.log(loss), np.log(response.background[0]), 1)[0]
    assert slope == pytest.approx(-3.1, abs=1e-3)


def test_carbon_film_has_a_realistic_jump_ratio():
    carbon = pure("C")
    response = CoreLossResponse(CoreLossConfig(), BEAM, [element("C")], [carbon])
    spectrum = response.spectrum(np.array([carbon.atoms_per_m3 * 2e-8]), np.array([0.15]))
    loss = response.signal.axis.values()
    ratio = spectrum[(loss > 288) & (loss < 300)].mean() / spectrum[(loss > 265) & (loss < 280)].mean()
    assert 3 < ratio < 12


# --- images


def test_yields_saturate_instead_of_passing_one():
    response = ImageResponse(DetectorsConfig(), BEAM, [element("Pt")])
    thick = np.array([0.0, 1.0, 1e3])
    assert np.allclose(response.yield_("HAADF", thick), [0.0, 1 - math.exp(-1), 1.0])
    assert np.allclose(response.yield_("BF", thick), [1.0, math.exp(-1), 0.0])


def test_an_unknown_detector_is_refused_with_the_known_ones():
    with pytest.raises(Unsupported, match="HAADF, BF"):
        ImageResponse(DetectorsConfig(), BEAM, [element("C")]).section_m2("ABF")


def test_crossed_detector_angles_are_refused():
    with pytest.raises(ValueError, match="bf_outer"):
        DetectorsConfig(haadf_inner_rad=0.005)
