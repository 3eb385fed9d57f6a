"""Two or three targets wanted at once: find the front of best compromises, where asked only among feasible places."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, model_validator

from autoscope.acquisition.choice import choose, runners_up
from autoscope.acquisition.constraints import log_probability_of_feasibility
from autoscope.acquisition.design import diverse, maximin
from autoscope.acquisition.pareto import (
    Belief,
    Boxes,
    hypervolume,
    log_noisy_hypervolume_improvement,
    nondominated,
    promising,
)
from autoscope.config import ConfigModel
from autoscope.protocols import JsonValue
from autoscope.records import FitSummary, Result
from autoscope.surrogates.features import FeatureTable, describe, describe_place
from autoscope.surrogates.gp import GaussianProcess
from autoscope.surrogates.ladder import SPACE_FILLING, FitLadder
from autoscope.surrogates.noise import NoiseLaw, told_by_the_rest
from autoscope.surrogates.prior import Features, Shape
from autoscope.surrogates.surrogate import Surrogate
from policies.field import RUNNERS_UP, Choice, Estimate, FieldConfig, FieldPolicy, Situation

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

ACQUISITION = "log_noisy_hypervolume_improvement"
FEW = 256
"""Candidates weighed exactly; the others add less even if they are better than thought."""
KNOWN = 12
"""Measured places whose uncertainty about the front is followed."""
LIKELY = 7.0
"""Nats of feasibility that a candidate may lie behind the likeliest and still be weighed."""


class Constraint(ConfigModel):
    """A bound that the places looked for must keep."""

    target: str = Field(min_length=1)
    at_least: float | None = None
    """In the unit of the target."""
    at_most: float | None = None

    @model_validator(mode="after")
    def _bounds(self) -> Constraint:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a constraint needs at_least, at_most or both")
        return self

    def log_feasible(self, mean: Array, std: Array) -> Array:
        """Return the log of the probability that the bound holds at each candidate, (m,)."""
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return np.asarray(log_probability_of_feasibility(mean, std, low, high), dtype=np.float64)


class ParetoConfig(FieldConfig):
    """Settings of the search for compromises."""

    target: str = ""
    """The target whose prediction decisions show; absent means the first of `targets`."""
    targets: dict[str, Literal["maximise", "minimise"]] = Field(min_length=2, max_length=3)
    """What is wanted of each."""
    constraints: tuple[Constraint, ...] = ()
    """Bounds on these or other targets; only places that keep them count."""
    reference: dict[str, float] = {}
    """Values from which on a compromise counts, in the units of the targets; absent means the worst measured."""
    initial: int = Field(default=10, ge=2)
    """Good measurements at places unlike each other before the models decide."""
    patch_px: PositiveInt = 11
    """Side of the image patch that describes a pixel."""
    refit_every: PositiveInt = 5
    """Relearn hyperparameters after so many measurements; in between the posteriors are updated, not relearnt."""
    kernel: Shape = "rbf"

    @model_validator(mode="before")
    @classmethod
    def _first_is_shown(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("targets"), dict) and given["targets"]:
            return {"target": next(iter(given["targets"]))} | given
        return given

    @model_validator(mode="after")
    def _names_are_targets(self) -> ParetoConfig:
        for name in (self.target, *self.reference):
            if name not in self.targets:
                raise ValueError(f"{name!r} is not among the targets {list(self.targets)}")
        return self

    @property
    def signs(self) -> Array:
        """1 for each target wanted high, -1 for each wanted low, (k,)."""
        return np.array([1.0 if goal == "maximise" else -1.0 for goal in self.targets.values()])

    @property
    def names(self) -> tuple[str, ...]:
        """All targets a measurement must give: the wanted ones, then those only bounded."""
        return tuple(dict.fromkeys([*self.targets, *(c.target for c in self.constraints)]))


def _steadied(y: Array, stated_std: Array, n: int) -> Array:
    """Return the noise to weigh values by (m,), by what the first ``n`` tell of it."""
    law, (mean, std) = NoiseLaw.of(y[:n], stated_std[:n]), told_by_the_rest(y[:n], stated_std[:n])
    return law.steadied(stated_std, y, np.full(len(y), mean), np.full(len(y), std))


class _Learner:
    """The model of one target, brought up to what is measured; a function of the measurements in their order."""

    def __init__(self, ladder: FitLadder, initial: int, every: int) -> None:
        self._ladder, self._initial, self._every = ladder, initial, every
        self.fitted_n, self._known_n = 0, 0
        self.summary: FitSummary | None = None
        self._to_recall: Mapping[str, Any] | None = None

    def catch_up(self, x: Features, y: Array, noise_std: Array) -> Surrogate | None:
        """Bring the model to all measurements (n, d), (n,), (n,); None when none could be fitted."""
        if self._to_recall is not None:
            n = self.fitted_n
            self._ladder.recall(self._to_recall, x[:n], y[:n], _steadied(y, noise_std, n)[:n])
            self._known_n, self._to_recall = n, None
        first = self._initial if self.fitted_n == 0 else self.fitted_n + self._every
        for n in range(first, len(y) + 1, self._every):
            self.summary = self._ladder.fit(x[:n], y[:n], _steadied(y, noise_std, n)[:n])
            self.fitted_n = self._known_n = n
        model, new = self._ladder.model, slice(self._known_n, None)
        if model is not None:
            model.pool_posterior()  # built before conditioning, as it was when each measurement arrived
            if self._known_n < len(y):
                model.condition(x[new], y[new], _steadied(y, noise_std, self.fitted_n)[new])
        self._known_n = len(y)
        return model

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as JSON data."""
        learnt: Any = self._to_recall
        if learnt is None and self.fitted_n:
            learnt = self._ladder.state()
        summary = None if self.summary is None else self.summary.model_dump(mode="json")
        return {"fitted_n": self.fitted_n, "summary": summary, "learnt": learnt}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.fitted_n, self._to_recall = state["fitted_n"], state["learnt"]
        self.summary = None if state["summary"] is None else FitSummary.model_validate(state["summary"])


class ParetoPolicy(FieldPolicy):
    """Diverse points first, then the place expected to push the front of best compromises out most.

    One Gaussian process per target on image features and coordinates; see `autoscope.acquisition.pareto`. Each
    decision records the hypervolume that the measured places dominate.
    """

    Config: ClassVar[type[FieldConfig]] = ParetoConfig
    components: ClassVar[int] = 16
    """Principal components of patches to describe a pixel with."""

    def __init__(self, config: ParetoConfig, *, rng: np.random.Generator) -> None:
        super().__init__(config, rng=rng)
        self.config = config
        self._scalars_: dict[str, list[tuple[float, float]]] = {name: [] for name in config.names}
        self._units_: dict[str, str] = {}
        self._learnt_: Mapping[str, Any] = {}

    # --- features and models ------------------------------------------------------------------------

    @cached_property
    def _table(self) -> FeatureTable:
        scan = self._known_grid().scan
        if self._image_ is None:
            return describe_place(scan.height_px, scan.width_px)
        return describe(self._image_, self.config.patch_px, self.components)

    @cached_property
    def _pool(self) -> Features:
        return np.asarray(self._table.values[self._candidates])

    @cached_property
    def _learners(self) -> dict[str, _Learner]:
        image, place = (*self._table.components, *self._table.jets), self._table.place
        groups = (image, place) if image else (place,)
        learners = {}
        for name in self.config.names:
            ladder = FitLadder([("gp", GaussianProcess(groups=groups, shape=self.config.kernel))])
            ladder.attach(self._pool)
            learners[name] = _Learner(ladder, self.config.initial, self.config.refit_every)
            if name in self._learnt_:
                learners[name].restore(self._learnt_[name])
        return learners

    def _models(self) -> dict[str, Surrogate]:
        """Return the models, brought up to date; fewer than targets where one could not be fitted."""
        x = self._table.values[np.asarray(self._pixels_, dtype=np.int64)]
        models = {}
        for name, learner in self._learners.items():
            y, noise_std = np.array(self._scalars_[name]).T
            if (model := learner.catch_up(x, y, noise_std)) is not None:
                models[name] = model
        return models

    def _summary(self) -> FitSummary | None:
        """Return one summary of all fits, hyperparameters named after their targets."""
        fits = {name: learner.summary for name, learner in self._learners.items() if learner.summary is not None}
        if not fits:
            return None
        evidence = [fit.log_evidence for fit in fits.values() if fit.log_evidence is not None]
        failed = [fit for fit in fits.values() if fit.rung == SPACE_FILLING]
        return next(iter(failed or fits.values())).replace(
            iterations=sum(fit.iterations for fit in fits.values()),
            log_evidence=sum(evidence) if evidence else None,
            hyperparameters={f"{n}.{k}": v for n, fit in fits.items() for k, v in fit.hyperparameters.items()},
        )

    # --- the choice ---------------------------------------------------------------------------------

    def _choose(self, situation: Situation) -> Choice:
        if len(self._values_) < self.config.initial:
            return self._initial(situation)
        models = self._models()
        return self._modelled(situation, models) if len(models) == len(self._learners) else self._fill(situation)

    def _initial(self, situation: Situation) -> Choice:
        taken = self._taken(situation)
        index = diverse(self._pool, taken, situation.forbidden, situation.rng)
        of = self.config.initial
        reason = f"Starting point {len(taken) + 1} of {of}: unlike those taken so far, so that the models see variety."
        return self._by_distance(index, maximin(self._pool, taken), situation, "diverse", reason)

    def _fill(self, situation: Situation) -> Choice:
        distance = maximin(self._pool, self._taken(situation))
        index = choose(distance, situation.rng, situation.forbidden)
        reason = "Not every target has a model, so the place least like any measured one is next."
        return self._by_distance(index, distance, situation, "maximin", reason)

    def _taken(self, situation: Situation) -> Features:
        """Return features of what is measured or pending."""
        taken = np.concatenate([np.asarray(self._pixels_, dtype=np.int64), situation.pending])
        return np.asarray(self._table.values[taken])

    def _by_distance(self, index: int, distance: Array, situation: Situation, name: str, reason: str) -> Choice:
        others = runners_up(distance, index, situation.forbidden, RUNNERS_UP)
        best, *rest = (Estimate(i, value=float(distance[i])) for i in (index, *others))
        return Choice(best, reason, name, {}, rest, self._summary())

    def _modelled(self, situation: Situation, models: Mapping[str, Surrogate]) -> Choice:
        found = {name: model.pool_posterior() for name, model in models.items()}
        mean = np.stack([sign * found[n][0] for n, sign in zip(self.config.targets, self.config.signs)], axis=1)
        std = np.stack([found[n][1] for n in self.config.targets], axis=1)
        feasible = np.zeros(len(mean))
        for constraint in self.config.constraints:
            feasible += constraint.log_feasible(*found[constraint.target])
        measured = self._among_candidates(self._pixels_)
        kept = measured[feasible[measured] >= math.log(0.5)]
        reference = self._reference(mean[measured])
        values = np.full(len(mean), np.nan)
        if len(kept):
            weighed = self._weighed(situation, models, mean, std, feasible, kept, reference)
            values[weighed[0]] = weighed[1]
        else:
            values = feasible
        index = choose(values, situation.rng, situation.forbidden)
        others = runners_up(values, index, situation.forbidden, RUNNERS_UP)
        shown = found[self.config.target]
        best, *rest = (Estimate(i, float(shown[0][i]), float(shown[1][i]), float(values[i])) for i in (index, *others))
        parameters = self._progress(mean[kept], reference)
        reason = self._explain({n: (f[0][index], f[1][index]) for n, f in found.items()}, parameters, len(kept))
        name = ACQUISITION if len(kept) else "log_probability_of_feasibility"
        return Choice(best, reason, name, parameters, rest, self._summary())

    def _among_candidates(self, pixels: Sequence[int] | NDArray[np.int64]) -> Indices:
        """Return which candidates some pixels are; pixels that are none are left out."""
        where = np.full(self._known_grid().size, -1, dtype=np.intp)
        where[self._candidates] = np.arange(len(self._candidates))
        found = where[np.asarray(pixels, dtype=np.int64)]
        return found[found >= 0]

    def _reference(self, measured: Array) -> Array:
        worst = measured.min(axis=0, initial=np.inf)
        given = [self.config.reference.get(name, math.nan) for name in self.config.targets] * self.config.signs
        return np.where(np.isnan(given), np.where(np.isfinite(worst), worst, 0.0), given)

    def _weighed(
        self,
        situation: Situation,
        models: Mapping[str, Surrogate],
        mean: Array,
        std: Array,
        feasible: Array,
        kept: Indices,
        reference: Array,
    ) -> tuple[Indices, Array]:
        """Return the few candidates worth weighing, and the log of what each is expected to add."""
        open_ = np.flatnonzero(~situation.forbidden)
        likely = open_[feasible[open_] >= feasible[open_].max() - LIKELY]
        few = promising(mean, std, Boxes.beyond(mean[kept], reference), likely, FEW)
        known = np.concatenate([_contenders(mean, std, kept), self._among_candidates(situation.pending)])
        beliefs = []
        for k, name in enumerate(self.config.targets):
            rows = np.stack([models[name].pool_covariance(self._pool[place]) for place in known])
            beliefs.append(Belief(mean[few, k], std[few, k], mean[known, k], rows[:, known], rows[:, few].T))
        return few, log_noisy_hypervolume_improvement(beliefs, reference, situation.rng) + feasible[few]

    def _progress(self, measured: Array, reference: Array) -> dict[str, float]:
        where = zip(self.config.targets, reference * self.config.signs, strict=True)
        return {
            "hypervolume": hypervolume(measured[nondominated(measured)], reference),
            "front": float(nondominated(measured).sum()),
            **{f"reference_{name}": float(value) for name, value in where},
        }

    def _explain(self, expected: Mapping[str, tuple[float, float]], progress: Mapping[str, float], kept: int) -> str:
        words = ", ".join(
            f"{name} {mean:.4g} ± {std:.2g}" + (f" {unit}" if (unit := self._units_.get(name)) else "")
            for name, (mean, std) in expected.items()
        )
        if not kept:
            return f"No measured place keeps the bounds yet; this one is the likeliest to: {words} are expected."
        front, volume = int(progress["front"]), progress["hypervolume"]
        return (
            f"Expected to add most to the {front} best compromises so far, which dominate a volume of {volume:.4g}: "
            f"{words}."
        )

    # --- what was told ------------------------------------------------------------------------------

    def _take_measurement(self, pixel: int, result: Result) -> None:
        scalars = [result.value(name) for name in self.config.names]
        if any(scalar is None for scalar in scalars):  # without all targets a measurement has no place on the front
            result = Result(result.outcome.replace(values=()), result.frames)
        before = len(self._pixels_)
        super()._take_measurement(pixel, result)
        for scalar in scalars if len(self._pixels_) > before else ():
            if scalar is not None:
                self._scalars_[scalar.name].append((scalar.value, scalar.std))
                self._units_[scalar.name] = scalar.unit

    def _data_sha256(self) -> str:
        told = [repr((name, pairs)).encode() for name, pairs in self._scalars_.items()]
        return hashlib.sha256(super()._data_sha256().encode() + b"".join(told)).hexdigest()

    def state(self) -> dict[str, JsonValue]:
        """Return all that was learnt as JSON data, hyperparameters included."""
        learnt: dict[str, Any] = dict(self._learnt_)
        if "_learners" in self.__dict__:
            learnt = {name: learner.state() for name, learner in self._learners.items()}
        scalars: dict[str, Any] = {name: [list(pair) for pair in pairs] for name, pairs in self._scalars_.items()}
        return super().state() | {"scalars": scalars, "units": dict(self._units_), "models": learnt}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; the models are rebuilt from their hyperparameters when they are next needed."""
        super().restore(state)
        self._scalars_ = {name: [(v, s) for v, s in pairs] for name, pairs in state["scalars"].items()}
        self._units_, self._learnt_ = dict(state["units"]), state["models"]
        for name in ("_table", "_pool", "_learners"):
            self.__dict__.pop(name, None)


def _contenders(mean: Array, std: Array, kept: Indices) -> Indices:
    """Return the measured places that may be on the front, at most `KNOWN`, the least dominated first."""
    hopeful, fearful = mean[kept] + 2.0 * std[kept], mean[kept] - 2.0 * std[kept]
    beaten = np.any(np.all(fearful[None] > hopeful[:, None], axis=2), axis=1)
    dominators = (mean[kept][None] > mean[kept][:, None]).all(axis=2).sum(axis=1)
    order = np.lexsort((np.arange(len(kept)), dominators, beaten))
    return kept[order[: min(KNOWN, int((~beaten).sum()))]]
