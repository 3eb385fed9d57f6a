"""Recorded arrays and what is known about them: axes, origin, where they lie on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from autoscope.actions import Value


class Axis(Value):
    """A calibrated array axis: coordinate of index ``k`` is ``offset + scale * k``."""

    name: str
    unit: str
    size: PositiveInt
    offset: float = 0.0
    scale: float = 1.0

    def values(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the coordinates, shape (size,) float64, in ``unit``."""
        return self.offset + self.scale * np.arange(self.size, dtype=np.float64)


class FrameMeta(Value):
    """What is known about one recorded array: where, when, how."""

    signal: str
    axes: tuple[Axis, ...]
    unit: str = "counts"
    time_s: float
    dwell_s: PositiveFloat
    x_m: float
    """Stage x plus offset of the centre of the frame (stage frame)."""
    y_m: float
    rotation_rad: float = 0.0
    beam_current_a: NonNegativeFloat = 0.0
    defocus_m: float = 0.0
    dose_e_per_m2: NonNegativeFloat = 0.0
    """Fluence of this exposure, averaged over a pixel's (or the probe's) area."""


@dataclass(frozen=True, eq=False)
class Frame:
    """An array with its meaning. ``data`` has one axis per ``meta.axes`` and is read-only."""

    meta: FrameMeta
    data: np.ndarray[Any, np.dtype[Any]]
    promised: str = ""
    """sha256 of the frame as a ``.npy`` file, as told by whoever sent it; compared where it is stored. Empty: none."""
    dark_variance: np.ndarray[Any, np.dtype[Any]] | None = None
    """Of data from which a dark reference was subtracted: what is uncertain of each value besides the counting of the
    beam's events, in unit^2, of a shape that broadcasts to that of the data. None: nothing was subtracted."""

    def __post_init__(self) -> None:
        self.data.setflags(write=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frame) and self.meta == other.meta and np.array_equal(self.data, other.data)


class FrameRef(Value):
    """A frame on disk: file name inside the run's ``frames`` folder, and the sha256 of the whole file."""

    file: str
    sha256: str
    shape: tuple[int, ...]
    dtype: str
    meta: FrameMeta
