"""Looks for what a person prefers: pairs are compared, and places that look like the better ones come first."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from autoscope.acquisition.choice import choose, runners_up
from autoscope.acquisition.design import Spread
from autoscope.acquisition.functions import upper_confidence_bound
from autoscope.acquisition.pairs import AskFor, next_pair
from autoscope.chance import stream
from autoscope.model_maps import ModelMaps
from autoscope.protocols import JsonValue
from autoscope.quantities import PositiveDuration
from autoscope.records import Decision, Finish, Measure, Result, View
from autoscope.surrogates.features import FeatureTable, describe, describe_place
from autoscope.surrogates.preference import PreferenceModel
from policies.field import RUNNERS_UP, Choice, Estimate, FieldConfig, FieldPolicy, Situation
from policies.pictures import pictured

Array = NDArray[np.float64]
Float32 = NDArray[np.float32]
Indices = NDArray[np.int64]


class PreferenceConfig(FieldConfig):
    """Settings of the search for what a person prefers. ``target`` only tells which measurements are good."""

    initial: int = Field(default=4, ge=2)
    """Good measurements at places unlike each other before the first pair is shown."""
    answers: NonNegativeInt = 1
    """Pairs asked about for each further measurement; 0 asks nothing, and heeds what people say by themselves."""
    wait_s: PositiveDuration = 60.0
    """How long a person has for an answer, in people's time; without one the next place is measured all the same."""
    ask_for: AskFor = "best"
    """Which pair is shown: whose better one is expected to be best of all, or whose answer tells most of the order."""
    kappa: NonNegativeFloat = 1.0
    """Standard deviations that an uncertain place is given credit for."""
    features: Literal["image", "coordinates", "both"] = "image"
    """What of a pixel utility depends on: its neighbourhood in the overview, its place, or both."""
    components: PositiveInt = 6
    """Principal components of image patches, of side ``patch_px``; few answers cannot tell many apart."""
    patch_px: PositiveInt = 11


class PreferencePolicy(FieldPolicy):
    """A few places unlike each other, then pairs of them to compare, then what looks like the preferred ones."""

    Config: ClassVar[type[FieldConfig]] = PreferenceConfig
    lookahead: ClassVar[bool] = False
    """A pair is shown when its measurements are there to be seen."""
    follows: frozenset[str] = FieldPolicy.follows | {"preferences"}

    def __init__(self, config: PreferenceConfig, *, rng: np.random.Generator) -> None:
        super().__init__(config, rng=rng)
        self._settings = config
        self._acts_: list[str] = []
        """Of each measurement, the id of its act."""
        self._learnt: tuple[bytes, PreferenceModel] | None = None
        self._thoughts: dict[str, Array] = {}
        self._thought_of: Situation | None = None

    # --- the decision -------------------------------------------------------------------------------

    def ask(self, view: View) -> Decision | Finish:
        """Return what to measure next, or first a pair to compare."""
        decision = super().ask(view)
        if isinstance(decision, Finish) or not isinstance(decision.action, Measure) or decision.order:
            return decision
        return self._with_pair(decision, view)

    def _with_pair(self, decision: Decision, view: View) -> Decision:
        beyond, answers = len(self._acts_) - self._settings.initial + 1, self._answers(view)
        if len(answers) >= self._settings.answers * beyond:
            return decision
        if view.silence_s is not None:
            silence = f"within {view.silence_s:.3g} s" if view.silence_s else "since nobody attends the run"
            return decision.replace(reason=f"{decision.reason} Nobody compared the pair shown {silence}.")
        pair = self._pair(answers)
        if pair is None:
            return decision
        first, second = (self._known_grid().name(self._pixels_[k]) for k in pair)
        return decision.replace(
            reason=f"Which is more interesting, {first} or {second}? Until somebody says so: {decision.reason}",
            consult_s=self._settings.wait_s,
            pair=(self._acts_[pair[0]], self._acts_[pair[1]]),
        )

    def _pair(self, answers: Indices) -> tuple[int, int] | None:
        """Return the two measurements to compare next, by their numbers; None where all pairs were compared."""
        count, rng = len(self._acts_), stream(self._root_, f"pair {len(self._acts_)} {len(answers)}")
        if not len(answers):
            mean, covariance = np.zeros(count), np.eye(count)
        else:
            mean, covariance = self._model(answers).joint(self._look[self._pixels_])
        asked = [(int(a), int(b)) for a, b in answers]
        return next_pair(mean, covariance, asked, self._settings.ask_for, rng)

    def _choose(self, situation: Situation) -> Choice:
        answers, n = self._answers(situation.view), len(self._acts_)
        if n < self._settings.initial:
            why = f"Starting point {n + 1} of {self._settings.initial}: a place unlike those taken so far, to compare."
            return self._unlike(situation, why)
        if not len(answers):
            return self._unlike(situation, "Nobody has compared anything yet: a place unlike those measured so far.")
        model, kappa = self._model(answers), self._settings.kappa
        mean, std = model.predict(self._pool)
        values = np.asarray(upper_confidence_bound(mean, std.copy(), kappa), dtype=np.float64)
        self._remember(situation, mean=mean, std=std, acquisition=values)
        best = choose(values, situation.rng, situation.forbidden)
        others = runners_up(values, best, situation.forbidden, RUNNERS_UP)
        ranked = [Estimate(i, value=float(values[i])) for i in (best, *others)]
        reason = (
            f"It looks most like what people preferred in {model.answers} comparisons: utility "
            f"{mean[best]:.2g} ± {std[best]:.2g}, the best measured {self._best_measured(model):.2g}."
        )
        return Choice(ranked[0], reason, "upper_confidence_bound", {"kappa": kappa}, ranked[1:])

    def _unlike(self, situation: Situation, reason: str) -> Choice:
        spread = Spread(self._pool)
        spread.take(self._look[self._pixels_])
        index, distance = spread.draw(situation.forbidden, situation.rng), spread.distance()
        self._remember(situation, acquisition=distance)
        others = runners_up(distance, index, situation.forbidden, RUNNERS_UP)
        best, *rest = (Estimate(i, value=float(distance[i])) for i in (index, *others))
        return Choice(best, reason, "diverse", {}, rest)

    # --- the model ----------------------------------------------------------------------------------

    def _answers(self, view: View) -> Indices:
        """Return what people said, (p, 2), better and worse by the numbers of their measurements; undone ones not."""
        number = {act_id: k for k, act_id in enumerate(self._acts_)}
        pairs = [(number.get(one.better), number.get(one.worse)) for one in view.wishes.preferences]
        known = [pair for pair in pairs if None not in pair]
        return np.array(known, dtype=np.int64).reshape(-1, 2)

    def _model(self, answers: Indices) -> PreferenceModel:
        """Return the model of some answers; kept, because it is asked for more than once."""
        key = np.asarray(self._pixels_, dtype=np.int64)[answers].tobytes()
        if self._learnt is None or self._learnt[0] != key:
            self._learnt = key, PreferenceModel(self._look[self._pixels_], answers)
        return self._learnt[1]

    def _best_measured(self, model: PreferenceModel) -> float:
        return float(model.predict(self._look[self._pixels_])[0].max())

    @cached_property
    def _look(self) -> Float32:
        """What each pixel looks like, (pixels, d)."""
        scan, settings = self._known_grid().scan, self._settings
        if self._image_ is None or settings.features == "coordinates":
            return describe_place(scan.height_px, scan.width_px).values
        table = describe(self._image_, settings.patch_px, settings.components)
        return table.values[:, list(_columns(table, settings.features))]

    @cached_property
    def _pool(self) -> Float32:
        return self._look[self._candidates]

    # --- what was told ------------------------------------------------------------------------------

    def _take_measurement(self, pixel: int, result: Result) -> None:
        before = len(self._pixels_)
        super()._take_measurement(pixel, result)
        self._acts_ += [result.outcome.act_id] * (len(self._pixels_) - before)

    def state(self) -> dict[str, JsonValue]:
        """Return all that was learnt as JSON data; what people prefer comes with each question."""
        return super().state() | {"acts": list(self._acts_)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; see `FieldPolicy.restore`."""
        super().restore(state)
        self._acts_, self._learnt = list(state["acts"]), None
        for name in ("_look", "_pool"):
            self.__dict__.pop(name, None)

    # --- to look at ---------------------------------------------------------------------------------

    def _remember(self, situation: Situation, **layers: Array) -> None:
        self._thoughts, self._thought_of = layers, situation

    def maps(self) -> ModelMaps | None:
        """Return the utility of every candidate as it was last thought to be; see `Pictorial.maps`."""
        return pictured(self._thought_of, self._grid_, "utility", "", self._thoughts)


def _columns(table: FeatureTable, features: str) -> tuple[int, ...]:
    return table.components if features == "image" else (*table.components, *table.place)
