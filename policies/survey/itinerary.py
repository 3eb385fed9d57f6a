"""Where to go next: tiles not yet seen while overviews have time, then visits by value per second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.exposure import predict
from autoscope.protocols import JsonValue
from autoscope.records import MoveStage, View
from policies.survey.catalogue import Catalogue
from policies.survey.config import SurveyConfig
from policies.survey.likeness import Likeness, Marks
from policies.survey.ranking import Ranking
from policies.survey.reconnaissance import Reconnaissance

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Visit:
    """A stay at a tile: what it is expected to bring, and what it costs."""

    tile: int
    particles: tuple[int, ...]
    worth: float
    best: float
    time_s: float

    @property
    def value_per_s(self) -> float:
        """Return the expected worth per second."""
        return self.worth / self.time_s

    def reason(self) -> str:
        """Return why this visit and no other, as a sentence."""
        return (
            f"{len(self.particles)} particles in {self.time_s:.0f} s, {self.worth:.2g} interesting ones expected, "
            f"the best with a chance of {self.best:.0%}: most per second"
        )


class Itinerary:
    """Keeps which tiles were seen or given up, and values visits to the others."""

    def __init__(self, config: SurveyConfig, centres_m: Floats) -> None:
        self._config, self._centres_m = config, centres_m
        self.likeness = Likeness(config.examples, config.example_reach_m)
        """How much particles look like the operator's examples."""
        self.dwell_s = config.dwell_s
        """Expected of the next look at a particle; set by whoever learns that a shorter one will do."""
        self._reconnaissance = Reconnaissance(centres_m, config.interest_length_m)
        self.beta = config.beta
        """Exploration at the last choice of a tile; told with it."""
        self._seen: set[int] = set()
        self._given_up: set[int] = set()

    def saw(self, tile: int) -> None:
        """Note that a tile has its overview."""
        self._seen.add(tile)

    def seen(self, tile: int) -> bool:
        """Return whether a tile has its overview."""
        return tile in self._seen

    def seen_count(self) -> int:
        """Return how many tiles have their overview."""
        return len(self._seen)

    def left_out(self, barred: frozenset[int], catalogue: Catalogue) -> str:
        """Return how many tiles with something to do cannot be gone to now, in words; empty where there is none."""
        busy = {t for t in barred if t not in self._seen or catalogue.open()[catalogue.in_tile(t)].any()}
        count = len(busy - self._given_up)
        tiles = "1 tile is" if count == 1 else f"{count} tiles are"
        return f"; {tiles} left out: their place is now beyond the limits of the stage" if count else ""

    def give_up(self, tile: int) -> None:
        """Leave a tile alone from now on."""
        self._given_up.add(tile)

    def forgive(self) -> None:
        """Take the tiles that were given up for as good as any other again."""
        self._given_up.clear()

    def waiting(self, catalogue: Catalogue, barred: frozenset[int]) -> tuple[int, int]:
        """Return how many tiles were not seen, and how many particles not measured, that could be."""
        out = self._given_up | barred
        in_reach = ~np.isin(catalogue.column("tile").astype(int), sorted(out))
        return len(set(range(len(self._centres_m))) - self._seen - out), int(np.sum(catalogue.open() & in_reach))

    def lost(self, catalogue: Catalogue) -> tuple[int, int]:
        """Return how many tiles were given up, and how many particles not measured are in them."""
        inside = np.isin(catalogue.column("tile").astype(int), sorted(self._given_up))
        return len(self._given_up), int(np.sum(catalogue.open() & inside))

    def to_try_again(self, catalogue: Catalogue, barred: frozenset[int], view: View) -> tuple[int, str] | None:
        """Return the tile in which most was given up that a visit can be paid to, and what was in all; else None."""
        tiles = catalogue.column("tile").astype(int)
        again = catalogue.open() & np.isin(tiles, sorted(self._given_up))
        again[catalogue.given_up()] = True
        count = np.bincount(tiles[again], minlength=len(self._centres_m))
        count[sorted(self._given_up - self._seen)] += 1
        count[sorted(barred)] = 0
        tile = int(np.argmax(count))
        if count[tile] == 0 or not self.has_time(tile, self._config.dwell_s, view):
            return None
        return tile, f"once more what was given up: {int(np.sum(again))} particles, {len(self._given_up)} tiles"

    def gives_up(self, tile: int) -> bool:
        """Return whether a tile is left alone."""
        return tile in self._given_up

    def has_time(self, tile: int, dwell_s: float, view: View) -> bool:
        """Return whether time and dose are left to go to a tile, find its particles and take a spectrum."""
        probe = self._config.probe(0.0, 0.0, dwell_s)
        cost, left = predict(probe, view.state, view.capabilities), view.budget
        in_time = left.time_s is None or self._travel_s(tile, view) + cost.time_s <= left.time_s
        return in_time and (left.dose_e is None or cost.dose_e <= left.dose_e)

    def next_unseen(
        self,
        view: View,
        catalogue: Catalogue,
        ranking: Ranking,
        barred: frozenset[int],
        *,
        in_their_time: bool = True,
    ) -> tuple[int, str] | None:
        """Return the next tile without overview, and why this one; else None.

        ``barred``: tiles that cannot be gone to now. ``in_their_time``: while overviews have time left only.
        """
        if in_their_time and self._config.strategy == "agent" and not self._overviews_have_time(view):
            return None
        unseen = [t for t in range(len(self._centres_m)) if t not in self._seen | self._given_up | barred]
        if not unseen:
            return None
        marks = view.wishes.marked
        shown = next((t for t in self.likeness.tiles(self._centres_m, marks) if t in unseen), None)
        if shown is not None:
            return shown, f"an example was shown here{' or somebody marked something' if marks else ''}"
        if self._config.order != "value":
            return unseen[0], f"next tile not yet seen, in {self._config.order} order"
        seen = sorted(self._seen)
        worth = np.zeros(len(self._centres_m))
        if len(catalogue):
            np.add.at(
                worth, catalogue.column("tile").astype(int), self.worth(catalogue, ranking, self.beta_now(view), marks)
            )
        seconds = np.array([self._overview_s(tile, view) for tile in unseen])
        return self._reconnaissance.choose(unseen, seen, worth[seen], seconds)

    def _overview_s(self, tile: int, view: View) -> float:
        x_m, y_m = self._centres_m[tile]
        move = MoveStage(x_m=float(x_m), y_m=float(y_m))
        acts = (move, self._config.tile.scan())
        return sum(predict(a, view.state, view.capabilities).time_s for a in acts) + self._config.scouts * self.dwell_s

    def _overviews_have_time(self, view: View) -> bool:
        left_s = view.budget.time_s
        return left_s is None or view.time_s < self._config.overview_share * (view.time_s + left_s)

    def visits(self, catalogue: Catalogue, ranking: Ranking, view: View, barred: frozenset[int]) -> list[Visit]:
        """Return the visits that fit the budget, most value per second first; none to ``barred`` tiles."""
        worth = self.worth(catalogue, ranking, self.beta_now(view), view.wishes.marked)
        tiles, still_open = catalogue.column("tile"), catalogue.open()
        visits = []
        for tile in sorted(self._seen - self._given_up - barred):
            numbers = np.flatnonzero(still_open & (tiles == tile))
            if len(numbers):
                visit = self._visit(tile, numbers, worth, view)
                if visit is not None:
                    visits.append(visit)
        return sorted(visits, key=lambda v: (-v.value_per_s, v.tile))

    def _visit(self, tile: int, numbers: NDArray[np.intp], worth: Floats, view: View) -> Visit | None:
        best = self._best(numbers, worth)
        travel_s, each_s = self._travel_s(tile, view), self._each_s(view)
        left_s = view.budget.time_s
        if left_s is not None:
            best = best[: max(0, int((left_s - travel_s) / each_s))]
        if len(best) == 0:
            return None
        return Visit(
            tile=tile,
            particles=tuple(int(p) for p in best),
            worth=float(np.sum(worth[best])),
            best=float(worth[best[0]]),
            time_s=travel_s + each_s * len(best),
        )

    def particles_for(self, tile: int, catalogue: Catalogue, ranking: Ranking) -> list[int]:
        """Return the particles to measure in a visit, the most valuable first."""
        ours = catalogue.in_tile(tile)
        numbers = ours[catalogue.open()[ours]]
        return [int(p) for p in self._best(numbers, self.worth(catalogue, ranking, self.beta))]

    def _best(self, numbers: NDArray[np.intp], worth: Floats) -> NDArray[np.intp]:
        most = self.as_many(self._config.visit)
        best: NDArray[np.intp] = numbers[np.argsort(-worth[numbers], kind="stable")][:most]
        return best

    def as_many(self, count: int) -> int:
        """Return how many looks take the time of a number of spectra of full dwell."""
        return int(count * self._config.dwell_s / self.dwell_s)

    def worth(self, catalogue: Catalogue, ranking: Ranking, beta: float, marks: Marks = ()) -> Floats:
        """Return an upper bound of the chance that each particle is interesting, (n,) in [0, 1].

        Where examples were given, or people marked something: times the probability to be like that. What is marked as
        interesting itself is interesting: 1.
        """
        chance, std = ranking.probability(catalogue)
        bound: Floats = np.minimum(chance + beta * std, 1.0)
        alike = self.likeness.probability(catalogue, marks)
        if alike is None:
            return bound
        worth: Floats = bound * alike
        if marks and len(worth):
            worth[self.likeness.wanted(catalogue, marks)] = 1.0
        return worth

    def beta_now(self, view: View) -> float:
        """Return how much exploration is worth with what is left of the time."""
        if self._config.settle_from == 0.0:
            return self._config.beta
        return self._config.beta * min(1.0, share_left(view) / self._config.settle_from)

    def _travel_s(self, tile: int, view: View) -> float:
        x_m, y_m = self._centres_m[tile]
        move = MoveStage(x_m=float(x_m), y_m=float(y_m))
        return sum(predict(a, view.state, view.capabilities).time_s for a in (move, self._config.align.scan()))

    def _each_s(self, view: View) -> float:
        probe = self._config.probe(0.0, 0.0, self.dwell_s)
        return predict(probe, view.state, view.capabilities).time_s

    def state(self) -> dict[str, JsonValue]:
        """Return what was seen as plain data."""
        return {"seen": [*sorted(self._seen)], "given_up": [*sorted(self._given_up)], "beta": self.beta}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self._seen, self._given_up = set(state["seen"]), set(state["given_up"])
        self.beta = float(state.get("beta", self._config.beta))


def share_left(view: View) -> float:
    """Return which part of the time of a run is left, 1 where it has no end."""
    left_s = view.budget.time_s
    return 1.0 if left_s is None else left_s / max(view.time_s + left_s, 1e-9)
