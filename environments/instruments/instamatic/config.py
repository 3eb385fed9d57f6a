"""Where instamatic's TEM server runs, and what its raw units mean."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from autoscope.config import ConfigModel
from autoscope.quantities import Angle, Current, Length, PositiveDuration, PositiveSpeed

DAC_MAX = 65535
DAC_NEUTRAL = 32768


class DacCalibration(ConfigModel):
    """Metres of a lens whose control is a converter of 16 bits."""

    m_per_unit: float = Field(allow_inf_nan=False)
    """May be negative, never zero."""
    neutral: int = Field(default=DAC_NEUTRAL, ge=0, le=DAC_MAX)
    """Setting that means 0 m."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.m_per_unit == 0.0:
            raise ValueError("m_per_unit is 0, so no setting could be told from another")
        return self

    def bounds_m(self) -> tuple[float, float]:
        """Return what the ends of the converter are in metres, the lower first."""
        ends = sorted((value - self.neutral) * self.m_per_unit for value in (0, DAC_MAX))
        return ends[0], ends[1]

    def to_dac(self, value_m: float) -> int:
        """Return the nearest setting."""
        return round(value_m / self.m_per_unit) + self.neutral

    def to_m(self, setting: int) -> float:
        """Return metres."""
        return (setting - self.neutral) * self.m_per_unit


class FocusCalibration(DacCalibration):
    """Which control focuses, and its metres."""

    control: Literal["ObjectiveLenseFine", "DiffFocus"] = "ObjectiveLenseFine"


class StigmatorCalibration(DacCalibration):
    """Metres of twofold astigmatism of the condenser stigmator; ``neutral`` is that of its first converter."""

    neutral_b: int = Field(default=DAC_NEUTRAL, ge=0, le=DAC_MAX)

    def second(self) -> DacCalibration:
        """Return the calibration of the second converter."""
        return DacCalibration(m_per_unit=self.m_per_unit, neutral=self.neutral_b)


class InstamaticConfig(ConfigModel):
    """The server and the calibrations of the column behind it."""

    host: str = "127.0.0.1"
    port: PositiveInt = 8088
    timeout_s: PositiveDuration = 5.0
    stage_timeout_s: PositiveDuration = 120.0
    serial: str = "instamatic"
    simulated: bool = False
    """Whether the server runs with ``microscope: simulate``; it does not tell."""
    x_range_m: tuple[Length, Length] = (-1e-3, 1e-3)
    """instamatic tells no limits of the stage: give those of the holder in use."""
    y_range_m: tuple[Length, Length] = (-1e-3, 1e-3)
    z_range_m: tuple[Length, Length] = (-0.1e-3, 0.1e-3)
    alpha_range_rad: tuple[Angle, Angle] = (-0.5, 0.5)
    beta_range_rad: tuple[Angle, Angle] = (-0.5, 0.5)
    stage_speed_m_per_s: PositiveSpeed = 1e-5
    """For plans only."""
    focus: FocusCalibration | None = None
    stigmator: StigmatorCalibration | None = None
    beam_current_a: Current = 0.0
    convergence_rad: Angle = 0.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for field in type(self).model_fields:
            if "_range_" in field and not getattr(self, field)[0] < getattr(self, field)[1]:
                raise ValueError(f"{field}: the first bound must be below the second")
        return self
