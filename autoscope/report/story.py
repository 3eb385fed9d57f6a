"""What a run was, as plain frozen numbers: all the report knows, and nothing a policy could colour."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.records import Action, FrameRef, Outcome

Floats = NDArray[np.float64]
DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class RunClock:
    """The run's clock as the records show it: run time in seconds against wall-clock time.

    ``times_s`` (n,) float64, ascending; ``walls_s`` (n,) seconds since 1970 of the same records. A resumed run may
    have lost hours between two records, so every time is told from the record before it.
    """

    times_s: Floats
    walls_s: Floats
    zone: datetime.tzinfo

    @classmethod
    def of(cls, stamps: list[tuple[float, str]]) -> RunClock:
        """Return the clock of records given as (time in s, ISO 8601 text); texts that are no time are left out.

        Examples
        --------
        >>> clock = RunClock.of([(0.0, "2026-01-01T20:00:00+00:00")])
        >>> clock.at(5400.0), clock.date(0.0)
        ('21:30', '1 January 2026')
        """
        known = [(t, w) for t, text in stamps if (w := _parsed(text)) is not None]
        zone = known[0][1].tzinfo if known else None
        times_s = np.array([t for t, _ in known] or [0.0])
        walls_s = np.array([w.timestamp() for _, w in known] or [0.0])
        return cls(times_s, walls_s, zone or datetime.UTC)

    def wall(self, time_s: float) -> datetime.datetime:
        """Return the wall-clock time at a run time to the second, in the zone the records are written in."""
        before = max(0, int(np.searchsorted(self.times_s, time_s, side="right")) - 1)
        seconds = self.walls_s[before] + time_s - self.times_s[before]
        return datetime.datetime.fromtimestamp(round(float(seconds)), self.zone)

    def at(self, time_s: float) -> str:
        """Return ``HH:MM``, with the day where the run lasted longer than a day."""
        wall = self.wall(time_s)
        long = self.walls_s[-1] - self.walls_s[0] > DAY_S
        return f"{wall.day} {wall:%b %H:%M}" if long else f"{wall:%H:%M}"

    def date(self, time_s: float) -> str:
        """Return the day, as ``1 January 2026``."""
        wall = self.wall(time_s)
        return f"{wall.day} {wall:%B %Y}"

    @property
    def zone_name(self) -> str:
        """Return the name of the zone the times are told in, as ``UTC``."""
        return self.wall(float(self.times_s[0])).tzname() or "UTC"


def _parsed(text: str) -> datetime.datetime | None:
    try:
        wall = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return wall if wall.tzinfo else wall.replace(tzinfo=datetime.UTC)


@dataclass(frozen=True, slots=True)
class Act:
    """One act and what it cost; ``status`` is ``open`` where no outcome was written."""

    step: int
    begun_s: float
    ended_s: float | None
    purpose: str
    target: str
    kind: str
    status: str
    dose_e: float
    frames: int
    bytes: int
    latency_s: float | None
    error: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """A target value with its standard uncertainty."""

    name: str
    value: float
    std: float
    unit: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """A place (stage frame, metres) with the values measured there and what was expected before."""

    step: int
    time_s: float
    slot: int
    x_m: float
    y_m: float
    target: str
    reason: str
    readings: tuple[Reading, ...]
    predicted_mean: float | None
    predicted_std: float | None
    spectra: tuple[FrameRef, ...]
    defocus_m: float = 0.0
    """As set when it was measured."""
    beside: tuple[FrameRef, ...] = ()
    """What image detectors read there in the same dwell."""

    def reading(self, name: str) -> Reading | None:
        """Return the value of that name, or None."""
        return next((r for r in self.readings if r.name == name), None)


@dataclass(frozen=True, slots=True)
class Picture:
    """An image that was recorded: its reference, and what it was taken for."""

    step: int
    time_s: float
    slot: int
    purpose: str
    target: str
    ref: FrameRef


@dataclass(frozen=True, slots=True)
class Proposal:
    """A runner-up of a decision: a place that was considered and not chosen then (stage frame, metres)."""

    step: int
    slot: int
    kind: str
    x_m: float
    y_m: float
    mean: float | None
    std: float | None
    value: float | None


@dataclass(frozen=True, slots=True)
class Fit:
    """The health of the model behind some consecutive decisions."""

    step: int
    time_s: float
    model: str
    rung: str
    n: int
    log_evidence: float | None


@dataclass(frozen=True, slots=True)
class Remark:
    """Something a person or the engine wrote into the record: an intervention, a fault, a note."""

    step: int | None
    time_s: float
    kind: str
    who: str
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Ending:
    """How the run ended; there is none while it goes on, or where it was cut off."""

    status: str
    reason: str
    steps: int
    time_s: float
    dose_e: float
    faults: int
    safe: bool


@dataclass(frozen=True)
class RunStory:
    """A run as its journal tells it. Frames are not in it, only references to them."""

    folder: str
    header: Mapping[str, Any]
    """Body of the first record; empty where the run never began."""
    clock: RunClock
    first_s: float
    last_s: float
    records: int
    head: str
    """Hash of the last record."""
    ending: Ending | None = None
    acts: tuple[Act, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    pictures: tuple[Picture, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    visited: tuple[tuple[int, float, float], ...] = ()
    """Slot and stage position of every move that was done."""
    fits: tuple[Fit, ...] = ()
    rungs: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Number of decisions by (model, rung)."""
    remarks: tuple[Remark, ...] = ()
    darks: tuple[tuple[Action, Outcome], ...] = ()
    """Acts that took dark references, with what came of them."""
    less: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Ids of those that were subtracted from a frame before anybody learnt from it, by the name of its file."""
    damage: str = ""
    """Why the record could not be read to its end; empty where it could."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Return the resolved configuration the run began with."""
        config = self.header.get("config")
        return config if isinstance(config, Mapping) else {}

    def setting(self, *path: str) -> Any:
        """Return one setting of the configuration, or None where there is none."""
        part: Any = self.config
        for key in path:
            part = part.get(key) if isinstance(part, Mapping) else None
        return part

    def targets(self) -> tuple[str, ...]:
        """Return the names of all values measured, the one the policy was after first."""
        seen = dict.fromkeys(r.name for m in self.measurements for r in m.readings)
        wanted = self.setting("policy", "options", "target")
        return tuple(sorted(seen, key=lambda name: name != wanted))

    def predicted(self) -> str:
        """Return the name of the value that predictions are of; empty where nothing says so, or it was not measured."""
        names, wanted = self.targets(), self.setting("policy", "options", "target")
        return next((name for name in names if wanted in (None, name)), "")

    def measured(self, target: str) -> tuple[list[Measurement], Floats, Floats]:
        """Return the measurements of a target in the order made, with values and standard uncertainties, (n,)."""
        pairs = [(m, r) for m in self.measurements if (r := m.reading(target)) is not None]
        values = np.array([r.value for _, r in pairs], dtype=np.float64)
        return [m for m, _ in pairs], values, np.array([r.std for _, r in pairs], dtype=np.float64)
