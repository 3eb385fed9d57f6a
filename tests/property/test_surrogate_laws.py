"""Laws of surrogates and acquisition that hold for any data."""

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autoscope.acquisition.choice import choose, runners_up
from autoscope.acquisition.functions import (
    log_expected_improvement,
    log_probability_of_improvement,
    max_variance,
    novelty,
    straddle,
    upper_confidence_bound,
)
from autoscope.surrogates.posterior import ExactPosterior
from autoscope.surrogates.prior import Prior

scales = st.floats(0.2, 5.0)


@st.composite
def priors(draw):
    groups = draw(st.sampled_from([((0,),), ((0, 1),), ((0,), (1, 2)), ((2, 0), (1,))]))
    return Prior(
        shape=draw(st.sampled_from(["rbf", "matern52"])),
        groups=groups,
        lengthscales=tuple(tuple(draw(scales) for _ in g) for g in groups),
        outputscales=tuple(draw(scales) for _ in groups),
        mean=draw(st.floats(-2.0, 2.0)),
        jitter=draw(st.floats(1e-4, 0.5)),
    )


@st.composite
def problems(draw):
    n, m, seed = draw(st.integers(2, 20)), draw(st.integers(1, 30)), draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(size=(n, 3)), draw(st.integers(0, 3)))  # coarse rounding makes equal places
    return x, rng.normal(size=n), rng.uniform(0.0, 0.5, n), np.round(rng.normal(size=(m, 3)), 2)


@given(priors(), problems(), st.data())
def test_updating_measurement_by_measurement_equals_building_at_once(prior, problem, data):
    x, y, noise, pool = problem
    start = data.draw(st.integers(1, len(y)))
    grown, whole = ExactPosterior(prior, x[:start], y[:start], noise[:start]), ExactPosterior(prior, x, y, noise)
    grown.attach(pool)
    for k in range(start, len(y)):
        grown.extend(x[k], y[k], noise[k])
    mean, variance = whole.predict(pool)
    np.testing.assert_allclose(grown.pool.mean, mean, rtol=1e-3, atol=1e-3)  # single precision
    np.testing.assert_allclose(np.maximum(grown.pool.variance, 0.0), variance, atol=1e-3)
    assert grown.log_evidence() == pytest.approx(whole.log_evidence(), abs=1e-7)


@given(priors(), problems())
def test_a_measurement_never_makes_the_model_less_certain(prior, problem):
    x, y, noise, pool = problem
    posterior = ExactPosterior(prior, x[:1], y[:1], noise[:1])
    posterior.attach(pool)
    for k in range(1, len(y)):
        before = posterior.pool.variance.copy()
        posterior.extend(x[k], y[k], noise[k])
        assert (posterior.pool.variance <= before + 1e-12).all()
        assert (posterior.pool.variance <= prior.variance * (1.0 + 1e-6)).all()


@given(priors(), problems())
def test_the_order_of_measurements_does_not_matter(prior, problem):
    x, y, noise, pool = problem
    one, other = ExactPosterior(prior, x, y, noise), ExactPosterior(prior, x[::-1], y[::-1], noise[::-1])
    for a, b in zip(one.predict(pool), other.predict(pool), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)


@given(priors())
def test_a_prior_written_as_json_reads_back_equal(prior):
    assert Prior.from_plain(json.loads(json.dumps(prior.plain()))) == prior


pools = st.integers(0, 2**32 - 1).map(
    lambda seed: (lambda rng: (rng.normal(size=40), rng.uniform(0.05, 2.0, 40)))(np.random.default_rng(seed))
)


@given(pools, st.floats(0.01, 100.0), st.floats(-100.0, 100.0))
@settings(max_examples=60)
def test_the_winner_does_not_depend_on_the_unit_of_the_target(pool, a, b):
    mean, std = pool
    best, seen = float(np.quantile(mean, 0.8)), mean[:7]

    def winners(mean, std, best, level, seen):
        return [
            int(np.argmax(v))
            for v in (
                upper_confidence_bound(mean, std, 2.0),
                log_expected_improvement(mean, std, best),
                log_probability_of_improvement(mean, std, best),
                max_variance(std),
                straddle(mean, std, level, 1.5),
                novelty(mean, std, seen),
            )
        ]

    assert winners(mean, std, best, 0.3, seen) == winners(
        a * mean + b, a * std, a * best + b, a * 0.3 + b, a * seen + b
    )


@given(st.floats(-50.0, 50.0), st.floats(0.01, 10.0), st.floats(-50.0, 50.0), st.floats(0.01, 5.0))
def test_a_higher_mean_or_a_wider_spread_never_lowers_expected_improvement(mean, std, best, more):
    before, higher, wider = log_expected_improvement(
        np.array([mean, mean + more, mean]), np.array([std, std, std + more]), best
    )
    assert higher >= before
    assert wider >= before - 1e-9


values_and_bars = st.lists(
    st.tuples(st.one_of(st.floats(-9, 9), st.sampled_from([np.nan, -np.inf, np.inf, 1.0])), st.booleans()), min_size=1
)


@given(values_and_bars, st.integers(0, 2**32 - 1))
def test_the_choice_is_never_forbidden_and_nothing_open_beats_it(pairs, seed):
    values, forbidden = np.array([v for v, _ in pairs]), np.array([f for _, f in pairs])
    open_ = ~forbidden & ~np.isnan(values)
    assume(open_.any())
    chosen = choose(values, np.random.default_rng(seed), forbidden)
    assert open_[chosen]
    assert values[chosen] == values[open_].max()
    others = runners_up(values, chosen, forbidden, 4)
    assert len(others) == min(4, open_.sum() - 1)
    assert chosen not in others
    assert open_[others].all()
    expected = sorted(np.delete(values, chosen)[np.delete(open_, chosen)], reverse=True)[:4]
    assert list(values[others]) == expected
