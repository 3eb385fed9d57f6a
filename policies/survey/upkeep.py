"""What is done for the instrument every now and then, between two sites: when it is due, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoscope.errors import FrameRejected, Unsupported
from autoscope.perception.zero_loss import zero_loss
from autoscope.protocols import JsonValue
from autoscope.records import Action, Capabilities, Decision, Measure, MicroscopeState, Result, SetOptics, Stage, View
from policies.stages import stage
from policies.survey.config import SurveyConfig, UpkeepConfig, ZeroLossConfig
from policies.survey.dark_reference import asks, dark_acts, found, require_dark

MAX_TRIES = 2
"""Attempts in vain, one after the other, after which a task is left until it is due again."""
FRESH_S = 60.0
"""A dark reference younger than this is not taken anew because a frame does not fit it."""
SURE = 3.0
"""Standard uncertainties from which a displacement of the zero-loss peak is believed."""
OFFSET = "energy_offset_ev"


@dataclass(frozen=True)
class Correction:
    """What a task has found and not yet set right."""

    task: int
    offset_ev: float
    reason: str


class Upkeep:
    """Looks after the instrument; a fold over what was told.

    Parameters
    ----------
    config : SurveyConfig
        Its ``upkeep`` is what is done, and how often. The first time is before the first site.
    """

    def __init__(self, config: SurveyConfig) -> None:
        self._tasks = config.upkeep
        self._dark = {k: dark_acts(t, config) for k, t in enumerate(self._tasks) if t.kind == "dark_reference"}
        self._taken: dict[int, list[str]] = {}
        """What the acts of dark references under way have read so far."""
        self._done: dict[int, tuple[float, int]] = {}
        self._arrivals = self._tries = 0
        self._correction: Correction | None = None
        self.remark = ""
        """What a task came to where nothing had to be set right, as a clause: told with the decision that follows."""

    def arrived(self, *, elsewhere: bool) -> None:
        """Learn that the stage has come to a tile, another one than before or the same."""
        self._arrivals += elsewhere
        self.remark = ""

    def stale(self, time_s: float) -> bool:
        """Learn that a frame does not fit its dark reference; return whether all of these are taken anew, at once.

        Not where they have just been taken: then that would not help.
        """
        old = [number for number in self._dark if number in self._done and time_s - self._done[number][0] > FRESH_S]
        for number in old:
            del self._done[number]
        return bool(old)

    @property
    def urgent(self) -> bool:
        """Whether dark references are wanted before anything else is recorded."""
        return any(number not in self._done for number in self._dark)

    # --- ask ---

    def next_decision(self, view: View, thin_m: tuple[float, float]) -> Decision | None:
        """Return the next act of the task that is due, or None where none is.

        Parameters
        ----------
        view : View
            What the policy was asked with.
        thin_m : (float, float)
            Offset from the axis of a place without particles.

        Raises
        ------
        Unsupported
            The instrument cannot do a task.
        """
        if (known := self._correction) is not None:
            action = SetOptics(energy_offset_ev=known.offset_ev)
            return _decision(self._tasks[known.task], known.task, action, known.reason)
        number = next((k for k in range(len(self._tasks)) if self._is_due(k, view.state.time_s)), None)
        if number is None:
            return None
        task, since = self._tasks[number], self._since(number, view.state.time_s)
        if task.kind == "dark_reference":
            require_dark(task, self._dark[number], view.capabilities)
            act = self._dark[number][len(self._taken.get(number, ()))]
            return _decision(task, number, act, f"{asks(act)}; {since}")
        require(task, view.capabilities)
        return _decision(task, number, _probe(task, thin_m), f"where is the zero-loss peak? {since}")

    def _is_due(self, number: int, time_s: float) -> bool:
        task, last = self._tasks[number], self._done.get(number)
        if last is None:
            return True
        late = task.every_s is not None and time_s - last[0] >= task.every_s
        return late or (task.every_tiles is not None and self._arrivals - last[1] >= task.every_tiles)

    def _since(self, number: int, time_s: float) -> str:
        last = self._done.get(number)
        if last is None:
            return "not looked at yet in this run"
        return f"last looked at {(time_s - last[0]) / 60:.0f} min and {self._arrivals - last[1]} tiles ago"

    # --- tell ---

    def tell(self, decision: Decision, result: Result) -> None:
        """Take in what came of an act of a task; after two in vain it is left until it is due again."""
        number, state = int(decision.target.split()[1]), result.outcome.state
        if result.outcome.status != "done":
            fault = result.outcome.fault
            if fault is None or fault.error != "ConditionLost":  # else it is done again when the instrument is well
                self._in_vain(number, state, fault.message if fault else result.outcome.status)
        elif number in self._dark:
            self._darkened(number, result)
        elif isinstance(decision.action, Measure):
            self._measured(number, result)
        else:
            self._over(number, state)

    def _darkened(self, number: int, result: Result) -> None:
        taken = self._taken.setdefault(number, [])
        taken.append(found(result))
        self._tries = 0
        if len(taken) == len(self._dark[number]):
            self._over(
                number, result.outcome.state, f"; without beam, from now on subtracted: {'; '.join(taken)} counts"
            )

    def _measured(self, number: int, result: Result) -> None:
        task, state = self._tasks[number], result.outcome.state
        if task.kind != "zero_loss":
            return
        try:
            at_ev, std_ev = zero_loss(result.frames[0])
        except FrameRejected as error:
            self._in_vain(number, state, str(error))
            return
        found, before_ev = f"zero loss found at {at_ev:+.3f} ± {std_ev:.1g} eV", state.energy_offset_ev or 0.0
        if abs(at_ev) <= max(task.tolerance_ev, SURE * std_ev):
            self._over(number, state, f"; {found}: within {task.tolerance_ev:g} eV, left as it is")
            return
        reason = f"{found}: the spectrometer's offset goes from {before_ev:+.3f} to {before_ev - at_ev:+.3f} eV"
        self._correction = Correction(number, before_ev - at_ev, reason)

    def _in_vain(self, number: int, state: MicroscopeState, why: str) -> None:
        self._tries += 1
        if self._tries >= MAX_TRIES:
            self._over(number, state, f"; {_name(self._tasks[number])} left until it is due again: {why}")

    def _over(self, number: int, state: MicroscopeState, remark: str = "") -> None:
        self._done[number] = state.time_s, self._arrivals
        self._taken.pop(number, None)
        self._correction, self._tries, self.remark = None, 0, remark

    def state(self) -> dict[str, JsonValue]:
        """Return what was done as plain data."""
        known = self._correction
        state: dict[str, JsonValue] = {
            "done": [[number, *last] for number, last in self._done.items()],
            "arrivals": self._arrivals,
            "tries": self._tries,
            "correction": [known.task, known.offset_ev, known.reason] if known else None,
            "remark": self.remark,
        }
        if self._taken:
            state["taken"] = [[number, list(taken)] for number, taken in self._taken.items()]
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self._done = {int(number): (float(time_s), int(tiles)) for number, time_s, tiles in state["done"]}
        self._arrivals, self._tries = int(state["arrivals"]), int(state["tries"])
        self._correction = Correction(*state["correction"]) if state["correction"] else None
        self.remark = state["remark"]
        self._taken = {int(number): list(taken) for number, taken in state.get("taken", ())}


def _name(task: UpkeepConfig) -> str:
    return task.kind.replace("_", " ")


def _decision(task: UpkeepConfig, number: int, action: Action, reason: str) -> Decision:
    return Decision(action=action, purpose=task.kind, reason=reason, target=f"task {number}")


def _probe(task: ZeroLossConfig, at_m: tuple[float, float]) -> Measure:
    return Measure(x_m=at_m[0], y_m=at_m[1], dwell_s=task.dwell_s, signals=(task.signal,))


def require(task: ZeroLossConfig, can: Capabilities) -> None:
    """Return if an instrument can do a task.

    Raises
    ------
    Unsupported
        It has no such signal, or software cannot set the offset of its spectrometer.
    """
    where, remedy = f"upkeep: {task.kind}", "Leave the task out, or name another signal"
    if can.signal(task.signal) is None:
        known = ", ".join(s.name for s in can.signals) or "none"
        raise Unsupported("the instrument has no such signal", where=where, value=task.signal, limit=known)
    if OFFSET not in can.ranges:
        what = "software cannot set the energy offset of this instrument's spectrometer"
        raise Unsupported(what, where=where, value=can.instrument, remedy=remedy)


def planned_upkeep(config: SurveyConfig, tiles: int, view: View) -> list[Stage]:
    """Return the stages of tasks over the tiles and the time of a run; each time counts with a correction.

    Raises
    ------
    Unsupported
        The instrument cannot do one.
    """
    stages = []
    for task in config.upkeep:
        acts: list[Action]
        if task.kind == "dark_reference":
            dark = dark_acts(task, config)
            require_dark(task, dark, view.capabilities)
            acts = [*dark]
        else:
            require(task, view.capabilities)
            acts = [_probe(task, (0.0, 0.0)), SetOptics(energy_offset_ev=0.0)]
        by_time = int((view.budget.time_s or 0.0) / task.every_s) if task.every_s else 0
        by_tiles = tiles // task.every_tiles if task.every_tiles else 0
        stages.append(stage(_name(task), acts, 1 + max(by_time, by_tiles), view, _how_often(task)))
    return stages


def _how_often(task: UpkeepConfig) -> str:
    times = [f"{task.every_s / 60:g} min"] if task.every_s else []
    return "every " + " or ".join([*times, *([f"{task.every_tiles} tiles"] if task.every_tiles else [])])
