"""Numbers from what image detectors read beside a spectrum: the mean over its dwell."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat

from autoscope.config import ConfigModel, config_hash
from autoscope.errors import FrameRejected
from autoscope.records import TIME, Frame, FrameRef, Scalar


class DetectorReading:
    """The mean of what an image detector read while the probe rested on a point, e.g. HAADF for mass-thickness.

    Its standard uncertainty is that of a mean, from the scatter of the readings (JCGM 100:2008, 4.2.3): noise, and what
    drift and damage changed during the dwell. A single reading, as a recorded image has of each place, has no scatter
    and needs ``reading_std``.
    """

    kind = "detector_reading"
    version = 1

    class Config(ConfigModel):
        """Which detector."""

        signal: str = "HAADF"
        """Image detector, as the instrument names it."""
        reading_std: PositiveFloat | None = None
        """Standard deviation of one reading, in its unit; absent: from the scatter of the readings."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def identity(self) -> str:
        """Name, version and digest of all options: ``detector_reading/1/ab12cd34``."""
        return f"{self.kind}/{self.version}/{config_hash(self.config.plain())[:8]}"

    def fits(self, frame: Frame) -> bool:
        """Return whether the frame is what the wanted detector read at a point."""
        return frame.meta.signal == self.config.signal and is_reading(frame)

    def scalarize(self, frame: Frame, name: str) -> Scalar:
        """Return the mean reading with its standard uncertainty.

        Raises
        ------
        FrameRejected
            Not readings of this detector, not finite, or a single one without ``reading_std``.
        """
        if not self.fits(frame):
            raise FrameRejected(
                "is not what this detector read at a point",
                where=f"{name}: {frame.meta.signal}",
                value=tuple(axis.name for axis in frame.meta.axes),
                limit=f"{self.config.signal} over {TIME}",
                remedy="Ask for the detector with the spectrum (point_detectors)",
            )
        readings = np.asarray(frame.data, dtype=np.float64)
        if not np.isfinite(readings).all():
            raise FrameRejected("the readings hold values that are not finite", where=f"{name}: {self.kind}")
        std = self._std(readings, name)
        return Scalar(name=name, value=float(readings.mean()), std=std, unit=frame.meta.unit, scalarizer=self.identity)

    def _std(self, readings: NDArray[np.float64], name: str) -> float:
        if self.config.reading_std is not None:
            return self.config.reading_std / math.sqrt(readings.size)
        if readings.size < 2:
            raise FrameRejected(
                "a single reading does not tell its uncertainty",
                where=f"{name}: {self.kind}",
                value=float(readings[0]),
                remedy="Give reading_std, e.g. the scatter of the image where nothing is",
            )
        return mean_std(readings)


def is_reading(frame: Frame | FrameRef) -> bool:
    """Return whether a frame is what an image detector read at a point: one axis, of time."""
    return tuple(axis.name for axis in frame.meta.axes) == (TIME,)


def mean_std(readings: NDArray[np.float64]) -> float:
    """Return the standard uncertainty of the mean of readings (n,), from their scatter; 0 for a single one.

    Examples
    --------
    >>> mean_std(np.array([1.0, 3.0, 1.0, 3.0])).__round__(4)
    0.5774
    """
    return float(readings.std(ddof=1) / math.sqrt(readings.size)) if readings.size > 1 else 0.0
