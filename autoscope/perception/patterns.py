"""Numbers from diffraction patterns: a virtual detector is a ring of scattering angles, chosen after the fact."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat, model_validator

from autoscope.config import ConfigModel, config_hash
from autoscope.errors import FrameRejected
from autoscope.perception.spectra import residual_std
from autoscope.quantities import Angle
from autoscope.records import Axis, Frame, Scalar

ANGLE_UNIT = "rad"
EDGE = 1e-9
"""Part of the angle by which a pixel on the edge of a ring may miss it through rounding."""


class VirtualDetector:
    """The electrons of a pattern scattered to angles between two limits: one point of a virtual image.

    The sum of Poisson counts has their sum as variance; no fewer than one event is ever claimed. Patterns that are not
    counts have one noise level for all pixels, given as ``noise_std`` or estimated from second differences along rows.
    """

    kind = "virtual_detector"
    version = 1

    class Config(ConfigModel):
        """Which ring, of which signal."""

        inner_rad: Angle = 0.0
        outer_rad: Angle
        """Both as scattering angles from the middle of the axes, e.g. ``60 mrad``."""
        signal: str | None = None
        """Signal it applies to ("4D"); absent: every pattern with two axes of angle."""
        noise_std: PositiveFloat | None = None
        """Standard deviation of one pixel, in the unit of the pattern."""
        counts_per_event: PositiveFloat = 1.0
        """Reading that one electron makes."""

        @model_validator(mode="after")
        def _ordered(self) -> Self:
            if not 0.0 <= self.inner_rad < self.outer_rad:
                raise ValueError(f"the inner angle {self.inner_rad!r} must be at least 0 and below the outer one")
            return self

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def identity(self) -> str:
        """Name, version and digest of all options: ``virtual_detector/1/ab12cd34``."""
        return f"{self.kind}/{self.version}/{config_hash(self.config.plain())[:8]}"

    def fits(self, frame: Frame) -> bool:
        """Return whether the frame is one pattern of the wanted signal."""
        if self.config.signal is not None and frame.meta.signal != self.config.signal:
            return False
        return len(frame.meta.axes) == 2 and all(axis.unit == ANGLE_UNIT for axis in frame.meta.axes)

    def scalarize(self, frame: Frame, name: str) -> Scalar:
        """Return the sum over the ring, shape (row, column) in, with its standard uncertainty.

        Raises
        ------
        FrameRejected
            Not a pattern, not finite, or the ring reaches beyond it or holds no pixel.
        """
        if not self.fits(frame):
            raise FrameRejected(
                "is not one pattern of the signal this scalarizer is for",
                where=f"{name}: {frame.meta.signal}",
                value=tuple(axis.name for axis in frame.meta.axes),
                limit=self.config.signal or f"two axes in {ANGLE_UNIT}",
                remedy="Check the 'signal' option and the signals that are measured",
            )
        rows, columns = frame.meta.axes
        ring = np.asarray(frame.data, np.float64)[self.ring(rows, columns)]
        if not np.isfinite(ring).all():
            raise FrameRejected("the pattern holds values that are not finite", where=f"{name}: {frame.meta.signal}")
        std = math.hypot(self._std(frame.data, ring, frame.meta.unit), self._dark_std(frame, self.ring(rows, columns)))
        return Scalar(name=name, value=float(ring.sum()), std=std, unit=frame.meta.unit, scalarizer=self.identity)

    def ring(self, rows: Axis, columns: Axis) -> NDArray[np.bool_]:
        """Return which pixels belong to the detector, shape (row, column).

        Raises
        ------
        FrameRejected
            It reaches beyond the pattern, or is narrower than its pixels.
        """
        y, x = rows.values(), columns.values()
        reach_rad = min(-y[0], y[-1] + rows.scale, -x[0], x[-1] + columns.scale)
        if self.config.outer_rad > reach_rad * (1.0 + EDGE):
            raise FrameRejected(
                "the ring reaches beyond the pattern",
                where=self.kind,
                value=self.config.outer_rad,
                limit=f"{reach_rad:g} rad",
                remedy="Choose a smaller outer angle or a shorter camera length",
            )
        angle = np.hypot(y[:, None], x[None, :])
        inside: NDArray[np.bool_] = (angle >= self.config.inner_rad) & (angle < self.config.outer_rad * (1.0 - EDGE))
        if not inside.any():
            raise FrameRejected(
                "no pixel of the pattern lies in the ring", where=self.kind, value=self.config.outer_rad
            )
        return inside

    def _dark_std(self, frame: Frame, ring: NDArray[np.bool_]) -> float:
        if frame.dark_variance is None or frame.meta.unit != "counts" or self.config.noise_std is not None:
            return 0.0
        return math.sqrt(float(np.broadcast_to(frame.dark_variance, frame.data.shape)[ring].sum(dtype=np.float64)))

    def _std(self, pattern: NDArray[Any], ring: NDArray[np.float64], unit: str) -> float:
        gain = self.config.counts_per_event
        if self.config.noise_std is not None:
            return math.sqrt(ring.size) * self.config.noise_std
        if unit == "counts":
            return math.sqrt(gain * max(float(ring.sum()), gain))
        rows = np.asarray(pattern, np.float64)
        return math.sqrt(ring.size * float(np.mean(np.square(residual_std(rows)))))
