"""Where the zero-loss peak of an energy-loss spectrum lies, and how surely."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import FrameRejected
from autoscope.records import Axis, Frame

Array = NDArray[np.float64]

FEWEST_COUNTS = 100.0
"""With fewer in its highest channel a peak is not believed."""
HALF = 0.5
"""The peak is fitted where it is higher than this part of its top: losses begin in its tails."""
FEWEST_CHANNELS = 3
STEPS = 6
"""Iterations of the weights; the third changes nothing that counting noise would show."""


def zero_loss(frame: Frame) -> tuple[float, float]:
    """Return the energy of the zero-loss peak on a spectrum's axis and its standard uncertainty, both in eV.

    A Gaussian is fitted to the top of the highest peak: a parabola to the logarithm of the counts, each channel
    weighted with the square of the fitted counts over their variance, in iterations (Guo, IEEE Signal Process. Mag. 28
    (2011) 134). For counts this is near enough the maximum of the Poisson likelihood; the uncertainty is the fit's.

    Parameters
    ----------
    frame : Frame
        One spectrum (channel,) of counts on an axis in eV.

    Raises
    ------
    FrameRejected
        Not such a spectrum, fewer than `FEWEST_COUNTS` in the highest channel, or the peak reaches beyond the axis or
        is narrower than three channels.
    """
    axis = frame.meta.axes[0]
    if len(frame.meta.axes) != 1 or axis.unit != "eV":
        raise FrameRejected("is not one spectrum on an axis in eV", where=f"frame {frame.meta.signal}")
    counts = np.asarray(frame.data, dtype=np.float64)
    top = int(np.argmax(counts))
    if counts[top] < FEWEST_COUNTS:
        raise _none("has too few counts for a zero-loss peak", frame, float(counts[top]), FEWEST_COUNTS)
    first, last = _top_of(counts, top)
    if first == 0 or last == len(counts) - 1:
        raise _none("shows a peak at the end of its axis only", frame, float(axis.values()[top]), "a whole peak")
    if last - first + 1 < FEWEST_CHANNELS:
        raise _none("has a peak too narrow to fit", frame, last - first + 1, f"{FEWEST_CHANNELS} channels")
    return _fitted(counts[first : last + 1], axis, first, frame)


def _top_of(counts: Array, top: int) -> tuple[int, int]:
    """Return the first and the last channel about ``top`` that are higher than `HALF` of it, without a gap."""
    low = np.flatnonzero(counts[:top] < HALF * counts[top])
    high = np.flatnonzero(counts[top:] < HALF * counts[top])
    return int(low[-1]) + 1 if len(low) else 0, top + int(high[0]) - 1 if len(high) else len(counts) - 1


def _fitted(counts: Array, axis: Axis, first: int, frame: Frame) -> tuple[float, float]:
    u = np.arange(len(counts), dtype=np.float64) - (len(counts) - 1) / 2
    powers = np.vander(u, 3, increasing=True)
    logarithm, weights = np.log(np.maximum(counts, 1.0)), np.maximum(counts, 1.0)
    for _ in range(STEPS):
        information = powers.T @ (weights[:, None] * powers)
        a, b, c = np.linalg.solve(information, powers.T @ (weights * logarithm))
        weights = np.exp(np.minimum(powers @ np.array([a, b, c]), 700.0))
    if c >= 0.0:
        raise _none("has no maximum where it is highest", frame, float(c), "a curvature below 0")
    gradient = np.array([0.0, -1.0 / (2.0 * c), b / (2.0 * c**2)])
    variance = float(gradient @ np.linalg.solve(information, gradient))
    place = -b / (2.0 * c) + first + (len(counts) - 1) / 2
    return float(axis.offset + axis.scale * place), abs(axis.scale) * math.sqrt(variance)


def _none(what: str, frame: Frame, value: object, limit: object) -> FrameRejected:
    remedy = "Bring the zero-loss peak onto the axis, or measure longer on a thin place"
    return FrameRejected(what, where=f"frame {frame.meta.signal}", value=value, limit=limit, remedy=remedy)
