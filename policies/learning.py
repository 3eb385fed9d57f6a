"""What the policies with a model share: features, a warm model, an acquisition rule, reasons in words."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from autoscope.acquisition.choice import choose, runners_up
from autoscope.acquisition.design import diverse, maximin
from autoscope.acquisition.rule import AcquisitionRule
from autoscope.protocols import JsonValue
from autoscope.records import FitSummary
from autoscope.surrogates.features import FeatureTable, describe, describe_place
from autoscope.surrogates.ladder import FitLadder
from autoscope.surrogates.surrogate import Surrogate
from policies.field import RUNNERS_UP, Choice, Estimate, FieldConfig, FieldPolicy, Situation

Array = NDArray[np.float64]


class LearningConfig(FieldConfig):
    """Settings of every policy with a model."""

    initial: int = Field(default=10, ge=2)
    """Good measurements at places unlike each other before the model decides."""
    acquisition: AcquisitionRule = AcquisitionRule()
    patch_px: PositiveInt = 11
    """Side of the image patch that describes a pixel."""
    refit_every: PositiveInt = 5
    """Relearn hyperparameters after so many measurements; in between the posterior is updated, not relearnt."""


class LearningPolicy(FieldPolicy):
    """Diverse points first, then the best of an acquisition over all open candidates.

    Hyperparameters are relearnt at fixed numbers of measurements, each time from the last ones, so the model is a
    function of the measurements in their order, however often it was asked for.
    """

    Config: ClassVar[type[FieldConfig]] = LearningConfig
    components: ClassVar[int] = 16
    """Principal components of patches to describe a pixel with."""

    def __init__(self, config: LearningConfig, *, rng: np.random.Generator) -> None:
        super().__init__(config, rng=rng)
        self._settings = config
        self._fitted_n_ = 0
        self._known_n_ = 0
        self._summary_: FitSummary | None = None
        self._to_recall_: Mapping[str, Any] | None = None

    @abc.abstractmethod
    def _make_ladder(self, table: FeatureTable) -> FitLadder:
        """Return the models of this policy, best first, for the features of a table."""

    def _columns(self, table: FeatureTable) -> tuple[int, ...]:
        """Return the columns in which initial points should differ: all, unless overridden."""
        return (*table.components, *table.jets, *table.place)

    # --- features and model -------------------------------------------------------------------------

    @cached_property
    def _table(self) -> FeatureTable:
        scan = self._known_grid().scan
        if self._image_ is None:
            return describe_place(scan.height_px, scan.width_px)
        return describe(self._image_, self._settings.patch_px, self.components)

    @cached_property
    def _ladder(self) -> FitLadder:
        ladder = self._make_ladder(self._table)
        ladder.attach(self._table.values[self._candidates])
        return ladder

    def _data(self, first: int, last: int) -> tuple[Array, Array, Array]:
        pixels = np.asarray(self._pixels_[first:last], dtype=np.int64)
        return self._table.values[pixels], np.array(self._values_[first:last]), np.array(self._stds_[first:last])

    def _catch_up(self) -> Surrogate | None:
        """Bring the model to the present measurements; None when no model could be fitted."""
        if self._to_recall_ is not None:
            self._ladder.recall(self._to_recall_, *self._data(0, self._fitted_n_))
            self._known_n_, self._to_recall_ = self._fitted_n_, None
        n, initial, every = len(self._values_), self._settings.initial, self._settings.refit_every
        first = initial if self._fitted_n_ == 0 else self._fitted_n_ + every
        for epoch in range(first, n + 1, every):
            self._summary_ = self._ladder.fit(*self._data(0, epoch))
            self._fitted_n_ = self._known_n_ = epoch
        model = self._ladder.model
        if model is not None:
            model.pool_posterior()  # built before conditioning, as it was when each measurement arrived
            if self._known_n_ < n:
                model.condition(*self._data(self._known_n_, n))
        self._known_n_ = n
        return model

    # --- the choice ---------------------------------------------------------------------------------

    def _choose(self, situation: Situation) -> Choice:
        if len(self._values_) < self._settings.initial:
            return self._initial(situation)
        model = self._catch_up()
        return self._fill(situation) if model is None else self._modelled(situation, model)

    def _initial(self, situation: Situation) -> Choice:
        features, taken = self._places(situation)
        index = diverse(features, taken, situation.forbidden, situation.rng)
        nth, of = len(taken) + 1, self._settings.initial
        reason = f"Starting point {nth} of {of}: a place unlike those taken so far, so that the model sees variety."
        return self._by_distance(index, maximin(features, taken), situation, "diverse", reason)

    def _fill(self, situation: Situation) -> Choice:
        features, taken = self._places(situation)
        distance = maximin(features, taken)
        index = choose(distance, situation.rng, situation.forbidden)
        reason = "No model could be fitted, so the place least like any measured one is next."
        return self._by_distance(index, distance, situation, "maximin", reason)

    def _places(self, situation: Situation) -> tuple[Array, Array]:
        """Return features of candidates, and of what is measured or pending."""
        columns = list(self._columns(self._table))
        taken = np.concatenate([np.asarray(self._pixels_, dtype=np.int64), situation.pending])
        return self._table.values[situation.candidates][:, columns], self._table.values[taken][:, columns]

    def _by_distance(self, index: int, distance: Array, situation: Situation, name: str, reason: str) -> Choice:
        others = runners_up(distance, index, situation.forbidden, RUNNERS_UP)
        best, *rest = (Estimate(i, value=float(distance[i])) for i in (index, *others))
        return Choice(best, reason, name, {}, rest, self._summary_)

    def _modelled(self, situation: Situation, model: Surrogate) -> Choice:
        rule = self._settings.acquisition
        mean, std = model.pool_posterior()
        if len(situation.pending):
            noise = np.full(len(situation.pending), float(np.median(self._stds_)))
            std = model.pool_std_given(self._table.values[situation.pending], noise)
        here, _ = model.predict(self._table.values[np.asarray(self._pixels_)])
        seen = np.asarray(self._values_)
        values = rule.evaluate(mean, std, measured_mean=here, seen=seen, model=model, rng=situation.rng)
        index = choose(values, situation.rng, situation.forbidden)
        others = runners_up(values, index, situation.forbidden, RUNNERS_UP)
        best, *rest = (Estimate(i, float(mean[i]), float(std[i]), float(values[i])) for i in (index, *others))
        reason = self._explain(best, int((~situation.forbidden).sum()))
        return Choice(best, reason, rule.name, rule.parameters, rest, self._summary_)

    def _explain(self, best: Estimate, open_: int) -> str:
        rule, target = self._settings.acquisition, self._field.target
        unit = f" {self._unit_}" if self._unit_ else ""
        record = max(v * rule.sign for v in self._values_) * rule.sign
        side = "highest" if rule.sign > 0 else "lowest"
        hope = f"the {side} so far is {record:.4g}{unit}"
        if rule.sign * best.mean > rule.sign * record:
            hope = f"better than the {side} so far, {record:.4g}{unit}"
        expected = f"{target} is expected at {best.mean:.4g} ± {best.std:.2g}{unit}"
        return f"Best {rule.words} of {open_} open pixels: {expected}; {hope}."

    # --- state --------------------------------------------------------------------------------------

    def state(self) -> dict[str, JsonValue]:
        """Return all that was learnt as JSON data, hyperparameters included."""
        learnt: Any = self._to_recall_
        if learnt is None and self._fitted_n_:
            learnt = self._ladder.state()
        summary = None if self._summary_ is None else self._summary_.model_dump(mode="json")
        model: dict[str, JsonValue] = {"fitted_n": self._fitted_n_, "summary": summary, "learnt": learnt}
        return super().state() | {"model": model}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; the model is rebuilt from its hyperparameters when it is next needed."""
        super().restore(state)
        model = state["model"]
        self._fitted_n_, self._known_n_, self._to_recall_ = model["fitted_n"], 0, model["learnt"]
        self._summary_ = None if model["summary"] is None else FitSummary.model_validate(model["summary"])
        self.__dict__.pop("_table", None)
        self.__dict__.pop("_ladder", None)
