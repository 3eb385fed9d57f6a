"""What came of an act, and what follows from it: the half of the state machine that learns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoscope.perception.regions import FEATURE_NAMES, find_particles
from autoscope.purposes import UPKEEP
from autoscope.records import Action, Decision, Frame, MoveStage, Result, SetOptics
from policies.survey.finding_again import find_anywhere, find_in_tile
from policies.survey.finishing import AGAIN, CONFIRM
from policies.survey.in_depth import DEPTH
from policies.survey.measuring import Measuring
from policies.survey.ranking import unlike_each_other
from policies.survey.situation import Situation

Floats = NDArray[np.float64]
MAX_TRIES = 2


class Telling:
    """Takes in what came of acts.

    Parameters
    ----------
    now : Situation
        What the survey knows; changed by every act.
    measuring : Measuring
        Takes in spectra.
    """

    def __init__(self, now: Situation, measuring: Measuring) -> None:
        self._now, self._measuring = now, measuring

    def tell(self, decision: Decision, result: Result) -> None:
        """Take in what came of an act; a failed act is tried once more, then given up."""
        now = self._now
        now.steady.next_act()
        now.gate.next_act()
        if decision.purpose in UPKEEP:
            now.upkeep.tell(decision, result)
            return
        if now.mode == DEPTH and decision.purpose != "travel":
            now.depth.tell(decision, result)
            return
        if result.outcome.status != "done":
            self._came_to_nothing(decision, result)
            return
        now.tries = 0
        match decision.purpose:
            case "travel":
                now.itinerary.beta = decision.acquisition_parameters.get("beta", now.config.beta)
                self._sent_out(decision.acquisition)
                self._arrived(int(decision.target.split()[1]), decision.action, result.outcome.state.time_s)
            case "focus":
                self._focused(decision.action, result)
            case "overview" | "align" | "find":
                self._imaged(decision, result)
            case "spectrum":
                self._measuring.measured(int(decision.target.split()[1]), decision.action, result)
            case "settle":
                now.steady.waited()
            case "confirm":
                self._measuring.confirmed(int(decision.target.split()[1]), result)
            case _:
                pass

    def _came_to_nothing(self, decision: Decision, result: Result) -> None:
        now = self._now
        now.tries += 1
        fault = result.outcome.fault
        stale = fault is not None and fault.error == "DarkStale" and now.upkeep.stale(result.outcome.state.time_s)
        if stale or (fault is not None and fault.error == "ConditionLost"):
            now.tries = 0  # the instrument's trouble, not the particle's or the tile's: once more when it is well
        elif decision.purpose == "spectrum":
            particle = int(decision.target.split()[1])
            now.catalogue.missed(particle)
            now.done_with(particle)
            now.measure_or_choose()
        elif decision.purpose == "confirm":
            now.finishing.missed(int(decision.target.split()[1]))
            now.queue = now.to_confirm()
            now.measure_or_choose()
        elif now.tries >= MAX_TRIES:
            now.finishing.tried_again |= decision.acquisition == AGAIN
            tile = int(decision.target.split()[1])
            now.itinerary.give_up(tile)
            now.mode, now.queue, now.reserve, now.tries = "choose", [], [], 0

    def _sent_out(self, errand: str) -> None:
        """Learn what the stage was sent for."""
        now = self._now
        now.errand = errand
        now.depth.end()
        if errand == AGAIN:
            now.finishing.tried_again = True
            now.catalogue.once_more()
            now.itinerary.forgive()

    def _arrived(self, tile: int, move: Action, time_s: float) -> None:
        now = self._now
        now.upkeep.arrived(elsewhere=tile != now.tile)
        now.lost = now.lost if tile == now.tile else 0
        now.visiting = now.visiting and tile == now.tile
        if tile != now.tile:
            now.queue, now.reserve = [], []
        now.tile, at = tile, now.centres_m[tile]
        now.steady.forget()
        if isinstance(move, MoveStage):
            now.place.arrived(tile, move.x_m or 0.0, move.y_m or 0.0, time_s)
        now.focus.arrive(float(at[0]), float(at[1]))
        now.mode = "focus" if now.focus.busy else self._look()

    def _look(self) -> str:
        now = self._now
        return "align" if now.itinerary.seen(now.tile) else "overview"

    def _focused(self, action: Action, result: Result) -> None:
        now = self._now
        if isinstance(action, SetOptics):
            now.focus.told_setting(action.defocus_m or 0.0)
        else:
            now.focus.told_image(result.frames[0], result.outcome.state)
        if not now.focus.busy:
            now.mode = self._look()

    def _imaged(self, decision: Decision, result: Result) -> None:
        now = self._now
        frame, time_s = result.frames[0], result.outcome.state.time_s
        if now.gate.judge(decision.purpose, frame.meta.signal, result.outcome.quality):
            return  # unfit to learn from: the mode stands, so it is taken again
        match decision.purpose:
            case "overview":
                self._saw(frame, time_s)
            case "align":
                words = decision.target.split()
                now.verified = int(words[-1]) if "suspension" in words else now.verified
                self._found_again(frame, time_s)
            case _:
                self._found_anywhere(frame, time_s)

    def _saw(self, frame: Frame, time_s: float) -> None:
        now = self._now
        regions = [r for r in find_particles(frame, now.config.particles) if self._in_core(r.x_m, r.y_m)]
        at = now.centres_m[now.tile]
        numbers = now.catalogue.add(now.tile, (float(at[0]), float(at[1])), regions)
        now.itinerary.saw(now.tile)
        now.place.saw(time_s)
        if now.config.strategy == "in_order":
            now.enqueue(numbers)
        else:
            look = np.array([r.features() for r in regions], dtype=np.float64).reshape(-1, len(FEATURE_NAMES))
            scouts = now.itinerary.as_many(now.config.scouts)
            now.enqueue(self._scouts(numbers, look, scouts))
        now.measure_or_choose()

    def _scouts(self, numbers: list[int], look: Floats, count: int) -> list[int]:
        """Return particles to measure at once: those most like the examples, else some unlike each other."""
        now = self._now
        alike = now.itinerary.likeness.probability(now.catalogue)
        if alike is None or not numbers:
            return [numbers[k] for k in unlike_each_other(look, count)]
        order = np.argsort(-alike[numbers], kind="stable")[:count]
        return [numbers[k] for k in order]

    def _in_core(self, x_m: float, y_m: float) -> bool:
        now = self._now
        width_m, height_m = now.tiles.cores_m[now.tile]
        return bool(abs(x_m) <= width_m / 2 and abs(y_m) <= height_m / 2)

    def _found_again(self, frame: Frame, time_s: float) -> None:
        now = self._now
        place, config = now.place, now.config
        expected_m, std_m = place.shift_m(time_s), place.std_m(time_s)
        sight = find_in_tile(frame, now.catalogue, now.tile, config.align, config.particles, expected_m, std_m)
        found, verdict = sight.found, now.steady.judge(now.tile, sight.found, sight.drift, sight.pixel_m)
        if verdict == "again":
            return  # the mode stands
        if verdict == "unfit" or found.ambiguous or found.confidence < config.align.min_confidence:
            self._look_further()
            return
        now.lost = 0
        place.found(found, time_s)
        if not now.queue:
            if now.errand == DEPTH:
                self._go_into(time_s)
                return
            now.visiting = True
            confirming = now.errand == CONFIRM
            ours = now.itinerary.particles_for(now.tile, now.catalogue, now.ranking)
            now.enqueue(now.to_confirm() if confirming else ours)
        now.measure_or_choose()

    def _go_into(self, time_s: float) -> None:
        """Begin the campaign on the best find of this tile that is left."""
        now = self._now
        tiles = now.catalogue.column("tile")
        particle = next((p for p in now.to_go_into() if int(tiles[p]) == now.tile), None)
        if particle is None:
            now.mode = "choose"
            return
        (x_m, y_m), (dx_m, dy_m) = now.catalogue.offset_m(particle), now.place.shift_m(time_s)
        now.depth.begin(particle, (x_m + dx_m, y_m + dy_m), time_s)
        now.mode = DEPTH

    def _look_further(self) -> None:
        now = self._now
        now.lost += 1
        now.mode = "wide"
        if now.lost > MAX_TRIES:
            now.leave_tile()

    def _found_anywhere(self, frame: Frame, time_s: float) -> None:
        now = self._now
        axis_m, config = now.place.axis_m(time_s), now.config
        found = find_anywhere(frame, now.catalogue, config.align, config.particles, axis_m)
        if found.ambiguous or found.confidence < config.align.wide_confidence:
            now.leave_tile()
            return
        dx_m, dy_m = now.place.shift_m(time_s)
        now.place.found(found.replace(dx_m=dx_m + found.dx_m, dy_m=dy_m + found.dy_m), time_s)
        now.mode = "return"
