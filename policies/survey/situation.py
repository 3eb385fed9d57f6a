"""What a survey knows, and where it stands: shared by the rooms that ask, measure and tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from autoscope.protocols import JsonValue
from autoscope.records import Decision, Scan, View
from policies.survey.catalogue import Catalogue
from policies.survey.config import SurveyConfig
from policies.survey.finishing import CONFIRM, Finishing
from policies.survey.gate import FrameGate
from policies.survey.in_depth import InDepth
from policies.survey.itinerary import Itinerary
from policies.survey.keep_focus import KeepFocus
from policies.survey.keep_place import KeepPlace
from policies.survey.ranking import Ranking
from policies.survey.screening import Screening
from policies.survey.steadiness import Steadiness
from policies.survey.tiles import tiles_of
from policies.survey.upkeep import Upkeep

THIN_REACH = 0.3
"""Thin places are looked for within this part of a tile's width from its centre, per axis."""
THIN_PLACES = 16
"""... on a lattice of so many each way."""


class Situation:
    """All that a survey has learnt, as plain data when asked for; `telling` changes it, `policy` reads it.

    Parameters
    ----------
    config : SurveyConfig
        What the survey was told.
    rng : numpy.random.Generator
        One number is drawn: the seed of the ranking's samples.
    """

    def __init__(self, config: SurveyConfig, rng: np.random.Generator) -> None:
        self.config = config
        self.tiles = tiles_of(config.all_areas, config.tile, by_travel=config.order == "travel")
        self.centres_m = self.tiles.centres_m
        self.catalogue = Catalogue()
        seed = int(rng.integers(2**31))
        self.ranking = Ranking(config.fit_points, config.interest_length_m, seed)
        self.depth = InDepth(config.in_depth, config.target, seed)
        self.itinerary = Itinerary(config, self.centres_m)
        self.focus = KeepFocus(config.focus)
        self.screening = Screening(config.screen, config.dwell_s)
        self.doubtful: int | None = None
        """The particle whose short look left doubt."""
        self.counts = False
        """Whether the target grows with the dwell."""
        self.mode = "choose"
        self.tile = -1
        self.queue: list[int] = []
        """Particles to measure in this tile, the next one first."""
        self.reserve: list[int] = []
        """What else could be measured in this tile: taken in their place where people's marks say so."""
        self.place = KeepPlace(config.align, self.centres_m)
        self.gate = FrameGate(config.gate)
        self.steady = Steadiness(config.gate, config.align.drift.creep_time_s)
        self.upkeep = Upkeep(config)
        self.finishing = Finishing(config.finish)
        self.errand = ""
        """What the stay at the tile is for, beside measuring what is open: see `finishing`."""
        self.visiting = False
        self.tries = 0
        """Acts in vain, one after the other."""
        self.lost = 0
        """Looks in vain for the tile's particles."""
        self.verified = 0
        """Suspensions after which the place was verified."""

    def tile_name(self) -> str:
        """Return the tile that the stage stands at, as decisions name it."""
        return f"tile {self.tile}"

    def look(self, purpose: str, scan: Scan, reason: str) -> Decision:
        """Return the decision to take an image of the tile."""
        return Decision(action=scan, purpose=purpose, reason=reason, target=self.tile_name())

    def align(self, reason: str) -> Decision:
        """Return the decision to find the tile's particles again."""
        return self.look("align", self.config.align.scan(), reason)

    def dwell_s(self, particle: int) -> float:
        """Return for how long a particle is looked at next."""
        whole = particle == self.doubtful or self.errand == CONFIRM
        return self.config.dwell_s if whole else self.screening.dwell_s

    def to_confirm(self) -> list[int]:
        """Return the finds in this tile that more spectra would make surer, the highest first."""
        tiles = self.catalogue.column("tile")
        return [p for p in self.finishing.unsure(self.catalogue) if int(tiles[p]) == self.tile]

    def line(self, view: View) -> list[int]:
        """Return the particles to measure in this tile, the next one first, as people's marks have it now."""
        marks, queue = view.wishes.marked, self.queue
        ranked = self.config.strategy == "agent" and self.errand != CONFIRM and queue[:1] != [self.doubtful]
        if not marks or not ranked or self.itinerary.likeness.probability(self.catalogue, marks) is None:
            return queue
        all_ = np.array([*queue, *self.reserve])
        worth = self.itinerary.worth(self.catalogue, self.ranking, self.itinerary.beta, marks)
        return [int(p) for p in all_[np.argsort(-worth[all_], kind="stable")][: len(queue)]]

    def enqueue(self, particles: list[int]) -> None:
        """Measure these, and hold what else is open in the tile in reserve."""
        ours = self.catalogue.in_tile(self.tile)
        self.queue = particles
        self.reserve = [int(p) for p in ours[self.catalogue.open()[ours]] if p not in particles]

    def done_with(self, particle: int) -> None:
        """Take a particle off the queue, or one that came from the reserve in place of the queue's last."""
        if particle in self.queue:
            self.queue.remove(particle)
        elif particle in self.reserve and self.queue:
            self.reserve.remove(particle)
            self.reserve.append(self.queue.pop())

    def to_go_into(self) -> list[int]:
        """Return the finds that a campaign may be begun on: not those in tiles given up."""
        finds = self.finishing.best(self.catalogue)
        tiles = self.catalogue.column("tile")
        return [p for p in self.depth.todo(finds) if not self.itinerary.gives_up(int(tiles[p]))]

    def measure_or_choose(self) -> None:
        """Measure what waits in the queue, else choose where to go."""
        self.mode = "measure" if self.queue else "choose"

    def thin_place(self, time_s: float) -> tuple[float, float]:
        """Return the offset from the axis, in this tile, that is farthest from all its particles."""
        if not self.itinerary.seen(self.tile):
            return 0.0, 0.0
        reach_m = THIN_REACH * self.config.tile.fov_m
        places = np.stack(np.meshgrid(*[np.linspace(-reach_m, reach_m, THIN_PLACES)] * 2), axis=-1).reshape(-1, 2)
        particles = self.catalogue.offsets_m(self.tile, self.config.tile.fov_m)
        apart = np.linalg.norm(places[:, None] - particles[None], axis=2).min(axis=1, initial=self.config.tile.fov_m)
        x_m, y_m = places[int(np.argmax(apart))] + np.array(self.place.shift_m(time_s))
        return float(x_m), float(y_m)

    def leave_tile(self) -> None:
        """Give up the tile, and what was to be done there."""
        self.itinerary.give_up(self.tile)
        self.mode, self.queue, self.reserve, self.lost = "choose", [], [], 0

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as plain data."""
        return {
            "catalogue": self.catalogue.state(),
            "ranking": self.ranking.state(),
            "itinerary": self.itinerary.state(),
            "focus": self.focus.state(),
            "mode": self.mode,
            "tile": self.tile,
            "queue": list(self.queue),
            "reserve": list(self.reserve),
            "place": self.place.state(),
            "gate": self.gate.state(),
            "steady": self.steady.state(),
            "lost": self.lost,
            "verified": self.verified,
            "visiting": self.visiting,
            "screening": self.screening.state(),
            "doubtful": self.doubtful,
            "counts": self.counts,
            "tries": self.tries,
            "upkeep": self.upkeep.state(),
            "finishing": self.finishing.state(),
            "errand": self.errand,
            "depth": self.depth.state(),
        }

    def restore(self, state: Mapping[str, JsonValue]) -> None:
        """Take up a state returned by `state`."""
        data: Any = state
        self.catalogue.restore(data["catalogue"])
        self.ranking.restore(data["ranking"], self.catalogue)
        self.itinerary.restore(data["itinerary"])
        self.focus.restore(data["focus"])
        self.mode, self.tile = data["mode"], int(data["tile"])
        self.queue, self.reserve = ([int(p) for p in data.get(name, ())] for name in ("queue", "reserve"))
        self.place.restore(data["place"])
        self.gate.restore(data["gate"])
        self.lost, self.verified = int(data["lost"]), int(data["verified"])
        self.tries, self.visiting = int(data["tries"]), bool(data["visiting"])
        rooms = (("upkeep", self.upkeep), ("finishing", self.finishing), ("depth", self.depth), ("steady", self.steady))
        for name, room in rooms:
            if name in data:  # a run begun before there was such a room goes on without its past
                room.restore(data[name])
        self.errand = data.get("errand", "")
        self.screening.restore(data["screening"])
        self.itinerary.dwell_s = self.screening.dwell_s
        self.doubtful, self.counts = data["doubtful"], bool(data["counts"])
