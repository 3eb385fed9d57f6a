"""Where to look and how long, chosen together: a short look at many places, a long one at those worth it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.acquisition.design import diverse
from autoscope.acquisition.exposure_choice import (
    Price,
    best_look,
    ladder,
    other_looks,
    useful_electrons,
    within_bound,
)
from autoscope.chance import state_digest, stream
from autoscope.errors import FitFailed
from autoscope.exposure import electrons
from autoscope.protocols import JsonValue
from autoscope.records import (
    Action,
    Candidate,
    Decision,
    Finish,
    Measure,
    Result,
    Scan,
    SetOptics,
    SpectrumImage,
    View,
)
from autoscope.surrogates.features import FeatureTable, describe, describe_place
from policies.field import MAX_TRIES, MAX_VALUELESS, OVERVIEW, all_signals, unaffordable
from policies.imaging_acts import Options, field_act, fluence_of, is_set, reached, say, sha256
from policies.imaging_config import GROWTH, SIGNIFICANT, WORDS, ImagingConfig
from policies.imaging_dose import ReceivedDose
from policies.imaging_model import Belief, Estimate, Learnt, Looks, learn
from policies.imaging_survey import survey_places, survey_values
from policies.imaging_worth import Worth, map_worth, maximum_worth
from policies.pixels import Indices, PixelGrid, image_from_plain, image_to_plain

Array = NDArray[np.float64]

SURVEY = "survey"
COMPONENTS = 8
REFERENCES = 256
"""Places over which the error of a map is averaged."""
SAME, ELSEWHERE = 2, 3
"""Runners-up: other exposures of the chosen place, and other places."""


class ImagingPolicy:
    """Chooses place, dwell and current by expected usefulness per electron or per second.

    A pure function of what it was told: hyperparameters are always fitted from the same start, to the first so many
    looks, so asking, restoring or telling again changes nothing.
    """

    class Config(ImagingConfig):
        """Settings."""

    def __init__(self, config: Config, *, rng: np.random.Generator) -> None:
        self.config = config
        self._root_ = int(rng.integers(2**63))
        self._told_ = self._overview_tries_ = self._survey_tries_ = self._valueless_ = 0
        self._grid_: PixelGrid | None = None
        self._image_: Array | None = None
        self._dose_ = ReceivedDose(config.exposed_m)
        self._surveyed_ = config.survey is None
        self._looks_: dict[str, list[Any]] = {name: [] for name in _LOOK}
        self._tries_: dict[int, int] = {}
        self._refused_a_: dict[float, int] = {}
        self._epoch_ = 0

    # --- the decision -------------------------------------------------------------------------------

    def ask(self, view: View) -> Decision | Finish:
        """Return the overview, the survey, then looks (and settings of the beam current), then `Finish`."""
        decision = self._next(view)
        return unaffordable(decision.action, view) or decision if isinstance(decision, Decision) else decision

    def _next(self, view: View) -> Decision | Finish:
        if self._grid_ is None:
            scan = PixelGrid(self.config.overview.scan(view.capabilities)).scan
            reason = "An overview comes first: it shows where to look and what each place looks like."
            return field_act(scan, OVERVIEW, reason, view)
        if not self._surveyed_ and self.config.survey is not None:
            action = self.config.survey.action(self._grid_.scan, self.config.signals, view.capabilities)
            reason = "A fast spectrum image comes next: a very short look everywhere, without the overhead of points."
            return field_act(action, SURVEY, reason, view)
        if self._valueless_ >= MAX_VALUELESS and not self._pixels:
            return Finish(reason=f"No spectrum gave a value of {self.config.target!r}: check the name of the target.")
        options = self._options(view)
        if not options.allowed.any():
            return Finish(reason="Every candidate has received all the dose it may, is being measured or was given up.")
        rng = stream(self._root_, f"decision {self._told_ + len(view.pending)}")
        if len(self._pixels) < self.config.initial:
            return self._initial(options, view, rng)
        return self._modelled(options, view, rng)

    def _options(self, view: View) -> Options:
        config, state, timing = self.config, view.state, view.capabilities.timing
        known = [a for a in config.currents_a if self._refused_a_.get(a, 0) < MAX_TRIES]
        exposures = ladder(config.dwells_s, known or [state.beam_current_a])
        dose = np.array([e.dose_e for e in exposures])
        switch = np.array([0.0 if is_set(e.current_a, view) else timing.optics_settle_s for e in exposures])
        time = np.array([e.dwell_s for e in exposures]) + timing.point_overhead_s + switch
        before = self._received(self._candidates)[:, None]
        bound = config.dose_share * config.critical
        allowed = within_bound(dose, before, self._dose_.area_m2, bound) & ~self._closed(view)[:, None]
        return Options(
            exposures,
            Price(config.per, config.second_worth_e).of(dose, time),
            useful_electrons(dose, before, self._dose_.area_m2, config.critical),
            allowed,
        )

    def _closed(self, view: View) -> NDArray[np.bool_]:
        """Return which candidates are pending, given up, or measured where that may be done only once; (m,)."""
        grid = self._known_grid()
        closed = [p for a in view.pending if isinstance(a, Measure) and (p := grid.pixel_at(a.x_m, a.y_m)) is not None]
        closed += [p for p, tries in self._tries_.items() if tries >= MAX_TRIES]
        if not self.config.repeats:
            closed += self._pixels
        return np.isin(self._candidates, np.asarray(closed, dtype=np.int64))

    def _initial(self, options: Options, view: View, rng: np.random.Generator) -> Decision:
        digest = state_digest(rng)
        looks, shut = self._looks, np.asarray(~options.allowed.any(axis=1))
        weak = int((looks.rates < SIGNIFICANT * looks.stds).sum())
        taken = np.asarray(self._pixels, dtype=np.int64)
        place = diverse(self._features[self._candidates], self._features[taken], shut, rng)
        rungs = np.flatnonzero(options.allowed[place])
        rung = int(rungs[min(len(rungs) - 1, weak // 4)])
        reason = (
            f"Starting look {len(taken) + 1} of {self.config.initial}: a place unlike those seen, "
            f"for {say(options.exposures[rung])}; {weak} showed nothing yet."
        )
        return self._decision(options, view, (place, rung), [], reason, "diverse", digest)

    def _modelled(self, options: Options, view: View, rng: np.random.Generator) -> Decision | Finish:
        digest = state_digest(rng)
        belief, noise = self._belief, self._learnt.noise
        typical = max(float(self._looks.mean_rate), 0.0)
        foreseen = noise.variance(np.maximum(belief.mean, 0.05 * typical)[:, None], options.useful_e)
        worth = self._worth(belief, foreseen, options)
        if worth.done is not None:
            return Finish(reason=worth.done)
        chosen = best_look(worth.values, options.cost, options.allowed, rng, self.config.patience)
        others = other_looks(worth.values, options.cost, options.allowed, chosen, SAME, ELSEWHERE)
        told = (belief, foreseen, worth.values)
        return self._decision(options, view, chosen, others, worth.reason, worth.name, digest, told)

    def _worth(self, belief: Belief, noise: Array, options: Options) -> Worth:
        config, per = self.config, WORDS[self.config.per]
        if config.goal == "map":
            return map_worth(belief, noise, self._references, config.precision, per)
        return maximum_worth(belief, noise, options.allowed, config.precision, per)

    def _decision(
        self,
        options: Options,
        view: View,
        chosen: tuple[int, int],
        others: list[tuple[int, int]],
        reason: str,
        name: str,
        digest: str,
        told: tuple[Belief, Array, Array] | None = None,
    ) -> Decision:
        place, rung = chosen
        exposure = options.exposures[rung]
        best, *rest = (self._candidate(options, view, look, told) for look in (chosen, *others))
        parameters = {"dwell_s": exposure.dwell_s, "beam_current_a": exposure.current_a, "dose_e": exposure.dose_e}
        parameters["useful_e"] = float(options.useful_e[place, rung])
        if told is not None:
            scale = parameters["useful_e"] if self.config.scaling == "counts" else 1.0
            parameters["predicted_noise_std"] = scale * math.sqrt(float(told[1][place, rung]))
            reason = f"Of all looks this one, {say(exposure)}, {reason}."
        action: Action = best.action
        purpose = "spectrum"
        if not is_set(exposure.current_a, view):
            action, purpose = SetOptics(beam_current_a=exposure.current_a), "optics"
            reason = f"Sets the beam current for the next look. {reason}"
        pixel = int(self._candidates[place])
        return Decision(
            action=action,
            purpose=purpose,
            reason=reason,
            target=self._known_grid().name(pixel),
            predicted_mean=best.mean,
            predicted_std=best.std,
            acquisition=name if told is None else f"{name}_per_{self.config.per}",
            acquisition_value=best.value,
            acquisition_parameters=parameters,
            runners_up=tuple(rest),
            candidates=int(options.allowed.any(axis=1).sum()),
            candidates_sha256=sha256(self._candidates.astype("<i8").tobytes(), np.packbits(options.allowed).tobytes()),
            fit=None if told is None else self._learnt.summary(self._epoch_),
            data_sha256=sha256(*(np.asarray(self._looks_[n], dtype="<f8").tobytes() for n in _LOOK)),
            random_state_sha256=digest,
        )

    def _candidate(
        self, options: Options, view: View, look: tuple[int, int], told: tuple[Belief, Array, Array] | None
    ) -> Candidate:
        """Return a look with what it is expected to show, in the unit of its spectrum's value."""
        place, rung = look
        x_m, y_m = self._known_grid().position(int(self._candidates[place]))
        signals = all_signals(self.config.signals, view.capabilities)
        action = Measure(x_m=x_m, y_m=y_m, dwell_s=options.exposures[rung].dwell_s, signals=signals)
        if told is None:
            return Candidate(action=action)
        belief, _, worth = told
        scale = float(options.useful_e[place, rung]) if self.config.scaling == "counts" else 1.0
        value = float(worth[place, rung] / options.cost[rung])
        mean, std = scale * float(belief.mean[place]), scale * float(belief.std[place])
        return Candidate(action=action, mean=mean, std=std, value=value)

    # --- geometry and dose --------------------------------------------------------------------------

    def _known_grid(self) -> PixelGrid:
        if self._grid_ is None:
            raise FitFailed("there are no candidates before the overview")
        return self._grid_

    @property
    def _pixels(self) -> list[int]:
        return self._looks_["pixel"]

    @cached_property
    def _candidates(self) -> Indices:
        return self._known_grid().strided(self.config.stride_px)

    @cached_property
    def _references(self) -> Indices:
        count = min(REFERENCES, len(self._candidates))
        return np.sort(stream(self._root_, "references").choice(len(self._candidates), count, replace=False))

    def _received(self, pixels: Indices) -> Array:
        """Return the fluence that pixels have received, (p,)."""
        return self._dose_.received_e_per_m2(self._known_grid(), pixels)

    # --- model --------------------------------------------------------------------------------------

    @cached_property
    def _table(self) -> FeatureTable:
        scan = self._known_grid().scan
        if self._image_ is None:
            return describe_place(scan.height_px, scan.width_px)
        return describe(self._image_, self.config.patch_px, COMPONENTS)

    @cached_property
    def _features(self) -> Array:
        return np.asarray(self._table.values, dtype=np.float64)

    @property
    def _looks(self) -> Looks:
        looks = self._looks_
        return Looks.of(looks["pixel"], looks["value"], looks["std"], looks["useful_e"], self.config.scaling)

    @cached_property
    def _learnt(self) -> Learnt:
        table = self._table
        image = (*table.components, *table.jets)
        groups = (image, table.place) if image else (table.place,)
        return learn(self._features, self._looks.first(self._epoch_), groups)

    @cached_property
    def _belief(self) -> Belief:
        learnt = self._learnt
        return Belief(self._features, self._candidates, self._looks.pooled(learnt.noise), learnt)

    def estimate(self) -> Estimate | None:
        """Return what is believed of the field, in value per electron; None before there is a model."""
        if self._grid_ is None or len(self._pixels) < self.config.initial:
            return None
        belief = self._belief
        return Estimate(self._grid_.positions(self._candidates), belief.mean, belief.std)

    # --- what was told ------------------------------------------------------------------------------

    def tell(self, decision: Decision, result: Result) -> None:
        """Learn from an overview, a survey, a setting, or a spectrum anywhere on the overview's pixels."""
        self._told_ += 1
        action = decision.action
        if isinstance(action, Scan) and decision.purpose == OVERVIEW and self._grid_ is None:
            self._take_overview(action, result)
        elif isinstance(action, SpectrumImage) and decision.purpose == SURVEY and not self._surveyed_:
            self._take_survey(action, result)
        elif isinstance(action, SetOptics) and action.beam_current_a is not None:
            if result.outcome.status != "done":
                self._refused_a_[action.beam_current_a] = self._refused_a_.get(action.beam_current_a, 0) + 1
        elif isinstance(action, Measure) and self._grid_ is not None:
            pixel = self._grid_.pixel_at(action.x_m, action.y_m)
            if pixel is not None:
                self._take_look(pixel, action, result)

    def _take_overview(self, scan: Scan, result: Result) -> None:
        frame = result.frame(scan.detectors[0]) if result.outcome.status == "done" else None
        self._dose_.everywhere_e_per_m2 += fluence_of(scan, result) if reached(result) else 0.0
        if frame is not None and frame.data.shape == (scan.height_px, scan.width_px):
            self._image_ = np.asarray(frame.data, dtype=np.float64)
        else:
            self._overview_tries_ += 1
        if self._image_ is not None or self._overview_tries_ >= MAX_TRIES:
            self._grid_ = PixelGrid(scan)

    def _take_survey(self, action: SpectrumImage, result: Result) -> None:
        self._survey_tries_ += 1
        survey, grid = self.config.survey, self._known_grid()
        found = survey_values(survey, result) if survey is not None else None
        self._surveyed_ = found is not None or self._survey_tries_ >= MAX_TRIES
        dose = electrons(result.outcome.state.beam_current_a, action.dwell_s)
        places = [grid.pixel_at(x_m, y_m) for x_m, y_m in survey_places(action)]
        before = self._received(self._candidates[:1])[0]  # nothing but the overview so far, the same everywhere
        if reached(result):
            for place in (p for p in places if p is not None):
                self._dose_.add(place, dose)
        useful = float(useful_electrons(dose, before, self._dose_.area_m2, self.config.critical))
        for index, value, std in found or ():
            if (pixel := places[index]) is not None:
                self._remember(pixel, value, std, useful)
        self._schedule()

    def _take_look(self, pixel: int, action: Measure, result: Result) -> None:
        outcome = result.outcome
        scalar = result.value(self.config.target)
        dose = electrons(outcome.state.beam_current_a, action.dwell_s)
        before = float(self._received(np.array([pixel]))[0])
        if reached(result):
            self._dose_.add(pixel, dose)
            self.__dict__.pop("_belief", None)
        if outcome.status != "done" or scalar is None or dose <= 0.0:
            self._tries_[pixel] = self._tries_.get(pixel, 0) + 1
            self._valueless_ += outcome.status == "done"
            return
        self._remember(
            pixel,
            scalar.value,
            scalar.std,
            float(useful_electrons(dose, before, self._dose_.area_m2, self.config.critical)),
        )
        self._schedule()

    def _remember(self, pixel: int, value: float, std: float, useful_e: float) -> None:
        for name, one in zip(_LOOK, (pixel, value, std, useful_e), strict=True):
            self._looks_[name].append(one)
        self.__dict__.pop("_belief", None)

    def _schedule(self) -> None:
        """Decide by the number of looks alone when hyperparameters are learnt anew."""
        n = len(self._pixels)
        later = max(self._epoch_ + self.config.refit_every, math.ceil(GROWTH * self._epoch_))
        if n >= (later if self._epoch_ else self.config.initial):
            self._epoch_ = n
            self.__dict__.pop("_learnt", None)

    # --- state --------------------------------------------------------------------------------------

    def state(self) -> dict[str, JsonValue]:
        """Return all that was told as JSON data."""
        return {
            "root": self._root_,
            "told": self._told_,
            "tries": [self._overview_tries_, self._survey_tries_, self._valueless_],
            "scan": None if self._grid_ is None else self._grid_.scan.model_dump(mode="json"),
            "image": None if self._image_ is None else image_to_plain(self._image_),
            "dose": self._dose_.state(),
            "surveyed": self._surveyed_,
            "looks": {name: list(values) for name, values in self._looks_.items()},
            "pixel_tries": {str(pixel): tries for pixel, tries in self._tries_.items()},
            "refused": [[current_a, tries] for current_a, tries in self._refused_a_.items()],
            "epoch": self._epoch_,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; the model is fitted again when it is next needed, to the same looks."""
        scan, image = state["scan"], state["image"]
        self._root_, self._told_ = state["root"], state["told"]
        self._overview_tries_, self._survey_tries_, self._valueless_ = state["tries"]
        self._grid_ = None if scan is None else PixelGrid(Scan.model_validate(scan, strict=False))
        self._image_ = None if image is None else image_from_plain(image)
        self._dose_.restore(state["dose"])
        self._surveyed_ = state["surveyed"]
        self._looks_ = {name: list(state["looks"][name]) for name in _LOOK}
        self._tries_ = {int(pixel): tries for pixel, tries in state["pixel_tries"].items()}
        self._refused_a_ = {float(current_a): tries for current_a, tries in state["refused"]}
        self._epoch_ = state["epoch"]
        for name in ("_candidates", "_references", "_table", "_features", "_learnt", "_belief"):
            self.__dict__.pop(name, None)


_LOOK = ("pixel", "value", "std", "useful_e")
