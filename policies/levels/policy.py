"""A survey of several magnifications as a state machine.

::

    choose --travel--> (focus* --set focus-->) look --(measure)--> choose
    choose --(by beam, where the stage stands)--> look --(measure)--> choose
    choose --travel--> (focus* --set focus-->) again --> in depth* --> choose
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from autoscope.protocols import JsonValue
from autoscope.records import Action, Candidate, Decision, Finish, MoveStage, Result, SetOptics, Stage, View
from policies.field import unaffordable
from policies.levels.agenda import Agenda, Place
from policies.levels.config import LevelConfig, LevelsConfig
from policies.levels.deepening import Deepening
from policies.levels.places import Found, find_places
from policies.levels.plan import leaves_of, planned_stages, seconds_of
from policies.survey.in_depth import DEPTH
from policies.survey.keep_focus import KeepFocus
from policies.survey.tiles import tile_centres_m

MAX_TRIES = 2
FIRST = 0
FIND = "find"
"""Parameter of a travel decision: the number of the find that the way is for."""


class LevelsPolicy:
    """Finds its way from the atlas to the atoms: each level's regions by what the images of the one before show."""

    checkpointed: ClassVar[bool] = True
    """Its state is all that it knows: see `autoscope.protocols.Checkpointed`."""

    class Config(LevelsConfig):
        """The area, the magnifications, and what is looked for in the images of each."""

    def __init__(self, config: Config, *, rng: np.random.Generator) -> None:
        self._config = config
        self._agenda = Agenda()
        tiles = tile_centres_m(config.area, config.tile())
        everything = [Found(float(x), float(y), 1.0, "the first level covers the area") for x, y in tiles]
        self._agenda.add(FIRST, None, (0.0, 0.0), everything)
        self._tiles = len(tiles)
        self._focus = KeepFocus(config.focus)
        self._leaves = leaves_of(config)
        self._deep = Deepening(config, int(rng.integers(2**31)) if config.in_depth else 0)
        self._find = -1
        """The find that is gone into, or on the way to."""
        self._mode, self._now, self._tries = "choose", -1, 0
        self._queue: list[int] = []
        self._stage_m = (0.0, 0.0)

    # --- ask ---

    def ask(self, view: View) -> Decision | Finish:
        """Return the next act, or Finish when every place is seen or nothing more fits the budget."""
        decision = self._next(view)
        return unaffordable(decision.action, view) or decision if isinstance(decision, Decision) else decision

    def _next(self, view: View) -> Decision | Finish:
        match self._mode:
            case "focus":
                return self._focus.next_decision(self._name(self._place))
            case "look" | "measure":
                return self._act(self._place, self._mode)
            case "again":
                return self._look_again()
            case "in_depth" if (deeper := self._deep.campaign.next_decision(view)) is not None:
                return deeper
            case _:
                return self._choose(view)

    @property
    def _place(self) -> Place:
        return self._agenda[self._now]

    def _level(self, place: Place) -> LevelConfig:
        return self._config.levels[place.level]

    def _name(self, place: Place) -> str:
        return f"{self._level(place).name} {place.number}"

    def _choose(self, view: View) -> Decision | Finish:
        if self._queue:
            return self._act(self._agenda[self._queue[0]], "look")
        first = self._agenda.open(FIRST)
        if first:
            return self._travel(first[0], "the images of the first level come first", first[1:4], {})
        ranked = self._ranked(view)
        if (deeper := self._deeper(view, ranked[0][1] if ranked else None)) is not None:
            return deeper
        if not ranked:
            return Finish(reason=f"all done: {self._summary()}")
        (worth, best), others = ranked[0], ranked[1:4]
        why = f"{best.reason}; its branch promises {worth:.2g} a second, most of {len(ranked)} places"
        values = {place.number: value for value, place in others}
        return self._travel(best, why, [place for _, place in others], values, worth)

    def _deeper(self, view: View, best: Place | None) -> Decision | None:
        """Return the way to the best find not gone into yet: when all is seen, or while there is still time for it."""
        finds, left_s = self._deep.todo(), view.budget.time_s
        if not finds:
            return None
        if best is not None:
            seconds = seconds_of(self._config, view)
            needed_s = self._deep.reserve_s(seconds[self._agenda[self._agenda[finds[0]].parent].level])
            if left_s is None or left_s > needed_s + seconds[best.level]:
                return None
        parent = self._agenda[self._agenda[finds[0]].parent]
        why = self._deep.reason(finds[0]) + (" stands out" if best is None else " stands out, and the time ends")
        return self._travel(parent, why, [], {}).replace(acquisition=DEPTH, acquisition_parameters={FIND: finds[0]})

    def _look_again(self) -> Decision:
        """Return the decision to take the image again that showed the find, centred on where the stage stands."""
        action = self._level(self._place).act(0.0, 0.0)
        name = f"{self._config.levels[-1].name} {self._find}"
        why = f"find {name} again in the image that showed it"
        return Decision(action=action, purpose="align", reason=why, target=self._name(self._place))

    def _ranked(self, view: View) -> list[tuple[float, Place]]:
        """Return the open places that the stage reaches, with their worth per second, most valuable first."""
        seconds = seconds_of(self._config, view)
        rated = []
        for place in self._agenda.open():
            if self._level(place).by == "beam":
                continue  # only from where its image was taken, and that was left
            worth = self._agenda.worth(place, self._config.explore)
            rated.append((worth * self._leaves[place.level] / seconds[place.level], place))
        return sorted(rated, key=lambda item: (-item[0], item[1].number))

    def _travel(
        self, place: Place, why: str, others: list[Place], values: Mapping[int, float], worth: float | None = None
    ) -> Decision:
        runners_up = tuple(Candidate(action=_move(p), value=values.get(p.number)) for p in others)
        return Decision(
            action=_move(place),
            purpose="travel",
            reason=why,
            target=self._name(place),
            acquisition="" if worth is None else "value_per_second",
            acquisition_value=worth,
            runners_up=runners_up,
            candidates=len(self._agenda.open()),
            data_sha256=hashlib.sha256(str(self._agenda.counts(len(self._config.levels))).encode()).hexdigest(),
        )

    def _act(self, place: Place, mode: str) -> Decision:
        level = self._level(place)
        dx_m, dy_m = place.x_m - self._stage_m[0], place.y_m - self._stage_m[1]
        if level.by == "stage":
            dx_m = dy_m = 0.0
        spectrum = mode == "measure" or level.look is None
        action = level.probe(dx_m, dy_m) if spectrum else level.act(dx_m, dy_m)
        purpose = "spectrum" if spectrum else "overview" if level.find else "image"
        return Decision(action=action, purpose=purpose, reason=place.reason, target=self._name(place))

    def _summary(self) -> str:
        counts = zip(self._config.levels, self._agenda.counts(len(self._config.levels)))
        seen = ", ".join(f"{done} of {level.name} seen, {left} left" for level, (done, left) in counts)
        return seen + self._deep.summary()

    # --- tell ---

    def tell(self, decision: Decision, result: Result) -> None:
        """Take in what came of an act; a place that fails twice is given up."""
        if self._mode == "in_depth" and decision.purpose != "travel":
            self._deep.campaign.tell(decision, result)
            return
        number = int(decision.target.split()[1])
        if result.outcome.status != "done":
            self._in_vain(number, decision)
            return
        self._tries = 0
        if decision.purpose == "travel":
            self._deep.campaign.end()
            self._find = int(decision.acquisition_parameters.get(FIND, -1))
            self._arrived(number)
        elif decision.purpose == "align":
            self._found_again(result)
        elif decision.purpose == "focus":
            self._focused(decision.action, result)
        elif decision.purpose == "spectrum":
            self._concluded(number, result)
        else:
            self._looked(number, result)

    def _in_vain(self, number: int, decision: Decision) -> None:
        """Learn that an act came to nothing: what it was for is tried once more, then given up."""
        self._tries += 1
        if self._tries < MAX_TRIES:
            return
        find = int(decision.acquisition_parameters.get(FIND, self._find))
        if find < 0:
            self._leave(number, done=False)
            return
        self._deep.lose(find)
        self._find, self._mode, self._tries = -1, "choose", 0

    def _found_again(self, result: Result) -> None:
        """Begin the campaign on the find where it is now, or leave it."""
        level, time_s = self._level(self._place), result.outcome.state.time_s
        found = find_places(result.frames[0], level.find) if level.find is not None else []
        begun = self._deep.begin(self._agenda, self._find, found, time_s)
        self._find, self._mode = -1, "in_depth" if begun else "choose"

    def _leave(self, number: int, *, done: bool) -> None:
        self._agenda.finish(number, done=done)
        self._queue = [n for n in self._queue if n != number]
        self._mode, self._tries = "choose", 0

    def _arrived(self, number: int) -> None:
        self._now, place = number, self._agenda[number]
        self._stage_m = (place.x_m, place.y_m)
        self._mode = self._look()
        if self._level(place).focus:
            self._focus.arrive(place.x_m, place.y_m)
            self._mode = "focus" if self._focus.busy else self._look()

    def _look(self) -> str:
        return "look" if self._find < 0 else "again"

    def _focused(self, action: Action, result: Result) -> None:
        if isinstance(action, SetOptics):
            self._focus.told_setting(action.defocus_m or 0.0)
        else:
            self._focus.told_image(result.frames[0], result.outcome.state)
        if not self._focus.busy:
            self._mode = self._look()

    def _looked(self, number: int, result: Result) -> None:
        self._now, place = number, self._agenda[number]
        level = self._level(place)
        if level.find is not None:
            found = find_places(result.frames[0], level.find)
            self._deep.showed(place, found)
            below = self._config.levels[place.level + 1]
            numbers = self._agenda.add(place.level + 1, place, (place.x_m, place.y_m), found[: below.keep])
            if below.by == "beam":
                self._queue += numbers
        if level.measure is not None:
            self._mode = "measure"
        else:
            self._concluded(number, result)

    def _concluded(self, number: int, result: Result) -> None:
        place = self._agenda[number]
        if place.level == len(self._config.levels) - 1:
            shown = result.value(self._config.target) if self._config.target else None
            self._deep.measured(number, shown)
            self._agenda.credit(number, shown.value if shown is not None else place.value)
        self._leave(number, done=True)

    # --- plans and state ---

    def plan(self, view: View) -> tuple[Stage, ...]:
        """Return one stage for each level with predicted acts, time, dose and data."""
        return planned_stages(self._config, self._tiles, view)

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as plain data."""
        return {
            "places": self._agenda.state(),
            "focus": self._focus.state(),
            "mode": self._mode,
            "now": self._now,
            "tries": self._tries,
            "queue": list(self._queue),
            "stage_m": list(self._stage_m),
            "deep": self._deep.state(),
            "find": self._find,
        }

    def restore(self, state: Mapping[str, JsonValue]) -> None:
        """Take up a state returned by `state`."""
        data: Any = state
        self._agenda.restore(data["places"])
        self._focus = KeepFocus(self._config.focus)
        self._focus.restore(data["focus"])
        self._mode, self._now, self._tries = data["mode"], int(data["now"]), int(data["tries"])
        self._queue = [int(n) for n in data["queue"]]
        self._stage_m = (float(data["stage_m"][0]), float(data["stage_m"][1]))
        if "deep" in data:  # a run begun before there were campaigns goes on without
            self._deep.restore(data["deep"])
        self._find = int(data.get("find", -1))


def _move(place: Place) -> MoveStage:
    return MoveStage(x_m=place.x_m, y_m=place.y_m)
