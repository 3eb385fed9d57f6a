"""Noise that does not follow the luck of a draw: weighing counts by it is unbiased, and nothing else is lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscope.surrogates.committee import Committee
from autoscope.surrogates.gp import GaussianProcess
from autoscope.surrogates.measurements import GROWTH, OFTEN, Measurements
from autoscope.surrogates.noise import LEAST, NoiseLaw, told_by_the_rest

POISSON = NoiseLaw(0.0, 1.0, 1.0, 100.0)


def counts_of(expected, rng):
    counts = rng.poisson(expected).astype(float)
    return counts, np.sqrt(np.maximum(counts, 1.0))


def weighted_mean(values, stds):
    return float(np.average(values, weights=stds**-2.0))


@pytest.mark.parametrize("level", [3.0, 10.0, 40.0])
def test_the_mean_of_counts_is_found_where_the_stated_noise_is_a_count_below_it(level):
    rng = np.random.default_rng(1)
    counts, stated = counts_of(np.full(40_000, level), rng)
    told = (np.full(len(counts), each) for each in told_by_the_rest(counts, stated))
    steady = NoiseLaw.of(counts, stated).steadied(stated, counts, *told)
    assert weighted_mean(counts, stated) < level - 0.6  # Neyman's bias: about one count
    assert weighted_mean(counts, steady) == pytest.approx(level, abs=6.0 * np.sqrt(level / 40_000) + 0.1)


@given(st.floats(1e-6, 1e6), st.integers(0, 20))
def test_in_another_unit_the_noise_is_the_same(unit, seed):
    rng = np.random.default_rng(seed)
    counts, stated = counts_of(rng.uniform(0.0, 30.0, 40), rng)
    mean, std = rng.uniform(0.0, 30.0, (2, 40))
    plain = NoiseLaw.of(counts, stated).steadied(stated, counts, mean, std)
    scaled = NoiseLaw.of(unit * counts, unit * stated).steadied(unit * stated, unit * counts, unit * mean, unit * std)
    np.testing.assert_allclose(scaled, unit * plain, rtol=1e-6)


@given(st.integers(0, 50), st.floats(0.0, 1e3))
def test_noise_that_is_the_same_for_all_stays_to_the_bit(n, std):
    y = np.random.default_rng(n).normal(size=n)
    stated = np.full(n, std)
    np.testing.assert_array_equal(NoiseLaw.of(y, stated).steadied(stated, y, np.roll(y, 1), np.abs(y)), stated)


def test_a_value_that_is_the_expected_one_keeps_what_it_stated():
    y = np.array([2.0, 5.0, 60.0])
    stated = np.sqrt(y)
    np.testing.assert_allclose(POISSON.steadied(stated, y, y, np.ones(3)), stated)


def test_what_nobody_could_foretell_is_weighed_as_it_stated_and_what_was_known_as_foretold():
    first_particle = POISSON.steadied(np.array([9.0]), np.array([81.0]), np.array([1.0]), np.array([1e4]))
    known_level = POISSON.steadied(np.array([3.0]), np.array([9.0]), np.array([16.0]), np.array([1e-4]))
    np.testing.assert_allclose([first_particle[0], known_level[0]], [9.0, 4.0], rtol=1e-4)


def test_what_another_dwell_time_brings_stays_in_the_noise():
    y, long = np.full(2, 9.0), np.array([1.0, 0.5])  # the second was measured four times as long
    steady = POISSON.steadied(3.0 * long, y, np.full(2, 4.0), np.zeros(2))
    np.testing.assert_allclose(steady, 2.0 * long)


def test_nothing_is_foretold_beyond_what_was_stated():
    np.testing.assert_array_equal(POISSON.variance(np.array([-50.0, 50.0, 1e9])), [1.0, 50.0, 100.0])


@pytest.mark.parametrize("stds", [[0.0] * 12, [0.0, *[1.0] * 11]], ids=["exact", "one exact"])
def test_exact_values_have_no_law(stds):
    assert NoiseLaw.of(np.arange(12.0), np.array(stds)) == NoiseLaw()


def test_a_few_measurements_have_no_law():
    y = np.arange(1.0, LEAST)
    assert NoiseLaw.of(y, np.sqrt(y)) == NoiseLaw()


# --- among measurements ---


def some(n, seed=0):
    rng = np.random.default_rng(seed)
    known = Measurements()
    counts, stated = counts_of(np.full(n, 8.0), rng)
    known.add(rng.normal(size=(n, 2)), counts, stated)
    return known, counts, stated


def test_noise_is_revised_from_what_was_stated_however_often():
    known, counts, stated = some(30)
    for mean in (1.0, 8.0):
        foretold = np.full(30, mean), np.full(30, 0.5)
        known.revise(foretold)
    np.testing.assert_allclose(known.noise_std, NoiseLaw.of(counts, stated).steadied(stated, counts, *foretold))


def test_a_revision_is_due_at_every_fit_first_and_then_ever_more_seldom():
    known, due = Measurements(), []
    for n in range(1, 101):
        known.add(np.zeros((1, 2)), np.array([float(n)]), np.array([1.0]))
        if known.stale():
            due.append(n)
            known.revise(None)
    assert due[:OFTEN] == list(range(1, OFTEN + 1))
    assert due[OFTEN:] == [25, 32, 40, 50, 63, 79, 99]
    assert all(b >= GROWTH * a for a, b in zip(due[OFTEN:], due[OFTEN + 1 :], strict=False))


def test_a_restored_revision_goes_on_to_the_bit():
    known, counts, stated = some(30)
    known.revise(None)
    again = Measurements()
    again.add(known.x, counts, stated)
    again.restore(known.state())
    np.testing.assert_array_equal(again.noise_std, known.noise_std)
    assert again.steadied(3.0, 1.7, 9.0, 1.0) == known.steadied(3.0, 1.7, 9.0, 1.0)
    assert (again.stale(), again.state()) == (known.stale(), known.state())


# --- in the committee ---

SIDE = 24
ROWS, COLUMNS = (axis.ravel() for axis in np.mgrid[:SIDE, :SIDE])
POOL = np.stack([COLUMNS - 11.5, ROWS - 11.5], axis=1) * np.sqrt(12.0) / SIDE
FIELD = 6.0 + 5.0 * np.sin(COLUMNS / 5.0) * np.cos(ROWS / 6.0)


def counted(seed):
    """Return a committee that has measured 150 places of a field of few counts, and the error of weighing as stated."""
    rng = np.random.default_rng(seed)
    pixels = rng.permutation(len(POOL))[:150]
    counts, stated = counts_of(FIELD[pixels], rng)
    committee = Committee({"coordinates": GaussianProcess(((0, 1),), "matern52")}, (0, 1))
    committee.attach(POOL)
    committee.start(POOL[pixels[:10]], counts[:10], stated[:10])
    committee.fit()
    for k in range(10, 150):
        committee.observe(POOL[pixels[k]], counts[k], stated[k])
        if k % 5 == 4:
            committee.fit()
    plain = GaussianProcess(((0, 1),), "matern52")
    plain.fit(POOL[pixels], counts, stated)
    return committee.posterior()[0] - FIELD, plain.predict(POOL)[0] - FIELD


def test_a_map_of_few_counts_is_drawn_down_by_stated_noise_and_not_by_the_committee():
    errors = [counted(seed) for seed in range(4)]
    ours, stated = (np.array([pair[k] for pair in errors]) for k in (0, 1))
    assert stated.mean() < -0.5
    assert abs(ours.mean()) < 0.25
    assert np.sqrt(np.mean(ours**2)) < 0.75 * np.sqrt(np.mean(stated**2))
