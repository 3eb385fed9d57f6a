"""What detectors give without beam, and what is left of a frame when that is subtracted.

A reading is ``pedestal + dark current * dwell + beam``: the first two are measured with the beam kept away, and go off.
What remains is uncertain by the counting of the beam's events, by the scatter of the readings without beam (read-out
noise and the counting of the dark current), and by the mean of them that was subtracted,

    var(corrected) = g max(corrected, 0) + s^2 + s^2 / n

with ``s`` the standard deviation of one dark reading and ``n`` how many were averaged (Janesick, Scientific
Charge-Coupled Devices (2001), ch. 1; JCGM 100:2008, eq. 10). The last two are kept with the frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import DarkStale, FrameRejected
from autoscope.records import Frame

Array = NDArray[np.float64]

FEWEST_FRAMES = 2
"""One frame tells nothing of its scatter."""
ROUNDING = 1.0 / 12.0
"""Variance of rounding to whole counts (uniform distribution): no reading of integers scatters less."""
BELOW = 10.0
"""So many standard deviations without beam may a corrected value lie below zero, and a reference change upwards."""
BRIGHT_SHARE = 0.005
"""Part of the values of a reference that may rise further than that: cosmic rays, a channel that turned hot."""
SAME_DWELL = 1e-6
"""Relative difference up to which two dwells are the same."""


@dataclass(frozen=True)
class DarkReference:
    """The mean of frames without beam, with its scatter; scalars where one detector makes every pixel of an image.

    Attributes
    ----------
    signal : str
        Signal or detector.
    dwell_s : float
        Of each frame.
    mean : array
        In the unit of the frames: (channel,), (row, column) of a pattern, or () for images.
    mean_variance : array
        Variance of the mean, same shape.
    variance : array
        Variance of one reading about it, same shape.
    """

    signal: str
    dwell_s: float
    mean: Array
    mean_variance: Array
    variance: Array


def dark_reference(frames: Sequence[Frame]) -> DarkReference:
    """Return the reference that frames without beam of one signal and one dwell make.

    The scatter of few frames may be small by chance, so no channel is taken to scatter less than the median of all.

    Raises
    ------
    FrameRejected
        Fewer than two frames, of several shapes, or not finite.
    """
    signal, count = frames[0].meta.signal if frames else "", len(frames)
    if count < FEWEST_FRAMES or len({frame.data.shape for frame in frames}) > 1:
        what = "a dark reference needs two or more frames of one shape"
        raise FrameRejected(what, where=f"dark {signal}", value=count, limit=FEWEST_FRAMES, remedy="Take more frames")
    readings = np.stack([np.asarray(frame.data, np.float64) for frame in frames])
    if not np.isfinite(readings).all():
        raise FrameRejected("a dark frame holds NaN or infinity", where=f"dark {signal}", remedy="Record it again")
    if _is_image(frames[0]):
        readings = readings.reshape(-1)
    least = ROUNDING if frames[0].data.dtype.kind in "iu" else 0.0
    scatter = np.asarray(readings.var(axis=0, ddof=1))
    variance = np.maximum(scatter, max(float(np.median(scatter)), least))
    mean = np.asarray(readings.mean(axis=0))
    return DarkReference(signal, frames[0].meta.dwell_s, mean, variance / len(readings), variance)


def between(shorter: DarkReference, longer: DarkReference, dwell_s: float) -> DarkReference:
    """Return the reference of a dwell between those of two others: mean and variance grow in proportion to time."""
    part = (dwell_s - shorter.dwell_s) / (longer.dwell_s - shorter.dwell_s)
    return DarkReference(
        signal=shorter.signal,
        dwell_s=dwell_s,
        mean=(1.0 - part) * shorter.mean + part * longer.mean,
        mean_variance=(1.0 - part) ** 2 * shorter.mean_variance + part**2 * longer.mean_variance,
        variance=(1.0 - part) * shorter.variance + part * longer.variance,
    )


def same_dwell(one_s: float, other_s: float) -> bool:
    """Return whether two dwells are the same to within rounding."""
    return math.isclose(one_s, other_s, rel_tol=SAME_DWELL)


def subtract(frame: Frame, reference: DarkReference) -> Frame:
    """Return a frame less its dark reference: float32 of either sign, with ``dark_variance``; the frame stays as it is.

    Values may lie below zero as far as noise takes them, `BELOW` standard deviations of a dark reading; further down
    the reference is not that of this frame.

    Raises
    ------
    DarkStale
        A value lies further below it.
    FrameRejected
        The reference has another shape.
    """
    where, shape = f"frame {frame.meta.signal}", reference.mean.shape
    if shape != frame.data.shape[frame.data.ndim - len(shape) :]:
        raise FrameRejected(
            "has another shape than its dark reference", where=where, value=frame.data.shape, limit=shape
        )
    data = np.subtract(frame.data, reference.mean, dtype=np.float64)
    noise = reference.variance + reference.mean_variance
    lowest = float((data / np.sqrt(np.maximum(noise, 1e-300))).min())
    if lowest < -BELOW:
        raise DarkStale(
            "lies further below its dark reference than noise can take it",
            where=where,
            value=round(lowest, 1),
            limit=f"-{BELOW:g} standard deviations",
            remedy="The pedestal has moved: take a dark reference more often",
        )
    return replace(frame, data=data.astype(np.float32), dark_variance=np.asarray(noise, np.float32))


def require_dark(new: DarkReference, before: DarkReference) -> None:
    """Return if a reference is as dark as the one before it, of the same signal and dwell.

    Raises
    ------
    FrameRejected
        More than `BRIGHT_SHARE` of its values rose by more than `BELOW` standard deviations of a dark reading: the
        beam was not kept away.
    """
    if new.mean.shape != before.mean.shape:
        return
    rise = (new.mean - before.mean) / np.sqrt(np.maximum(before.variance, 1e-300))
    bright = int(np.count_nonzero(rise > BELOW))
    if bright > BRIGHT_SHARE * rise.size:
        raise FrameRejected(
            "the dark frames are far brighter than those before: the beam was not kept away",
            where=f"dark {new.signal}",
            value=f"{bright} of {rise.size} values up to {float(rise.max()):.3g} standard deviations higher",
            limit=f"{BELOW:g} standard deviations",
            remedy="Look at the blanker; the reference before stays in use",
        )


def _is_image(frame: Frame) -> bool:
    """Return whether the axes are places: one detector makes all pixels, so they have one pedestal."""
    return all(axis.unit == "m" for axis in frame.meta.axes)
