"""The survey as a state machine: what to do follows from what was told, and nothing else.

::

    choose --travel--> (focus* --set focus-->) overview --> measure (scouts) --> choose
    choose --travel--> (set focus -->)          align    --> measure (visit) --> choose
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from autoscope.exposure import predict
from autoscope.perception.constellation import match
from autoscope.perception.regions import find_particles
from autoscope.perception.sharpness import sharpness
from autoscope.protocols import JsonValue
from autoscope.records import (
    Action,
    Candidate,
    Decision,
    Finish,
    Frame,
    Measure,
    MoveStage,
    Result,
    Scan,
    SetOptics,
    Stage,
    View,
)
from policies.survey.catalogue import Catalogue
from policies.survey.config import SurveyConfig
from policies.survey.itinerary import Itinerary, Visit
from policies.survey.keep_focus import KeepFocus
from policies.survey.plan import planned_stages
from policies.survey.ranking import Ranking, unlike_each_other
from policies.survey.screening import Screening
from policies.survey.tiles import core_m, tile_centres_m

MAX_TRIES = 2
COUNTS = "counts"
"""Unit of scalars that grow with the dwell time."""
CONFIRM = "the short look leaves doubt: a spectrum of full dwell decides"


class SurveyPolicy:
    """Surveys an area overnight: tiles in focus, particles found, spectra where they are worth most."""

    checkpointed: ClassVar[bool] = True
    """Its state is all that it knows: see `autoscope.protocols.Checkpointed`."""

    class Config(SurveyConfig):
        """The area, the images, the spectra and how the time is shared."""

    def __init__(self, config: Config, *, rng: np.random.Generator) -> None:
        self._config = config
        self._centres_m = tile_centres_m(config.area, config.tile)
        self._core_m = core_m(config.area, config.tile)
        self._catalogue = Catalogue()
        self._ranking = Ranking(config.fit_points, config.interest_length_m, int(rng.integers(2**31)))
        self._itinerary = Itinerary(config, self._centres_m)
        self._focus = KeepFocus(config.focus)
        self._screening = Screening(config.screen, config.dwell_s)
        self._doubtful: int | None = None
        self._counts = False
        self._mode = "choose"
        self._tile = -1
        self._queue: list[int] = []
        self._shift_m = (0.0, 0.0)
        self._aligned_s = 0.0
        self._interval_s = config.align.first_after_s
        self._visiting = False
        self._tries = 0

    # --- ask ---

    def ask(self, view: View) -> Decision | Finish:
        """Return the next act of the survey, or Finish when nothing worth it fits the budget."""
        decision = self._next(view)
        if isinstance(decision, Decision) and not _fits(decision.action, view):
            return Finish(reason=self._why_finished())
        return decision

    def _next(self, view: View) -> Decision | Finish:
        match self._mode:
            case "focus":
                return self._focus.next_decision(self._tile_name())
            case "overview":
                return self._scan("overview", self._config.tile.scan(), "first look at this tile")
            case "align":
                return self._scan(
                    "align", self._config.align.scan(), "find the particles again after moving or drifting"
                )
            case "measure":
                return self._measure()
            case _:
                return self._choose(view)

    def _scan(self, purpose: str, scan: Scan, reason: str) -> Decision:
        return Decision(action=scan, purpose=purpose, reason=reason, target=self._tile_name())

    def _tile_name(self) -> str:
        return f"tile {self._tile}"

    def _choose(self, view: View) -> Decision | Finish:
        unseen = self._itinerary.next_unseen(view)
        if unseen is not None:
            return self._travel(unseen, "next tile not yet seen, in serpentine order", ())
        visits = self._itinerary.visits(self._catalogue, self._ranking, view)
        if not visits:
            return Finish(reason=self._why_finished())
        best, others = visits[0], visits[1:4]
        return self._travel(best.tile, best.reason(), others)

    def _why_finished(self) -> str:
        n, measured = len(self._catalogue), self._catalogue.measured_count
        seen, tiles = self._itinerary.seen_count(), len(self._centres_m)
        whole = f"{seen} of {tiles} tiles seen, {measured} of {n} particles measured"
        left = seen < tiles or self._catalogue.open().any()
        return f"nothing worth doing fits what is left of the budget: {whole}" if left else f"all done: {whole}"

    def _travel(self, tile: int, reason: str, others: tuple[Visit, ...] | list[Visit]) -> Decision:
        runners_up = tuple(Candidate(action=self._move(v.tile), value=v.value_per_s) for v in others)
        return Decision(
            action=self._move(tile),
            purpose="travel",
            reason=reason,
            target=f"tile {tile}",
            runners_up=runners_up,
            candidates=len(self._centres_m),
            candidates_sha256=_digest(np.asarray(self._centres_m, dtype="<f8")),
            fit=self._ranking.summary,
            data_sha256=self._ranking.data_sha256,
        )

    def _move(self, tile: int) -> MoveStage:
        x_m, y_m = self._centres_m[tile]
        return MoveStage(x_m=float(x_m), y_m=float(y_m))

    def _measure(self) -> Decision:
        asked = self._queue[:4]
        chance, mean, std = self._expected(asked)
        confirming = asked[0] == self._doubtful
        runners_up = tuple(
            Candidate(action=self._probe(p), mean=mean[k], std=std[k], value=chance[k])
            for k, p in enumerate(asked)
            if k > 0
        )
        return Decision(
            action=self._probe(asked[0]),
            purpose="spectrum",
            reason=CONFIRM if confirming else self._why_measured(chance[0]) + self._screening.reason(),
            target=f"particle {asked[0]}",
            predicted_mean=mean[0],
            predicted_std=std[0],
            acquisition="probability_of_interest" if self._ranking.ready else "diversity",
            acquisition_value=chance[0],
            acquisition_parameters={"beta": self._config.beta},
            runners_up=runners_up,
            candidates=len(self._queue),
            candidates_sha256=_digest(np.asarray(self._queue, dtype="<i8")),
            fit=self._ranking.summary,
            data_sha256=self._ranking.data_sha256,
        )

    def _expected(self, particles: list[int]) -> tuple[list[Any], list[Any], list[Any]]:
        """Return chance of interest, and mean and std of the target, of particles; None while there is no model."""
        if not self._ranking.ready:
            return ([None] * len(particles),) * 3
        share = self._dwell_s(particles[0]) / self._config.dwell_s if self._counts else 1.0
        chance, mean, std = self._ranking.expected(self._catalogue, particles, share)
        return chance.tolist(), mean.tolist(), std.tolist()

    def _why_measured(self, chance: float | None) -> str:
        if chance is None:
            return "a particle unlike the others of this tile: teaches the model what to look for"
        if not self._visiting:
            return f"unlike the others of this tile; a chance of {chance:.1%} to stand out in {self._config.target}"
        usual = f"{self._ranking.rate:.1%} of those measured did"
        return f"a chance of {chance:.1%} to stand out in {self._config.target} ({usual}): highest of those left here"

    def _probe(self, particle: int) -> Measure:
        x_m, y_m = self._catalogue.offset_m(particle)
        dx_m, dy_m = self._shift_m
        dwell_s = self._dwell_s(particle)
        return Measure(x_m=x_m + dx_m, y_m=y_m + dy_m, dwell_s=dwell_s, signals=self._config.signals)

    def _dwell_s(self, particle: int) -> float:
        return self._config.dwell_s if particle == self._doubtful else self._screening.dwell_s

    # --- tell ---

    def tell(self, decision: Decision, result: Result) -> None:
        """Take in what came of an act; a failed act is tried once more, then given up."""
        if result.outcome.status != "done":
            self._came_to_nothing(decision)
            return
        self._tries = 0
        match decision.purpose:
            case "travel":
                self._arrived(int(decision.target.split()[1]))
            case "focus":
                self._focused(decision.action, result)
            case "overview":
                self._saw(result.frames[0], result.outcome.state.time_s)
            case "align":
                self._found_again(result.frames[0], result.outcome.state.time_s)
            case "spectrum":
                self._measured(int(decision.target.split()[1]), decision.action, result)
            case _:
                pass

    def _came_to_nothing(self, decision: Decision) -> None:
        self._tries += 1
        if decision.purpose == "spectrum":
            particle = int(decision.target.split()[1])
            self._catalogue.missed(particle)
            self._queue = [p for p in self._queue if p != particle]
            self._mode = "measure" if self._queue else "choose"
        elif self._tries >= MAX_TRIES:
            tile = int(decision.target.split()[1])
            self._itinerary.give_up(tile)
            self._mode, self._queue, self._tries = "choose", [], 0

    def _arrived(self, tile: int) -> None:
        self._tile, self._interval_s, self._visiting = tile, self._config.align.first_after_s, False
        at = self._centres_m[tile]
        self._focus.arrive(float(at[0]), float(at[1]))
        self._mode = "focus" if self._focus.busy else self._look()

    def _look(self) -> str:
        return "align" if self._itinerary.seen(self._tile) else "overview"

    def _focused(self, action: Action, result: Result) -> None:
        if isinstance(action, SetOptics):
            self._focus.told_setting(action.defocus_m or 0.0)
        else:
            self._focus.told_image(sharpness(result.frames[0].data))
        if not self._focus.busy:
            self._mode = self._look()

    def _saw(self, frame: Frame, time_s: float) -> None:
        regions = [r for r in find_particles(frame, self._config.particles) if self._in_core(r.x_m, r.y_m)]
        at = self._centres_m[self._tile]
        numbers = self._catalogue.add(self._tile, (float(at[0]), float(at[1])), regions)
        self._itinerary.saw(self._tile)
        self._shift_m, self._aligned_s = (0.0, 0.0), time_s
        if self._config.strategy == "in_order":
            self._queue = numbers
        else:
            look = np.array([r.features() for r in regions], dtype=np.float64).reshape(len(regions), -1)
            scouts = self._itinerary.as_many(self._config.scouts)
            self._queue = [numbers[k] for k in unlike_each_other(look, scouts)]
        self._mode = "measure" if self._queue else "choose"

    def _in_core(self, x_m: float, y_m: float) -> bool:
        return abs(x_m) <= self._core_m[0] / 2 and abs(y_m) <= self._core_m[1] / 2

    def _found_again(self, frame: Frame, time_s: float) -> None:
        align = self._config.align
        reference = self._catalogue.offsets_m(self._tile, within_m=align.fov_m / 2 + align.reach_m)
        regions = find_particles(frame, self._config.particles)
        found = np.array([(r.x_m, r.y_m) for r in regions], dtype=np.float64).reshape(-1, 2)
        agreed = match(reference, found, reach_m=align.reach_m, tolerance_m=align.tolerance_m)
        if agreed.confidence < align.min_confidence:
            self._itinerary.give_up(self._tile)
            self._mode, self._queue = "choose", []
            return
        self._interval_s = min(2 * self._interval_s, align.at_most_every_s)
        self._shift_m, self._aligned_s = (agreed.dx_m, agreed.dy_m), time_s
        if not self._queue:
            self._visiting = True
            self._queue = self._itinerary.particles_for(self._tile, self._catalogue, self._ranking)
        self._mode = "measure" if self._queue else "choose"

    def _measured(self, particle: int, action: Action, result: Result) -> None:
        dwell_s = action.dwell_s if isinstance(action, Measure) else self._config.dwell_s
        hit = self._hit(result, dwell_s)
        doubt = self._took_in(particle, dwell_s, result) if hit else False
        if not hit:
            self._catalogue.missed(particle)
        self._doubtful = particle if doubt else None
        self._queue = [p for p in self._queue if p != particle]
        if doubt:
            self._queue.insert(0, particle)
        late = result.outcome.state.time_s - self._aligned_s > self._interval_s
        self._mode = ("align" if late or not hit else "measure") if self._queue else "choose"
        self._learn()

    def _took_in(self, particle: int, dwell_s: float, result: Result) -> bool:
        """Enter a spectrum, scaled to the full dwell, unless it leaves doubt; return whether it does."""
        scalar = result.value(self._config.target)
        if scalar is None:
            self._catalogue.missed(particle)
            return False
        self._counts = scalar.unit == COUNTS
        short = dwell_s < self._config.dwell_s
        scale = self._config.dwell_s / dwell_s if self._counts else 1.0
        value, std = scale * scalar.value, scale * scalar.std
        if short and self._screening.is_suspect(value):
            return True  # not entered: the particle stays open until a full spectrum has decided
        self._catalogue.record(particle, value, std, short=short)
        if not short:
            self._screening.tell(value, std)
            self._itinerary.dwell_s = self._screening.dwell_s
        return False

    def _hit(self, result: Result, dwell_s: float) -> bool:
        presence = self._config.presence
        if presence is None:
            return True
        shown = result.value(presence.target)
        if shown is None:
            return False
        share = dwell_s / self._config.dwell_s if shown.unit == COUNTS else 1.0
        return shown.value >= presence.at_least * share

    def _learn(self) -> None:
        if self._config.strategy == "in_order":
            return
        if self._catalogue.measured_count >= self._ranking.known_n + self._config.refit_every:
            self._ranking.take_in(self._catalogue)

    # --- plans and state ---

    def plan(self, view: View) -> tuple[Stage, ...]:
        """Return the stages of the survey with predicted acts, time and dose."""
        return planned_stages(self._config, self._centres_m, view)

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as plain data."""
        return {
            "catalogue": self._catalogue.state(),
            "ranking": self._ranking.state(),
            "itinerary": self._itinerary.state(),
            "focus": self._focus.state(),
            "mode": self._mode,
            "tile": self._tile,
            "queue": list(self._queue),
            "shift_m": list(self._shift_m),
            "aligned_s": self._aligned_s,
            "interval_s": self._interval_s,
            "visiting": self._visiting,
            "screening": self._screening.state(),
            "doubtful": self._doubtful,
            "counts": self._counts,
            "tries": self._tries,
        }

    def restore(self, state: Mapping[str, JsonValue]) -> None:
        """Take up a state returned by `state`."""
        data: Any = state
        self._catalogue.restore(data["catalogue"])
        self._ranking.restore(data["ranking"], self._catalogue)
        self._itinerary.restore(data["itinerary"])
        self._focus.restore(data["focus"])
        self._mode, self._tile = data["mode"], int(data["tile"])
        self._queue = [int(p) for p in data["queue"]]
        self._shift_m = (float(data["shift_m"][0]), float(data["shift_m"][1]))
        self._aligned_s, self._tries = float(data["aligned_s"]), int(data["tries"])
        self._interval_s, self._visiting = float(data["interval_s"]), bool(data["visiting"])
        self._screening.restore(data["screening"])
        self._itinerary.dwell_s = self._screening.dwell_s
        self._doubtful, self._counts = data["doubtful"], bool(data["counts"])


def _digest(candidates: np.ndarray[Any, np.dtype[Any]]) -> str:
    return hashlib.sha256(candidates.tobytes()).hexdigest()


def _fits(action: Action, view: View) -> bool:
    cost, left = predict(action, view.state, view.capabilities), view.budget
    in_time = left.time_s is None or cost.time_s <= left.time_s
    return in_time and (left.dose_e is None or cost.dose_e <= left.dose_e)
