"""A whole area in tiles, a regular raster of spectra in each: what an instrument without judgement would do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from autoscope.chance import state_digest
from autoscope.config import ConfigModel
from autoscope.protocols import JsonValue
from autoscope.quantities import Length, PositiveDuration, PositiveLength
from autoscope.records import Action, Capabilities, Decision, Finish, Measure, MoveStage, Result, Stage, View
from policies.field import MAX_TRIES, all_signals, unaffordable
from policies.stages import stage


class Place(NamedTuple):
    """A point of the raster: tile and point in the tile, both counted along their serpentines."""

    tile: int
    point: int


class RasterPolicy:
    """Visits tiles in a serpentine; in each, moves the stage there once and measures points in a serpentine.

    A move or point that fails twice is left out (with a move, its whole tile). No overview, no model, no target.
    """

    checkpointed: ClassVar[bool] = True
    """Its state is all that it knows: see `autoscope.protocols.Checkpointed`."""

    class Config(ConfigModel):
        """Settings of the raster."""

        x_m: tuple[Length, Length]
        """Area to cover, in stage coordinates."""
        y_m: tuple[Length, Length]
        tile_fov_m: PositiveLength = 1e-6
        """Side of a tile: what is reached by deflecting the beam, without moving the stage."""
        pitch_m: PositiveLength = 1e-7
        """Distance between neighbouring points."""
        dwell_s: PositiveDuration = 0.1
        """Of each spectrum."""
        signals: tuple[str, ...] = ()
        """Spectrum signals to record; none given means all the instrument has."""
        point_detectors: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
        """Image detectors read in the same dwell as every spectrum, e.g. ``[HAADF]``."""

        @model_validator(mode="after")
        def _has_an_area(self) -> Self:
            for name, (low, high) in (("x", self.x_m), ("y", self.y_m)):
                if not low < high:
                    raise ValueError(f"{name} must run from a lower to a higher value")
            if self.pitch_m > self.tile_fov_m:
                raise ValueError("pitch must not exceed tile_fov: every tile needs a point")
            return self

    def __init__(self, config: Config, *, rng: np.random.Generator) -> None:
        self.config = config
        self._rng = rng
        self._next_ = Place(0, 0)
        self._tries_ = 0
        self._stage_tile_: int | None = None

    # --- geometry -----------------------------------------------------------------------------------

    @property
    def tiles(self) -> tuple[int, int]:
        """Number of tiles down (y) and across (x)."""
        spans = (self.config.y_m[1] - self.config.y_m[0], self.config.x_m[1] - self.config.x_m[0])
        # a hair below 1 so that rounding of 3 um / 1 um does not make a fourth tile
        down, across = (max(1, math.ceil(span / self.config.tile_fov_m - 1e-9)) for span in spans)
        return down, across

    @property
    def points(self) -> int:
        """Number of points along each side of a tile."""
        return max(1, math.floor(self.config.tile_fov_m / self.config.pitch_m + 1e-9))

    def tile_centre(self, tile: int) -> tuple[float, float]:
        """Return the stage position (x_m, y_m) of a tile; the tiles are centred on the area."""
        row, column = _serpentine(tile, self.tiles[1])
        fov, (down, across) = self.config.tile_fov_m, self.tiles
        x = sum(self.config.x_m) / 2 + (column - (across - 1) / 2) * fov
        y = sum(self.config.y_m) / 2 + (row - (down - 1) / 2) * fov
        return x, y

    def offset(self, point: int) -> tuple[float, float]:
        """Return the offset (x_m, y_m) of a point from the centre of its tile."""
        row, column = _serpentine(point, self.points)
        middle = (self.points - 1) / 2
        return (column - middle) * self.config.pitch_m, (row - middle) * self.config.pitch_m

    # --- the decision -------------------------------------------------------------------------------

    def ask(self, view: View) -> Decision | Finish:
        """Return the next move or spectrum, or `Finish` when the area or the budget is used up."""
        place, stage_tile = self._after(view.pending)
        if place.tile >= math.prod(self.tiles):
            return Finish(reason="The whole area has been rastered.")
        decision = self._move(place) if place.tile != stage_tile else self._measure(place, view.capabilities)
        return unaffordable(decision.action, view) or decision

    def plan(self, view: View) -> tuple[Stage, ...]:
        """Return moves and spectra of the whole area with predicted time, dose and data."""
        tiles, signals = math.prod(self.tiles), all_signals(self.config.signals, view.capabilities)
        step = MoveStage(x_m=view.state.x_m + self.config.tile_fov_m)
        corners = [MoveStage(x_m=x, y_m=y) for x, y in (self.tile_centre(0), self.tile_centre(tiles - 1))]
        probe = self._probe(0.0, 0.0, signals)
        travel = stage("travel", [step], tiles, view, f"{tiles} tiles").replace(examples=tuple(corners))
        return travel, stage("spectra", [probe], tiles * self.points**2, view, f"{self.points**2} a tile")

    def _after(self, pending: tuple[Action, ...]) -> tuple[Place, int | None]:
        """Return where the raster and the stage will be once everything pending is done."""
        place, stage_tile = self._next_, self._stage_tile_
        for action in pending:
            if isinstance(action, MoveStage):
                stage_tile = place.tile
            elif isinstance(action, Measure):
                place = self._following(place)
        return place, stage_tile

    def _move(self, place: Place) -> Decision:
        x_m, y_m = self.tile_centre(place.tile)
        count = math.prod(self.tiles)
        reason = f"Tile {place.tile + 1} of {count} is next in the serpentine over the area."
        return self._decide(MoveStage(x_m=x_m, y_m=y_m), "travel", f"tile {place.tile}", reason)

    def _measure(self, place: Place, capabilities: Capabilities) -> Decision:
        x_m, y_m = self.offset(place.point)
        signals = all_signals(self.config.signals, capabilities)
        action = self._probe(x_m, y_m, signals)
        reason = f"Point {place.point + 1} of {self.points**2} is next in the raster of this tile."
        return self._decide(action, "spectrum", f"tile {place.tile} point {place.point}", reason)

    def _probe(self, x_m: float, y_m: float, signals: tuple[str, ...]) -> Measure:
        dwell_s, detectors = self.config.dwell_s, self.config.point_detectors
        return Measure(x_m=x_m, y_m=y_m, dwell_s=dwell_s, signals=signals, detectors=detectors)

    def _decide(self, action: Action, purpose: str, target: str, reason: str) -> Decision:
        digest = state_digest(self._rng)
        return Decision(action=action, purpose=purpose, reason=reason, target=target, random_state_sha256=digest)

    # --- what was told ------------------------------------------------------------------------------

    def tell(self, decision: Decision, result: Result) -> None:
        """Go on after a success; after two failures leave the point, or the tile, out."""
        done = result.outcome.status == "done"
        if decision.target == f"tile {self._next_.tile}" and isinstance(decision.action, MoveStage):
            self._stage_tile_ = self._next_.tile if done else None
            self._advance(None if done else Place(self._next_.tile + 1, 0), done)
        elif decision.target == f"tile {self._next_.tile} point {self._next_.point}":
            self._advance(self._following(self._next_), done)
        elif isinstance(decision.action, MoveStage):  # somebody else moved the stage
            self._stage_tile_ = None

    def _advance(self, to: Place | None, done: bool) -> None:
        self._tries_ += 1
        if done or self._tries_ >= MAX_TRIES:
            self._next_, self._tries_ = to or self._next_, 0

    def _following(self, place: Place) -> Place:
        last = place.point + 1 >= self.points**2
        return Place(place.tile + 1, 0) if last else Place(place.tile, place.point + 1)

    def state(self) -> dict[str, JsonValue]:
        """Return where the raster is as JSON data."""
        return {"next": list(self._next_), "tries": self._tries_, "stage_tile": self._stage_tile_}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state returned by `state`."""
        self._next_, self._tries_ = Place(*state["next"]), state["tries"]
        self._stage_tile_ = state["stage_tile"]


def _serpentine(index: int, across: int) -> tuple[int, int]:
    """Return (row, column) of a step along a serpentine.

    Examples
    --------
    >>> [_serpentine(k, 3) for k in range(6)]
    [(0, 0), (0, 1), (0, 2), (1, 2), (1, 1), (1, 0)]
    """
    row, step = divmod(index, across)
    return row, step if row % 2 == 0 else across - 1 - step
