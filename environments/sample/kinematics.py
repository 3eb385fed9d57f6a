"""Relativistic kinematics of the fast electron."""

from __future__ import annotations

import math
from dataclasses import dataclass

from autoscope.errors import ConfigError

REST_ENERGY_EV = 510_998.95
"""Rest energy of the electron (CODATA 2018)."""
RYDBERG_EV = 13.605693
"""Rydberg energy (CODATA 2018)."""
BOHR_M = 5.29177211e-11
"""Bohr radius (CODATA 2018)."""
FINE_STRUCTURE = 7.2973525693e-3
"""Fine-structure constant (CODATA 2018)."""
HBAR_C_EV_M = 1.973269804e-7
"""Reduced Planck constant times the speed of light (CODATA 2018)."""


@dataclass(frozen=True)
class Electron:
    """A fast electron of the beam.

    Parameters
    ----------
    voltage_v : float
        Acceleration voltage, so that the kinetic energy is ``voltage_v`` eV.

    Raises
    ------
    ConfigError
        The voltage is not positive and finite.

    Examples
    --------
    >>> round(Electron(200e3).wavelength_m * 1e12, 3)
    2.508
    """

    voltage_v: float

    def __post_init__(self) -> None:
        if not 0.0 < self.voltage_v < math.inf:
            raise ConfigError(
                "the acceleration voltage must be positive", where="voltage_v", value=self.voltage_v, limit="> 0 V"
            )

    @property
    def gamma(self) -> float:
        """Lorentz factor."""
        return 1.0 + self.voltage_v / REST_ENERGY_EV

    @property
    def beta_squared(self) -> float:
        """Squared speed in units of the speed of light."""
        return 1.0 - self.gamma**-2

    @property
    def half_mv2_ev(self) -> float:
        """Effective kinetic energy ``T = m0 v^2 / 2`` in eV (Egerton, EELS in the Electron Microscope, App. E)."""
        return 0.5 * REST_ENERGY_EV * self.beta_squared

    @property
    def wave_number_per_m(self) -> float:
        """Wave number ``k0 = 2 pi / wavelength``."""
        momentum_ev = math.sqrt(self.voltage_v * (self.voltage_v + 2.0 * REST_ENERGY_EV))
        return momentum_ev / HBAR_C_EV_M

    @property
    def wavelength_m(self) -> float:
        """De Broglie wavelength."""
        return 2.0 * math.pi / self.wave_number_per_m

    def characteristic_angle_rad(self, loss_ev: float) -> float:
        """Return ``theta_E = E / (gamma m0 v^2)`` of an energy loss (Egerton 2011, eq. 3.28)."""
        return loss_ev / (2.0 * self.gamma * self.half_mv2_ev)
