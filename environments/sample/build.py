"""From a configuration to a specimen."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from environments.sample.catalyst import Catalyst, CatalystConfig
from environments.sample.kinematics import Electron
from environments.sample.layered import LayeredSpecimen
from environments.sample.specimen import Specimen

SpecimenConfig = Annotated[CatalystConfig, Field(discriminator="kind")]


def build_specimen(config: SpecimenConfig, *, rng: np.random.Generator, voltage_v: float) -> Specimen:
    """Return the specimen of a configuration; the same generator state gives the same specimen."""
    electron = Electron(voltage_v)
    return LayeredSpecimen(Catalyst(config, rng), config, electron, rng)
