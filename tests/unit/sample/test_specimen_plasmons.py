"""Surface plasmons: energies move with size and shape as they should, and fields decay."""

import math

import numpy as np
import pytest
from scipy.special import k0, k1

from autoscope.errors import ConfigError
from environments.sample import NanoparticlesConfig, build_specimen
from environments.sample.kinematics import FINE_STRUCTURE, HBAR_C_EV_M, Electron
from environments.sample.materials import Drude, pure
from environments.sample.particle_modes import Optics, modes_of
from environments.sample.particles import Particle
from environments.sample.plasmons import ModeMap, coupling, in_plane_factor, long_axis_factor, resonance_ev

BEAM = Electron(200e3)
SILVER = Optics(pure("Ag").drude, 1.0, 0.1)


def energies(shape, length_m, width_m=None, optics=SILVER):
    modes = modes_of(Particle(shape, 0.0, 0.0, 0.0, length_m, width_m or length_m), optics)
    return {m.name: m.energy_ev for m in modes}


def test_a_small_drude_sphere_resonates_at_plasma_energy_over_root_three():
    assert resonance_ev(Drude(1.0, 15.0, 0.5), 2.0, 1e-12) == pytest.approx(15.0 / math.sqrt(3.0))


def test_a_small_silver_sphere_resonates_near_3_4_ev():
    assert energies("sphere", 1e-8)["dipole"] == pytest.approx(3.4, abs=0.1)


def test_resonance_solves_the_retarded_condition():
    drude, ratio, half, medium = pure("Ag").drude, 2.0, 6e-8, 1.3
    energy = resonance_ev(drude, ratio, half, medium)
    x2 = medium * (energy * half / HBAR_C_EV_M) ** 2
    assert drude.background - drude.plasma_ev**2 / energy**2 == pytest.approx(-(ratio + 2.4 * x2) * medium)


def test_depolarisation_factors_of_a_spheroid_sum_to_one():
    # a needle has 0, 1/2, 1/2 and a plate 0, 0, 1
    assert long_axis_factor(200.0) == pytest.approx(0.0, abs=2e-4)
    assert in_plane_factor(2000.0) == pytest.approx(0.0, abs=1e-3)
    assert long_axis_factor(1.0001) == pytest.approx(1 / 3, abs=1e-3)
    assert in_plane_factor(1.0002) == pytest.approx(1 / 3, abs=1e-3)
    assert long_axis_factor(2.0) == pytest.approx(0.1736, abs=1e-4)  # Osborn, Phys. Rev. 67, 351 (1945)
    assert in_plane_factor(2.0) == pytest.approx(0.2364, abs=1e-4)


def test_larger_particles_resonate_at_lower_energy():
    for shape in ("sphere", "cube"):
        small, large = energies(shape, 3e-8), energies(shape, 9e-8)
        assert all(large[name] < small[name] for name in small)


def test_longer_rods_resonate_at_lower_energy_along_and_higher_across():
    short, long = energies("rod", 6e-8, 2e-8), energies("rod", 1.2e-7, 2e-8)
    assert long["longitudinal"] < short["longitudinal"] < short["longitudinal_2"]
    assert long["longitudinal_2"] < short["longitudinal_2"]
    assert long["transverse"] >= short["transverse"]


def test_flatter_triangles_resonate_at_lower_energy_and_below_their_edges():
    thick, thin = energies("triangle", 6e-8, 3e-8), energies("triangle", 6e-8, 1e-8)
    assert thin["corner"] < thick["corner"] < thick["edge"]


def test_corners_of_a_cube_resonate_below_edges_and_faces():
    cube = energies("cube", 4e-8)
    assert cube["corner"] < cube["edge"] < cube["face"]


def test_a_denser_medium_lowers_the_energy():
    assert (
        energies("sphere", 3e-8, optics=Optics(SILVER.drude, 2.0, 0.1))["dipole"] < energies("sphere", 3e-8)["dipole"]
    )


def test_excitation_of_a_sphere_is_the_bessel_function_law_outside():
    particle = Particle("sphere", 0.0, 0.0, 0.0, 4e-8, 4e-8)
    (mode,) = modes_of(particle, SILVER)
    distance = np.array([3e-8, 8e-8])
    found = ModeMap([mode], BEAM).events(distance, np.zeros(2))[0]
    speed = math.sqrt(BEAM.beta_squared)
    xi = mode.energy_ev * distance / (HBAR_C_EV_M * speed * BEAM.gamma)
    scale = FINE_STRUCTURE / speed * (mode.energy_ev * 2e-8 / (HBAR_C_EV_M * speed)) ** 3 / BEAM.gamma**2
    expected = mode.strength * scale * (k1(xi) ** 2 + k0(xi) ** 2 / BEAM.gamma**2)
    assert np.allclose(found, expected, rtol=1e-9, atol=0)


def test_the_field_decays_exponentially_far_outside():
    energy, far = np.array(3.0), np.array([3e-7, 3.5e-7])
    near, further = coupling(far, energy, np.array(2e-8), BEAM)
    decay = 2 * 3.0 / (HBAR_C_EV_M * math.sqrt(BEAM.beta_squared) * BEAM.gamma) * 5e-8
    assert math.log(near / further) == pytest.approx(decay, rel=0.15)


def test_corner_mode_of_a_cube_is_hottest_at_its_corners():
    modes = {m.name: m for m in modes_of(Particle("cube", 0.0, 0.0, 0.0, 6e-8, 6e-8), SILVER)}
    x, y = np.array([3e-8, 3e-8, 0.0]), np.array([3e-8, 0.0, 0.0])
    corner, side, centre = ModeMap([modes["corner"]], BEAM).events(x, y)[0]
    assert corner > side > centre
    corner, side, centre = ModeMap([modes["edge"]], BEAM).events(x, y)[0]
    assert side > corner
    assert side > centre


def test_second_mode_of_a_rod_has_an_antinode_in_the_middle_where_the_first_has_a_node():
    modes = {m.name: m for m in modes_of(Particle("rod", 0.0, 0.0, 0.0, 2.4e-7, 2e-8), SILVER)}
    x = np.linspace(-1.2e-7, 1.2e-7, 241)
    first = ModeMap([modes["longitudinal"]], BEAM).events(x, np.full(241, 1.5e-8))[0]
    second = ModeMap([modes["longitudinal_2"]], BEAM).events(x, np.full(241, 1.5e-8))[0]
    assert first[120] < 1e-6 * first.max()
    assert abs(x[np.argmax(first)]) > 7e-8
    assert second[120] > 0.5 * second.max()
    assert second[60:120].min() < 0.05 * second[120]
    assert np.allclose(first, first[::-1], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("order", "cuts"), [(1, [0.0]), (2, [-6e-8, 6e-8])])
def test_antinodes_of_a_rod_share_one_oscillator(order, cuts):
    mode = modes_of(Particle("rod", 0.0, 0.0, 0.0, 2.6e-7, 2e-8), SILVER)[order - 1]
    antinode = np.searchsorted(cuts, mode.spots_m[:, 0] + 1e-12)
    charge = np.bincount(antinode, mode.weights)
    assert np.all(charge[:-1] * charge[1:] < 0)
    assert np.sum(charge**2) == pytest.approx(1.0, abs=0.2)
    assert charge.sum() == pytest.approx(0.0, abs=0.2)


def test_hot_spots_turn_and_move_with_their_particle():
    still = modes_of(Particle("triangle", 0.0, 0.0, 0.0, 6e-8, 1e-8), SILVER)[0]
    moved = modes_of(Particle("triangle", 5e-8, -2e-8, math.pi / 2, 6e-8, 1e-8), SILVER)[0]
    x, y = still.spots_m.T
    assert np.allclose(moved.spots_m, np.column_stack([5e-8 - y, -2e-8 + x]), atol=1e-20)


# --- the field of particles


@pytest.fixture(scope="module")
def field():
    return build_specimen(NanoparticlesConfig(), rng=np.random.default_rng(4), voltage_v=200e3)


def test_a_sharp_beam_beside_a_particle_sees_its_modes(field):
    truth = field.truth()
    axis = next(s.axis for s in field.signals if s.name == "EELS")
    loss = axis.values()
    for i in range(len(truth["x_m"])):
        beside = np.array([truth["x_m"][i] + truth["radius_m"][i] + 2e-9]), np.array([truth["y_m"][i]])
        away = np.array([9e-6]), np.array([0.0])
        extra = field.spectrum("EELS", *beside, 0.0)[0] - field.spectrum("EELS", *away, 0.0)[0]
        window = (loss > 1.0) & (loss < 4.5)
        peak_ev = loss[window][np.argmax(extra[window])]
        own = truth["mode_energy_ev"][truth["mode_particle"] == i]
        assert np.abs(own - peak_ev).min() < 0.15


def test_particles_are_brighter_than_the_support_exactly_where_truth_says(field):
    truth = field.truth()
    dark = field.image_yield("HAADF", np.array(9e-6), np.array(0.0), 0.0)
    assert np.all(field.image_yield("HAADF", truth["x_m"], truth["y_m"], 0.0) > 5 * dark)
    outside = truth["radius_m"] * 1.05
    assert np.allclose(field.image_yield("HAADF", truth["x_m"] + outside, truth["y_m"], 0.0), dark, atol=0)


def test_the_particle_plasmon_of_silver_shows_inside_only(field):
    truth = field.truth()
    (inside, *_) = np.flatnonzero(truth["shape"] == "cube")
    loss = next(s.axis for s in field.signals if s.name == "EELS").values()
    x = np.array([truth["x_m"][inside], 9e-6])
    spectra = field.spectrum("EELS", x, np.array([truth["y_m"][inside], 0.0]), 0.0)
    bulk = np.abs(loss - 4.02) < 0.1
    assert spectra[0, bulk].mean() > 5 * spectra[1, bulk].mean()


def test_particles_that_cannot_fit_are_refused():
    with pytest.raises(ConfigError, match="do not fit"):
        build_specimen(
            NanoparticlesConfig(count=60, extent_m=(3e-7, 3e-7)), rng=np.random.default_rng(0), voltage_v=200e3
        )


def test_aspects_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="aspect"):
        NanoparticlesConfig(aspect=(4.0, 2.0))
