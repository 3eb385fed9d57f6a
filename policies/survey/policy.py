"""The survey as a state machine: what to do follows from what was told, and nothing else.

::

    choose --travel--> (focus* --set focus-->) overview --> measure (scouts) --> choose
    choose --travel--> (set focus -->)          align    --> measure (visit) --> choose
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from autoscope.exposure import predict
from autoscope.perception.regions import find_particles
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
    Wait,
)
from policies.survey.catalogue import Catalogue
from policies.survey.config import SurveyConfig
from policies.survey.finding_again import find_anywhere, find_in_tile
from policies.survey.gate import FrameGate
from policies.survey.itinerary import Itinerary, Visit
from policies.survey.keep_focus import KeepFocus
from policies.survey.keep_place import KeepPlace
from policies.survey.plan import planned_stages
from policies.survey.ranking import Ranking, unlike_each_other
from policies.survey.screening import Screening
from policies.survey.spectrum import CONFIRM, SHOWN, Forecast, Reading, digest, read, spectrum_decision, why_measured
from policies.survey.tiles import tiles_of

Floats = NDArray[np.float64]
MAX_TRIES = 2


class SurveyPolicy:
    """Surveys an area overnight: tiles in focus, particles found, spectra where they are worth most."""

    checkpointed: ClassVar[bool] = True
    """Its state is all that it knows: see `autoscope.protocols.Checkpointed`."""

    class Config(SurveyConfig):
        """The area, the images, the spectra and how the time is shared."""

    def __init__(self, config: Config, *, rng: np.random.Generator) -> None:
        self._config = config
        self._tiles = tiles_of(config.all_areas, config.tile, by_travel=config.order == "travel")
        self._centres_m = self._tiles.centres_m
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
        self._place = KeepPlace(config.align, self._centres_m)
        self._gate = FrameGate(config.gate)
        self._visiting = False
        self._tries = self._lost = self._verified = 0

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
                return self._align("find the particles again after moving or drifting")
            case "wide":
                wide = self._config.align.wide_scan()
                return self._scan("find", wide, "the particles are not where they should be: look further around")
            case "return" if self._tile not in self._place.beyond(view):
                return self._travel(view, self._tile, f"back to where {self._tile_name()} is now", ())
            case "measure":
                return self._before_measuring(view) or self._measure(view.state.time_s)
            case _:
                return self._choose(view)

    def _scan(self, purpose: str, scan: Scan, reason: str) -> Decision:
        return Decision(action=scan, purpose=purpose, reason=reason, target=self._tile_name())

    def _align(self, reason: str) -> Decision:
        return self._scan("align", self._config.align.scan(), reason)

    def _before_measuring(self, view: View) -> Decision | None:
        """Return what the place needs before a spectrum: to be verified, found again, or waited for."""
        if view.suspensions > self._verified:
            why = "the run was held meanwhile: verify the place on its particles"
            return self._align(why).replace(target=f"{self._tile_name()} after suspension {view.suspensions}")
        time_s, dwell_s = view.state.time_s, self._dwell_s(self._queue[0])
        wait_s = self._place.wait_s(time_s, dwell_s)
        if wait_s > 0.0:
            why = f"the stage still creeps: {wait_s:.1f} s until a spectrum of {dwell_s:.2g} s is sharp"
            return Decision(action=Wait(duration_s=wait_s), purpose="settle", reason=why, target=self._tile_name())
        if self._place.is_due(time_s, dwell_s):
            std_m = self._place.std_m(time_s + dwell_s / 2)
            return self._align(f"the place would be known to {std_m * 1e9:.2g} nm only: look again")
        return None

    def _tile_name(self) -> str:
        return f"tile {self._tile}"

    def _choose(self, view: View) -> Decision | Finish:
        barred = self._place.beyond(view)
        but = self._itinerary.left_out(barred, self._catalogue)
        unseen = self._itinerary.next_unseen(view, self._catalogue, self._ranking, barred)
        if unseen is not None:
            return self._travel(view, unseen[0], unseen[1] + but, ())
        visits = self._itinerary.visits(self._catalogue, self._ranking, view, barred)
        if not visits:
            return Finish(reason=self._why_finished() + but)
        return self._travel(view, visits[0].tile, visits[0].reason() + but, visits[1:4])

    def _why_finished(self) -> str:
        n, measured = len(self._catalogue), self._catalogue.measured_count
        seen, tiles = self._itinerary.seen_count(), len(self._centres_m)
        whole = f"{seen} of {tiles} tiles seen, {measured} of {n} particles measured"
        left = seen < tiles or self._catalogue.open().any()
        return f"nothing worth doing fits what is left of the budget: {whole}" if left else f"all done: {whole}"

    def _travel(self, view: View, tile: int, reason: str, others: tuple[Visit, ...] | list[Visit]) -> Decision:
        time_s = view.state.time_s
        runners_up = tuple(Candidate(action=self._move(v.tile, time_s), value=v.value_per_s) for v in others)
        return Decision(
            action=self._move(tile, time_s),
            purpose="travel",
            reason=reason,
            target=f"tile {tile}",
            acquisition_parameters={"beta": self._itinerary.beta_now(view)} if self._config.settle_from else {},
            runners_up=runners_up,
            candidates=len(self._centres_m),
            candidates_sha256=digest(np.asarray(self._centres_m, dtype="<f8")),
            fit=self._ranking.summary,
            data_sha256=self._ranking.data_sha256,
        )

    def _move(self, tile: int, time_s: float) -> MoveStage:
        x_m, y_m = self._place.aim(tile, time_s)
        return MoveStage(x_m=x_m, y_m=y_m)

    def _measure(self, time_s: float) -> Decision:
        asked, config = self._queue[:SHOWN], self._config
        share = self._dwell_s(asked[0]) / config.dwell_s if self._counts else 1.0
        forecast = Forecast.of(self._ranking, self._catalogue, asked, share)
        why = why_measured(forecast.chance[0], self._ranking.rate, config.target, visiting=self._visiting)
        alike = self._itinerary.likeness.reason(self._catalogue, asked[0])
        reason = CONFIRM if asked[0] == self._doubtful else why + alike + self._screening.reason()
        probes = [self._probe(p, time_s) for p in asked]
        return spectrum_decision(self._queue, probes, forecast, reason, self._ranking, config.beta)

    def _probe(self, particle: int, time_s: float) -> Measure:
        x_m, y_m = self._catalogue.offset_m(particle)
        dwell_s = self._dwell_s(particle)
        dx_m, dy_m = self._place.shift_m(time_s + dwell_s / 2)
        return Measure(x_m=x_m + dx_m, y_m=y_m + dy_m, dwell_s=dwell_s, signals=self._config.signals)

    def _dwell_s(self, particle: int) -> float:
        return self._config.dwell_s if particle == self._doubtful else self._screening.dwell_s

    # --- tell ---

    def tell(self, decision: Decision, result: Result) -> None:
        """Take in what came of an act; a failed act is tried once more, then given up."""
        if result.outcome.status != "done":
            self._came_to_nothing(decision, result)
            return
        self._tries = 0
        match decision.purpose:
            case "travel":
                self._itinerary.beta = decision.acquisition_parameters.get("beta", self._config.beta)
                self._arrived(int(decision.target.split()[1]), decision.action, result.outcome.state.time_s)
            case "focus":
                self._focused(decision.action, result)
            case "overview" | "align" | "find":
                self._imaged(decision, result)
            case "spectrum":
                self._measured(int(decision.target.split()[1]), decision.action, result)
            case _:
                pass

    def _came_to_nothing(self, decision: Decision, result: Result) -> None:
        self._tries += 1
        fault = result.outcome.fault
        if fault is not None and fault.error == "ConditionLost":
            self._tries = 0  # the instrument's trouble, not the particle's or the tile's: once more when it is well
        elif decision.purpose == "spectrum":
            particle = int(decision.target.split()[1])
            self._catalogue.missed(particle)
            self._queue = [p for p in self._queue if p != particle]
            self._mode = "measure" if self._queue else "choose"
        elif self._tries >= MAX_TRIES:
            tile = int(decision.target.split()[1])
            self._itinerary.give_up(tile)
            self._mode, self._queue, self._tries = "choose", [], 0

    def _arrived(self, tile: int, move: Action, time_s: float) -> None:
        self._lost = self._lost if tile == self._tile else 0
        self._visiting = self._visiting and tile == self._tile
        self._queue = self._queue if tile == self._tile else []
        self._tile, at = tile, self._centres_m[tile]
        if isinstance(move, MoveStage):
            self._place.arrived(tile, move.x_m or 0.0, move.y_m or 0.0, time_s)
        self._focus.arrive(float(at[0]), float(at[1]))
        self._mode = "focus" if self._focus.busy else self._look()

    def _look(self) -> str:
        return "align" if self._itinerary.seen(self._tile) else "overview"

    def _focused(self, action: Action, result: Result) -> None:
        if isinstance(action, SetOptics):
            self._focus.told_setting(action.defocus_m or 0.0)
        else:
            self._focus.told_image(result.frames[0], result.outcome.state)
        if not self._focus.busy:
            self._mode = self._look()

    def _imaged(self, decision: Decision, result: Result) -> None:
        frame, time_s = result.frames[0], result.outcome.state.time_s
        if self._gate.judge(decision.purpose, frame.meta.signal, result.outcome.quality):
            return  # unfit to learn from: the mode stands, so it is taken again
        match decision.purpose:
            case "overview":
                self._saw(frame, time_s)
            case "align":
                words = decision.target.split()
                self._verified = int(words[-1]) if "suspension" in words else self._verified
                self._found_again(frame, time_s)
            case _:
                self._found_anywhere(frame, time_s)

    def _saw(self, frame: Frame, time_s: float) -> None:
        regions = [r for r in find_particles(frame, self._config.particles) if self._in_core(r.x_m, r.y_m)]
        at = self._centres_m[self._tile]
        numbers = self._catalogue.add(self._tile, (float(at[0]), float(at[1])), regions)
        self._itinerary.saw(self._tile)
        self._place.saw(time_s)
        if self._config.strategy == "in_order":
            self._queue = numbers
        else:
            look = np.array([r.features() for r in regions], dtype=np.float64).reshape(len(regions), -1)
            scouts = self._itinerary.as_many(self._config.scouts)
            self._queue = self._scouts(numbers, look, scouts)
        self._mode = "measure" if self._queue else "choose"

    def _scouts(self, numbers: list[int], look: Floats, count: int) -> list[int]:
        """Return particles to measure at once: those most like the examples, else some unlike each other."""
        alike = self._itinerary.likeness.probability(self._catalogue)
        if alike is None or not numbers:
            return [numbers[k] for k in unlike_each_other(look, count)]
        order = np.argsort(-alike[numbers], kind="stable")[:count]
        return [numbers[k] for k in order]

    def _in_core(self, x_m: float, y_m: float) -> bool:
        width_m, height_m = self._tiles.cores_m[self._tile]
        return bool(abs(x_m) <= width_m / 2 and abs(y_m) <= height_m / 2)

    def _found_again(self, frame: Frame, time_s: float) -> None:
        place, config = self._place, self._config
        expected_m, std_m = place.shift_m(time_s), place.std_m(time_s)
        found = find_in_tile(frame, self._catalogue, self._tile, config.align, config.particles, expected_m, std_m)
        if found.ambiguous or found.confidence < config.align.min_confidence:
            self._look_further()
            return
        self._lost = 0
        place.found(found, time_s)
        if not self._queue:
            self._visiting = True
            self._queue = self._itinerary.particles_for(self._tile, self._catalogue, self._ranking)
        self._mode = "measure" if self._queue else "choose"

    def _look_further(self) -> None:
        self._lost += 1
        self._mode = "wide"
        if self._lost > MAX_TRIES:
            self._leave_tile()

    def _found_anywhere(self, frame: Frame, time_s: float) -> None:
        axis_m, config = self._place.axis_m(time_s), self._config
        found = find_anywhere(frame, self._catalogue, config.align, config.particles, axis_m)
        if found.ambiguous or found.confidence < config.align.wide_confidence:
            self._leave_tile()
            return
        dx_m, dy_m = self._place.shift_m(time_s)
        self._place.found(found.replace(dx_m=dx_m + found.dx_m, dy_m=dy_m + found.dy_m), time_s)
        self._mode = "return"

    def _leave_tile(self) -> None:
        self._itinerary.give_up(self._tile)
        self._mode, self._queue, self._lost = "choose", [], 0

    def _measured(self, particle: int, action: Action, result: Result) -> None:
        dwell_s = action.dwell_s if isinstance(action, Measure) else self._config.dwell_s
        reading = read(result, self._config, dwell_s)
        doubt = self._took_in(particle, reading, short=dwell_s < self._config.dwell_s)
        self._doubtful = particle if doubt else None
        self._queue = [p for p in self._queue if p != particle]
        if doubt:
            self._queue.insert(0, particle)
        self._mode = ("measure" if reading.hit else "align") if self._queue else "choose"
        self._learn()

    def _took_in(self, particle: int, reading: Reading, *, short: bool) -> bool:
        """Enter a spectrum unless it leaves doubt; return whether it does."""
        if reading.value is None:
            self._catalogue.missed(particle)
            return False
        self._counts = reading.counts
        if short and self._screening.is_suspect(reading.value):
            return True  # not entered: the particle stays open until a full spectrum has decided
        self._catalogue.record(particle, reading.value, reading.std, short=short)
        if not short:
            self._screening.tell(reading.value, reading.std)
            self._itinerary.dwell_s = self._screening.dwell_s
        return False

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
            "place": self._place.state(),
            "gate": self._gate.state(),
            "lost": self._lost,
            "verified": self._verified,
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
        self._place.restore(data["place"])
        self._gate.restore(data["gate"])
        self._lost, self._verified = int(data["lost"]), int(data["verified"])
        self._tries, self._visiting = int(data["tries"]), bool(data["visiting"])
        self._screening.restore(data["screening"])
        self._itinerary.dwell_s = self._screening.dwell_s
        self._doubtful, self._counts = data["doubtful"], bool(data["counts"])


def _fits(action: Action, view: View) -> bool:
    cost, left = predict(action, view.state, view.capabilities), view.budget
    in_time = left.time_s is None or cost.time_s <= left.time_s
    return in_time and (left.dose_e is None or cost.dose_e <= left.dose_e)
