import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.survey.config import ScreenConfig
from policies.survey.screening import Screening, shortest_look

FULL_S = 8.0


def seen(rng, *, high=370.0, n=400, rare=8, noise=7.0):
    """Return values and uncertainties of full spectra, counts: most without the target, some with much of it."""
    values = np.concatenate([rng.normal(0.0, noise, n), rng.normal(high, np.sqrt(high), rare)])
    stds = np.concatenate([np.full(n, noise), np.full(rare, np.sqrt(noise**2 + high))])
    order = rng.permutation(len(values))
    return np.column_stack([values, stds])[order]


def looks(rng, look, *, rate, noise_rate, n=20_000):
    """Return values of short looks at particles of a rate (counts/s), scaled to the full dwell."""
    counts = rng.poisson(rate * look.dwell_s, n) + rng.normal(0.0, np.sqrt(noise_rate * look.dwell_s), n)
    return counts * FULL_S / look.dwell_s


@given(st.integers(0, 200), st.sampled_from([0.01, 0.05]))
def test_a_short_look_misses_no_more_interesting_particles_than_allowed(seed, miss):
    rng = np.random.default_rng(seed)
    look = shortest_look(seen(rng), ScreenConfig(miss=miss), FULL_S)
    assert look is not None
    assert look.dwell_s < FULL_S / 4
    missed = np.mean(looks(rng, look, rate=370 / 8, noise_rate=49 / 8) < look.suspect_from)
    assert missed <= miss


@given(st.integers(0, 200))
def test_as_many_common_particles_come_back_as_foretold(seed):
    rng = np.random.default_rng(seed)
    look = shortest_look(seen(rng), ScreenConfig(), FULL_S)
    back = np.mean(rng.normal(0.0, 7.0 * np.sqrt(FULL_S / look.dwell_s), 20_000) >= look.suspect_from)
    assert back == pytest.approx(look.false_alarms, abs=0.03)


def test_a_weak_target_keeps_the_full_dwell():
    assert shortest_look(seen(np.random.default_rng(0), high=60.0), ScreenConfig(miss=0.001), FULL_S) is None


def test_without_finds_there_is_nothing_to_shorten_the_look_by():
    assert shortest_look(seen(np.random.default_rng(0), rare=2), ScreenConfig(), FULL_S) is None


def test_looks_are_full_until_learnt_and_where_screening_is_off():
    pairs = seen(np.random.default_rng(3))
    on, off = Screening(ScreenConfig(learn=50), FULL_S), Screening(None, FULL_S)
    for k, (value, std) in enumerate(pairs):
        assert k > 49 or on.dwell_s == FULL_S
        on.tell(value, std)
        off.tell(value, std)
    assert on.dwell_s < FULL_S
    assert off.dwell_s == FULL_S
    assert off.reason() == ""
    assert f"{on.dwell_s:.2g} s" in on.reason()
    assert on.is_suspect(370.0)
    assert not on.is_suspect(0.0)


def test_what_was_learnt_survives_its_state():
    one, two = Screening(ScreenConfig(), FULL_S), Screening(ScreenConfig(), FULL_S)
    for value, std in seen(np.random.default_rng(5)):
        one.tell(float(value), float(std))
    two.restore(one.state())
    assert two.look == one.look
    assert two.state() == one.state()
