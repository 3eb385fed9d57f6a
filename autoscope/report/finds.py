"""The best places measured, each with what it looked like, its spectrum, and what had been expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import FrameRejected
from autoscope.perception.bands import Coordinate
from autoscope.perception.point_readings import mean_std
from autoscope.records import Axis, FrameRef
from autoscope.report.crops import Crop, crop
from autoscope.report.pictures import Archive
from autoscope.report.story import Measurement, Reading, RunStory

SAME_PLACE_M = 1e-11
PARTICLE = "particle "
"""How the targets of measurements begin that are about a particle, which keeps its number."""
Key = tuple[int, str | tuple[int, int]]
STANDS_OUT = 5.0
"""Standard deviations above the usual at which a value stands out: among thousands, chance alone reaches four."""
MAD_TO_STD = 1.482602218505602
"""Standard deviation of a normal variable over its median absolute deviation."""
FEWEST_CHANNELS = 8


@dataclass(frozen=True)
class BandMark:
    """An interval on the energy axis, in the unit of the axis; ``background`` where it is subtracted."""

    low: float
    high: float
    background: bool


@dataclass(frozen=True)
class Spectrum:
    """A spectrum: coordinates and levels, both (n,) float64, and the bands its target is read from."""

    signal: str
    axis: str
    unit: str
    energy: NDArray[np.float64]
    level: NDArray[np.float64]
    level_unit: str
    bands: tuple[BandMark, ...]


@dataclass(frozen=True)
class Find:
    """One of the best places of a target."""

    rank: int
    measurement: Measurement
    reading: Reading
    times_measured: int
    above_usual: float
    """How many standard deviations it lies above the usual of its target."""
    crop: Crop | None
    spectrum: Spectrum | None
    others: tuple[Spectrum, ...] = ()
    """What other signals recorded there in the same act."""
    beside: tuple[Reading, ...] = ()
    """What image detectors read there in the same dwells: mean and its standard uncertainty."""

    @property
    def stands_out(self) -> bool:
        """Return whether this is more than the highest of many usual values."""
        return self.above_usual > STANDS_OUT

    @property
    def surprise(self) -> float | None:
        """Return how many standard deviations the value lies above what was expected, None without expectation."""
        mean, std = self.measurement.predicted_mean, self.measurement.predicted_std
        if mean is None or std is None or np.hypot(std, self.reading.std) == 0:
            return None
        return float((self.reading.value - mean) / np.hypot(std, self.reading.std))


@dataclass(frozen=True)
class Usual:
    """What most places of a target give: median, and spread as a standard deviation that outliers do not move."""

    value: float
    spread: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Usual:
        """Return the usual of values (n,); spread 0 for a single one.

        Examples
        --------
        >>> Usual.of(np.array([1.0, 2.0, 3.0, 900.0])).value
        2.5
        """
        if values.size == 0:
            return cls(0.0, 0.0)
        centre = float(np.median(values))
        return cls(centre, MAD_TO_STD * float(np.median(np.abs(values - centre))))

    def above(self, reading: Reading) -> float:
        """Return how far a value lies above the usual, in standard deviations of the spread and its own together."""
        std = float(np.hypot(self.spread, reading.std))
        return (reading.value - self.value) / std if std > 0 else 0.0


def ranked(story: RunStory, target: str, most: int) -> list[tuple[Measurement, Reading, int]]:
    """Return the places of highest value, highest first, with how often each was measured.

    A place measured again counts once, with its most certain value, so that repeating a measurement cannot lift it
    by luck. A particle measured again, wherever drift has taken it, counts once with the mean of its spectra of the
    longest dwell.
    """
    places: dict[Key, list[tuple[Measurement, Reading]]] = {}
    for m in story.measured(target)[0]:
        reading = m.reading(target)
        if reading is not None:
            places.setdefault(_key(m), []).append((m, reading))
    best = [(*_one_of(group), len(group)) for group in places.values()]
    return sorted(best, key=lambda item: -item[1].value)[:most]


def _key(m: Measurement) -> Key:
    """Return what tells a place from others: the particle's name, else where it lies."""
    if m.target.startswith(PARTICLE):
        return m.slot, m.target
    return m.slot, (round(m.x_m / SAME_PLACE_M), round(m.y_m / SAME_PLACE_M))


def _one_of(group: list[tuple[Measurement, Reading]]) -> tuple[Measurement, Reading]:
    if not group[0][0].target.startswith(PARTICLE):
        return min(group, key=lambda pair: pair[1].std)
    longest_s = max(_dwell_s(m) for m, _ in group)
    alike = [(m, r) for m, r in group if _dwell_s(m) == longest_s]
    first, reading = alike[0]
    values, stds = np.array([(r.value, r.std) for _, r in alike]).T
    return first, replace(reading, value=float(values.mean()), std=float(np.hypot.reduce(stds)) / len(alike))


def _dwell_s(m: Measurement) -> float:
    return m.spectra[0].meta.dwell_s if m.spectra else 0.0


def finds(story: RunStory, target: str, most: int, archive: Archive) -> list[Find]:
    """Return the best places of a target with crops and spectra; the frames of one place are in memory at a time."""
    options = story.setting("scalarizers", target, "options")
    read = _BandReader(options if isinstance(options, Mapping) else {})
    usual = Usual.of(story.measured(target)[1])
    again: dict[Key, list[Measurement]] = {}
    for m in story.measurements:
        if m.target.startswith(PARTICLE):
            again.setdefault(_key(m), []).append(m)
    others = _readers(story)
    best = ranked(story, target, most)
    seen = [
        _spectra([ref for o in _alike(m, again.get(_key(m), [m])) for ref in o.spectra], read, others, archive)
        for m, _, _ in best
    ]
    return [
        Find(
            rank=rank,
            measurement=m,
            reading=reading,
            times_measured=times,
            above_usual=usual.above(reading),
            crop=crop(story.pictures, m, archive),
            spectrum=spectra[0] if spectra else None,
            others=tuple(spectra[1:]),
            beside=tuple(_beside(_alike(m, again.get(_key(m), [m])), archive)),
        )
        for rank, ((m, reading, times), spectra) in enumerate(zip(best, seen, strict=True), start=1)
    ]


class _BandReader:
    """Reads the bands of a scalarizer's options once for each axis met."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self._known: dict[Axis, tuple[BandMark, ...]] = {}

    def bands(self, axis: Axis) -> tuple[BandMark, ...]:
        if axis not in self._known:
            self._known[axis] = tuple(bands(self.options, axis))
        return self._known[axis]


def _alike(m: Measurement, group: Sequence[Measurement]) -> list[Measurement]:
    """Return a measurement, then its particle's others with the same dwell."""
    return [m, *(o for o in group if o is not m and _dwell_s(o) == _dwell_s(m))]


def _beside(group: Sequence[Measurement], archive: Archive) -> Iterator[Reading]:
    """Yield the mean of what each image detector read during some measurements."""
    groups: dict[str, list[FrameRef]] = {}
    for ref in (ref for m in group for ref in m.beside):
        groups.setdefault(ref.meta.signal, []).append(ref)
    for signal, refs in groups.items():
        frames = [frame for ref in refs if (frame := archive.frame(ref)) is not None]
        if frames:
            read = np.concatenate([np.asarray(frame.data, dtype=np.float64) for frame in frames])
            yield Reading(signal, float(read.mean()), mean_std(read), refs[0].meta.unit)


def _readers(story: RunStory) -> dict[str, _BandReader]:
    """Return for each signal that scalarizers name what reads the bands of all of them."""
    by_signal: dict[str, dict[str, Any]] = {}
    for name, scalarizer in (story.setting("scalarizers") or {}).items():
        options = scalarizer.get("options") if isinstance(scalarizer, Mapping) else None
        if isinstance(options, Mapping) and isinstance(signal := options.get("signal"), str):
            by_signal.setdefault(signal, {}).update({f"{name}.{key}": value for key, value in options.items()})
    return {signal: _BandReader(options) for signal, options in by_signal.items()}


def _spectra(
    refs: Sequence[FrameRef], read: _BandReader, others: Mapping[str, _BandReader], archive: Archive
) -> list[Spectrum]:
    """Return the mean spectrum of each signal, first the one the target is read from, or the first there is."""
    groups: dict[str, list[FrameRef]] = {}
    for ref in refs:
        if ref.shape[0] >= FEWEST_CHANNELS:
            groups.setdefault(ref.meta.signal, []).append(ref)
    wanted = read.options.get("signal")
    order = sorted(groups, key=lambda signal: signal != wanted)
    found = [
        _mean(groups[signal], others.get(signal, _BandReader({})) if k else read, archive)
        for k, signal in enumerate(order)
    ]
    return [spectrum for spectrum in found if spectrum is not None]


def _mean(refs: Sequence[FrameRef], read: _BandReader, archive: Archive) -> Spectrum | None:
    first = refs[0].meta
    frames = [frame for ref in refs if ref.meta.axes == first.axes and (frame := archive.frame(ref)) is not None]
    if not frames:
        return None
    axis = first.axes[0]
    return Spectrum(
        signal=first.signal,
        axis=axis.name,
        unit=axis.unit,
        energy=axis.values(),
        level=np.nan_to_num(np.mean([frame.data.astype(np.float64) for frame in frames], axis=0)),
        level_unit=first.unit,
        bands=read.bands(axis),
    )


def bands(options: Mapping[str, Any], axis: Axis) -> Iterator[BandMark]:
    """Yield the intervals that a scalarizer's options name on an axis; whatever is no interval is passed over.

    Examples
    --------
    >>> axis = Axis(name="energy", unit="eV", size=100, scale=10.0)
    >>> list(bands({"band": ["0.1 keV", "0.2 keV"], "signal": "EDS"}, axis))
    [BandMark(low=100.0, high=200.0, background=False)]
    """
    for name, value in options.items():
        for low, high in _pairs(value):
            try:
                edges = [Coordinate.parse(str(edge)).to(axis.unit) for edge in (low, high)]
            except (ValueError, FrameRejected):
                continue
            yield BandMark(min(edges), max(edges), "background" in name)


def _pairs(value: Any) -> Iterator[tuple[Any, Any]]:
    if not isinstance(value, (list, tuple)):
        return
    if len(value) == 2 and all(isinstance(edge, str) for edge in value):
        yield value[0], value[1]
        return
    for part in value:
        yield from _pairs(part)
