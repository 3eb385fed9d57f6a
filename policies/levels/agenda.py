"""Places still to be looked at, at every magnification, and which of them is worth most per second."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from autoscope.protocols import JsonValue
from policies.levels.places import Found

UNKNOWN = 0.5
"""Expected yield of a branch of which nothing is known, relative to the best."""


@dataclass(frozen=True)
class Place:
    """A place of one level, in the stage frame."""

    number: int
    level: int
    x_m: float
    y_m: float
    value: float
    reason: str
    parent: int = -1
    done: bool = False
    left: bool = False
    """Given up, or not among those kept."""
    yielded: tuple[float, ...] = ()
    """What the last level gave below this place."""

    @property
    def open(self) -> bool:
        """Whether it is still to be looked at."""
        return not (self.done or self.left)


class Agenda:
    """All places of a run, numbered in the order in which they were found."""

    def __init__(self) -> None:
        self._places: list[Place] = []

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> Place:
        return self._places[number]

    def add(self, level: int, parent: Place | None, at_m: tuple[float, float], found: Sequence[Found]) -> list[int]:
        """Enter places found at offsets from a point of the stage; return their numbers."""
        first = len(self._places)
        number = -1 if parent is None else parent.number
        for one in found:
            where = (at_m[0] + one.x_m, at_m[1] + one.y_m)
            self._places.append(Place(len(self._places), level, *where, one.value, one.reason, number))
        return list(range(first, len(self._places)))

    def finish(self, number: int, *, done: bool) -> None:
        """Note that a place was looked at, or given up."""
        self._places[number] = replace(self._places[number], done=done, left=not done)

    def credit(self, number: int, value: float) -> None:
        """Note what a place of the last level gave, for it and all places it was found in."""
        while number >= 0:
            place = self._places[number]
            self._places[number] = replace(place, yielded=(*place.yielded, value))
            number = place.parent

    def open(self, level: int | None = None) -> list[Place]:
        """Return the places still to be looked at, of one level or of all."""
        return [p for p in self._places if p.open and level in (None, p.level)]

    def worth(self, place: Place, explore: float) -> float:
        """Return what a place promises: its own value times what its branch has given, with a bonus for the unknown.

        The yield of a branch is relative to the highest of the run; the bonus falls with the square root of what is
        known of it, as an upper confidence bound does.
        """
        if place.parent < 0:
            return place.value
        highest = max((v for p in self._places for v in p.yielded), default=0.0)
        given = self._places[place.parent].yielded
        mean = sum(given) / len(given) / highest if given and highest > 0.0 else UNKNOWN
        return place.value * (mean + explore / math.sqrt(1.0 + len(given)))

    def counts(self, levels: int) -> list[tuple[int, int]]:
        """Return, for each level, how many places were looked at and how many are open."""
        looked = [sum(p.done for p in self._places if p.level == k) for k in range(levels)]
        return [(looked[k], len(self.open(k))) for k in range(levels)]

    def state(self) -> list[JsonValue]:
        """Return all places as plain data."""
        return [asdict(place) | {"yielded": list(place.yielded)} for place in self._places]

    def restore(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Take up what `state` returned."""
        self._places = [Place(**{**row, "yielded": tuple(row["yielded"])}) for row in state]
