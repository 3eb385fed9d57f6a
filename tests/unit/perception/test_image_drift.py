"""Movement of the sample inside an image: told with honest uncertainty, and not where it cannot be told."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscope.perception.constellation import match
from autoscope.perception.image_drift import image_drift, surely_moved

FOV_M, PIXEL_M, TOLERANCE_M = 1e-6, 3.9e-9, 5e-9


def scanned(points_m, rng, *, steady_m=(0.0, 0.0), jump_m=(0.0, 0.0), at=0.5, scatter_m=1e-9, turn=0.0, scale=1.0):
    """Return where particles appear in an image written from the top while the sample moves."""
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    seen = points_m @ np.array([[c, -s], [s, c]]).T
    part = seen[:, 1] / FOV_M
    seen = seen + np.outer(part, steady_m) + np.outer(part > at - 0.5, jump_m)
    seen = seen + scatter_m * rng.standard_normal(seen.shape)
    return seen[np.all(np.abs(seen) < FOV_M / 2, axis=1)]


def apart(rng, count):
    """Return random places of which no two are nearer than particles are."""
    tried = rng.uniform(-0.6e-6, 0.6e-6, (3 * count, 2))
    near = np.hypot(*(tried[:, None] - tried).T) < 25e-9
    return tried[~np.tril(near, -1).any(axis=1)][:count]


def told(reference, seen):
    agreed = match(reference, seen, reach_m=150e-9, tolerance_m=TOLERANCE_M)
    return image_drift(reference, seen, agreed, height_m=FOV_M, reach_m=150e-9, tolerance_m=TOLERANCE_M)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(60, 120), st.floats(-20e-9, 20e-9), st.floats(-20e-9, 20e-9),
    st.floats(-3e-3, 3e-3), st.floats(0.997, 1.003),
)  # fmt: skip
def test_a_steady_movement_is_told_within_its_uncertainty_whatever_magnification_and_rotation_say(
    seed, count, dx, dy, turn, scale
):
    rng = np.random.default_rng(seed)
    points = apart(rng, count)
    found = told(points, scanned(points, rng, steady_m=(dx, dy), turn=turn, scale=scale))
    assert found is not None
    assert found.std_m < 2e-9
    assert abs(found.dx_m - dx) < 5 * found.std_m
    assert abs(found.dy_m - dy) < 5 * found.std_m


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("jump_m", "at"), [((12e-9, -9e-9), 0.5), ((-40e-9, 5e-9), 0.35), ((60e-9, 60e-9), 0.6)])
def test_a_jump_is_told_as_one_with_its_size(seed, jump_m, at):
    rng = np.random.default_rng(seed)
    points = apart(rng, 70)
    found = told(points, scanned(points, rng, jump_m=jump_m, at=at))
    assert found.sudden
    assert (found.dx_m, found.dy_m) == pytest.approx(jump_m, abs=1.6e-9)


def test_the_stated_uncertainty_is_that_of_many_images_and_a_still_stage_never_exceeds_a_pixel():
    rng, points = np.random.default_rng(3), apart(np.random.default_rng(2), 60)
    found = [told(points, scanned(points, rng)) for _ in range(200)]
    z = np.array([(f.dx_m / f.std_m, f.dy_m / f.std_m) for f in found])
    assert 0.85 < z.std() < 1.2
    assert not any(surely_moved(f.length_m / PIXEL_M, f.std_m / PIXEL_M, 1.0) for f in found)


def test_a_perfect_lattice_says_nothing():
    rng = np.random.default_rng(1)
    lattice = np.array([(x, y) for x in range(-20, 21) for y in range(-20, 21)]) * 30e-9
    for moved in (0.0, 30e-9):
        assert told(lattice, scanned(lattice, rng, steady_m=(moved, 0.0))) is None


def test_few_particles_or_a_narrow_band_of_them_say_nothing():
    rng = np.random.default_rng(5)
    band = apart(rng, 80) * (1.0, 0.3)
    assert told(band, scanned(band, rng)) is None
    few = apart(rng, 7)
    assert told(few, scanned(few, rng)) is None


def test_particles_that_came_and_went_do_not_look_like_a_jump():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        points = apart(rng, 100)
        found = told(points[:80], scanned(points[20:], rng))
        assert not surely_moved(found.length_m / PIXEL_M, found.std_m / PIXEL_M, 1.0)
