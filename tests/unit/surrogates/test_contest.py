"""Rivals are weighed by what they foretold; where the image tells nothing, coordinates win by themselves."""

import json
import math
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import norm

from autoscope.errors import FitFailed, ModelError
from autoscope.surrogates.contest import (
    WORST,
    Contest,
    mixture_log_density,
    moment_match,
    softmax,
    stacking_weights,
)
from autoscope.surrogates.health import log_density
from autoscope.surrogates.posterior import ExactPosterior
from autoscope.surrogates.prior import Prior

SEEDS, START, STEPS = 50, 8, 30
RIVALS = ("image", "coordinates", "constant")


# --- weights ---


def test_weights_from_evidence_are_posterior_probabilities_of_models():
    evidence, prior = np.array([0.02, 0.005, 0.1]), np.array([0.5, 0.3, 0.2])
    np.testing.assert_allclose(softmax(np.log(evidence), prior), evidence * prior / (evidence @ prior))


def test_weights_survive_scores_far_beyond_the_range_of_exp():
    np.testing.assert_allclose(softmax([-1e5, -1e5 - math.log(4.0), -1e6]), [0.8, 0.2, 0.0])


def stacking_by_expectation(log_densities, rounds=5000):
    """Maximise the same concave objective by expectation-maximisation."""
    density = np.exp(log_densities)
    weights = np.full(density.shape[1], 1.0 / density.shape[1])
    for _ in range(rounds):
        share = density * weights
        weights = (share / share.sum(axis=1, keepdims=True)).mean(axis=0)
    return weights


@pytest.mark.parametrize("seed", range(5))
def test_stacking_finds_the_maximum_that_expectation_maximisation_finds(seed):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=60)
    log = np.column_stack([norm.logpdf(y, rng.normal(0.0, 0.7, 60), s) for s in (0.5, 1.0, 1.5, 3.0)])
    found, oracle = stacking_weights(log), stacking_by_expectation(log)
    assert found.sum() == pytest.approx(1.0)
    assert (found >= 0.0).all()
    reached, best = (np.log(np.exp(log) @ w).mean() for w in (found, oracle))
    assert reached == pytest.approx(best, abs=1e-5)
    np.testing.assert_allclose(found, oracle, atol=0.02)


def test_stacking_uses_two_rivals_that_are_right_about_different_halves():
    log = np.log(np.array([[0.9, 0.01, 0.3]] * 10 + [[0.01, 0.9, 0.3]] * 10))
    np.testing.assert_allclose(stacking_weights(log), [0.5, 0.5, 0.0], atol=0.01)


def test_stacking_does_not_care_about_the_unit_of_the_target():
    log = np.log(np.random.default_rng(0).uniform(0.1, 1.0, (30, 3)))
    np.testing.assert_allclose(stacking_weights(log - 700.0), stacking_weights(log), atol=1e-6)


@pytest.mark.parametrize("table", [np.empty((0, 2)), np.array([0.0, 1.0]), np.array([[0.0, np.nan]])])
def test_what_cannot_be_stacked_is_refused(table):
    with pytest.raises(FitFailed, match="cannot be stacked"):
        stacking_weights(table)


# --- mixtures ---


def test_moments_of_a_mixture_are_those_of_draws_from_it():
    rng = np.random.default_rng(1)
    means, stds, weights = (
        [np.array([0.0]), np.array([3.0]), np.array([-1.0])],
        [np.ones(1), np.full(1, 0.5), np.full(1, 2.0)],
        [0.5, 0.2, 0.3],
    )
    member = rng.choice(3, size=200_000, p=weights)
    drawn = rng.normal(np.concatenate(means)[member], np.concatenate(stds)[member])
    mean, std = moment_match(means, stds, weights)
    assert mean[0] == pytest.approx(drawn.mean(), abs=0.02)
    assert std[0] == pytest.approx(drawn.std(), abs=0.02)


def test_a_mixture_in_single_precision_is_as_good_far_from_zero():
    rng = np.random.default_rng(2)
    means = [rng.normal(1e4, 1.0, 40_000) for _ in range(3)]
    stds = [rng.uniform(0.1, 1.0, 40_000) for _ in range(3)]
    weights = [0.2, 0.5, 0.3]
    exact_mean = sum(w * m for w, m in zip(weights, means, strict=True))
    exact = np.sqrt(sum(w * (s**2 + (m - exact_mean) ** 2) for w, m, s in zip(weights, means, stds, strict=True)))
    single = [a.astype(np.float32) for a in means], [a.astype(np.float32) for a in stds]
    mean, std = moment_match(*single, weights)
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(std, exact, rtol=5e-3)
    np.testing.assert_allclose(mean, exact_mean, rtol=1e-6)


def test_mixing_leaves_its_inputs_alone():
    means, stds = [np.zeros(5), np.ones(5)], [np.ones(5), np.full(5, 2.0)]
    moment_match(means, stds, [0.4, 0.6])
    np.testing.assert_array_equal(means, [np.zeros(5), np.ones(5)])
    np.testing.assert_array_equal(stds, [np.ones(5), np.full(5, 2.0)])


def test_a_rival_without_weight_is_not_looked_at():
    broken = np.full(3, np.nan)
    mean, std = moment_match([broken, np.ones(3)], [broken, np.ones(3)], [0.0, 1.0])
    np.testing.assert_array_equal(mean, np.ones(3))
    np.testing.assert_array_equal(std, np.ones(3))


@pytest.mark.parametrize("weights", [[0.5], [0.5, 0.6], [1.5, -0.5], []])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(ModelError, match="no weights"):
        moment_match([np.zeros(1)] * 2, [np.ones(1)] * 2, weights)


def test_the_density_of_a_mixture_is_the_weighted_sum():
    log = np.log(np.array([[0.2, 0.4], [0.1, 0.7]]))
    np.testing.assert_allclose(np.exp(mixture_log_density(log, np.array([0.25, 0.75]))), [0.35, 0.55])


# --- the contest on planted fields ---


class Rival:
    """A Gaussian process, standardising as surrogates do, with the hyperparameters of a few that evidence prefers."""

    def __init__(self, columns, x, y):
        self.centre, self.spread = y.mean(), y.std()
        priors = [
            Prior("matern52", (columns,), ((scale,) * len(columns),), (1.0 - jitter,), 0.0, jitter)
            for scale in (0.7, 2.0)
            for jitter in (0.01, 0.6)
        ]
        fits = [ExactPosterior(prior, x, (y - self.centre) / self.spread, np.zeros(len(y))) for prior in priors]
        self.fit = max(fits, key=lambda fit: fit.log_evidence())

    def leave_one_out(self):
        mean, variance = self.fit.leave_one_out()
        return float(norm.logpdf(self.fit.y, mean, np.sqrt(variance)).sum()) - self.fit.n * math.log(self.spread)

    def foretell(self, x, y):
        mean, variance = self.fit.predict(x[None])
        std = self.spread * math.sqrt(variance[0] + self.fit.prior.jitter)
        self.fit.extend(x, (y - self.centre) / self.spread, 0.0)
        return log_density(y, self.centre + self.spread * float(mean[0]), std)


def planted(seed, kind):
    """Return features (image 0-3, coordinates 4-5) and a target that one of them tells."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(START + STEPS, 6))
    along = {"place": x[:, 4:], "image": x[:, :2]}.get(kind)
    y = rng.normal(size=len(x)) if along is None else np.sin(1.3 * along[:, 0]) + np.cos(1.1 * along[:, 1])
    return x, (y - y.mean()) / y.std() + 0.05 * rng.normal(size=len(x))


@cache
def contest_on(seed, kind, **settings):
    """Return the standing of the contest after each of 30 random measurements."""
    x, y = planted(seed, kind)
    contest, standings = Contest(RIVALS, **settings), []
    for n in range(START, START + STEPS):
        centre, spread = float(y[:n].mean()), float(y[:n].std(ddof=1))
        if (n - START) % 5 == 0:
            rivals = {"image": Rival((0, 1, 2, 3), x[:n], y[:n]), "coordinates": Rival((4, 5), x[:n], y[:n])}
            totals = {name: rival.leave_one_out() for name, rival in rivals.items()}
            left = [np.delete(y[:n], i) for i in range(n)]
            alone = sum(log_density(v, r.mean(), r.std(ddof=1)) for v, r in zip(y[:n], left, strict=True))
            contest.appraise(totals | {"constant": alone}, n)
        told = {name: rival.foretell(x[n], y[n]) for name, rival in rivals.items()}
        contest.tell(told | {"constant": log_density(y[n], centre, spread)})
        standings.append(contest.standing())
    return standings


def test_where_the_image_tells_nothing_coordinates_take_all_the_weight():
    ends = [contest_on(seed, "place")[-1] for seed in range(SEEDS)]
    assert np.mean([end.chosen != "coordinates" for end in ends]) <= 0.02
    assert np.median([end.weight("coordinates") for end in ends]) > 0.99
    assert np.quantile([end.weight("coordinates") for end in ends], 0.1) > 0.9


def test_where_the_image_tells_all_it_keeps_all_the_weight():
    ends = [contest_on(seed, "image")[-1] for seed in range(SEEDS)]
    assert np.mean([end.chosen != "image" for end in ends]) <= 0.02
    assert np.median([end.weight("image") for end in ends]) > 0.99


def test_where_nothing_can_be_told_nobody_is_sure_and_the_prior_speaks_for_the_simple():
    ends = [contest_on(seed, "nothing", prior=(0.2, 0.3, 0.5))[-1] for seed in range(SEEDS)]
    assert np.median([end.weight("image") for end in ends]) < 0.25
    assert np.quantile([end.weight("image") for end in ends], 0.9) < 0.8
    assert np.median([end.weight("constant") for end in ends]) > 0.4


def test_the_choice_rarely_changes_once_made():
    for kind in ("place", "image"):
        changes = []
        for seed in range(20):
            chosen = [s.chosen for s in contest_on(seed, kind)]
            changes.append(sum(a != b for a, b in pairwise(chosen)))
        assert np.mean(changes) <= 1.0


# --- rules of the contest ---


def rounds(contest, count, **told):
    for _ in range(count):
        contest.tell(told)
    return contest.standing()


def test_a_challenger_needs_its_margin_before_the_choice_changes():
    contest = Contest(("image", "coordinates"), forgetting=1.0, margin=2.0)
    assert rounds(contest, 2, image=-2.0, coordinates=-1.0).chosen == "image"
    assert contest.standing().weight("coordinates") > 0.85
    assert "short of the 2.0" in contest.standing().reason
    assert rounds(contest, 1, image=-2.0, coordinates=-1.0).chosen == "coordinates"
    assert contest.standing().lead == 0.0


def test_what_was_true_long_ago_is_forgotten():
    contest = Contest(("image", "coordinates"), forgetting=0.9)
    rounds(contest, 200, image=-1.0, coordinates=-3.0)
    assert rounds(contest, 25, image=-3.0, coordinates=-1.0).chosen == "coordinates"


def test_one_wild_value_counts_no_more_than_the_bound():
    contest = Contest(("image", "coordinates"), forgetting=1.0)
    assert rounds(contest, 1, image=-1e9, coordinates=0.0).weights[0] == pytest.approx(1.0 / (1.0 + math.exp(WORST)))


def test_a_rival_that_foretold_nothing_loses_and_a_round_of_none_changes_nothing():
    contest = Contest(("image", "coordinates"), forgetting=1.0)
    assert rounds(contest, 1, image=math.nan, coordinates=-50.0).weight("coordinates") > 0.99
    before = contest.standing().weights
    assert rounds(contest, 1, image=math.nan).weights == before


def test_an_appraisal_replaces_the_last_one_and_counts_by_its_share():
    contest = Contest(("image", "coordinates"), share=0.5)
    contest.appraise({"image": -30.0, "coordinates": -10.0}, n=10)
    contest.appraise({"image": -12.0, "coordinates": -10.0}, n=10)
    np.testing.assert_allclose(contest.standing().weights, softmax([-1.0, 0.0]))
    assert rounds(contest, 0).chosen == "coordinates"


def test_an_appraisal_of_many_counts_no_more_than_the_contest_remembers():
    contest = Contest(("image", "coordinates"), forgetting=0.9, share=1.0)
    contest.appraise({"image": -1.0, "coordinates": 0.0}, n=10)
    np.testing.assert_allclose(contest.standing().weights, softmax([-1.0, 0.0]))
    contest.appraise({"image": -20.0, "coordinates": 0.0}, n=200)
    np.testing.assert_allclose(contest.standing().weights, softmax([-1.0, 0.0]))


def test_prior_weights_decide_until_there_is_evidence():
    assert Contest(("image", "constant"), prior=(0.2, 0.8)).standing().weights == pytest.approx((0.2, 0.8))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Contest(()),
        lambda: Contest(("a", "a")),
        lambda: Contest(("a", "b"), prior=(1.0,)),
        lambda: Contest(("a",), prior=(0.0,)),
        lambda: Contest(("a",), forgetting=0.0),
        lambda: Contest(("a",), share=1.5),
        lambda: Contest(("a",), margin=-1.0),
    ],
)
def test_a_contest_without_sense_is_refused(make):
    with pytest.raises(ModelError):
        make()


def test_strangers_are_refused():
    with pytest.raises(ModelError, match="no rival"):
        Contest(("image",)).tell({"imgae": 0.0})


def test_a_restored_contest_goes_on_to_the_bit():
    rng = np.random.default_rng(3)
    rows = [dict(zip(RIVALS, rng.normal(size=3).tolist(), strict=True)) for _ in range(20)]
    whole, half, resumed = (Contest(RIVALS) for _ in range(3))
    for contest, part in ((whole, rows), (half, rows[:9])):
        contest.appraise({"image": -3.0, "coordinates": -4.0, "constant": -9.0}, 4)
        for row in part:
            contest.tell(row)
    resumed.restore(json.loads(json.dumps(half.state())))
    for row in rows[9:]:
        resumed.tell(row)
    assert resumed.state() == whole.state()
    assert resumed.standing() == whole.standing()
