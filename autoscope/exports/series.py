"""Frames that can lie in one array: the same signal, unit, shape, type and axes."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from autoscope.records import Axis, FrameRef

Kind = Literal["image", "spectrum", "map", "datacube", "other"]


@dataclass(frozen=True)
class Series:
    """A stack of like frames: one array with the frames along its first axis."""

    key: str
    """What makes frames alike, as text."""
    name: str
    """Unique within the run; letters, digits, ``_`` and ``.`` only."""
    signal: str
    unit: str
    dtype: str
    shape: tuple[int, ...]
    """Of one frame."""
    axes: tuple[Axis, ...]
    count: int

    @property
    def kind(self) -> Kind:
        """Return what one frame is.

        ``image`` (two axes), ``spectrum`` (one), ``map`` [y, x, energy], ``datacube`` [y, x, ky, kx] or ``other``.
        """
        return _kind(self.axes)

    @property
    def frame_bytes(self) -> int:
        """Return the size of one frame, in bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def title(self) -> str:
        """Return what is in the series, for people."""
        size = " x ".join(str(n) for n in self.shape)
        words = (f"{self.signal} {self.kind if self.kind != 'other' else 'array'}", size, self.field)
        return ", ".join(word for word in words if word)

    @property
    def field(self) -> str:
        """Return the width of the field with a prefix, e.g. ``2 um``; empty where there is none."""
        return _metres(self.axes[1]) if self.kind in SCANNED else ""


SCANNED: tuple[Kind, ...] = ("image", "map", "datacube")
"""Kinds with an axis y and an axis x, unless an image is one of diffraction."""


class SeriesIndex:
    """Counts frames by what makes them alike, from plain data as the journal holds it."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._keys: dict[str, str] = {}

    def count(self, frame: dict[str, Any]) -> None:
        """Count one frame reference of an outcome's body."""
        meta = frame["meta"]
        written = json.dumps([meta["signal"], meta.get("unit"), frame["dtype"], frame["shape"], meta["axes"]])
        if written not in self._keys:  # so that a frame is understood once a series, not once a frame
            self._keys[written] = key_of(FrameRef.model_validate_json(json.dumps(frame)))
        self._counts[self._keys[written]] += 1

    def series(self) -> tuple[Series, ...]:
        """Return the series in the order they first appear, each with a name of its own."""
        return tuple(self._named())

    def _named(self) -> Iterator[Series]:
        taken: Counter[str] = Counter()
        for key, count in self._counts.items():
            signal, unit, dtype, shape, axes = json.loads(key)
            places = tuple(Axis.model_validate_json(json.dumps(axis)) for axis in axes)
            base = _name(signal, tuple(shape), places)
            taken[base] += 1
            name = base if taken[base] == 1 else f"{base}_{taken[base]}"
            yield Series(key, name, signal, unit, dtype, tuple(shape), places, count)


def key_of(ref: FrameRef) -> str:
    """Return the key of the series a frame belongs to."""
    axes = [axis.model_dump(mode="json") for axis in ref.meta.axes]
    return json.dumps([ref.meta.signal, ref.meta.unit, ref.dtype, ref.shape, axes])


def _kind(axes: tuple[Axis, ...]) -> Kind:
    places = tuple(axis.name for axis in axes[:2]) == ("y", "x")
    match len(axes), places:
        case 1, _:
            return "spectrum"
        case 2, _:
            return "image"
        case 3, True:
            return "map"
        case 4, True:
            return "datacube"
        case _:
            return "other"


def _name(signal: str, shape: tuple[int, ...], axes: tuple[Axis, ...]) -> str:
    parts = [re.sub(r"[^A-Za-z0-9]+", "_", signal).strip("_") or "signal"]
    kind = _kind(axes)
    if kind not in ("image", "spectrum"):
        parts.append(kind)
    parts.append("x".join(str(n) for n in shape) or "scalar")
    if kind in SCANNED:
        parts.append(_metres(axes[1]).replace(" ", ""))
    return "_".join(part for part in parts if part)


def _metres(axis: Axis) -> str:
    """Return the length of an axis with a prefix, e.g. ``2 um``; empty where it is no length."""
    length = axis.size * axis.scale
    if axis.unit != "m" or not length > 0:
        return ""
    power = min(0, max(-12, 3 * math.floor(math.log10(length * (1 + 1e-9)) / 3)))
    prefix = {0: "m", -3: "mm", -6: "um", -9: "nm", -12: "pm"}[power]
    return f"{length / 10.0**power:.4g} {prefix}"
