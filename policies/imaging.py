"""Where to look and how, chosen together: a short look at many places, a long one at those worth it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from autoscope.acquisition.design import diverse
from autoscope.acquisition.exposure_choice import (
    Price,
    best_look,
    other_looks,
    useful_electrons,
    within_bound,
)
from autoscope.chance import state_digest, stream
from autoscope.errors import FitFailed
from autoscope.exposure import electrons
from autoscope.protocols import JsonValue
from autoscope.records import Decision, Finish, Result, Scan, SetOptics, SpectrumImage, View
from autoscope.surrogates.features import FeatureTable, describe, describe_place
from autoscope.wishes import Wishes
from policies.field import MAX_TRIES, MAX_VALUELESS, OVERVIEW, unaffordable
from policies.imaging_acts import (
    Look,
    Optics,
    Options,
    Writer,
    carried_out,
    exposures_now,
    field_act,
    fluence_of,
    foretold_z,
    look_time_s,
    looked_at,
    reached,
    refocus,
    say,
    sha256,
    why_nothing,
)
from policies.imaging_belief import Belief, Inputs, Learnt, learn
from policies.imaging_config import GROWTH, SIGNIFICANT, ImagingConfig
from policies.imaging_dose import ReceivedDose
from policies.imaging_footprint import Footprints, brightness, fits_inside
from policies.imaging_model import Estimate, Looks
from policies.imaging_survey import summed_value, survey_places, survey_values
from policies.imaging_worth import Foreseen, worth
from policies.pixels import Indices, PixelGrid, image_from_plain, image_to_plain
from policies.wanted import wanted

Array = NDArray[np.float64]

SURVEY = "survey"
COMPONENTS = 8
REFERENCES = 256
"""Places over which the error of a map is averaged."""
LONGER_AFTER = 4
"""So many starting looks that show nothing make the next ones a step longer."""
RECENT = 60
"""So many of the latest forecasts say whether the model is honest."""
SAME, ELSEWHERE = 2, 3
"""Runners-up: other exposures of the chosen place, and other places."""


class ImagingPolicy:
    """Chooses place, dwell, current and defocus by expected usefulness per electron or per second.

    A pure function of what it was told: hyperparameters are always fitted from the same start, to the first so many
    looks, so asking, restoring or telling again changes nothing.
    """

    checkpointed: ClassVar[bool] = True
    """Its state is all that it knows: see `autoscope.protocols.Checkpointed`."""
    follows: ClassVar[frozenset[str]] = frozenset({"excluded", "pinned", "within", "dwell_s"})

    class Config(ImagingConfig):
        """Settings."""

    def __init__(self, config: Config, *, rng: np.random.Generator) -> None:
        self.config = config
        self._root_ = int(rng.integers(2**63))
        self._told_ = self._overview_tries_ = self._survey_tries_ = self._valueless_ = self._epoch_ = self._judged_ = 0
        self._grid_: PixelGrid | None = None
        self._image_: Array | None = None
        self._dose_ = ReceivedDose(config.exposed_m)
        self._surveyed_ = config.survey is None
        self._looks_: dict[str, list[Any]] = {name: [] for name in _LOOK}
        self._tries_: dict[int, int] = {}
        self._refused_: dict[str, int] = {}
        self._optics_ = Optics()
        self._forecasts_: list[float] = []

    # --- the decision -------------------------------------------------------------------------------

    def ask(self, view: View) -> Decision | Finish:
        """Return the overview, the survey, then looks (and settings of the beam), then `Finish` with focus restored."""
        decision = self._next(view)
        if isinstance(decision, Decision):
            decision = unaffordable(decision.action, view) or decision
        back = refocus(self._optics_.focus_m, view) if self.config.blurs_m[1:] and self._grid_ is not None else None
        last = isinstance(decision, Finish) or view.budget.steps == 1
        if back is None or not last or self._refused(back.action) or unaffordable(back.action, view):
            return decision
        return back

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
            return Finish(reason=why_nothing(options, self.config.dwells_s, view.capabilities))
        rng = stream(self._root_, f"decision {self._told_ + len(view.pending)}")
        if len(self._pixels) < self.config.initial:
            return carried_out(self._initial(options, view, rng), options, view)
        return carried_out(self._modelled(options, view, rng), options, view)

    def check_wishes(self, wishes: Wishes) -> None:
        """Return where it can follow these wishes: it follows all those that it names."""

    def _options(self, view: View) -> Options:
        config, timing, every = self.config, view.capabilities.timing, exposures_now(self.config, view)
        settings = [self._optics_.setting(exposure, view) for exposure in every]
        open_ = [k for k, setting in enumerate(settings) if not self._refused(setting)]
        exposures = tuple(every[k] for k in open_)
        switch = np.array([0.0 if settings[k] is None else timing.optics_settle_s for k in open_])
        dose = np.array([e.dose_e for e in exposures])
        time = np.array([look_time_s(e, self._known_grid(), view, config.signals) for e in exposures]) + switch
        blurs = tuple(config.footprints.index((e.defocus_m, e.binning)) for e in exposures)
        area = np.array([self._footprints.side_m(blur) ** 2 for blur in blurs])
        before = self._received(self._candidates)[:, None]
        allowed = within_bound(dose, before, area, config.dose_share * config.critical)
        closed, sent = wanted(view, self._known_grid(), self._candidates, self._closed(view))
        inside = fits_inside(self._candidates, self._known_grid().scan, [e.binning for e in exposures])
        return Options(
            exposures,
            blurs,
            Price(config.per, config.second_worth_e).of(dose, time),
            useful_electrons(dose, before, area, config.critical),
            allowed & ~closed[:, None] & inside,
            sent,
        )

    def _refused(self, setting: Any) -> bool:
        """Return whether a setting was refused so often that it is given up."""
        return setting is not None and self._refused_.get(setting.model_dump_json(), 0) >= MAX_TRIES

    def _closed(self, view: View) -> NDArray[np.bool_]:
        """Return which candidates are pending, given up, or measured where that may be done only once; (m,)."""
        grid = self._known_grid()
        closed = [p for a in view.pending if (p := looked_at(a, grid)) is not None]
        closed += [p for p, tries in self._tries_.items() if tries >= MAX_TRIES]
        if not self.config.repeats:
            closed += self._pixels
        return np.isin(self._candidates, np.asarray(closed, dtype=np.int64))

    def _initial(self, options: Options, view: View, rng: np.random.Generator) -> Decision:
        digest = state_digest(rng)
        looks, focused = self._looks, np.array(options.blurs) == 0
        if not (options.allowed & focused).any():
            focused = ~focused
        allowed = options.allowed & focused
        weak = int((looks.rates < SIGNIFICANT * looks.stds).sum())
        taken = np.asarray(self._pixels, dtype=np.int64)
        shut = np.asarray(~allowed.any(axis=1))
        place = diverse(self._features[self._candidates], self._features[taken], shut, rng)
        rungs = np.flatnonzero(allowed[place])
        rung = int(rungs[min(len(rungs) - 1, weak // LONGER_AFTER)])
        reason = (
            f"Starting look {len(taken) + 1} of {self.config.initial}: a place unlike those seen, "
            f"for {say(options.exposures[rung])}; {weak} showed nothing yet."
        )
        return self._writer(options).start((place, rung), reason, view, self._evidence(digest))

    def _modelled(self, options: Options, view: View, rng: np.random.Generator) -> Decision | Finish:
        digest = state_digest(rng)
        mean_rate = float(self._looks.mean_rate)
        foreseen = Foreseen(self._belief, self._learnt.noise, options.useful_e, options.blurs, mean_rate)
        found = worth(foreseen, self.config.wanted, options.allowed, self._references)
        if found.done is not None and not options.sent:
            return Finish(reason=found.done)
        chosen = best_look(found.values, options.cost, options.allowed, rng, self.config.patience)
        others: list[Look] = other_looks(found.values, options.cost, options.allowed, chosen, SAME, ELSEWHERE)
        evidence = self._evidence(digest) | {"fit": self._learnt.summary(self._epoch_)}
        return self._writer(options).modelled(chosen, others, found, foreseen, view, evidence)

    def _writer(self, options: Options) -> Writer:
        return Writer(self.config, self._known_grid(), self._candidates, options, self._optics_)

    def _evidence(self, digest: str) -> dict[str, object]:
        data = sha256(*(np.asarray(self._looks_[n], dtype="<f8").tobytes() for n in _LOOK))
        return {"data_sha256": data, "random_state_sha256": digest}

    # --- geometry and dose --------------------------------------------------------------------------

    def _known_grid(self) -> PixelGrid:
        if self._grid_ is None:
            raise FitFailed("there are no candidates before the overview")
        return self._grid_

    @property
    def _pixels(self) -> list[int]:
        return self._looks_["pixel"]

    @property
    def _footprints(self) -> Footprints:
        scan = self._known_grid().scan
        pitch_m, optics = scan.fov_m / scan.width_px, self._optics_
        return Footprints(self.config.footprints, pitch_m, optics.convergence_rad, self.config.exposed_m)

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
        return Looks.of(self._looks_, self.config.scaling)

    @cached_property
    def _inputs(self) -> Inputs:
        table, scan = self._table, self._known_grid().scan
        stencils = self._footprints.stencils(scan.height_px, scan.width_px, scan.fov_m / scan.width_px)
        bright = None if self._image_ is None else brightness(self._image_)
        return Inputs(self._features, (*table.components, *table.jets), table.place, bright, stencils)

    @cached_property
    def _learnt(self) -> Learnt:
        forecasts = np.array(self._forecasts_[max(self._judged_ - RECENT, 0) : self._judged_])
        return learn(self._inputs, self._looks.first(self._epoch_), forecasts)

    @cached_property
    def _belief(self) -> Belief:
        learnt = self._learnt
        return Belief(self._inputs, self._candidates, self._looks.pooled(learnt.noise), learnt)

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
        elif isinstance(action, SetOptics):
            if result.outcome.status != "done":
                name = action.model_dump_json()
                self._refused_[name] = self._refused_.get(name, 0) + 1
        elif self._grid_ is not None and (pixel := looked_at(action, self._grid_)) is not None:
            self._take_look(pixel, decision, action, result)

    def _take_overview(self, scan: Scan, result: Result) -> None:
        frame = result.frame(scan.detectors[0]) if result.outcome.status == "done" else None
        self._dose_.everywhere_e_per_m2 += fluence_of(scan, result) if reached(result) else 0.0
        if frame is not None and frame.data.shape == (scan.height_px, scan.width_px):
            self._image_ = np.asarray(frame.data, dtype=np.float64)
        else:
            self._overview_tries_ += 1
        state = result.outcome.state
        self._optics_ = Optics(state.defocus_m, state.convergence_rad)
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
        useful = float(useful_electrons(dose, before, self._footprints.side_m(0) ** 2, self.config.critical))
        for index, value, std in found or ():
            if (pixel := places[index]) is not None:
                self._remember(pixel, value, std, useful, 0)
        self._schedule()

    def _take_look(self, pixel: int, decision: Decision, action: Any, result: Result) -> None:
        outcome, side, scalar = result.outcome, 1, result.value(self.config.target)
        if isinstance(action, SpectrumImage):
            side, scalar = action.width_px, summed_value(self.config.scalarizer, result, self.config.target)
        if side not in self.config.binnings:
            return
        dose = electrons(outcome.state.beam_current_a, action.dwell_s * side**2)
        nearest = self._optics_.blur(outcome.state.defocus_m, self.config.blurs_m)
        blur = self.config.footprints.index((self.config.blurs_m[nearest], side))
        before, side_m = float(self._received(np.array([pixel]))[0]), self._footprints.side_m(blur)
        if reached(result):
            self._dose_.add(pixel, dose, side_m)
            self.__dict__.pop("_belief", None)
        if outcome.status != "done" or scalar is None or dose <= 0.0:
            self._tries_[pixel] = self._tries_.get(pixel, 0) + 1
            self._valueless_ += outcome.status == "done"
            return
        if (z := foretold_z(decision, scalar.value)) is not None:
            self._forecasts_.append(z)
        useful = float(useful_electrons(dose, before, side_m**2, self.config.critical))
        self._remember(pixel, scalar.value, scalar.std, useful, blur)
        self._schedule()

    def _remember(self, pixel: int, value: float, std: float, useful_e: float, blur: int) -> None:
        for name, one in zip(_LOOK, (pixel, value, std, useful_e, blur), strict=True):
            self._looks_[name].append(one)
        self.__dict__.pop("_belief", None)

    def _schedule(self) -> None:
        """Decide by the number of looks alone when hyperparameters are learnt anew."""
        n = len(self._pixels)
        later = max(self._epoch_ + self.config.refit_every, math.ceil(GROWTH * self._epoch_))
        if n >= (later if self._epoch_ else self.config.initial):
            self._epoch_, self._judged_ = n, len(self._forecasts_)
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
            "refused": dict(self._refused_),
            "optics": [self._optics_.focus_m, self._optics_.convergence_rad],
            "forecasts": list(self._forecasts_),
            "epoch": [self._epoch_, self._judged_],
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
        self._refused_ = dict(state["refused"])
        self._optics_ = Optics(*state["optics"])
        self._forecasts_ = list(state["forecasts"])
        self._epoch_, self._judged_ = state["epoch"]
        for name in _CACHED:
            self.__dict__.pop(name, None)


_LOOK = ("pixel", "value", "std", "useful_e", "blur")
_CACHED = ("_candidates", "_references", "_table", "_features", "_inputs", "_learnt", "_belief")
