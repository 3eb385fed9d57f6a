"""The seam between specimen and microscope: point yields per incident electron, before any probe blur."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from autoscope.records import SpectrumSignal

Array = NDArray[np.float64]


class Specimen(Protocol):
    """What an infinitely sharp beam meets at each point of a specimen.

    Positions are in the specimen frame: metres, origin in the middle of the specimen. The microscope blurs,
    times, drifts, counts and damages; the specimen only answers what is there. Accumulated local fluence
    (``dose_e_per_m2``, broadcastable to the positions) changes the answer: damage and contamination.
    """

    @property
    def name(self) -> str:
        """Kind of specimen, e.g. ``catalyst``."""

    @property
    def extent_m(self) -> tuple[float, float]:
        """Width (x) and height (y); the specimen covers [-w/2, w/2] x [-h/2, h/2]."""

    @property
    def signals(self) -> tuple[SpectrumSignal, ...]:
        """Spectrum signals this specimen can be measured with, with their energy axes."""

    def height_m(self, x_m: Array, y_m: Array) -> Array:
        """Return the surface height: shape of ``x_m``. The defocus that focuses a point is minus its height."""

    def image_yield(self, detector: str, x_m: Array, y_m: Array, dose_e_per_m2: Array) -> Array:
        """Return the fraction of incident electrons that reach an image detector ("HAADF", "BF"), shape of ``x_m``."""

    def spectrum(self, signal: str, x_m: Array, y_m: Array, dose_e_per_m2: Array) -> Array:
        """Return expected counts per incident electron and channel, shape ``x_m.shape + (channels,)``."""

    def truth(self) -> Mapping[str, Any]:
        """Return what is really there (arrays in SI units); for benchmarks, never for policies."""
