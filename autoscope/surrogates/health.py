"""Which rung of a ladder of models should decide, judged by what each foretold: statistics, not only exceptions.

A model is measured against a reference forecaster that is always at hand (`Reference`: mean and spread of the values
so far, and inverse-distance weighting on coordinates). With densities p of the model and q of the reference at the
value that came, one step bets at the odds

    e = q / ((1 - c) p + c q),    c = 0.05.

If the model is right (values drawn from p), the expected e is at most 1, whatever q: Jensen's inequality for the
concave map r -> r / (1 - c + c r) of r = q/p, whose mean is at most 1. So the product of e is a non-negative
supermartingale, and by Ville's inequality (Ville 1939) a right model ever reaches 1/a with probability at most a. One
step can speak against a model with no more than log(1/c) = 3 nats: one outlier demotes nobody.

Page's cumulative sum (Page 1954), ``w = max(0, w) + log e``, lets the evidence begin anew at every moment, so that a
good past does not delay the alarm. It is bounded by the sum over beginnings (the Shiryaev-Roberts e-detector, Shin,
Ramdas & Rinaldo 2023), whose excess over the number of steps is a martingale: a right model passes ``log(T / a)``
within T steps with probability at most a. Defaults: T = 200, a = 5 %, threshold 8.3 nats, so at least three steps.

A useful model is often somewhat over-confident, which recalibration cures; a useless one recalibrated without limit
would become too vague to be convicted. So forecasts are judged with their spread corrected by at most `FORGIVEN`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import gammaln

from autoscope.errors import ModelError
from autoscope.protocols import JsonValue
from autoscope.records import Value

Array = NDArray[np.float64]

HEDGE = 0.05
"""Share c of the reference mixed into a forecast before the two are compared."""
FORGIVEN = 1.5
"""Over-confidence by this factor is left to recalibration; a model that needs more must earn its place."""
NEIGHBOURS = 8
JUDGED = 256
"""How many of the latest values tell the spread of the reference's own errors: a bound on its cost."""
UNUSABLE = -1e6
"""Log density of a forecast that is none: not finite, or without spread."""


# --- the forecaster that is always there ------------------------------------------------------------


def log_density(value: float, mean: float, std: float) -> float:
    """Return the log density of a value under a Gaussian forecast; `UNUSABLE` for a forecast that is none.

    Examples
    --------
    >>> round(log_density(0.0, 0.0, 1.0), 4), log_density(0.0, math.nan, 1.0)
    (-0.9189, -1000000.0)
    """
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0.0):
        return UNUSABLE
    z = (value - mean) / std
    return max(-0.5 * z * z - math.log(std) - 0.5 * math.log(2.0 * math.pi), UNUSABLE)


def judged_std(std: float, scale: float) -> float:
    """Return the standard deviation by which health judges a forecast whose recalibration factor is ``scale``.

    Examples
    --------
    >>> judged_std(2.0, 1.2), judged_std(2.0, 4.0)
    (2.4, 3.0)
    """
    return std * min(scale, FORGIVEN)


def student_log_density(value: float, mean: float, scale: float, freedom: float) -> float:
    """Return the log density of a value under Student's t with location, scale and degrees of freedom.

    Examples
    --------
    >>> round(student_log_density(0.0, 0.0, 1.0, 1.0), 4) == round(-math.log(math.pi), 4)
    True
    """
    z2 = ((value - mean) / scale) ** 2
    half = 0.5 * (freedom + 1.0)
    constant = float(gammaln(half)) - float(gammaln(0.5 * freedom)) - 0.5 * math.log(freedom * math.pi)
    return constant - math.log(scale) - half * math.log1p(z2 / freedom)


def reference_log_density(value: float, place: Array, places: Array, values: Array) -> float:
    """Return what the reference foretold of ``value`` at ``place`` (d,) from ``values`` (n >= 3,) at ``places`` (n, d).

    An even mixture of two forecasts: the mean of all values with their spread, as Student's t with n - 1 degrees of
    freedom (the predictive density under a flat prior, Gelman et al. 2013, section 3.2), and inverse-distance
    weighting of the nearest `NEIGHBOURS` values (Shepard 1968) with the spread of its own leave-one-out errors over
    the last `JUDGED` of them. Places may be in any unit of length.

    Raises
    ------
    ModelError
        Fewer than three values.

    Examples
    --------
    >>> line = np.arange(6.0)[:, None]
    >>> near = reference_log_density(2.5, np.array([2.5]), line, np.arange(6.0))
    >>> near > reference_log_density(9.0, np.array([2.5]), line, np.arange(6.0))
    True
    """
    n = len(values)
    if n < 3:
        raise ModelError("a reference needs a past", value=n, limit=">= 3 values")
    floor = 1e-6 * float(np.abs(values).max()) or 1.0
    spread = max(float(np.std(values, ddof=1)), floor) * math.sqrt(1.0 + 1.0 / n)
    plain = student_log_density(value, float(np.mean(values)), spread, n - 1.0)
    tree = cKDTree(places)
    late = np.arange(max(0, n - JUDGED), n)
    guesses = _inverse_distance(tree, places[late], values, leave_out=late)
    expected = float(_inverse_distance(tree, place[None], values)[0])
    near = student_log_density(
        value, expected, max(float(np.sqrt(np.mean((values[late] - guesses) ** 2))), floor), len(late) - 1.0
    )
    return float(np.logaddexp(plain, near)) - math.log(2.0)


class Constant:
    """The forecaster that knows only how values scatter about their mean, apart from the noise stated for each.

    The random-effects mean with the moment estimate of the spread (DerSimonian & Laird 1986, eqs. 8-10): values
    (n >= 2,) with standard uncertainties (n,). A model of a target has found structure when it foretells better.

    Examples
    --------
    >>> flat = Constant(np.array([0.0, 10.0, -12.0, 0.5]), np.array([1.0, 11.0, 11.0, 1.0]))
    >>> flat.spread
    0.0
    """

    def __init__(self, values: Array, noise_std: Array) -> None:
        floor = 1e-6 * float(np.abs(values).max()) or 1.0
        self._values, self._variance = values, noise_std**2 + floor**2
        weights = 1.0 / self._variance
        total = weights.sum()
        excess = float(weights @ (values - weights @ values / total) ** 2) - (len(values) - 1.0)
        squared = max(0.0, excess / (total - (weights @ weights) / total))
        self.spread = math.sqrt(squared)
        self._weights = 1.0 / (self._variance + squared)

    def log_density(self, value: float, noise_std: float) -> float:
        """Return the log density foretold of a further value, as Student's t with n - 1 degrees of freedom."""
        total = float(self._weights.sum())
        scale = math.sqrt(self.spread**2 + noise_std**2 + 1.0 / total)
        return student_log_density(
            value, float(self._weights @ self._values) / total, scale, max(len(self._values) - 1.0, 1.0)
        )

    def left_out(self) -> float:
        """Return the total log density of every value foretold by the others, with the spread of all."""
        total, summed = self._weights.sum(), self._weights @ self._values
        means = (summed - self._weights * self._values) / (total - self._weights)
        scales = np.sqrt(self.spread**2 + self._variance + 1.0 / (total - self._weights))
        freedom = max(len(self._values) - 2.0, 1.0)
        rows = zip(self._values.tolist(), means.tolist(), scales.tolist(), strict=True)
        return sum(student_log_density(value, mean, scale, freedom) for value, mean, scale in rows)


def _inverse_distance(tree: cKDTree, at: Array, values: Array, leave_out: NDArray[np.int_] | None = None) -> Array:
    """Return the weighted mean of the nearest values at points (m, d), leaving out one value of each if asked."""
    count = min(NEIGHBOURS + (leave_out is not None), len(values))
    distance, nearest = (np.asarray(a).reshape(len(at), count) for a in tree.query(at, k=count))
    unit = float(distance.max()) or 1.0
    weights = 1.0 / ((distance / unit) ** 2 + 1e-12)
    if leave_out is not None:
        weights[nearest == leave_out[:, None]] = 0.0
    return np.asarray((weights * values[nearest]).sum(axis=1) / weights.sum(axis=1))


# --- the ladder -------------------------------------------------------------------------------------


class Rung(Value):
    """One step of the ladder: what to do, and whose forecasts then decide (None: nobody's, space is filled)."""

    name: str
    forecaster: str | None


OK, REFIT_COLD, ROLL_BACK = "ok", "refit_cold", "roll_back"
COORDINATES, SPACE_FILLING = "coordinates", "space_filling"
FULL = "full"

RUNGS = (
    Rung(name=OK, forecaster=FULL),
    Rung(name=REFIT_COLD, forecaster=FULL),
    Rung(name=ROLL_BACK, forecaster=FULL),
    Rung(name=COORDINATES, forecaster=COORDINATES),
    Rung(name=SPACE_FILLING, forecaster=None),
)
"""Best first. The second and third are remedies for the same model, which is then given a new trial."""


class Verdict(Value):
    """Which rung decides now, why, and the figure that says so."""

    rung: str
    reason: str
    statistic: float
    """Evidence against the forecaster in charge, in nats; of the best candidate for promotion where none is."""
    threshold: float
    changed: bool = False
    """Whether the last step told changed the rung: then the remedy of the new rung is due."""


class HealthMonitor:
    """Takes the ladder down when the model in charge foretells worse than the reference, and up when it recovers.

    A fold: the same steps told in order give the same verdict to the bit, also across `state` and `restore`.

    Down: evidence against the forecaster in charge passes ``log(horizon / false_alarm)``; the next rung whose
    forecaster is not itself under alarm takes over. A new rung of the same forecaster begins with a clean slate: the
    model is another after the remedy. Up: the same test with model and reference in exchanged roles passes the same
    threshold, and the rung has been kept for ``patience`` steps, doubled with every earlier demotion (to 16 times).
    A forecaster not in charge can only recover if its forecasts go on being told.

    Parameters
    ----------
    rungs : tuple of Rung
        Best first.
    false_alarm : float
        Probability bound of demoting a right model within ``horizon`` steps.
    horizon : int
        See above.
    patience : int
        Steps before the first promotion.

    Examples
    --------
    >>> monitor = HealthMonitor()
    >>> for _ in range(3):
    ...     verdict = monitor.tell({"full": -40.0}, reference=-1.0)
    >>> verdict.rung, verdict.changed
    ('refit_cold', True)
    """

    def __init__(
        self, rungs: tuple[Rung, ...] = RUNGS, false_alarm: float = 0.05, horizon: int = 200, patience: int = 5
    ) -> None:
        if not rungs or not 0.0 < false_alarm < 1.0 or horizon < 1 or patience < 0:
            raise ModelError("health cannot be judged so", value=(len(rungs), false_alarm, horizon, patience))
        self._rungs, self._patience = rungs, patience
        self._names = tuple(dict.fromkeys(r.forecaster for r in rungs if r.forecaster is not None))
        self._threshold = math.log(horizon / false_alarm)
        self._at_, self._held_, self._demotions_ = 0, 0, 0
        self._against_ = dict.fromkeys(self._names, 0.0)
        self._for_ = dict.fromkeys(self._names, 0.0)
        self._verdict_ = self._say("No forecast has been judged yet.", changed=False)

    @property
    def verdict(self) -> Verdict:
        """The verdict after the last step."""
        return self._verdict_

    def tell(self, forecasts: Mapping[str, float], reference: float) -> Verdict:
        """Take one measurement into account and return the verdict.

        Parameters
        ----------
        forecasts : mapping
            Log density (`log_density`) that each forecaster gave the value beforehand; absent ones are not judged.
        reference : float
            Log density that the reference gave it.

        Raises
        ------
        ModelError
            A name is no forecaster's, or the reference is not finite.
        """
        strangers = set(forecasts) - set(self._names)
        if strangers or not math.isfinite(reference):
            raise ModelError(
                "this cannot be judged", value=(sorted(strangers), reference), limit=f"{list(self._names)}, finite"
            )
        for name, score in forecasts.items():
            lead = (score if math.isfinite(score) else UNUSABLE) - reference
            self._against_[name] = max(0.0, self._against_[name]) + bet(-lead)
            self._for_[name] = max(0.0, self._for_[name]) + bet(lead)
        self._held_ += 1
        self._verdict_ = self._judge()
        return self._verdict_

    def fail(self, reason: str) -> Verdict:
        """Step down at once, because the rung in charge could not decide at all (an exception)."""
        if self._at_ < len(self._rungs) - 1:
            self._move(self._at_ + 1)
        self._verdict_ = self._say(f"The model could not decide: {reason}.", changed=True)
        return self._verdict_

    def _judge(self) -> Verdict:
        name = self._rungs[self._at_].forecaster
        if name is not None and self._against_[name] >= self._threshold:
            return self._demote(name)
        for at in range(self._at_):
            better = self._rungs[at].forecaster
            if better is not None and self._for_[better] >= self._threshold and self._held_ >= self._wait():
                return self._promote(at, better)
        if name is None:
            return self._say("No model has shown yet that it foretells better than the reference.", changed=False)
        return self._say(f"'{name}' foretells no worse than the reference, as far as can be told.", changed=False)

    def _demote(self, name: str) -> Verdict:
        odds, below = self._against_[name], self._at_ + 1
        while below < len(self._rungs) and self._alarmed(self._rungs[below].forecaster, name):
            below += 1
        self._move(min(below, len(self._rungs) - 1))
        self._demotions_ += 1
        reason = (
            f"'{name}' foretold worse than the reference: {odds:.1f} nats against it, {self._threshold:.1f} allowed"
        )
        return self._say(f"{reason}; '{self._rungs[self._at_].name}' takes over.", changed=True, statistic=odds)

    def _promote(self, at: int, name: str) -> Verdict:
        gain = self._for_[name]
        self._move(at)
        reason = f"'{name}' foretold better than the reference by {gain:.1f} nats, {self._threshold:.1f} needed"
        return self._say(f"{reason}; '{self._rungs[at].name}' is back.", changed=True, statistic=gain)

    def _alarmed(self, name: str | None, demoted: str) -> bool:
        return name is not None and name != demoted and self._against_[name] >= self._threshold

    def _wait(self) -> int:
        return self._patience * int(2 ** min(max(self._demotions_ - 1, 0), 4))

    def _move(self, at: int) -> None:
        self._at_, self._held_ = at, 0
        name = self._rungs[at].forecaster
        if name is not None:
            self._against_[name] = self._for_[name] = 0.0

    def _say(self, reason: str, changed: bool, statistic: float | None = None) -> Verdict:
        name = self._rungs[self._at_].forecaster
        now = self._against_[name] if name is not None else max(self._for_.values(), default=0.0)
        return Verdict(
            rung=self._rungs[self._at_].name,
            reason=reason,
            statistic=now if statistic is None else statistic,
            threshold=self._threshold,
            changed=changed,
        )

    def state(self) -> dict[str, JsonValue]:
        """Return everything as JSON data."""
        return {
            "at": self._at_,
            "held": self._held_,
            "demotions": self._demotions_,
            "against": dict(self._against_),
            "for": dict(self._for_),
            "verdict": self._verdict_.model_dump(mode="json"),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self._at_, self._held_, self._demotions_ = int(state["at"]), int(state["held"]), int(state["demotions"])
        self._against_ = {name: float(state["against"][name]) for name in self._names}
        self._for_ = {name: float(state["for"][name]) for name in self._names}
        self._verdict_ = Verdict.model_validate(state["verdict"])


def bet(lead: float) -> float:
    """Return log e for a log density ratio r = ``lead`` of challenger over incumbent: log(r / (1 - c + c r)).

    Rises with ``lead`` from about ``lead`` itself far below zero to log(1/c) far above.

    Examples
    --------
    >>> abs(bet(0.0)) < 1e-12, round(bet(500.0), 3) == round(-math.log(HEDGE), 3), round(bet(-9.0), 2)
    (True, True, -8.95)
    """
    return lead - float(np.logaddexp(math.log1p(-HEDGE), math.log(HEDGE) + lead))
