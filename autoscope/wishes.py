"""What people want of the next decisions: where not, where first, what is interesting, with which settings.

Places are in the stage frame of `autoscope.records`: stage position plus offset from the optical axis.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from autoscope.actions import Value

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Disc(Value):
    """All places within a radius of a point; with radius 0 the point alone."""

    shape: Literal["disc"] = "disc"
    x_m: float
    y_m: float
    radius_m: NonNegativeFloat = 0.0

    @property
    def centre(self) -> tuple[float, float]:
        """The middle (x_m, y_m)."""
        return self.x_m, self.y_m

    def contains(self, x_m: Floats, y_m: Floats, reach_m: float = 0.0) -> Mask:
        """Return which places lie in it, or nearer to it than ``reach_m`` along both axes."""
        dx, dy = (np.maximum(np.abs(v - c) - reach_m, 0.0) for v, c in ((x_m, self.x_m), (y_m, self.y_m)))
        return np.asarray(np.hypot(dx, dy) <= self.radius_m)

    def words(self) -> str:
        """Return it as a phrase for people."""
        at = f"({self.x_m * 1e9:.4g}, {self.y_m * 1e9:.4g}) nm"
        return f"within {self.radius_m * 1e9:.3g} nm of {at}" if self.radius_m else at


class Rectangle(Value):
    """All places between two pairs of bounds."""

    shape: Literal["rectangle"] = "rectangle"
    x_m: tuple[float, float]
    y_m: tuple[float, float]

    @model_validator(mode="after")
    def _ordered(self) -> Rectangle:
        if self.x_m[0] > self.x_m[1] or self.y_m[0] > self.y_m[1]:
            raise ValueError("a rectangle needs its lower bounds first")
        return self

    @property
    def centre(self) -> tuple[float, float]:
        """The middle (x_m, y_m)."""
        return sum(self.x_m) / 2, sum(self.y_m) / 2

    def contains(self, x_m: Floats, y_m: Floats, reach_m: float = 0.0) -> Mask:
        """Return which places lie in it, or nearer to it than ``reach_m`` along both axes."""
        inside = (x_m >= self.x_m[0] - reach_m) & (x_m <= self.x_m[1] + reach_m)
        return np.asarray(inside & (y_m >= self.y_m[0] - reach_m) & (y_m <= self.y_m[1] + reach_m))

    def words(self) -> str:
        """Return it as a phrase for people."""
        (x0, x1), (y0, y1) = self.x_m, self.y_m
        return f"x {x0 * 1e9:.4g} to {x1 * 1e9:.4g} nm, y {y0 * 1e9:.4g} to {y1 * 1e9:.4g} nm"


Region = Annotated[Disc | Rectangle, Field(discriminator="shape")]


class Marked(Value):
    """A place that somebody finds interesting, or not."""

    place: Region
    interesting: bool
    who: str = Field(default="", exclude_if=lambda value: not value)
    """Who marked it."""


class Preference(Value):
    """Of two measurements, by the ids of their acts, the one that somebody finds more interesting."""

    better: str
    worse: str


class AcquisitionWish(Value):
    """Another acquisition function, or another of its parameters; what is None stays as configured."""

    name: str | None = None
    kappa: NonNegativeFloat | None = None
    """Standard deviations an uncertain candidate is given credit for: how much is explored."""
    level: float | None = None
    goal: Literal["maximise", "minimise"] | None = None

    def changes(self) -> dict[str, Any]:
        """Return what is wished for, by the names of the settings."""
        return self.model_dump(exclude_none=True)


class Wishes(Value):
    """All that people want of a decision, as they stand when it is asked for."""

    heeded: int = 0
    """Interventions they follow from, counted from the beginning of the run."""

    excluded: tuple[Region, ...] = ()
    """Nothing is measured there."""
    pinned: tuple[Region, ...] = ()
    """What can be measured there comes before everything else."""
    marked: tuple[Marked, ...] = ()
    within: Region | None = None
    """Where somebody sent the next measurement."""
    sent: str = ""
    """The order that did; a decision that carries it out says so."""
    sent_by: str = ""
    """Who gave it."""
    preferences: tuple[Preference, ...] = ()
    """What people said of pairs of measurements, oldest first."""
    acquisition: AcquisitionWish | None = None
    dwell_s: PositiveFloat | None = None
    """Of each spectrum."""

    @property
    def named(self) -> frozenset[str]:
        """The wishes there are, by their names here."""
        return frozenset(n for n in type(self).model_fields if n not in _OF_NOTHING and getattr(self, n))

    def bars(self, x_m: Floats, y_m: Floats, reach_m: float = 0.0) -> Mask:
        """Return which places are excluded; ``reach_m`` is half the size of a place, for what has one."""
        barred = np.zeros(np.shape(x_m), dtype=np.bool_)
        for region in self.excluded:
            barred |= region.contains(x_m, y_m, reach_m)
        return barred


_OF_NOTHING = frozenset({"heeded", "sent", "sent_by"})
NO_WISHES = Wishes()
