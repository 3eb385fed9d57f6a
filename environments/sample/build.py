"""From a configuration to a specimen."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from environments.sample.catalyst import Catalyst
from environments.sample.catalyst_config import CatalystConfig
from environments.sample.crystal2d import Crystal2d, Crystal2dConfig
from environments.sample.grid import Grid
from environments.sample.grid_config import GridConfig
from environments.sample.kinematics import Electron
from environments.sample.layered import LayeredSpecimen, Structure
from environments.sample.nanoparticles import Nanoparticles, NanoparticlesConfig
from environments.sample.specimen import Specimen

SpecimenConfig = Annotated[
    NanoparticlesConfig | CatalystConfig | Crystal2dConfig | GridConfig, Field(discriminator="kind")
]
"""Any specimen, told apart by ``kind``: "nanoparticles", "catalyst", "crystal2d" or "grid"."""


def build_specimen(config: SpecimenConfig, *, rng: np.random.Generator, voltage_v: float) -> Specimen:
    """Return the specimen of a configuration; the same generator state gives the same specimen.

    Parameters
    ----------
    config : SpecimenConfig
    rng : numpy.random.Generator
        All chance comes from here.
    voltage_v : float
        Acceleration voltage.

    Raises
    ------
    ConfigError
        The voltage is not positive, or the particles do not fit.

    Examples
    --------
    >>> specimen = build_specimen(CatalystConfig(), rng=np.random.default_rng(1), voltage_v=200e3)
    >>> specimen.name, [signal.name for signal in specimen.signals]
    ('catalyst', ['EDS', 'EELS', 'EELS_CORE'])
    """
    electron = Electron(voltage_v)
    return LayeredSpecimen(_structure(config, electron, rng), config, electron, rng)


def _structure(config: SpecimenConfig, electron: Electron, rng: np.random.Generator) -> Structure:
    match config:
        case NanoparticlesConfig():
            return Nanoparticles(config, electron, rng)
        case Crystal2dConfig():
            return Crystal2d(config, electron, rng)
        case GridConfig():
            return Grid(config, rng)
        case CatalystConfig():
            return Catalyst(config, rng)
