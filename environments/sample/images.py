"""How many electrons reach an image detector, per areal density of each element."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from autoscope.config import ConfigModel
from autoscope.errors import Unsupported
from autoscope.quantities import Angle
from environments.sample.cross_sections import elastic_m2
from environments.sample.kinematics import Electron
from environments.sample.materials import Element

Array = NDArray[np.float64]


class DetectorsConfig(ConfigModel):
    """Semi-angles of the image detectors."""

    haadf_inner_rad: Angle = 0.06
    haadf_outer_rad: Angle = 0.2
    bf_outer_rad: Angle = 0.01

    @model_validator(mode="after")
    def _ordered(self) -> DetectorsConfig:
        if not 0.0 < self.bf_outer_rad <= self.haadf_inner_rad < self.haadf_outer_rad:
            raise ValueError("needs 0 < bf_outer <= haadf_inner < haadf_outer")
        return self


class ImageResponse:
    """Fractions of the beam on the HAADF annulus and on the bright-field disc.

    Independent single-atom scattering with saturation: ``HAADF = 1 - exp(-sum N sigma_annulus)`` and
    ``BF = exp(-sum N sigma_beyond)``, so that both lie in [0, 1] and their sum never passes 1. Diffraction contrast,
    channelling and inelastic scattering are neglected.

    Parameters
    ----------
    config : DetectorsConfig
    electron : Electron
    elements : sequence of Element
        Order of the areal densities.
    """

    names = ("HAADF", "BF")

    def __init__(self, config: DetectorsConfig, electron: Electron, elements: Sequence[Element]) -> None:
        inner, outer, disc = config.haadf_inner_rad, config.haadf_outer_rad, config.bf_outer_rad
        self._sections_m2 = {
            "HAADF": np.array([elastic_m2(e.number, electron, inner, outer) for e in elements]),
            "BF": np.array([elastic_m2(e.number, electron, disc) for e in elements]),
        }

    def section_m2(self, detector: str) -> Array:
        """Return the cross-sections that fill (HAADF) or empty (BF) a detector, shape (elements,).

        Raises
        ------
        Unsupported
            No such detector.
        """
        if detector not in self._sections_m2:
            raise Unsupported(
                "the specimen has no yield for this detector", value=detector, limit=", ".join(self.names)
            )
        return self._sections_m2[detector]

    def yield_(self, detector: str, exponent: Array) -> Array:
        """Return the detected fraction for ``sum N sigma`` of that detector, in [0, 1], shape of ``exponent``."""
        return -np.expm1(-exponent) if detector == "HAADF" else np.exp(-exponent)
