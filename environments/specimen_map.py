"""Simulated specimens as spectrum images: what an ideal probe counts on a raster, and what is expected there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt

from autoscope.config import ConfigModel
from autoscope.errors import DataError
from autoscope.exposure import electrons
from autoscope.perception.bands import Band, channels
from autoscope.quantities import PositiveCurrent, PositiveDuration, PositiveLength, PositiveVoltage
from autoscope.records import Axis
from environments.datasets import SpectrumImageData
from environments.sample import SpecimenConfig, build_specimen

Array = NDArray[np.float64]


class SpecimenMapConfig(ConfigModel):
    """A specimen, and the raster over its middle."""

    specimen: SpecimenConfig
    seed: NonNegativeInt | None = None
    """Of the specimen: the same one in every run; absent: another one for each seed of a run."""
    fov_m: PositiveLength
    side_px: int = Field(default=64, ge=2, le=512)
    signal: str = "EELS"
    band: Band | None = None
    """Part of the axis that is kept; absent: all of it."""
    dwell_s: PositiveDuration = 0.05
    """Of each spectrum."""
    image_dwell_s: PositiveDuration = 20e-6
    beam_current_a: PositiveCurrent = 50e-12
    voltage_v: PositiveVoltage = 200e3


@dataclass(frozen=True, eq=False)
class ExpectedMap:
    """Mean electrons and counts of a sharp, still probe on a specimen without damage."""

    image: Array
    """Electrons on the detector at each pixel, (side, side)."""
    spectra: Array
    """Counts of each channel, (side, side, channel)."""
    axis: Axis
    config: SpecimenMapConfig

    def counted(self, image_rng: np.random.Generator, spectra_rng: np.random.Generator) -> SpectrumImageData:
        """Return Poisson counts around the means."""
        return self.as_data(image_rng.poisson(self.image), spectra_rng.poisson(self.spectra))

    def as_data(self, image: NDArray[Any] | None = None, spectra: NDArray[Any] | None = None) -> SpectrumImageData:
        """Return a spectrum image of the means, or of arrays in their place."""
        return SpectrumImageData(
            image=np.asarray(self.image if image is None else image, np.float32),
            spectra=np.asarray(self.spectra if spectra is None else spectra, np.float32),
            axis=self.axis,
            pixel_m=self.config.fov_m / self.config.side_px,
            meta={"title": self.config.specimen.kind},
            signal=self.config.signal,
        )


def expected_map(config: SpecimenMapConfig, rng: np.random.Generator) -> ExpectedMap:
    """Return what an ideal probe expects of a specimen, which all chance of ``rng`` makes.

    Raises
    ------
    DataError
        The specimen has no such signal.
    """
    specimen = build_specimen(config.specimen, rng=rng, voltage_v=config.voltage_v)
    centres = ((np.arange(config.side_px) + 0.5) / config.side_px - 0.5) * config.fov_m
    y_m, x_m = np.meshgrid(centres, centres, indexing="ij")
    fresh = np.zeros_like(x_m)
    known = {signal.name: signal.axis for signal in specimen.signals}
    if config.signal not in known:
        raise DataError("the specimen has no such signal", where=specimen.name, value=config.signal, limit=list(known))
    axis = known[config.signal]
    kept = np.arange(axis.size) if config.band is None else channels(config.band, axis)
    spectra = specimen.spectrum(config.signal, x_m, y_m, fresh)[..., kept]
    return ExpectedMap(
        specimen.image_yield("HAADF", x_m, y_m, fresh) * electrons(config.beam_current_a, config.image_dwell_s),
        spectra * electrons(config.beam_current_a, config.dwell_s),
        axis.replace(size=len(kept), offset=float(axis.values()[kept[0]])),
        config,
    )
