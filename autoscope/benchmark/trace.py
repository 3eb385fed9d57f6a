"""What one campaign left behind, what was true, and what a metric makes of the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import DataError

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Belief = tuple[Array, Array]
"""Mean and standard deviation of the noise-free target over the pool, each (pool,)."""


@dataclass(frozen=True, eq=False)
class Truth:
    """The target over the pool of candidates as it really is: noise-free, or the most averaged there is.

    The pool is a lattice, numbered row by row: candidate ``k`` is ``divmod(k, shape[1])``, row 0 has the smallest y.

    Attributes
    ----------
    name : str
        Of the environment.
    values : array (pool,)
        In the unit of the target.
    xy_m : array (pool, 2)
        Offsets of the candidates from the optical axis, x then y, metres.
    shape : tuple
        Rows and columns of the lattice.
    unit : str
        Of the target.
    notes : str
        Where the truth comes from: "expected counts", "16 times the dose", "measured map smoothed by one pixel".

    Raises
    ------
    DataError
        The arrays do not fit each other, or hold what is not finite.
    """

    name: str
    values: Array
    xy_m: Array
    shape: tuple[int, int]
    unit: str = ""
    notes: str = ""

    def __post_init__(self) -> None:
        pool = self.shape[0] * self.shape[1]
        _require(self, "values", np.float64, (pool,))
        _require(self, "xy_m", np.float64, (pool, 2))
        for name in ("values", "xy_m"):
            if not np.isfinite(getattr(self, name)).all():
                raise DataError("the truth must be finite", where=f"{self.name}: {name}")


@dataclass(frozen=True, eq=False)
class Trace:
    """One campaign: what was measured, in the order taken, and what it cost. Arrays are ``(n,)`` unless stated.

    Attributes
    ----------
    chosen : array of int64
        Candidate (index into the pool) of each measurement.
    value, std : array
        What the scalarizer made of it, with its standard uncertainty.
    time_s : array
        Instrument time since the start of the run when its outcome was known: overview, travel and deciding included.
    dose_e : array
        Electrons on the specimen by then.
    travel_m : array
        Way of the probe and the stage by then, from where the run began.
    latency_s : array
        Real seconds the decision took.
    mean, sd : array
        Prediction of the measured value before it was measured; NaN where the policy made none.
    maps : mapping of int to (mean (pool,), sd (pool,))
        The policy's belief about the noise-free target after so many measurements; empty without a posterior.
    peak_rss_bytes : int
        Most memory the process had held when the campaign was over; 0 where it is not known.
    notes : mapping
        Whatever else was noted: why the run ended, versions of a peer, faults; plain data.

    Raises
    ------
    DataError
        The arrays do not fit each other.
    """

    chosen: Indices
    value: Array
    std: Array
    time_s: Array
    dose_e: Array
    travel_m: Array
    latency_s: Array
    mean: Array
    sd: Array
    maps: Mapping[int, Belief] = field(default_factory=dict)
    peak_rss_bytes: int = 0
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = (len(self.chosen),)
        _require(self, "chosen", np.int64, n)
        for name in SERIES:
            _require(self, name, np.float64, n)
        object.__setattr__(self, "maps", MappingProxyType(dict(self.maps)))

    def __len__(self) -> int:
        return len(self.chosen)

    def up_to(self, n: int) -> Trace:
        """Return what was known after the first ``n`` measurements (all, where there were fewer).

        Examples
        --------
        >>> one = np.ones(3)
        >>> len(Trace(np.arange(3), one, one, one, one, one, one, one, one).up_to(2))
        2
        """
        parts = {name: getattr(self, name)[:n] for name in ("chosen", *SERIES)}
        kept = {k: belief for k, belief in self.maps.items() if k <= n}
        return Trace(**parts, maps=kept, peak_rss_bytes=self.peak_rss_bytes, notes=self.notes)


SERIES = ("value", "std", "time_s", "dose_e", "travel_m", "latency_s", "mean", "sd")
"""The arrays of a trace that hold numbers of measurements, in the order of its fields."""


@runtime_checkable
class Metric(Protocol):
    """A number of a campaign. A plug-in class of ``autoscope.metrics``: nested ``Config``, made as ``cls(config)``."""

    name: str
    """Short, lower case: ``simple_regret``."""
    unit: str
    better: Literal["higher", "lower"]

    def __call__(self, trace: Trace, truth: Truth) -> float | None:
        """Return the number, or None where this campaign has none (for example no posterior)."""


def _require(owner: Any, name: str, dtype: Any, shape: tuple[int, ...]) -> None:
    """Store an array of a frozen value as read-only of one kind, after checking its shape."""
    array = np.array(getattr(owner, name), dtype=dtype)
    if array.shape != shape:
        raise DataError("arrays do not fit each other", where=name, value=array.shape, limit=shape)
    array.setflags(write=False)
    object.__setattr__(owner, name, array)
