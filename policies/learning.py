"""What the policies with a model share: features, a warm model, an acquisition rule, reasons in words."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from autoscope.acquisition.batch import choose_batch
from autoscope.acquisition.choice import choose, runners_up
from autoscope.acquisition.cost import CostConfig, measurement_costs
from autoscope.acquisition.design import Spread
from autoscope.acquisition.rule import AcquisitionRule
from autoscope.acquisition.travel import ordered_by_travel
from autoscope.chance import stream
from autoscope.errors import ConfigError, ModelError
from autoscope.model_maps import ModelMaps
from autoscope.protocols import JsonValue
from autoscope.records import Decision, FitSummary, Measure, Result, View
from autoscope.surrogates.committee import Committee
from autoscope.surrogates.features import FeatureTable, describe, describe_place
from autoscope.surrogates.prior import Features
from autoscope.surrogates.surrogate import Surrogate
from autoscope.wishes import Wishes
from policies.field import RUNNERS_UP, Choice, Estimate, FieldConfig, FieldPolicy, Situation
from policies.pictures import pictured
from policies.pixels import Indices
from policies.wanted import changed_rule, with_marks

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
LEFT = "batch_left"
"""Parameter of a decision: how many of its runners-up are the rest of its batch, in their order."""


class LearningConfig(FieldConfig):
    """Settings of every policy with a model."""

    initial: int = Field(default=5, ge=2)
    """Good measurements at places unlike each other before the model decides."""
    acquisition: AcquisitionRule = AcquisitionRule()
    cost: CostConfig = CostConfig()
    """What a measurement's worth is divided by: nothing, time, dose, or both."""
    batch: int = Field(default=1, ge=1, le=64)
    """Measurements chosen together, each knowing of the others, and put in an order that makes the way short."""
    patch_px: PositiveInt = 11
    """Side of the image patch that describes a pixel."""
    refit_every: PositiveInt = 1
    """Relearn hyperparameters after so many measurements; in between the posterior is updated, not relearnt."""
    refit_growth: float = Field(default=0.05, ge=0.0, le=1.0)
    """And not before the measurements have grown by this fraction: each of the first twenty teaches much, of many
    one more teaches little."""
    rotation_invariant: bool = False
    """Describe image patches so that structures turned in the plane look alike."""
    encoder_dimensions: int = Field(default=0, ge=0, le=16)
    """Further numbers for each pixel from a small network that learns from the overview, before the first
    measurement, to tell textures apart; 0 means none. Training takes some seconds."""


class LearningPolicy(FieldPolicy):
    """Diverse points first, then the best of an acquisition over all open candidates.

    Hyperparameters are relearnt at fixed numbers of measurements, each time from the last ones, so the model is a
    function of the measurements in their order, however often it was asked for. After the first, a refit never uses
    the newest outcome: so it can be done while that outcome is still being measured (`prepare`), and the decision
    is the same whether it was or not.
    """

    Config: ClassVar[type[FieldConfig]] = LearningConfig
    follows: frozenset[str] = FieldPolicy.follows | {"marked", "acquisition"}
    components: ClassVar[int] = 16
    """Principal components of patches to describe a pixel with."""

    def __init__(self, config: LearningConfig, *, rng: np.random.Generator) -> None:
        super().__init__(config, rng=rng)
        self._settings = config
        self._fitted_n_ = 0
        self._learnt_n_ = 0
        self._earlier_n_ = 0
        self._queue_: list[int] = []
        self._to_restore_: Mapping[str, Any] | None = None
        self._thoughts: dict[str, Array] = {}
        """Of the last question, by layer; to look at only."""
        self._thought_of: Situation | None = None

    @abc.abstractmethod
    def _make_members(self, table: FeatureTable) -> Mapping[str, Surrogate]:
        """Return the models of this policy, best first and coordinates alone last, for the features of a table."""

    def _columns(self, table: FeatureTable) -> tuple[int, ...]:
        """Return the columns in which initial points should differ: all, unless overridden."""
        return (*table.components, *table.jets, *table.encoder, *table.place)

    # --- features and model -------------------------------------------------------------------------

    @cached_property
    def _table(self) -> FeatureTable:
        scan = self._known_grid().scan
        if self._image_ is None:
            return describe_place(scan.height_px, scan.width_px)
        return describe(
            self._image_,
            self._settings.patch_px,
            self.components,
            rotation_invariant=self._settings.rotation_invariant,
            encoded=self._encoded(self._image_),
        )

    def _encoded(self, image: Array) -> NDArray[np.float32] | None:
        """Return the encoder's columns of every pixel, or None where none are wanted."""
        if not self._settings.encoder_dimensions:
            return None
        from autoscope.surrogates.encoder import encode  # torch takes long to load

        return encode(
            image,
            self._settings.patch_px,
            self._settings.encoder_dimensions,
            stream(self._root_, "encoder"),
            rotation_invariant=self._settings.rotation_invariant,
        )

    @cached_property
    def _committee(self) -> Committee:
        committee = Committee(self._make_members(self._table), self._table.place)
        committee.attach(self._pool)
        return committee

    @cached_property
    def _pool(self) -> Features:
        whole = len(self._candidates) == len(self._table.values)
        return self._table.values if whole else self._table.values[self._candidates]

    def _data(self, first: int, last: int) -> tuple[Features, Array, Array]:
        pixels = np.asarray(self._pixels_[first:last], dtype=np.int64)
        return self._table.values[pixels], np.array(self._values_[first:last]), np.array(self._stds_[first:last])

    def _catch_up(self) -> Committee:
        """Bring the models to the present measurements."""
        committee = self._committee
        if self._to_restore_ is not None:
            committee.restore(self._to_restore_, *self._data(0, self._learnt_n_))
            self._to_restore_ = None
        if not self._fitted_n_:
            committee.start(*self._data(0, self._settings.initial))
            self._refit(committee)
        for k in range(committee.n, len(self._values_)):
            if self._next_epoch() == k:
                self._refit(committee)
            x, y, noise_std = self._data(k, k + 1)
            committee.observe(x[0], float(y[0]), float(noise_std[0]))
        if self._next_epoch() <= self._earlier_n_:
            self._refit(committee)
        self._learnt_n_ = committee.n
        return committee

    def _refit(self, committee: Committee) -> None:
        committee.fit()
        self._fitted_n_ = committee.n

    def _next_epoch(self) -> int:
        """Return the number of measurements at which hyperparameters are relearnt next."""
        growth = math.ceil(self._fitted_n_ * self._settings.refit_growth)
        return self._fitted_n_ + max(self._settings.refit_every, growth)

    def prepare(self, view: View) -> None:
        """Relearn hyperparameters if that is due, while an act is under way; see `Anticipating.prepare`."""
        if self._grid_ is not None and len(self._values_) >= self._settings.initial:
            committee = self._catch_up()
            if self._next_epoch() <= committee.n:
                self._refit(committee)

    def estimate(self) -> tuple[Array, Array]:
        """Return the model's mean and std of the target over all candidates, row by row, each (m,).

        Raises
        ------
        ModelError
            There is no model yet: fewer measurements than ``initial``, or none could be fitted.
        """
        committee = self._catch_up() if len(self._values_) >= self._settings.initial else None
        if committee is None or not committee.usable:
            raise ModelError("there is no model yet", value=len(self._values_), limit=self._settings.initial)
        return committee.posterior()

    def tell(self, decision: Decision, result: Result) -> None:
        """Learn from an outcome; see `FieldPolicy.tell`."""
        self._earlier_n_ = len(self._values_)
        super().tell(decision, result)
        left = int(decision.acquisition_parameters.get(LEFT, 0))
        places = [c.action for c in decision.runners_up[:left] if isinstance(c.action, Measure)]
        pixels = [self._grid_.pixel_at(a.x_m, a.y_m) for a in places] if self._grid_ is not None else []
        self._queue_ = [pixel for pixel in pixels if pixel is not None]

    # --- the choice ---------------------------------------------------------------------------------

    def _choose(self, situation: Situation) -> Choice:
        if len(self._values_) < self._settings.initial:
            nth, of = len(self._values_) + len(situation.pending) + 1, self._settings.initial
            why = f"Starting point {nth} of {of}: a place unlike those taken so far, so that the model sees variety."
            return self._unlike(situation, why)
        committee = self._catch_up()
        if (why_not := self._why_no_model(situation, committee)) is not None:
            return self._unlike(situation, why_not, committee.summary())
        return self._modelled(situation, committee)

    def _why_no_model(self, situation: Situation, committee: Committee) -> str | None:
        """Return why this decision is made by unlikeness instead of the models, or None if it is theirs."""
        if not committee.usable:
            return "No model could be fitted: a place unlike those measured so far is next."
        if (len(self._values_) + len(situation.pending)) % 2:
            return None
        if not committee.trusted:
            why = "The models foretell worse than a plain guess, so every other decision is made without them"
            return f"{why}: a place unlike those measured so far is next."
        if self._rule_for(situation.view.wishes).name == "integrated_variance":
            return "For a map every other place is one unlike those measured so far, whatever the model believes."
        return None

    def _unlike(self, situation: Situation, reason: str, fit: FitSummary | None = None) -> Choice:
        """Return a place unlike those measured or pending."""
        spread = self._spread
        pixels = np.asarray(self._pixels_[spread.count :], dtype=np.int64)
        columns = list(self._columns(self._table))
        spread.take(self._table.values[pixels][:, columns])
        if len(situation.pending):
            spread = spread.given(self._table.values[situation.pending][:, columns])
        distance, index = spread.distance(), -1
        if situation.view.wishes.marked:
            distance = self._with_marks(situation, distance)
            index = choose(distance, situation.rng, situation.forbidden)
        index = index if index >= 0 else spread.draw(situation.forbidden, situation.rng)
        others = runners_up(distance, index, situation.forbidden, RUNNERS_UP)
        self._remember(situation, acquisition=distance)
        best, *rest = (Estimate(i, value=float(distance[i])) for i in (index, *others))
        return Choice(best, reason, "diverse", {}, rest, fit)

    @cached_property
    def _spread(self) -> Spread:
        return Spread(self._pool[:, list(self._columns(self._table))])

    def check_wishes(self, wishes: Wishes) -> None:
        """Return where it can follow these wishes; see `autoscope.protocols.Steerable`."""
        if wishes.marked and self._settings.batch > 1:
            raise ConfigError("places chosen together do not heed marks", remedy="Pin the region, or take batch: 1")
        changed_rule(self._settings.acquisition, wishes.acquisition)

    def _rule_for(self, wishes: Wishes) -> AcquisitionRule:
        """Return the rule to decide by: as configured, with what people changed."""
        return changed_rule(self._settings.acquisition, wishes.acquisition)

    def _modelled(self, situation: Situation, committee: Committee) -> Choice:
        rule = self._rule_for(situation.view.wishes)
        mean, std = committee.posterior()
        here = mean[self._places_of(self._pixels_)]
        if not len(here):  # all that is known lies between the candidates
            here, _ = committee.leader.predict(self._table.values[np.asarray(self._pixels_, dtype=np.int64)])
        if len(situation.pending):
            noise = np.full(len(situation.pending), float(np.median(self._stds_)))
            mean, std = committee.posterior_given(self._table.values[situation.pending], noise)
        values = rule.evaluate(
            mean,
            std,
            measured_mean=here,
            seen=np.asarray(self._values_),
            model=committee.leader,
            rng=situation.rng,
            cost=self._cost(situation),
            forbidden=situation.forbidden,
            pending=self._places_of(situation.pending),
        )
        if situation.view.wishes.marked:
            values = self._with_marks(situation, values)
        self._remember(situation, mean=mean, std=std, acquisition=np.asarray(values, dtype=np.float64))
        if self._settings.batch > 1:
            index, *left = self._next_of_batch(situation, committee, here)
        else:
            index, left = choose(values, situation.rng, situation.forbidden), []
        others = [i for i in runners_up(values, index, situation.forbidden, RUNNERS_UP) if i not in left]
        ranked = [*left, *others][: max(len(left), RUNNERS_UP)]
        best, *rest = (Estimate(i, float(mean[i]), float(std[i]), float(values[i])) for i in (index, *ranked))
        reason = self._explain(rule, best, int((~situation.forbidden).sum()), len(left))
        if situation.view.wishes.marked:
            reason += " What people marked counts."
        parameters = rule.parameters | ({LEFT: float(len(left))} if self._settings.batch > 1 else {})
        return Choice(best, reason, rule.name, parameters, rest, committee.summary(), committee.calibration())

    def _with_marks(self, situation: Situation, values: Floats) -> Array:
        look = self._pool[:, list(self._columns(self._table))]
        return with_marks(situation.view, self._known_grid(), self._candidates, look, values, situation.forbidden)

    def _next_of_batch(self, situation: Situation, committee: Committee, here: Array) -> list[int]:
        """Return the next candidate of the batch and those that follow it, in the order of a short way."""
        queue = [i for i in self._places_of(self._queue_).tolist() if not situation.forbidden[i]]
        if queue:
            return queue
        picks = choose_batch(
            self._rule_for(situation.view.wishes),
            committee.leader,
            self._pool,
            self._settings.batch,
            forbidden=situation.forbidden,
            noise_std=float(np.median(self._stds_)),
            measured_mean=here,
            seen=np.asarray(self._values_),
            rng=situation.rng,
            pending=self._table.values[situation.pending],
            cost=self._cost(situation),
        )
        grid, chosen = self._known_grid(), np.array([pick.index for pick in picks], dtype=np.int64)
        start_m = grid.positions(np.asarray(self._pixels_[-1:], dtype=np.int64))[0]
        order = ordered_by_travel(grid.positions(situation.candidates[chosen]), start_m)
        return [int(i) for i in chosen[order]]

    def _cost(self, situation: Situation) -> Array | None:
        """Return what each candidate costs, (m,), or None where cost does not count."""
        config = self._settings.cost
        if config.per == "none":
            return None
        x_m, y_m = self._known_grid().positions(situation.candidates).T
        view = situation.view
        return config.weigh(
            measurement_costs(
                x_m,
                y_m,
                self._dwell_s(view),
                view.state,
                view.capabilities,
                decision_s=config.decision_s,
                reach_m=config.reach_m,
            )
        )

    def _remember(self, situation: Situation, **layers: Array) -> None:
        """Keep what is thought of the candidates, for `maps`; no copy is made."""
        self._thoughts |= layers
        self._thought_of = situation

    def maps(self) -> ModelMaps | None:
        """Return what was thought of every candidate when it was last asked; see `Pictorial.maps`."""
        return pictured(self._thought_of, self._grid_, self._field.target, self._unit_, self._thoughts)

    def _places_of(self, pixels: Sequence[int] | Indices) -> Indices:
        """Return which candidates these pixels are; pixels that are none are left out."""
        wanted = np.asarray(pixels, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._candidates, wanted), len(self._candidates) - 1)
        return np.asarray(at[self._candidates[at] == wanted])

    def _explain(self, rule: AcquisitionRule, best: Estimate, open_: int, left: int) -> str:
        target = self._field.target
        unit = f" {self._unit_}" if self._unit_ else ""
        record = max(v * rule.sign for v in self._values_) * rule.sign
        side = "highest" if rule.sign > 0 else "lowest"
        hope = f"the {side} so far is {record:.4g}{unit}"
        if rule.sign * best.mean > rule.sign * record:
            hope = f"better than the {side} so far, {record:.4g}{unit}"
        expected = f"{target} is expected at {best.mean:.4g} ± {best.std:.2g}{unit}"
        together = f" Chosen together with {left} more, nearest first." if left else ""
        return f"Best {rule.words} of {open_} open pixels: {expected}; {hope}.{together}"

    # --- state --------------------------------------------------------------------------------------

    def state(self) -> dict[str, JsonValue]:
        """Return all that was learnt as JSON data, hyperparameters included."""
        learnt: Any = self._to_restore_
        if learnt is None and self._fitted_n_:
            learnt = self._committee.state()
        model: dict[str, JsonValue] = {
            "fitted_n": self._fitted_n_,
            "learnt_n": self._learnt_n_,
            "earlier_n": self._earlier_n_,
            "learnt": learnt,
        }
        return super().state() | {"model": model, "queue": list(self._queue_)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; the models are rebuilt from their hyperparameters when they are next needed."""
        super().restore(state)
        model, self._queue_ = state["model"], list(state["queue"])
        self._fitted_n_, self._learnt_n_, self._earlier_n_ = (model[k] for k in ("fitted_n", "learnt_n", "earlier_n"))
        self._to_restore_ = model["learnt"]
        for name in ("_table", "_pool", "_committee", "_spread"):
            self.__dict__.pop(name, None)
