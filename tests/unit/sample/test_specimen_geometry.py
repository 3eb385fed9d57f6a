"""Geometry, neighbourhood search, height and damage against closed forms and brute force."""

import math

import numpy as np
import pytest

from environments.sample.damage import Damage, DamageConfig
from environments.sample.height import HeightConfig, HeightMap, SmoothField
from environments.sample.materials import element
from environments.sample.neighbourhood import Discs, Tiles
from environments.sample.particles import Particle, chord_m


def grid(extent, n):
    line = (np.arange(n) + 0.5) / n * extent - extent / 2
    return np.meshgrid(line, line)


def test_chord_of_a_sphere_is_pythagoras():
    assert chord_m(np.array(13.0), np.array(25.0)) == pytest.approx(24.0)
    assert chord_m(np.array(1.0), np.array(2.0)) == 0.0


@pytest.mark.parametrize(
    ("shape", "length", "width"), [("sphere", 60, 60), ("cube", 50, 50), ("rod", 90, 30), ("triangle", 70, 20)]
)
def test_projected_thickness_integrates_to_the_volume(shape, length, width):
    particle = Particle(shape, 3.0, -2.0, 0.7, length, width)
    x, y = grid(120.0, 1200)
    volume = particle.thickness_m(x, y).sum() * 0.1**2
    # a cube's volume ignores that its upright edges are rounded: (4 - pi) r^2 a of it
    rounded = (4 - math.pi) * 0.1**2 if shape == "cube" else 0.0
    assert volume == pytest.approx(particle.volume_m3 * (1 - rounded), rel=5e-3)


@pytest.mark.parametrize(
    ("shape", "inside", "outside"), [("rod", (0.45, 0), (0, 0.45)), ("triangle", (0, 0.5), (0, -0.5))]
)
def test_matter_turns_with_the_frame_that_hot_spots_are_placed_in(shape, inside, outside):
    particle = Particle(shape, 11.0, -7.0, 0.7, 90.0, 25.0)
    for place, expected in ((inside, True), (outside, False)):
        ((x, y),) = particle.place(*(90.0 * np.array([share]) for share in place))
        assert bool(particle.thickness_m(x, y) > 0) is expected


@pytest.mark.parametrize("shape", ["sphere", "cube", "rod", "triangle"])
def test_a_particle_lies_inside_its_reach(shape):
    particle = Particle(shape, 0.0, 0.0, 0.3, 80.0, 25.0 if shape in ("rod", "triangle") else 80.0)
    x, y = grid(200.0, 400)
    inside = particle.thickness_m(x, y) > 0
    assert np.hypot(x, y)[inside].max() <= particle.reach_m
    assert np.hypot(x, y)[inside].max() > 0.8 * particle.reach_m


# --- neighbourhood


def brute(discs, x, y, radius, channel, channels):
    total = np.zeros((channels, *x.shape))
    for i in range(len(discs.x_m)):
        total[channel[i]] += chord_m(np.array(radius[i]), (x - discs.x_m[i]) ** 2 + (y - discs.y_m[i]) ** 2)
    return total


def shapes(rng):
    line = np.linspace(-1, 1, 50)
    x, y = np.meshgrid(line, line[:37])
    turn = 0.8
    return {
        "grid": (x, y),
        "rotated": (x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)),
        "drifting rows": (x + np.linspace(0, 0.3, 37)[:, None] ** 2, y + 0.01 * rng.standard_normal(y.shape)),
        "cloud": (rng.uniform(-1, 1, 333), rng.uniform(-1, 1, 333)),
        "volume": (rng.uniform(-1, 1, (5, 6, 7)), rng.uniform(-1, 1, (5, 6, 7))),
        "strip": (rng.uniform(-1, 1, (3, 200)), rng.uniform(-1, 1, (3, 200))),
        "point": (np.array(0.1), np.array(0.2)),
        "nothing": (np.zeros((0, 4)), np.zeros((0, 4))),
    }


@pytest.mark.parametrize("name", ["grid", "rotated", "drifting rows", "cloud", "volume", "strip", "point", "nothing"])
def test_neighbour_sums_equal_brute_force_for_any_shape_of_scan(name):
    rng = np.random.default_rng(3)
    radius = rng.uniform(0.01, 0.2, 60)
    discs = Discs(rng.uniform(-1.1, 1.1, 60), rng.uniform(-1.1, 1.1, 60), radius)
    channel = rng.integers(0, 2, 60)
    x, y = shapes(rng)[name]
    found = discs.sums(Tiles(x, y), lambda i, dx, dy: chord_m(radius[i], dx**2 + dy**2), channel, 3)
    expected = brute(discs, x, y, radius, channel, 3)
    assert found.shape == (3, *x.shape)
    assert np.allclose(found, expected, atol=1e-12)
    assert x.size < 200 or expected.max() > 0.1


def test_no_discs_contribute_nothing():
    discs = Discs(np.zeros(0), np.zeros(0), np.zeros(0))
    x, y = grid(1.0, 20)
    assert not discs.sums(Tiles(x, y), lambda i, dx, dy: dx, np.zeros(0, np.intp), 2).any()


# --- height


def test_a_tilted_specimen_is_a_plane_through_the_origin():
    config = HeightConfig(tilt_x_rad=0.1, tilt_y_rad=-0.05)
    height = HeightMap(config, (1e-5, 1e-5), np.random.default_rng(0))
    x, y = np.array([0.0, 1e-6, 0.0, 9e-5]), np.array([0.0, 0.0, 1e-6, 0.0])
    slopes = [0.0, math.tan(0.1) * 1e-6, -math.tan(0.05) * 1e-6, math.tan(0.1) * 9e-5]
    assert np.allclose(height(x, y), slopes, rtol=1e-12, atol=0)


def test_bumps_have_the_configured_height_and_length():
    rng = np.random.default_rng(5)
    field = SmoothField((60.0, 60.0), 1.0, rng)
    x, y = grid(58.0, 200)
    values = field(x, y)
    assert values.std() == pytest.approx(1.0, abs=0.05)
    one_length_away = field(x + 1.0, y)
    assert np.corrcoef(values.ravel(), one_length_away.ravel())[0, 1] == pytest.approx(math.exp(-0.5), abs=0.05)
    assert abs(np.corrcoef(values.ravel(), field(x + 6.0, y).ravel())[0, 1]) < 0.1


def test_a_field_is_continuous_and_constant_beyond_its_edge():
    field = SmoothField((10.0, 6.0), 2.0, np.random.default_rng(1))
    x = np.linspace(-5, 5, 4001)
    assert np.abs(np.diff(field(x, 0 * x + 0.3))).max() < 0.02
    assert field(np.array(50.0), np.array(1.0)) == field(np.array(5.0), np.array(1.0))
    nodes = field.values
    assert field(np.array(-5.0), np.array(-3.0)) == pytest.approx(nodes[0, 0])
    assert field(np.array(5.0), np.array(3.0)) == pytest.approx(nodes[-1, -1])


# --- damage


def test_survival_is_one_over_e_at_the_critical_dose():
    damage = Damage(DamageConfig(critical_dose_e_per_m2={"S": 2e26}), [element("Mo"), element("S")])
    assert damage.sensitive == [1]
    assert np.allclose(damage.survival(1, np.array([0.0, 2e26, 4e26])), np.exp([0.0, -1.0, -2.0]))


def test_contamination_grows_linearly_and_then_stops():
    damage = Damage(DamageConfig(contamination_max_m=4e-9, contamination_dose_e_per_m2=1e26), [element("C")])
    grown = damage.contamination_m(np.array([0.0, 1e22, 2e22, 1e29]))
    assert grown[0] == 0.0
    assert grown[2] / grown[1] == pytest.approx(2.0, rel=1e-3)
    assert grown[3] == pytest.approx(4e-9, rel=1e-9, abs=0)


def test_damage_of_an_unknown_element_is_refused():
    with pytest.raises(ValueError, match="Xx"):
        DamageConfig(critical_dose_e_per_m2={"Xx": 1e26})
