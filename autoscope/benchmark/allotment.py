"""Which worker computes which cell next: what cells share is made by one of them, and all workers end together."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from autoscope.benchmark.grid import Cell

Kind = tuple[str, ...]
Kinds = tuple[Kind, ...]
"""What a cell is one of: most alike first."""
Shape = tuple[str, tuple[Kinds, ...]]
UNKNOWN_S = 1.0
"""What a campaign is taken to last while none is known."""
LOOKED_UP_S = 0.01
"""A truth that took no longer was known already."""


@dataclass
class _Mean:
    sum_s: float = 0.0
    count: int = 0

    def add(self, value_s: float) -> None:
        self.sum_s, self.count = self.sum_s + value_s, self.count + 1


@dataclass
class Pace:
    """How long cells take, learnt from those that are finished; real seconds."""

    _own: dict[Kind, _Mean] = field(default_factory=lambda: defaultdict(_Mean))
    _shared: dict[str, float] = field(default_factory=dict)

    def learn(self, cell: Cell, shared_s: float, own_s: float) -> None:
        """Take in what a cell took: to make what it shares with others, unless that was there; and by itself."""
        for kind in _kinds(cell):
            self._own[kind].add(own_s)
        if shared_s > LOOKED_UP_S:
            self._shared[cell.environment] = shared_s

    def own_s(self, cell: Cell) -> float:
        """Return what a campaign will take: as others of its kind, of its policy, or as all."""
        return self.of_kind_s(_kinds(cell))

    def of_kind_s(self, kinds: Kinds) -> float:
        """Return what a campaign of the first of these kinds of which any is finished will take."""
        means = (self._own[kind] for kind in kinds if kind in self._own)
        return next((mean.sum_s / mean.count for mean in means), UNKNOWN_S)

    def shared_s(self, environment: str) -> float:
        """Return what it will take to make what cells of an environment and chance share."""
        return self._shared.get(environment, 0.0)


def _kinds(cell: Cell) -> Kinds:
    return (cell.environment, cell.policy, cell.budget), (cell.policy, cell.budget), ()


@dataclass(frozen=True)
class _Out:
    worker: str
    cell: Cell


class Allotment:
    """Hands cells out to workers.

    Cells that share an environment and its chance are a unit: truth and maps are made once for all of them. A unit goes
    to one worker, the longest units and cells first (Graham, SIAM J. Appl. Math. 17, 416, 1969). When there are no
    whole units left, a worker without work joins those at the unit that has most left, if that makes it end sooner.

    Parameters
    ----------
    cells : iterable of Cell
        What is wanted; while nothing is known of how long they take, they are handed out in this order.
    pace : Pace
        How long they take.
    """

    def __init__(self, cells: Iterable[Cell], pace: Pace) -> None:
        self._pace = pace
        self._waiting: dict[str, list[Cell]] = {}
        for cell in cells:
            self._waiting.setdefault(_unit(cell), []).append(cell)
        self._whole: dict[Shape, deque[str]] = {}
        """Units that no worker is at, by what they are made of: there are many units, and few shapes of them."""
        for unit in self._waiting:
            self._set_free(unit)
        self._unit_of: dict[str, str] = {}
        """Of each worker, the unit it is at."""
        self._out: dict[str, _Out] = {}

    def __bool__(self) -> bool:
        """Tell whether any cell was not handed out yet."""
        return bool(self._waiting)

    def hand_out(self, threads: Mapping[str, int]) -> Iterator[tuple[str, Cell]]:
        """Yield worker and cell for whoever should have one now.

        Each thread has a cell; while there are whole units left, another waits at each worker, so that none pauses.

        Parameters
        ----------
        threads : mapping
            Name of each worker there is, and how many cells it computes at once. Units of a worker that is gone go to
            others; cells that it had already go there by `again`.
        """
        for worker in self._unit_of.keys() - threads.keys():
            unit = self._unit_of.pop(worker)
            if unit in self._waiting and unit not in self._unit_of.values():
                self._set_free(unit)
        for spare in (0, 1):
            for worker, count in threads.items():
                while self._at(worker) < count + spare and (self._whole or not spare):
                    cell = self._next(worker)
                    if cell is None:
                        break
                    self._out[cell.key] = _Out(worker, cell)
                    yield worker, cell

    def finished(self, cell: Cell) -> None:
        """Learn that a cell is finished, or given up."""
        self._out.pop(cell.key, None)

    def stranded(self, threads: Mapping[str, int]) -> list[Cell]:
        """Return the cells that are at workers which are gone."""
        return [out.cell for out in self._out.values() if out.worker not in threads]

    def again(self, cell: Cell) -> None:
        """Have a cell wait again, the first of its unit, for it came to nothing."""
        self._out.pop(cell.key, None)
        unit = _unit(cell)
        alone = unit not in self._waiting
        self._waiting.setdefault(unit, []).insert(0, cell)
        if alone and unit not in self._unit_of.values():
            self._set_free(unit)

    def _at(self, worker: str) -> int:
        return sum(out.worker == worker for out in self._out.values())

    def _next(self, worker: str) -> Cell | None:
        own = self._unit_of.get(worker, "")
        if own in self._waiting:
            return self._taken(worker, own, self._waiting[own])
        if self._whole:
            longest = self._longest_whole()
            return self._taken(worker, longest, self._waiting[longest])
        for unit in sorted(self._waiting, key=self._left_s, reverse=True):
            left_s = self._left_s(unit)
            fitting = [cell for cell in self._waiting[unit] if self._alone_s(cell) < left_s]
            if fitting:
                return self._taken(worker, unit, fitting)
        return None

    def _taken(self, worker: str, unit: str, among: list[Cell]) -> Cell:
        cell = max(among, key=self._pace.own_s)
        self._unit_of[worker] = unit
        self._waiting[unit].remove(cell)
        if not self._waiting[unit]:
            del self._waiting[unit]
        return cell

    def _set_free(self, unit: str) -> None:
        cells = self._waiting[unit]
        self._whole.setdefault((cells[0].environment, tuple(map(_kinds, cells))), deque()).append(unit)

    def _longest_whole(self) -> str:
        """Return the unit that will take longest of those that no worker is at, which it is no longer."""
        shape = max(self._whole, key=self._whole_s)
        unit = self._whole[shape].popleft()
        if not self._whole[shape]:
            del self._whole[shape]
        return unit

    def _whole_s(self, shape: Shape) -> float:
        environment, kinds = shape
        return self._pace.shared_s(environment) + sum(map(self._pace.of_kind_s, kinds))

    def _alone_s(self, cell: Cell) -> float:
        return self._pace.shared_s(cell.environment) + self._pace.own_s(cell)

    def _left_s(self, unit: str) -> float:
        """Return how long those who are at a unit will need; cells under way are on average half done."""
        at_it = [worker for worker, other in self._unit_of.items() if other == unit]
        under_way_s = sum(self._pace.own_s(out.cell) for out in self._out.values() if out.worker in at_it) / 2
        return (sum(map(self._pace.own_s, self._waiting[unit])) + under_way_s) / max(1, len(at_it))


def _unit(cell: Cell) -> str:
    """Return what tells cells apart that have other truths or maps; see `autoscope.benchmark.campaign.truth_for`."""
    made = [cell.environment, cell.run["environment"], cell.run["scalarizers"], cell.task, cell.run["seed"]]
    return json.dumps(made, sort_keys=True)
