"""What accumulated fluence does: species disappear, carbon settles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from autoscope.config import ConfigModel
from autoscope.quantities import PositiveFluence, Quantity
from environments.sample.materials import ELEMENTS, Element

Array = NDArray[np.float64]

Thickness = Annotated[float, Quantity("m", low=0.0)]
"""A thickness, zero allowed."""


class DamageConfig(ConfigModel):
    """Critical fluences and contamination."""

    critical_dose_e_per_m2: dict[str, PositiveFluence] = {}
    """Element -> fluence at which 1/e of it is left; elements not named are durable."""
    contamination_max_m: Thickness = 5e-9
    """Carbon that settles in the end."""
    contamination_dose_e_per_m2: PositiveFluence = 1e27
    """Fluence at which 63 % of that has settled."""

    @field_validator("critical_dose_e_per_m2")
    @classmethod
    def _known(cls, value: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(value) - set(ELEMENTS))
        if unknown:
            raise ValueError(f"no data for element {', '.join(unknown)}; known: {', '.join(ELEMENTS)}")
        return value


class Damage:
    """Survival of elements and growth of contamination under the beam.

    Survival ``exp(-D / D_c)`` is first-order radiolysis or sputtering (Egerton, Li & Malac, Micron 35, 399 (2004)).
    Contamination ``t_max [1 - exp(-D / D_0)]`` grows linearly at first and stops when the mobile hydrocarbon is used up
    (Hettler et al., Micron 96, 38 (2017), observe both). Dose rate and neighbouring areas have no influence here.

    Parameters
    ----------
    config : DamageConfig
    elements : sequence of Element
        Order of the survival fractions.
    """

    def __init__(self, config: DamageConfig, elements: Sequence[Element]) -> None:
        self._config = config
        doses = [config.critical_dose_e_per_m2.get(e.symbol, np.inf) for e in elements]
        self.critical_dose_e_per_m2 = np.array(doses)
        """Shape (elements,); infinite for durable ones."""
        self.sensitive = [int(i) for i in np.flatnonzero(np.isfinite(self.critical_dose_e_per_m2))]
        """Indices of the elements that disappear."""

    def survival(self, index: int, dose_e_per_m2: Array) -> Array:
        """Return what is left of one element, in [0, 1], shape of the fluence."""
        return np.asarray(np.exp(-np.maximum(dose_e_per_m2, 0.0) / self.critical_dose_e_per_m2[index]))

    def contamination_m(self, dose_e_per_m2: Array) -> Array:
        """Return the thickness of carbon that has settled, shape of the fluence."""
        settled = -np.expm1(-np.maximum(dose_e_per_m2, 0.0) / self._config.contamination_dose_e_per_m2)
        return self._config.contamination_max_m * settled
