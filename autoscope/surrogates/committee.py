"""Several surrogates of one target, judged by what they foretell: mixed, made honest, replaced when they mislead."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import ModelError
from autoscope.protocols import JsonValue
from autoscope.records import Calibration, FitSummary
from autoscope.surrogates.calibration import Prequential
from autoscope.surrogates.contest import Contest, moment_match
from autoscope.surrogates.forecast import Forecast
from autoscope.surrogates.health import (
    COORDINATES,
    FULL,
    OK,
    REFIT_COLD,
    ROLL_BACK,
    SPACE_FILLING,
    Constant,
    HealthMonitor,
    Verdict,
    log_density,
    reference_log_density,
)
from autoscope.surrogates.measurements import Measurements
from autoscope.surrogates.prior import Features
from autoscope.surrogates.recalibration import Recalibrator
from autoscope.surrogates.surrogate import Surrogate

Array = NDArray[np.float64]

CONSTANT = "constant"
"""A rival that only knows mean and spread of the values; never asked, but what is believed must beat it."""
PROVEN = 10.0
"""Odds over the constant at which coordinates alone are believed: where nothing predicts anything yet, the models that
see more know better which places are still unlike those measured."""
RESTS = 2
"""Fits in a row that a negligible member sits out: only its posterior is brought up to date."""
NEGLIGIBLE = 0.01
"""A member with less belief than this is not asked: its pool posterior need not be kept."""


class Committee:
    """Members in order of preference, the last one on coordinates alone; a fold over measurements in their order.

    Every measurement is first foretold by each member, then judged, then learnt:

    - it is weighed by the noise stated where the most believed member expects it (`NoiseLaw`);
    - each member's spread is multiplied by what makes its forecasts honest (`Recalibrator`);
    - members are weighed by their forecasts and by leave-one-out (`Contest`), so that features which tell nothing
      about the target lose to coordinates by themselves;
    - when the best of them foretells worse than a plain reference, and does not even order places rightly, remedies
      are taken in turn (`HealthMonitor`): refit from scratch, go back to the last good fit, coordinates alone, no
      model at all.

    Parameters
    ----------
    members : mapping of str to Surrogate
        Best first. The last should see coordinates only; with a single member there is nothing to fall back to.
    place : sequence of int
        Columns of the features that are coordinates.
    """

    def __init__(self, members: Mapping[str, Surrogate], place: Sequence[int]) -> None:
        self._members = dict(members)
        self._simple = tuple(members)[-1]
        self._place = list(place)
        self._fitted_: tuple[str, ...] = ()
        self._contest = Contest((*members, CONSTANT))
        self._factors = {name: Recalibrator() for name in members}
        self._left_out_: dict[str, Array | None] = {}
        self._track = Prequential()
        self._health = HealthMonitor()
        self._good_: dict[str, dict[str, Any]] = {}
        self._known_ = Measurements()
        self._fitted_n_ = 0
        self._asked_: tuple[str, ...] = ()
        self._rested_: dict[str, int] = {}
        self._summaries_: dict[str, FitSummary] = {}

    # --- what is asked ---

    @property
    def n(self) -> int:
        """Number of measurements learnt."""
        return len(self._known_)

    @property
    def verdict(self) -> Verdict:
        """Which rung decides, and why."""
        return self._health.verdict

    @property
    def usable(self) -> bool:
        """Whether there is a model at all."""
        return bool(self._asked_)

    @property
    def trusted(self) -> bool:
        """Whether what the models foretell is better than nothing; where not, space should be filled in turn."""
        return self.usable and self.verdict.rung != SPACE_FILLING

    @property
    def chosen(self) -> str:
        """The member believed most among those that may decide."""
        weights = self.weights()
        return max(weights, key=lambda name: weights[name])

    @property
    def leader(self) -> Surrogate:
        """The surrogate of the member believed most."""
        return self._members[self.chosen]

    def calibration(self) -> Calibration | None:
        """Return how honest what was published has been lately, or None before the first forecast."""
        card = self._track.recent()
        return None if card is None or not self.usable else card.record(self._scale(self.chosen))

    def summary(self) -> FitSummary:
        """Return how the member believed most was last fitted, under its name, and which rung decides now."""
        if not self.usable:
            return FitSummary(model=SPACE_FILLING, n=self._fitted_n_, rung=SPACE_FILLING)
        chosen, rung = self.chosen, self.verdict.rung
        if rung == OK and next(iter(self._members)) not in self._fitted_:
            rung = chosen
        return self._summaries_[chosen].replace(model=chosen, rung=rung)

    def weights(self) -> dict[str, float]:
        """Return the belief in each member that is asked, summing to one.

        Who is asked is settled at each fit, because the others' posteriors over the pool are not kept.
        """
        if not self._asked_:
            raise ModelError("no model could be fitted yet", remedy="Fill space, and fit again with more measurements")
        return self._beliefs(self._asked_)

    def _beliefs(self, names: Sequence[str]) -> dict[str, float]:
        standing = self._contest.standing()
        raw = {name: standing.weight(name) for name in names}
        total = sum(raw.values())
        return {name: weight / total if total else 1.0 / len(raw) for name, weight in raw.items()}

    def _settle_who_is_asked(self) -> None:
        full = tuple(name for name in self._fitted_ if name != self._simple)
        standing = self._contest.standing()
        proven = standing.weight(self._simple) > PROVEN * standing.weight(CONSTANT)
        allowed = self._fitted_ if proven or not full else full
        if self.verdict.rung == COORDINATES and self._simple in self._fitted_:
            allowed = (self._simple,)
        beliefs = self._beliefs(allowed)
        top = max(beliefs.values())
        self._asked_ = tuple(name for name, belief in beliefs.items() if belief >= NEGLIGIBLE * top)
        for name in self._fitted_:
            if name not in self._asked_:
                self._members[name].release()
        for name in self._asked_:  # built before conditioning, as when each measurement arrived: the same bits
            self._members[name].pool_posterior()

    def posterior(self) -> tuple[Array, Array]:
        """Return mean and honest std of the target over the attached pool, each (m,)."""
        return self._mix({name: self._members[name].pool_posterior() for name in self.weights()})

    def posterior_given(self, x: Features, noise_std: Array) -> tuple[Array, Array]:
        """Return mean and std over the pool as if ``x`` (q, d) had been measured too, with the means as they are."""
        parts = {}
        for name in self.weights():
            member = self._members[name]
            parts[name] = (member.pool_posterior()[0], member.pool_std_given(x, noise_std))
        return self._mix(parts)

    def _mix(self, parts: Mapping[str, tuple[Array, Array]]) -> tuple[Array, Array]:
        weights = self.weights()
        means = [parts[name][0] for name in weights]
        stds = [parts[name][1] * self._scale(name) for name in weights]
        mean, std = moment_match(means, stds, list(weights.values()))
        return np.asarray(mean, dtype=np.float64), np.asarray(std, dtype=np.float64)

    def _scale(self, name: str) -> float:
        """Return the factor of a member's spread, never below 1.

        Forecasts that scatter less than foretold are mostly those of a stated noise that is too large; to shrink the
        model's own spread for it would end exploration where nothing is known yet.
        """
        return max(1.0, self._factors[name].scale(self._left_out_.get(name)))

    # --- what is learnt ---

    def attach(self, pool: Features) -> None:
        """Keep posteriors over a pool (m, d) from now on."""
        for member in self._members.values():
            member.attach(pool)

    def fit(self) -> FitSummary:
        """Relearn every member's hyperparameters from all measurements; never raises for what a model does."""
        rest = set() if self._revise_noise() else self._left_to_rest()
        x, y, noise = self._data()
        self._fitted_n_ = len(y)
        summaries: dict[str, FitSummary] = {}
        for name, member in self._members.items():
            try:
                if name in rest:
                    member.rest(x, y, noise)
                    summaries[name] = self._summaries_[name]
                else:
                    summaries[name] = member.fit(x, y, noise)
            except ModelError:  # the summary's rung tells; the other members are the remedy
                member.forget()  # what the state does not hold must not matter to the next fit
                continue
        self._fitted_, self._summaries_ = tuple(summaries), summaries
        if not summaries:
            self._asked_ = ()
            return self.summary()
        self._appraise()
        self._settle_who_is_asked()
        if self.verdict.rung == OK and len(self._members) > 1:
            self._good_ = {
                name: {"member": self._members[name].state(), "summary": summary.model_dump(mode="json")}
                for name, summary in summaries.items()
            }
        return self.summary()

    def _revise_noise(self) -> bool:
        """Weigh measurements by the noise at what the others foretell of them; return whether that was due."""
        if not self._known_.stale():
            return False
        self._known_.revise(self._left_out_truths() if self.usable else None)
        return True

    def _left_out_truths(self) -> tuple[Array, Array]:
        """Return mean and std of every true value, by the most believed member from all others if it can, each (n,)."""
        left_out = self.leader.leave_one_out()
        if left_out is None:
            return self.leader.predict(self._known_.x)[0], np.zeros(self.n)
        noise = np.hypot(self._known_.noise_std, self.leader.jitter_std)
        return left_out[1], np.sqrt(np.maximum(np.square(left_out[2]) - np.square(noise), 0.0))

    def _left_to_rest(self) -> set[str]:
        """Return members so little believed that their hyperparameters can stay as they are, two times in three."""
        beliefs = self._beliefs(self._fitted_) if self._fitted_ else {}
        top = max(beliefs.values(), default=0.0)
        rest = {k for k, b in beliefs.items() if b < NEGLIGIBLE * top and self._rested_.get(k, 0) < RESTS}
        self._rested_ = {name: self._rested_.get(name, 0) + 1 for name in rest}
        return rest

    def start(self, x: Features, y: Array, noise_std: Array) -> None:
        """Take measurements (n, d), (n,), (n,) made before there was a model: learnt by the next `fit`."""
        self._known_.add(x, y, noise_std)

    def observe(self, x: Features, value: float, noise_std: float) -> None:
        """Judge what was foretold of a measurement at ``x`` (d,), then learn it without refit."""
        steady, changed = noise_std, False
        if self._fitted_:
            forecast = self._foretell(x, value, noise_std)
            steady = forecast.noise_std
            changed = self._judge(x, value, forecast)
        for name in self._fitted_:
            self._members[name].condition(x[None], np.array([value]), np.array([steady]))
        self._known_.add(x[None], np.array([value]), np.array([noise_std]), np.array([steady]))
        if changed:
            self._remedy(self.verdict.rung)

    def _judge(self, x: Features, value: float, forecast: Forecast) -> bool:
        """Score what was foretold, and return whether another rung decides from now on."""
        weights = {k: w for k, w in self.weights().items() if k in forecast.means} if self.usable else {}
        if weights:
            names, total = list(weights), sum(weights.values())
            mean, std = moment_match(
                [np.array([forecast.means[k]]) for k in names],
                [np.array([forecast.stds[k] * forecast.scales[k]]) for k in names],
                [weights[k] / total for k in names],
            )
            self._track.tell(float(mean[0]), float(std[0]), value)
        for name in forecast.means:
            self._factors[name].tell(forecast.means[name], forecast.stds[name], value)
        densities = forecast.densities(value)
        if self.n >= 3:
            constant = Constant(self._known_.y, self._known_.noise_std)
            densities[CONSTANT] = constant.log_density(value, forecast.noise_std)
        self._contest.tell(densities)
        if self.n < 3 or len(self._members) == 1 or self._track.informative():
            return False
        place = np.asarray(x, dtype=np.float64)[self._place]
        places = self._known_.x[:, self._place].astype(np.float64)
        reference = reference_log_density(value, place, places, self._known_.y)
        return self._health.tell(self._judged(forecast, value), reference).changed

    def _judged(self, forecast: Forecast, value: float) -> dict[str, float]:
        """Return log densities for the ladder: the best believed of the full members, and coordinates."""
        standing = self._contest.standing()
        full = [name for name in forecast.means if name != self._simple]
        scores = {}
        if full:
            scores[FULL] = forecast.judged(max(full, key=standing.weight), value)
        if self._simple in forecast.means:
            scores[COORDINATES] = forecast.judged(self._simple, value)
        return scores

    def _foretell(self, x: Features, value: float, noise_std: float) -> Forecast:
        """Return what was foretold of a value, with the noise stated where the most believed member expects it."""
        told = {name: self._members[name].predict(x[None]) for name in self._fitted_}
        told = {name: (mean, std) for name, (mean, std) in told.items() if np.isfinite([mean[0], std[0]]).all()}
        if told:
            beliefs = self._beliefs(tuple(told))
            believed = max(beliefs, key=lambda name: beliefs[name])
            noise_std = self._known_.steadied(value, noise_std, *(float(each[0]) for each in told[believed]))
        means, stds, scales = {}, {}, {}
        for name, (mean, std) in told.items():
            spread = math.hypot(float(std[0]), noise_std, self._members[name].jitter_std)
            if math.isfinite(spread) and spread > 0.0:
                means[name], stds[name], scales[name] = float(mean[0]), spread, self._scale(name)
        return Forecast(means, stds, scales, noise_std)

    def _appraise(self) -> None:
        totals: dict[str, float] = {}
        self._left_out_ = {}
        for name in self._fitted_:
            left_out = self._members[name].leave_one_out()
            if left_out is None:
                continue
            y, mean, std = left_out
            self._left_out_[name] = (y - mean) / std
            totals[name] = sum(log_density(*row) for row in zip(y, mean, std, strict=True))
        if len(totals) == len(self._fitted_) and self.n > 3:
            totals[CONSTANT] = Constant(self._known_.y, self._known_.noise_std).left_out()
            self._contest.appraise(totals, self.n)

    def _remedy(self, rung: str) -> None:
        """Do what the new rung asks for; a rung regained or given up needs new posteriors as well."""
        if rung == ROLL_BACK and set(self._good_) >= set(self._fitted_):
            for name in self._fitted_:
                good = self._good_[name]
                self._members[name].recall(good["member"], *self._data())
                self._summaries_[name] = FitSummary.model_validate(good["summary"])
            self._fitted_n_ = self.n
            self._settle_who_is_asked()
            return
        if rung == REFIT_COLD:
            self._rested_ = dict.fromkeys(self._members, RESTS)
            for member in self._members.values():
                member.forget()
        self.fit()

    def _data(self) -> tuple[Features, Array, Array]:
        return self._known_.x, self._known_.y, self._known_.noise_std

    # --- state ---

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt, without the measurements, as JSON data."""
        left_out = {k: None if z is None else z.tolist() for k, z in self._left_out_.items()}
        return {
            "fitted": list(self._fitted_),
            "fitted_n": self._fitted_n_,
            "asked": list(self._asked_),
            "rested": dict(self._rested_),
            "members": {name: self._members[name].state() for name in self._fitted_},
            "good": dict(self._good_),
            "summaries": {name: summary.model_dump(mode="json") for name, summary in self._summaries_.items()},
            "left_out": left_out,
            "factors": {name: factor.state() for name, factor in self._factors.items()},
            "contest": self._contest.state(),
            "track": self._track.state(),
            "health": self._health.state(),
            "known": self._known_.state(),
        }

    def restore(self, state: Mapping[str, Any], x: Features, y: Array, noise_std: Array) -> None:
        """Take up a state, with all measurements (n, d), (n,), (n,) it had learnt."""
        self._known_ = Measurements()
        self._known_.add(x, y, noise_std)
        if "known" in state:  # states of earlier versions weighed values as they stated
            self._known_.restore(state["known"])
        noise_std = self._known_.noise_std
        self._fitted_, self._asked_ = tuple(state["fitted"]), tuple(state["asked"])
        self._fitted_n_, self._good_, self._rested_ = state["fitted_n"], dict(state["good"]), dict(state["rested"])
        self._summaries_ = {k: FitSummary.model_validate(s) for k, s in state["summaries"].items()}
        self._left_out_ = {k: None if z is None else np.array(z) for k, z in state["left_out"].items()}
        for name, factor in self._factors.items():
            factor.restore(state["factors"][name])
        for part, told in ((self._contest, "contest"), (self._track, "track"), (self._health, "health")):
            part.restore(state[told])
        first, then = slice(self._fitted_n_), slice(self._fitted_n_, None)
        for name in self._fitted_:
            member = self._members[name]
            member.recall(state["members"][name], x[first], y[first], noise_std[first])
            if name in self._asked_:
                member.pool_posterior()
            if self._fitted_n_ < len(y):
                member.condition(x[then], y[then], noise_std[then])
