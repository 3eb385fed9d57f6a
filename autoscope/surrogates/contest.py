"""Which features or kernel to believe: rivals judged by what they foretold, and mixed or chosen accordingly.

Rivals are models of one target on different inputs: image features with coordinates, coordinates alone, a constant.
Where the image tells nothing about the target, the ones that use it foretell worse and lose their weight by
themselves. Three ways to weigh: Bayesian model averaging by evidence (Hoeting et al. 1999), the same by prequential
log scores, which need no trust in fitted hyperparameters (Dawid 1984), and stacking of leave-one-out predictive
densities, which looks for the best mixture rather than the best member (Yao et al. 2018).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, minimize
from scipy.special import logsumexp

from autoscope.errors import FitFailed, ModelError
from autoscope.protocols import JsonValue
from autoscope.records import Value

Array = NDArray[np.float64]
Field = NDArray[np.floating[Any]]

WORST = 6.0
"""No single measurement tells more than so many nats against a rival: one wild value decides nothing."""


def softmax(scores: Sequence[float] | Array, prior: Sequence[float] | Array | None = None) -> Array:
    """Return weights proportional to ``prior * exp(scores)``, summing to one, shape (k,).

    With log evidences as scores these are the posterior probabilities of models (Hoeting et al. 1999, eqs. 2-3).

    Examples
    --------
    >>> softmax([0.0, math.log(3.0)]).round(2).tolist()
    [0.25, 0.75]
    """
    log = np.array(scores, dtype=np.float64)
    if prior is not None:
        log += np.log(np.asarray(prior, dtype=np.float64))
    log = np.exp(log - log.max())
    return np.asarray(log / log.sum())


def stacking_weights(log_densities: Array, iterations: int = 200) -> Array:
    """Return the weights of the mixture of rivals that foretells best, shape (k,), >= 0 and summing to one.

    Maximises the mean log of the mixture density over held-out values (Yao et al. 2018, eq. 4), a concave problem
    on the simplex.

    Parameters
    ----------
    log_densities : array
        Leave-one-out log predictive density of value i under rival k, shape (n, k), finite.
    iterations : int
        Bound on the iterations of SLSQP.

    Raises
    ------
    FitFailed
        The table is empty or not finite, or the search ends on something that is no weight.

    Examples
    --------
    >>> stacking_weights(np.log([[0.9, 0.1], [0.8, 0.2], [0.9, 0.3]])).round(3).tolist()
    [1.0, 0.0]
    """
    if log_densities.ndim != 2 or not log_densities.size or not np.isfinite(log_densities).all():
        raise FitFailed("these densities cannot be stacked", value=log_densities.shape, limit="(n, k), finite")
    relative = np.exp(log_densities - log_densities.max(axis=1, keepdims=True))
    rivals = relative.shape[1]

    def loss(weights: Array) -> float:
        """Return minus the mean log mixture density."""
        return -float(np.mean(np.log(np.maximum(relative @ weights, 1e-300))))

    def slope(weights: Array) -> Array:
        """Return its gradient, shape (k,)."""
        return np.asarray(-np.mean(relative / np.maximum(relative @ weights, 1e-300)[:, None], axis=0))

    found = minimize(
        loss,
        np.full(rivals, 1.0 / rivals),
        jac=slope,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * rivals,
        constraints=LinearConstraint(np.ones((1, rivals)), 1.0, 1.0),
        options={"maxiter": iterations, "ftol": 1e-10},
    )
    weights = np.clip(found.x, 0.0, 1.0)
    if not (np.isfinite(weights).all() and weights.sum() > 0.0):
        raise FitFailed("stacking ended on no usable weights", value=str(found.message))
    return np.asarray(weights / weights.sum())


def moment_match(
    means: Sequence[Field], stds: Sequence[Field], weights: Sequence[float] | Array
) -> tuple[Field, Field]:
    """Return mean and standard deviation of a mixture at every point, each (m,), in the precision of the inputs.

    By the law of total variance; computed about the mixture's mean, so that nothing is lost in single precision.
    Rivals of weight zero are not looked at, and a single one left is returned as it is.

    Parameters
    ----------
    means, stds : sequence of arrays
        k arrays (m,).
    weights : sequence of float
        k weights summing to one.

    Raises
    ------
    ModelError
        Numbers of rivals differ, or weights are negative or do not sum to one.

    Examples
    --------
    >>> mean, std = moment_match([np.zeros(1), np.full(1, 2.0)], [np.ones(1), np.ones(1)], [0.5, 0.5])
    >>> mean.tolist(), (std**2).round(6).tolist()
    ([1.0], [2.0])
    """
    if (
        not len(means) == len(stds) == len(weights)
        or min(weights, default=-1.0) < 0.0
        or abs(sum(weights) - 1.0) > 1e-6
    ):
        raise ModelError("these are no weights of a mixture", value=list(weights), limit=f"{len(means)} summing to 1")
    used = [(m, s, float(w)) for m, s, w in zip(means, stds, weights, strict=True) if w > 0.0]
    if len(used) == 1:
        return used[0][0], used[0][1]
    mean = used[0][0] * used[0][2]
    for centre, _, weight in used[1:]:
        mean += centre * weight
    variance, work = np.zeros_like(mean), np.empty_like(mean)
    for centre, spread, weight in used:
        for part in (np.subtract(centre, mean, out=work), spread):
            np.multiply(part, part, out=work)
            work *= weight
            variance += work
    return mean, np.sqrt(variance, out=variance)


class Standing(Value):
    """How rivals stand: weights that sum to one, who is chosen, and why."""

    names: tuple[str, ...]
    weights: tuple[float, ...]
    chosen: str
    lead: float
    """Log score of the best minus that of the chosen one: 0 where the chosen one is best."""
    reason: str

    def weight(self, name: str) -> float:
        """Return the weight of one rival."""
        return self.weights[self.names.index(name)]


class Contest:
    """Weighs rivals by what they foretold, with forgetting, and chooses one, changing its mind only for a reason.

    The score of a rival is the (forgetting) sum of its prequential log densities plus ``share`` times the total of
    its latest appraisal: leave-one-out log densities or log evidence of the same measurements for every rival.
    An appraisal speaks before there are prequential scores; since it uses the same measurements again, and
    hyperparameters that saw them, it counts in part only, and never as more values than the prequential scores
    remember, ``1 / (1 - forgetting)``. A fold, like `calibration.Prequential`.

    Parameters
    ----------
    rivals : sequence of str
        Names, the one to begin with first.
    prior : sequence of float, optional
        Prior weights; equal by default. Give the simpler ones more to prefer them where nothing can be told.
    forgetting : float
        What is left of a score after one more measurement, in (0, 1].
    share : float
        Weight of an appraisal, in [0, 1].
    margin : float
        Lead in nats that a challenger needs over the chosen rival: log(10) by default.

    Examples
    --------
    >>> contest = Contest(["image", "coordinates"])
    >>> for _ in range(10):
    ...     contest.tell({"image": -2.0, "coordinates": -1.0})
    >>> contest.standing().chosen
    'coordinates'
    """

    def __init__(
        self,
        rivals: Sequence[str],
        prior: Sequence[float] | None = None,
        forgetting: float = 0.98,
        share: float = 0.5,
        margin: float = math.log(10.0),
    ) -> None:
        prior = [1.0] * len(rivals) if prior is None else prior
        if not rivals or len(set(rivals)) != len(rivals) or len(prior) != len(rivals) or min(prior) <= 0.0:
            raise ModelError("these are no rivals", value=(list(rivals), list(prior)), limit="distinct, prior > 0")
        if not (0.0 < forgetting <= 1.0 and 0.0 <= share <= 1.0 and margin >= 0.0):
            raise ModelError("a contest cannot be judged so", value=(forgetting, share, margin))
        self._names, self._prior = tuple(rivals), np.log(np.asarray(prior) / np.sum(prior))
        self._forgetting, self._share, self._margin = forgetting, share, margin
        self._scores_: Array = np.zeros(len(rivals))
        self._appraisal_: Array = np.zeros(len(rivals))
        self._chosen_ = 0
        self._n_ = 0
        self._standing_: Standing | None = None

    def tell(self, log_densities: Mapping[str, float]) -> None:
        """Take into account what every rival foretold of one value; absent or not finite counts as `WORST`.

        Raises
        ------
        ModelError
            A name is no rival's.
        """
        self._scores_ = self._forgetting * self._scores_ + self._relative(log_densities, WORST)
        self._n_ += 1
        self._settle()

    def appraise(self, totals: Mapping[str, float], n: int) -> None:
        """Replace the appraisal: total leave-one-out log density, or log evidence, of the same ``n`` values each.

        Raises
        ------
        ModelError
            A name is no rival's.
        """
        remembered = min(1.0, 1.0 / max((1.0 - self._forgetting) * max(n, 1), 1e-12))
        self._appraisal_ = remembered * self._relative(totals, WORST * max(n, 1))
        self._settle()

    def standing(self) -> Standing:
        """Return weights and choice as they are now."""
        if self._standing_ is None:  # asked several times a decision
            self._standing_ = self._judge()
        return self._standing_

    def _judge(self) -> Standing:
        scores = self._total()
        weights, best = softmax(scores), int(np.argmax(scores))
        chosen, lead = self._names[self._chosen_], float(scores[best] - scores[self._chosen_])
        share = f"'{chosen}' holds {100.0 * weights[self._chosen_]:.0f} % of the belief after {self._n_} forecasts"
        behind = f"; '{self._names[best]}' leads by {lead:.1f} nats, short of the {self._margin:.1f} needed to change"
        return Standing(
            names=self._names,
            weights=tuple(weights.tolist()),
            chosen=chosen,
            lead=lead,
            reason=share + (behind if lead > 0.0 else ""),
        )

    def _total(self) -> Array:
        return np.asarray(self._scores_ + self._share * self._appraisal_ + self._prior)

    def _settle(self) -> None:
        scores = self._total()
        best = int(np.argmax(scores))
        if scores[best] - scores[self._chosen_] > self._margin:
            self._chosen_ = best
        self._standing_ = None

    def _relative(self, log: Mapping[str, float], worst: float) -> Array:
        """Return scores against the best, floored at ``-worst``; zeros when nobody foretold anything."""
        strangers = set(log) - set(self._names)
        if strangers:
            raise ModelError("no rival has this name", value=sorted(strangers), limit=list(self._names))
        scores = np.array([log.get(name, -math.inf) for name in self._names])
        scores = np.where(np.isfinite(scores), scores, -math.inf)
        best = float(scores.max())
        return np.maximum(scores - best, -worst) if math.isfinite(best) else np.zeros(len(scores))

    def state(self) -> dict[str, JsonValue]:
        """Return everything as JSON data."""
        return {
            "scores": self._scores_.tolist(),
            "appraisal": self._appraisal_.tolist(),
            "chosen": self._chosen_,
            "n": self._n_,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self._scores_ = np.array(state["scores"], dtype=np.float64)
        self._appraisal_ = np.array(state["appraisal"], dtype=np.float64)
        self._chosen_, self._n_ = int(state["chosen"]), int(state["n"])
        self._standing_ = None


def mixture_log_density(log_densities: Array, weights: Array) -> Array:
    """Return the log density of the mixture itself at n values, shape (n,), from (n, k) log densities of its members.

    Examples
    --------
    >>> mixture_log_density(np.log([[0.2, 0.4]]), np.array([0.5, 0.5])).round(4).tolist() == [round(math.log(0.3), 4)]
    True
    """
    return np.asarray(logsumexp(log_densities, b=weights, axis=1))
