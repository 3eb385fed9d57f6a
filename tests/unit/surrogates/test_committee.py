"""The committee: a fold over measurements, honest, unmoved by features that tell nothing and by members that lie."""

import json

import numpy as np
import pytest

from autoscope.errors import FitFailed, ModelError
from autoscope.surrogates.calibration import coverage
from autoscope.surrogates.committee import Committee
from autoscope.surrogates.contest import moment_match
from autoscope.surrogates.gp import GaussianProcess
from autoscope.surrogates.health import OK, REFIT_COLD, ROLL_BACK, SPACE_FILLING

IMAGE, PLACE = (0, 1), (2, 3)
NOISE_STD = 0.05
HEIGHT, WIDTH = 11, 13


def pool_of(seed=0):
    """Return features (143, 4): two columns of an image that is smooth noise, then the place."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    place = np.stack([columns.ravel() - 6.0, rows.ravel() - 5.0], axis=1) * np.sqrt(12.0) / WIDTH
    return np.concatenate([rng.normal(size=(HEIGHT * WIDTH, 2)), place], axis=1).astype(np.float32)


POOL = pool_of()
BY_PLACE = np.sin(1.5 * POOL[:, 2]) + np.cos(1.2 * POOL[:, 3]).astype(np.float64)
BY_IMAGE = (1.4 * np.tanh(POOL[:, 0]) - 0.6 * POOL[:, 1]).astype(np.float64)


def plain(**changes):
    """Return the two members of the usual committee; ``changes`` wrap them."""
    members = {"gp": GaussianProcess((IMAGE, PLACE), "matern52"), "coordinates": GaussianProcess((PLACE,), "matern52")}
    return {name: changes[name](member) if name in changes else member for name, member in members.items()}


def committee_of(members=None):
    committee = Committee(members or plain(), PLACE)
    committee.attach(POOL)
    return committee


class Campaign:
    """Measures a target at random places of the pool, refits now and then, and remembers what was published."""

    def __init__(self, committee, truth=BY_PLACE, seed=0, initial=6, every=5, scatter=NOISE_STD):
        self.committee, self.every, self.initial = committee, every, initial
        rng = np.random.default_rng(seed)
        self.pixels = rng.permutation(len(POOL))
        self.values = truth[self.pixels] + scatter * rng.normal(size=len(POOL))
        self.noise = np.full(len(POOL), NOISE_STD)
        self.published, self.rungs = [], []

    def data(self, first, last):
        return POOL[self.pixels[first:last]], self.values[first:last], self.noise[first:last]

    def begin(self):
        self.committee.start(*self.data(0, self.initial))
        self.committee.fit()
        return self

    def go_on(self, until):
        for k in range(self.committee.n, until):
            if self.committee.usable:
                mean, std = self.committee.posterior()
                self.published.append((k, mean[self.pixels[k]], std[self.pixels[k]], dict(self.committee.weights())))
            self.committee.observe(POOL[self.pixels[k]], self.values[k], self.noise[k])
            self.rungs.append(self.committee.verdict.rung)
            if (k + 1 - self.initial) % self.every == 0:
                self.committee.fit()
        return self


def run(committee, until=40, **settings):
    return Campaign(committee, **settings).begin().go_on(until)


class Wrapped:
    """A surrogate that does as another one does, unless told otherwise."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)


class OverConfident(Wrapped):
    """Predicts as the other one, but claims to be surer by a factor, about its own data as well."""

    factor = 0.25

    def predict(self, x):
        mean, std = self.inner.predict(x)
        return mean, std * self.factor

    def pool_posterior(self):
        mean, std = self.inner.pool_posterior()
        return mean, std * self.factor

    def pool_std_given(self, x, noise_std):
        return self.inner.pool_std_given(x, noise_std) * self.factor

    def leave_one_out(self):
        y, mean, std = self.inner.leave_one_out()
        return y, mean, np.maximum(std * self.factor, 1e-3)


class Liar(Wrapped):
    """Foretells a pattern that has nothing to do with the target, is certain of it, and of having been right."""

    def _pattern(self, x):
        return self.inner._scaling_.shift + self.inner._scaling_.factor * np.sin(40.0 * x.sum(axis=1, dtype=np.float64))

    def predict(self, x):
        return self._pattern(x), np.full(len(x), 0.02 * self.inner._scaling_.factor)

    def pool_posterior(self):
        return self.predict(self.inner._pool)

    def pool_std_given(self, x, noise_std):
        return self.predict(self.inner._pool)[1]

    def leave_one_out(self):
        y, _, _ = self.inner.leave_one_out()
        return y, y + 0.0, np.full(len(y), 0.02 * self.inner._scaling_.factor)


class Failing(Wrapped):
    """Cannot be fitted to so many measurements; remembers what was asked of it."""

    fails = ()

    def __init__(self, inner):
        super().__init__(inner)
        self.fits, self.forgotten, self.recalled = 0, 0, []

    def fit(self, x, y, noise_std):
        self.fits += 1
        if len(y) in self.fails:
            raise FitFailed("planted")
        return self.inner.fit(x, y, noise_std)

    def forget(self):
        self.forgotten += 1
        self.inner.forget()

    def recall(self, state, x, y, noise_std):
        self.recalled.append(state)
        self.inner.recall(state, x, y, noise_std)


def failing(*at):
    return type("FailingThen", (Failing,), {"fails": at})


def through_json(state):
    return json.loads(json.dumps(state, allow_nan=False))


# --- a fold ---


def same_posterior(one, other):
    assert one.usable == other.usable
    if one.usable:
        for a, b in zip(one.posterior(), other.posterior(), strict=True):
            np.testing.assert_array_equal(a, b)
        assert one.weights() == other.weights()


SICK = {
    "healthy": {},
    "a liar": {"gp": Liar},
    "only liars": {"gp": Liar, "coordinates": Liar},
    "over-confident": {"gp": OverConfident, "coordinates": OverConfident},
    "failing now and then": {"gp": failing(11, 21), "coordinates": failing(21)},
}


@pytest.mark.parametrize("kind", SICK)
def test_a_committee_restored_at_any_point_goes_on_to_the_bit(kind):
    points = (6, 7, 11, 16, 23, 28)
    original, states = Campaign(committee_of(plain(**SICK[kind]))).begin(), {}
    for n in points:
        states[n] = through_json(original.go_on(n).committee.state())
    original.go_on(28)
    for n in points:
        restored = Campaign(committee_of(plain(**SICK[kind])))
        restored.committee.restore(states[n], *restored.data(0, n))
        assert through_json(restored.committee.state()) == states[n]
        same_posterior(restored.go_on(28).committee, original.committee)
        assert through_json(restored.committee.state()) == states[28]


@pytest.mark.parametrize("n", [6, 9, 17, 23])
def test_a_committee_of_counts_restored_at_any_point_goes_on_to_the_bit(n):
    def campaign():
        made = Campaign(committee_of(), truth=4.0 + BY_PLACE)
        made.values = np.random.default_rng(3).poisson(np.maximum(made.values, 0.1)).astype(float)
        made.noise = np.sqrt(np.maximum(made.values, 1.0))
        return made

    original = campaign().begin().go_on(n)
    state = through_json(original.committee.state())
    restored = campaign()
    restored.committee.restore(state, *restored.data(0, n))
    assert through_json(restored.committee.state()) == state
    same_posterior(restored.go_on(28).committee, original.go_on(28).committee)
    assert through_json(restored.committee.state()) == through_json(original.committee.state())


def test_a_state_of_an_earlier_version_goes_on_with_what_was_stated():
    original = run(committee_of(), 12)
    state = through_json(original.committee.state())
    del state["known"]
    restored = Campaign(committee_of())
    restored.committee.restore(state, *restored.data(0, 12))
    same_posterior(restored.go_on(20).committee, original.go_on(20).committee)  # the same noise is stated of all


def test_the_sick_committees_of_the_fold_do_pass_through_remedies():
    assert set(run(committee_of(plain(**SICK["only liars"])), 30).rungs) >= {OK, REFIT_COLD, ROLL_BACK}


def test_asking_changes_nothing():
    committee = run(committee_of(), 20).committee
    state = through_json(committee.state())
    first = committee.posterior()
    committee.posterior_given(POOL[:2], np.full(2, 0.1))
    committee.calibration()
    for a, b in zip(first, committee.posterior(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert through_json(committee.state()) == state


# --- beliefs and what is published ---


@pytest.mark.parametrize("kind", SICK)
def test_beliefs_sum_to_one_and_are_of_those_that_can_be_asked(kind):
    campaign = run(committee_of(plain(**SICK[kind])), 35)
    assert campaign.published
    for _, _, std, weights in campaign.published:
        assert sum(weights.values()) == pytest.approx(1.0)
        assert set(weights) <= {"gp", "coordinates"}
        assert min(weights.values()) >= 0.0
        assert std > 0.0


def test_the_posterior_is_the_mixture_of_the_members_by_the_law_of_total_variance():
    members = plain()
    campaign = Campaign(committee_of(members), seed=4).begin()
    for n in range(7, 25):
        committee = campaign.go_on(n).committee
        if len(committee.weights()) == 2:
            break
    weights = committee.weights()
    assert min(weights.values()) > 0.01
    means = {k: members[k].pool_posterior()[0] for k in weights}
    stds = {k: members[k].pool_posterior()[1] * committee._scale(k) for k in weights}
    mean = sum(weights[k] * means[k] for k in weights)
    variance = sum(weights[k] * (stds[k] ** 2 + means[k] ** 2) for k in weights) - mean**2
    np.testing.assert_allclose(committee.posterior()[0], mean, rtol=1e-10)
    np.testing.assert_allclose(committee.posterior()[1], np.sqrt(variance), rtol=1e-6)


def test_what_is_pending_lowers_the_uncertainty_as_measuring_it_would():
    committee = Committee({"coordinates": GaussianProcess((PLACE,), "matern52")}, PLACE)
    committee.attach(POOL)
    run(committee, 14)
    (mean, std), x = committee.posterior(), POOL[[40, 41, 100]]
    given_mean, given_std = committee.posterior_given(x, np.full(3, NOISE_STD))
    before = committee._scale("coordinates")
    for row, value in zip(x, (3.0, -2.0, 0.5), strict=True):
        committee.observe(row, value, NOISE_STD)
    after = committee.posterior()[1] / committee._scale("coordinates") * before
    np.testing.assert_array_equal(given_mean, mean)
    np.testing.assert_allclose(given_std, after, atol=2e-4 * std.max())
    assert (given_std <= std * (1.0 + 1e-6)).all()
    assert given_std[40] < 0.5 * std[40]


def test_pending_points_far_from_a_place_leave_it_as_uncertain_as_it_was():
    committee = run(committee_of(), 14).committee
    _, std = committee.posterior()
    _, given_std = committee.posterior_given(np.full((1, 4), 1e3, dtype=np.float32), np.full(1, NOISE_STD))
    np.testing.assert_allclose(given_std, std, rtol=1e-5)


def test_calibration_scores_the_very_mixture_that_was_published_and_says_so_after_the_first():
    committee = committee_of()
    campaign = Campaign(committee, every=1000).begin()
    assert committee.calibration() is None
    z = []
    for n in range(7, 31):
        weights = committee.weights()
        noisy = {}
        for name in weights:
            mean, std = committee._members[name].predict(POOL[campaign.pixels[[n - 1]]])
            spread = np.sqrt(std**2 + NOISE_STD**2 + committee._members[name].jitter_std ** 2)
            noisy[name] = mean, spread * committee._scale(name)
        means, stds = zip(*noisy.values(), strict=True)
        mean, std = moment_match(means, stds, list(weights.values()))
        z.append((campaign.values[n - 1] - mean[0]) / std[0])
        _, published, published_std, _ = campaign.go_on(n).published[-1]
        assert published == pytest.approx(mean[0], abs=1e-4)
        assert published_std < std[0] + 1e-6
        card = committee.calibration()
        assert card.n == len(z)
        assert card.mean_z == pytest.approx(np.mean(z))
        assert card.std_z == pytest.approx(np.std(z))
        assert card.coverage_90 == pytest.approx(np.mean(np.abs(z) < 1.6448536))
        assert card.scale == committee._scale(committee.chosen)


def test_nothing_is_published_before_a_model_was_fitted():
    committee = committee_of()
    assert not committee.usable
    assert committee.calibration() is None
    with pytest.raises(ModelError, match="no model could be fitted"):
        committee.posterior()


# --- honest ---


def honesty(factor, seeds=range(4), until=55):
    """Return coverage of published 90 % intervals, and the factors at the end; most of the scatter is not stated."""
    wrapper = type("Sure", (OverConfident,), {"factor": factor})
    inside, scales, claimed = [], [], []
    for seed in seeds:
        member = wrapper(GaussianProcess((PLACE,), "matern52"))
        committee = committee_of({"coordinates": member})
        run(committee, until, seed=seed, scatter=0.3)
        mean, std, value = np.array(committee._track._recent_).T
        inside.append(coverage(value, mean, std))
        scales.append(committee._scale("coordinates"))
        claimed.append(coverage(*member.leave_one_out()))
    return np.mean(inside), scales, np.mean(claimed)


@pytest.mark.parametrize("factor", [0.25, 0.5])
def test_planted_over_confidence_is_taken_back(factor):
    inside, scales, claimed = honesty(factor)
    assert claimed < 0.75
    assert 0.8 <= inside <= 0.97
    assert min(scales) > 0.6 / factor


def test_an_honest_model_is_left_nearly_as_it_is():
    inside, scales, claimed = honesty(1.0)
    assert 0.8 <= claimed <= 0.97
    assert 0.8 <= inside <= 0.97
    assert 1.0 <= np.median(scales) < 1.5


# --- lies, remedies, failures ---


@pytest.mark.parametrize("seed", range(3))
def test_a_lying_member_is_stepped_over_however_well_it_explains_its_own_data(seed):
    committee = committee_of(plain(gp=Liar))
    campaign = run(committee, 31, seed=seed)
    assert campaign.published[-1][3].get("gp", 0.0) < 0.01
    assert committee.chosen == "coordinates"
    mean, _ = committee.posterior()
    error = mean - BY_PLACE
    assert np.sqrt(np.mean(error**2)) < 0.5 * BY_PLACE.std()


@pytest.mark.parametrize("seed", range(3))
def test_when_every_member_lies_the_remedies_are_taken_in_turn_down_to_none(seed):
    members = {name: Failing(Liar(member)) for name, member in plain().items()}
    committee = committee_of(members)
    campaign = run(committee, 45, seed=seed)
    rungs = list(dict.fromkeys(campaign.rungs))
    assert rungs == [OK, REFIT_COLD, ROLL_BACK, SPACE_FILLING]
    assert campaign.rungs.index(SPACE_FILLING) < 30
    assert members["gp"].forgotten == members["coordinates"].forgotten == 1
    assert "worse than the reference" in committee.verdict.reason or "No model has shown" in committee.verdict.reason


def test_rolling_back_takes_up_the_last_fit_that_was_trusted():
    members = {name: Failing(Liar(member)) for name, member in plain().items()}
    campaign = Campaign(committee_of(members), every=1000).begin()
    trusted, summary = members["gp"].state(), campaign.committee.summary()
    for n in range(7, 45):
        if campaign.go_on(n).committee.verdict.rung == ROLL_BACK:
            break
    assert members["gp"].recalled == [trusted]
    assert members["gp"].state() == trusted
    assert members["gp"].inner.inner.n == n
    if campaign.committee.chosen == summary.model:
        assert campaign.committee.summary() == summary.replace(rung=ROLL_BACK)


def test_refitting_from_scratch_spares_no_member_however_little_it_is_believed():
    class HalfALiar(Liar):
        def leave_one_out(self):
            return self.inner.leave_one_out()

    truth = np.random.default_rng(8).normal(size=len(POOL))  # of which nothing can be foretold
    members = plain(gp=lambda member: Failing(HalfALiar(member)))
    campaign, belief = Campaign(committee_of(members), truth=truth, every=1000).begin(), 1.0
    for n in range(7, 60):
        before, belief = belief, campaign.committee._contest.standing().weight("gp")
        if campaign.go_on(n).committee.verdict.rung == REFIT_COLD:
            break
    assert max(before, belief) < 1e-3
    assert (members["gp"].fits, members["gp"].forgotten, members["gp"].recalled) == (2, 1, [])


def test_the_summary_is_of_the_member_believed_most_and_of_its_last_fit():
    members = plain()
    campaign = Campaign(committee_of(members)).begin()
    for n in range(7, 37):
        committee = campaign.go_on(n).committee
        summary, learnt = committee.summary(), members[committee.chosen].state()["prior"]
        assert summary.model == committee.chosen
        assert summary.hyperparameters["jitter"] == learnt["jitter"]
        assert sum(name.startswith("outputscale") for name in summary.hyperparameters) == len(learnt["groups"])
    assert summary.model == "coordinates"


def test_a_remedy_is_taken_once(monkeypatch):
    members = {name: Failing(Liar(member)) for name, member in plain().items()}
    campaign = Campaign(committee_of(members), every=1000).begin()
    for n in range(7, 45):
        if campaign.go_on(n).committee.verdict.rung != OK:
            break
    fits = members["gp"].fits
    monkeypatch.setattr(campaign.committee._track, "informative", lambda: True)  # nothing speaks against them now
    campaign.go_on(n + 5)
    assert fits == 2
    assert members["gp"].fits == fits


def test_models_that_tell_the_truth_again_come_back():
    members = {name: Liar(member) for name, member in plain().items()}
    committee = committee_of(members)
    campaign = run(committee, 40)
    assert committee.verdict.rung == SPACE_FILLING
    committee._members.update({name: liar.inner for name, liar in members.items()})
    committee.attach(POOL)
    campaign.go_on(80)
    assert committee.verdict.rung in (OK, "coordinates")
    mean, _ = committee.posterior()
    assert np.sqrt(np.mean((mean - BY_PLACE) ** 2)) < 0.3 * BY_PLACE.std()


def test_the_next_member_decides_when_the_first_cannot_be_fitted_and_the_summary_says_so():
    campaign = Campaign(committee_of(plain(gp=failing(6))))
    campaign.committee.start(*campaign.data(0, 6))
    assert campaign.committee.fit().rung == "coordinates"
    assert campaign.committee.weights() == {"coordinates": 1.0}
    assert campaign.go_on(11).committee.fit().rung == OK


def test_without_any_fitted_member_nothing_is_usable_until_a_fit_succeeds():
    campaign = Campaign(committee_of(plain(gp=failing(6, 10), coordinates=failing(6, 10))), every=1000)
    campaign.committee.start(*campaign.data(0, 6))
    summary = campaign.committee.fit()
    assert (summary.rung, summary.model, summary.n) == (SPACE_FILLING, SPACE_FILLING, 6)
    assert campaign.go_on(10).committee.fit().rung == SPACE_FILLING
    assert not campaign.committee.usable
    assert campaign.committee.n == 10
    assert campaign.go_on(11).committee.fit().rung == OK
    assert campaign.go_on(15).published[-1][0] == 14


def test_a_forecast_that_is_none_counts_against_its_member_alone():
    class Lost(Wrapped):
        def predict(self, x):
            return np.full(len(x), np.nan), np.full(len(x), np.nan)

    committee = run(committee_of(plain(gp=Lost)), 20).committee
    assert committee._contest.standing().weight("gp") < 1e-6
    assert committee.calibration().n == 14
    assert np.isfinite(committee.calibration().log_score)


# --- which features tell ---


def late_belief(name, seeds, **settings):
    """Return the mean belief in a member between 30 and 36 measurements, and the final error of the map, by seed."""
    beliefs, errors = [], []
    for seed in seeds:
        campaign = run(committee_of(), 36, seed=seed, **settings)
        beliefs.append(np.mean([weights.get(name, 0.0) for k, _, _, weights in campaign.published if k >= 30]))
        errors.append(np.sqrt(np.mean((campaign.committee.posterior()[0] - settings.get("truth", BY_PLACE)) ** 2)))
    return np.array(beliefs), np.array(errors)


def test_features_that_tell_nothing_lose_to_coordinates_within_thirty_measurements():
    beliefs, errors = late_belief("coordinates", range(5))
    alone = []
    for seed in range(5):
        committee = committee_of({"coordinates": GaussianProcess((PLACE,), "matern52")})
        run(committee, 36, seed=seed)
        alone.append(np.sqrt(np.mean((committee.posterior()[0] - BY_PLACE) ** 2)))
    assert np.median(beliefs) > 0.9
    assert np.median(errors / alone) < 1.1


def test_features_that_tell_everything_win_over_coordinates():
    beliefs, errors = late_belief("gp", range(3), truth=BY_IMAGE)
    assert beliefs.min() > 0.95
    assert np.median(errors) < 0.5 * BY_IMAGE.std()
