"""Whether a frame is fit to learn from, and how good it is.

A spectrum of a short dwell may honestly hold few counts or none, so only images are rejected for being empty.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import FrameRejected
from autoscope.records import Action, Capabilities, Frame, Measure, Scan, SpectrumImage

Array = NDArray[Any]

DETECTOR_BITS = range(8, 33)
"""Depths of converters: a frame whose largest value is ``2**bits - 1`` of one of these may be clipped there."""

LEAST_PIXELS = 16
"""An image smaller than this may be constant by chance."""

BEST_SNR = 1e6
"""What ``snr_estimate`` says of a frame without any noise."""

FULL_SCALES = frozenset({float(kind(2**bits - 1)) for bits in DETECTOR_BITS for kind in (np.float32, np.float64)})
"""Full scales of converters, as float32 and as float64 hold them."""


def expected_shape(action: Action, signal: str, capabilities: Capabilities) -> tuple[int, ...] | None:
    """Return the shape of the frame an action records for a signal or detector; None if it records none."""
    spectrum = capabilities.signal(signal)
    match action:
        case Measure() if signal in action.signals and spectrum:
            return spectrum.shape
        case Measure() if signal in action.detectors and capabilities.point_readings:
            return (capabilities.point_readings,)
        case SpectrumImage() if signal in action.signals and spectrum:
            return (action.height_px, action.width_px, *spectrum.shape)
        case Scan() | SpectrumImage() if signal in action.detectors:
            return (action.height_px, action.width_px)
        case _:
            return None


def require_form(frame: Frame, action: Action, capabilities: Capabilities) -> None:
    """Return if a frame has the signal, the shape and the kind of numbers its action asks for.

    Raises
    ------
    FrameRejected
        It has not.
    """
    shape, expected = frame.data.shape, expected_shape(action, frame.meta.signal, capabilities)
    if expected is None:
        raise _rejected(frame, f"a {action.kind} like this records no such signal", frame.meta.signal)
    if frame.data.dtype.kind not in "iuf":
        raise _rejected(frame, "is not an array of real numbers", str(frame.data.dtype), "integers or floats")
    if shape != expected:
        raise _rejected(frame, "has the wrong shape", shape, expected)
    sizes = tuple(axis.size for axis in frame.meta.axes)
    if sizes != expected:
        raise _rejected(frame, "has axes of other sizes than its data", sizes, expected)


def measure(frame: Frame, saturated_limit: float, *, is_image: bool) -> dict[str, float]:
    """Return the metrics of a frame if its values are fit to learn from.

    ``mean`` and ``std`` are in the frame's unit, ``saturated_fraction`` and ``zero_fraction`` parts of its values;
    for ``snr_estimate`` see `snr_estimate`.

    Raises
    ------
    FrameRejected
        NaN or infinite, saturated, negative counts in a spectrum, or an image in which nothing varies.
    """
    data = frame.data
    with np.errstate(all="ignore"):  # what overflows here is rejected below
        low, high = float(np.minimum.reduce(data, axis=None)), float(np.maximum.reduce(data, axis=None))
        mean = float(np.add.reduce(data, axis=None, dtype=np.float64)) / data.size
        std = math.sqrt(sum([_squares(row - mean) for row in _rows(data)]) / data.size)
    if not math.isfinite(low) or not math.isfinite(high):  # min and max pass NaN on
        bad = int(np.count_nonzero(~np.isfinite(data)))
        raise _rejected(frame, "holds NaN or infinity", f"{bad} of {data.size} values", "none")
    if not math.isfinite(std):
        raise _rejected(frame, "holds values too large to compute with", high)
    if is_image:
        _require_variation(frame, low, high)
    elif low < 0.0 and frame.meta.unit == "counts":
        raise _rejected(frame, "holds negative counts", low, ">= 0")
    saturated = saturated_fraction(data, high)
    if saturated > saturated_limit:
        raise _rejected(frame, f"is saturated at {high:g}", saturated, f"{saturated_limit:g} of the values")
    return {
        "mean": mean,
        "std": std,
        "saturated_fraction": saturated,
        "zero_fraction": 1.0 - float(np.count_nonzero(data) / data.size),
        "snr_estimate": snr_estimate(data, mean),
    }


def saturated_fraction(data: Array, high: float) -> float:
    """Return the part of the values that lie at a converter's full scale.

    Full scale is ``2**bits - 1`` of a depth in `DETECTOR_BITS`; other maxima are taken for honest ones.

    Examples
    --------
    >>> saturated_fraction(np.array([7, 255, 255, 3]), 255.0), saturated_fraction(np.array([7, 250, 250, 3]), 250.0)
    (0.5, 0.0)
    """
    return float(np.count_nonzero(data == data.max()) / data.size) if high in FULL_SCALES else 0.0


def snr_estimate(data: Array, mean: float) -> float:
    """Return the mean over the standard deviation of the noise, at most `BEST_SNR`; 0 for fewer than 3 values.

    The noise comes from second differences, which smooth content leaves near zero: along both axes for an image
    (Immerkaer, Computer Vision and Image Understanding 64 (1996) 300), along the axis for a spectrum. A spectrum
    image is summed over its channels (or patterns) first. Fine texture counts as noise, so the estimate errs low there.
    """
    beyond = tuple(range(2, data.ndim))
    plane = data.sum(axis=beyond, dtype=np.float64) if beyond else data.astype(np.float64)
    mean *= data.size / plane.size
    if plane.ndim == 2 and min(plane.shape) >= 3:
        lines = plane[:-2] - 2.0 * plane[1:-1] + plane[2:]
        differences, gain = lines[:, :-2] - 2.0 * lines[:, 1:-1] + lines[:, 2:], 6.0
    elif plane.size >= 3:
        line = plane.ravel()
        steps = line[1:] - line[:-1]
        differences, gain = steps[1:] - steps[:-1], math.sqrt(6.0)
    else:
        return 0.0
    # the mean magnitude of normal noise is sqrt(2 / pi) of its standard deviation
    magnitude = float(np.add.reduce(np.abs(differences), axis=None)) / int(differences.size)
    noise = math.sqrt(math.pi / 2.0) * magnitude / gain
    return float(max(mean, 0.0) / max(noise, mean / BEST_SNR, 1e-300))


def _squares(data: Array) -> float:
    return float(np.add.reduce(np.square(data), axis=None))


def _rows(data: Array) -> Iterable[Array]:
    """Return the data in parts, so that a spectrum image is never held in memory as float64."""
    if data.ndim < 2:
        return (np.asarray(data, np.float64),)
    return (np.asarray(row, np.float64) for row in data)


def _require_variation(frame: Frame, low: float, high: float) -> None:
    if low == high == 0.0 and frame.data.size > 1:
        raise _rejected(frame, "is an image of zeros", remedy="Check that the beam is on and the detector inserted")
    if low == high and frame.data.size >= LEAST_PIXELS:
        raise _rejected(frame, "is an image of one value", low, remedy="Check gain, offset and cable of the detector")


def _rejected(
    frame: Frame, what: str, value: object = None, limit: object = None, remedy: str = "Record it again"
) -> FrameRejected:
    return FrameRejected(what, where=f"frame {frame.meta.signal}", value=value, limit=limit, remedy=remedy)
