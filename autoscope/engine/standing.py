"""What people have ordered, as it stands: a fold over the interventions of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from autoscope.interventions import (
    Approve,
    Command,
    Dequeue,
    Enqueue,
    Exclude,
    GiveWheel,
    Mark,
    Pause,
    Pin,
    Prefer,
    Resume,
    Retract,
    SendTo,
    SetAcquisition,
    SetAutonomy,
    SetBudget,
    SetDwell,
    SetScalarizer,
    TakeWheel,
    Undo,
    Veto,
)
from autoscope.records import Intervention, Measure, MicroscopeState
from autoscope.wishes import AcquisitionWish, Disc, Marked, Preference, Region, Wishes

AUTONOMOUS = SetAutonomy(level="autonomous")
RETELLING = (Retract, SetScalarizer)
"""Commands after which the policy is told everything again."""


@dataclass(frozen=True)
class Ordered:
    """A place in the queue of those that people want measured."""

    order: str
    who: str
    place: Region


@dataclass(frozen=True)
class Standing:
    """All interventions of a run so far, and what follows from them.

    Attributes
    ----------
    interventions : tuple of Intervention
        In the order of their records.
    reached : frozenset of str
        Orders whose place was decided to be measured.
    resumed_at, budget_at : int
        Interventions before the last time the run was taken up, or taken up with another budget: a pause, or a
        budget, ordered before that holds no more.

    Examples
    --------
    >>> from autoscope.records import Intervention
    >>> one = Intervention(who="anna", when="", why="", command="set_dwell", arguments={"dwell_s": 0.5})
    >>> Standing().with_(one).wishes.dwell_s
    0.5
    """

    interventions: tuple[Intervention, ...] = ()
    reached: frozenset[str] = frozenset()
    resumed_at: int = 0
    budget_at: int = 0

    def with_(self, intervention: Intervention) -> Standing:
        """Return how things stand after one more."""
        return replace(self, interventions=(*self.interventions, intervention))

    def with_reached(self, order: str) -> Standing:
        """Return how things stand when a place is being measured."""
        return replace(self, reached=self.reached | {order}) if order else self

    def taken_up(self, *, other_budget: bool) -> Standing:
        """Return how things stand when the run goes on after an interruption."""
        n = self.heeded
        return replace(self, resumed_at=n, budget_at=n if other_budget else self.budget_at)

    def first(self, heeded: int) -> Standing:
        """Return how things stood after so many interventions."""
        return self if heeded == self.heeded else replace(self, interventions=self.interventions[:heeded])

    @property
    def heeded(self) -> int:
        """How many interventions there were."""
        return len(self.interventions)

    @cached_property
    def undone(self) -> frozenset[str]:
        """Ids of orders that were taken back."""
        return frozenset(c.order for _, c in self._commands(self.interventions) if isinstance(c, Undo))

    @cached_property
    def _standing(self) -> tuple[tuple[Intervention, Command], ...]:
        return tuple((i, c) for i, c in self._commands(self.interventions) if not (i.id and i.id in self.undone))

    @staticmethod
    def _commands(interventions: Iterable[Intervention]) -> Iterable[tuple[Intervention, Command]]:
        return ((i, i.parsed()) for i in interventions)

    def find(self, order: str) -> Intervention | None:
        """Return the intervention of an order."""
        return next((i for i in self.interventions if i.id == order), None)

    # --- what follows ---------------------------------------------------------------------------------

    @cached_property
    def wishes(self) -> Wishes:
        """What people want of the next decision."""
        excluded: list[Region] = []
        pinned: list[Region] = []
        marked: list[Marked] = []
        preferences: list[Preference] = []
        acquisition: dict[str, Any] = {}
        dwell_s: float | None = None
        for intervention, command in self._standing:
            match command:
                case Exclude():
                    excluded.append(command.place)
                case Veto() if "site" in intervention.effect:
                    excluded.append(Disc.model_validate(intervention.effect["site"]))
                case Pin():
                    pinned.append(command.place)
                case Mark():
                    marked.append(Marked(place=command.place, interesting=command.interesting, who=intervention.who))
                case Prefer():
                    preferences.append(Preference(better=command.better, worse=command.worse))
                case SetAcquisition():
                    acquisition |= command.wish.changes()
                case SetDwell():
                    dwell_s = command.dwell_s
                case _:
                    pass
        wishes = Wishes(
            heeded=self.heeded,
            excluded=tuple(excluded),
            pinned=tuple(pinned),
            marked=tuple(marked),
            preferences=tuple(preferences),
            acquisition=AcquisitionWish(**acquisition) if acquisition else None,
            dwell_s=dwell_s,
        )
        return self.sent(self.queue[0].order, wishes) if self.queue else wishes

    def sent(self, order: str, wishes: Wishes | None = None) -> Wishes:
        """Return the wishes with the place of an order to be measured next; none of them where ``order`` is empty."""
        wishes = wishes or self.wishes
        ordered = self.find(order)
        place = _place(ordered, ordered.parsed()) if ordered else None
        who = ordered.who if ordered and place else ""
        return wishes.replace(within=place, sent=order if place else "", sent_by=who)

    @cached_property
    def queue(self) -> tuple[Ordered, ...]:
        """Places that people want measured, next first."""
        waiting: list[Ordered] = []
        for intervention, command in self._standing:
            match command:
                case SendTo() | Approve() if (place := _place(intervention, command)) is not None:
                    waiting.insert(0, Ordered(intervention.id, intervention.who, place))
                case Enqueue():
                    at = [k for k, one in enumerate(waiting) if one.order == command.before]
                    one = Ordered(intervention.id, intervention.who, command.place)
                    waiting.insert(at[0] if at else len(waiting), one)
                case Dequeue():
                    waiting = [o for o in waiting if command.order is not None and o.order != command.order]
                case _:
                    pass
        return tuple(one for one in waiting if one.order not in self.reached)

    @cached_property
    def autonomy(self) -> SetAutonomy:
        """Which acts need a person's word."""
        return next((c for _, c in reversed(self._standing) if isinstance(c, SetAutonomy)), AUTONOMOUS)

    @cached_property
    def paused(self) -> Intervention | None:
        """The pause that holds."""
        since = self.interventions[self.resumed_at :]
        last = next((i for i, c in reversed([*self._commands(since)]) if isinstance(c, (Pause, Resume))), None)
        return last if last is not None and last.command == "pause" else None

    @cached_property
    def budget(self) -> dict[str, float | int]:
        """What of the budget was changed, by its names in a configuration's `BudgetConfig`."""
        since, changed = {id(i) for i in self.interventions[self.budget_at :]}, dict[str, float | int]()
        for intervention, command in self._standing:
            if isinstance(command, SetBudget) and id(intervention) in since:
                changed |= command.model_dump(exclude={"command"}, exclude_none=True)
        return changed

    @cached_property
    def retracted(self) -> dict[str, Intervention]:
        """Acts whose measurements are not to be learnt from, by their ids."""
        return {c.act_id: i for i, c in self._standing if isinstance(c, Retract)}

    @cached_property
    def scalarizers(self) -> dict[str, SetScalarizer]:
        """Targets that are computed otherwise than configured."""
        return {c.target: c for _, c in self._standing if isinstance(c, SetScalarizer)}

    @cached_property
    def wheel(self) -> Intervention | None:
        """How whoever has the wheel took it."""
        last = next((i for i, c in reversed(self._standing) if isinstance(c, (TakeWheel, GiveWheel))), None)
        return last if last is not None and last.command == "take_wheel" else None

    @cached_property
    def last_seqs(self) -> dict[tuple[str, str], int]:
        """The highest number of an order by key and seat."""
        orders = [i.order for i in self.interventions if i.order is not None]
        return {(o.public_key, o.seat): o.seq for o in sorted(orders, key=lambda o: o.seq)}

    def bars(self, action: Measure, state: MicroscopeState) -> bool:
        """Return whether people excluded the place of a measurement."""
        excluded = self.wishes.excluded
        if not excluded:
            return False
        x_m, y_m = site(action, state)
        return any(bool(region.contains(np.asarray(x_m), np.asarray(y_m))) for region in excluded)

    def retells(self, command: Command) -> bool:
        """Return whether the policy is to be told everything again after a command."""
        if isinstance(command, Undo):
            undone = self.find(command.order)
            return undone is not None and isinstance(undone.parsed(), RETELLING)
        return isinstance(command, RETELLING)


def site(action: Measure, state: MicroscopeState) -> tuple[float, float]:
    """Return where a measurement looks (x_m, y_m), in the stage frame."""
    return state.x_m + action.x_m, state.y_m + action.y_m


def _place(intervention: Intervention, command: Command) -> Region | None:
    """Return where an order sends the next measurement; of a suggestion that was taken, its site."""
    if isinstance(command, Approve) and "site" in intervention.effect:
        return Disc.model_validate(intervention.effect["site"])
    return command.place if isinstance(command, (SendTo, Enqueue)) else None
