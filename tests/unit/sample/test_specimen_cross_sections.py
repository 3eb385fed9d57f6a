"""Single-atom cross-sections against closed forms and published magnitudes."""

import math

import numpy as np
import pytest
from scipy.integrate import quad

from autoscope.errors import ConfigError
from environments.sample.cross_sections import (
    bremsstrahlung_m2_per_ev,
    edge_m2_per_ev,
    elastic_m2,
    fluorescence_yield,
    ionisation_m2,
    mean_free_path_m,
    oscillator_strength_per_ev,
)
from environments.sample.kinematics import BOHR_M, Electron
from environments.sample.materials import ELEMENTS, alloy, element, pure

BEAM = Electron(200e3)


@pytest.mark.parametrize(("voltage_v", "wavelength_pm"), [(60e3, 4.866), (80e3, 4.176), (200e3, 2.508), (300e3, 1.969)])
def test_wavelength_is_the_tabulated_one(voltage_v, wavelength_pm):
    assert Electron(voltage_v).wavelength_m * 1e12 == pytest.approx(wavelength_pm, abs=1e-3)


def test_a_beam_without_voltage_is_refused():
    with pytest.raises(ConfigError, match="must be positive"):
        Electron(0.0)


def test_elastic_cross_section_is_the_integral_of_the_screened_rutherford_law():
    number, inner, outer = 78, 0.03, 0.15
    screening = number ** (1 / 3) / (BEAM.wave_number_per_m * BOHR_M)

    def ring(theta):
        per_sr = 4 * (BEAM.gamma * number / (BOHR_M * BEAM.wave_number_per_m**2)) ** 2 / (theta**2 + screening**2) ** 2
        return 2 * math.pi * theta * per_sr

    assert elastic_m2(number, BEAM, inner, outer) == pytest.approx(quad(ring, inner, outer)[0], rel=1e-9, abs=0)


def test_elastic_exponent_of_z_lies_between_screened_and_bare():
    into_haadf = [elastic_m2(z, BEAM, 0.06, 0.2) for z in (29, 79)]
    exponent = math.log(into_haadf[1] / into_haadf[0]) / math.log(79 / 29)
    assert 1.6 < exponent < 1.95
    far_out = [elastic_m2(z, BEAM, 1.0, 2.0) for z in (29, 79)]
    assert math.log(far_out[1] / far_out[0]) / math.log(79 / 29) == pytest.approx(2.0, abs=0.01)


def test_annuli_add_up():
    parts = elastic_m2(47, BEAM, 0.01, 0.05) + elastic_m2(47, BEAM, 0.05, 0.2)
    assert parts == pytest.approx(elastic_m2(47, BEAM, 0.01, 0.2), rel=1e-9, abs=0)


def test_copper_k_ionisation_is_near_the_measured_cross_section():
    # about 300 barn at 100 to 200 keV in measurements collected by Llovet et al., J. Phys. Chem. Ref. Data 43 (2014)
    assert 150 < ionisation_m2("K", 8979.0, BEAM) * 1e28 < 450


@pytest.mark.parametrize("voltage_v", [80e3, 200e3, 300e3])
def test_ionisation_is_the_relativistic_bethe_formula_in_textbook_units(voltage_v):
    # Williams & Carter, eq. 4.2, with pi e^4 = 6.51e-20 cm2 keV2 and everything in keV
    beam, binding_kev = Electron(voltage_v), 7.709
    energy_kev, beta2 = beam.half_mv2_ev / 1e3, beam.beta_squared
    bracket = math.log(0.65 * energy_kev / binding_kev) - math.log(1 - beta2) - beta2
    expected_cm2 = 6.51e-20 * 2 * 0.9 / (energy_kev * binding_kev) * bracket
    assert ionisation_m2("K", 7709.0, beam) * 1e4 == pytest.approx(expected_cm2, rel=2e-3, abs=0)


def test_a_shell_deeper_than_the_beam_is_not_ionised():
    assert ionisation_m2("K", 11919.0, Electron(10e3)) == 0.0


@pytest.mark.parametrize(
    ("shell", "number", "krause"),
    [("K", 6, 0.0028), ("K", 27, 0.373), ("K", 42, 0.765), ("L", 78, 0.306), ("L", 47, 0.052)],
)
def test_fluorescence_yields_agree_with_krauses_table(shell, number, krause):
    assert fluorescence_yield(shell, number) == pytest.approx(krause, rel=0.2)


def test_bremsstrahlung_falls_as_one_over_energy_and_ends_at_the_beam_energy():
    energy = np.array([1e3, 2e3, 250e3])
    section = bremsstrahlung_m2_per_ev(13, energy, BEAM)
    assert section[0] / section[1] == pytest.approx(2.0)
    assert section[2] == 0.0
    assert bremsstrahlung_m2_per_ev(26, energy, BEAM)[0] == pytest.approx(4 * section[0], rel=1e-9, abs=0)


@pytest.mark.parametrize("symbol", ["C", "N", "O"])
def test_k_edge_oscillator_strength_integrates_to_the_published_total(symbol):
    atom = element(symbol)
    (edge,) = atom.edges
    total = quad(lambda e: float(oscillator_strength_per_ev(edge, atom.number, np.array(e))), edge.onset_ev, np.inf)[0]
    assert total == pytest.approx(2.1 - atom.number / 27, rel=1e-6)


def test_no_shell_has_more_oscillator_strength_than_electrons():
    for atom in ELEMENTS.values():
        for edge in atom.edges:
            energy = np.geomspace(0.5 * edge.onset_ev, 300 * edge.onset_ev, 20_000)
            strength = np.trapezoid(oscillator_strength_per_ev(edge, atom.number, energy), energy)
            assert strength < {"K": 2.0, "L": 6.0, "M": 10.0}[edge.shell]


def test_carbon_k_edge_has_the_published_partial_cross_section():
    # 0.5 to 1.5e-24 m2 for beta 10 mrad and a 100 eV window at 80 to 200 kV (Egerton 2011, chapter 4)
    carbon = element("C")
    energy = np.linspace(284.0, 384.0, 2001)
    section = np.trapezoid(edge_m2_per_ev(carbon.edges[0], 6, energy, BEAM, 0.01), energy)
    assert 4e-25 < section < 1.5e-24


def test_edges_grow_with_collection_angle():
    edge, energy = element("O").edges[0], np.array([540.0])
    assert edge_m2_per_ev(edge, 8, energy, BEAM, 0.02) > edge_m2_per_ev(edge, 8, energy, BEAM, 0.005)


@pytest.mark.parametrize(("density", "published_nm"), [(2.7, 134), (2.33, 145), (19.3, 84)])
def test_mean_free_path_is_the_published_one_at_200_kv(density, published_nm):
    # Iakoubovskii et al. (2008), table: Al 134, Si 145, Au 84 nm
    assert mean_free_path_m(density, BEAM, 0.02) * 1e9 == pytest.approx(published_nm, rel=0.25)


def test_alloy_conserves_atomic_volume():
    mixed = alloy("Pt", "Co", 0.25)
    volume = 0.75 / pure("Pt").atoms_per_m3 + 0.25 / pure("Co").atoms_per_m3
    assert 1 / mixed.atoms_per_m3 == pytest.approx(volume, rel=1e-9, abs=0)
    assert pure("Co").density_g_per_cm3 < mixed.density_g_per_cm3 < pure("Pt").density_g_per_cm3


def test_an_unknown_element_is_named_in_the_error():
    with pytest.raises(ConfigError, match="'Xx'"):
        element("Xx")


def test_lines_lie_below_their_shell_energies():
    for atom in ELEMENTS.values():
        for family in atom.families:
            # L gamma and M lines come from the shallower subshells, whose binding energy is a little larger
            assert all(energy < 1.2 * family.binding_ev for energy, _ in family.lines)
            assert family.lines[0][0] < family.binding_ev
            assert family.lines[0][1] == 1
