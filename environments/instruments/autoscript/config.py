"""Where AutoScript's server runs, and what its public calls do not tell about the column."""

from __future__ import annotations

from typing import Self

from pydantic import PositiveInt, model_validator

from autoscope.config import ConfigModel
from autoscope.quantities import (
    Angle,
    Current,
    Duration,
    Energy,
    Length,
    PositiveDuration,
    PositiveEnergy,
    PositiveLength,
    PositiveSpeed,
)


class EdsConfig(ConfigModel):
    """The EDS detector and its energy axis."""

    signal: str = "EDS"
    detector: str = "SUPER_X"
    """Name in the vendor's ``EdsDetectorType``."""
    dispersion_ev: PositiveEnergy = 5.0
    """Width of a channel."""
    offset_ev: Energy = 0.0
    """Energy of the first channel."""
    channels: PositiveInt = 4096
    shaping_time_s: PositiveDuration = 3e-6
    exposure_range_s: tuple[PositiveDuration, PositiveDuration] = (0.01, 600.0)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.dispersion_ev != round(self.dispersion_ev):
            raise ValueError(f"dispersion: AutoScript takes whole electronvolts, not {self.dispersion_ev!r}")
        return self


class AutoscriptConfig(ConfigModel):
    """An AutoScript server and the limits of the column behind it."""

    host: str = "localhost"
    port: PositiveInt = 9090
    serial: str
    """Name of the microscope in the record; AutoScript's is not in the public calls."""
    detectors: tuple[str, ...] = ("HAADF",)
    """Names in the vendor's ``DetectorType``."""
    eds: EdsConfig | None = None
    beam_current_a: Current = 0.0
    """Measured by the operator; dose is counted with it. 0: no dose can be counted."""
    convergence_rad: Angle = 0.0
    x_range_m: tuple[Length, Length] = (-1e-3, 1e-3)
    """AutoScript tells no limits in its public calls: give those of the holder in use."""
    y_range_m: tuple[Length, Length] = (-1e-3, 1e-3)
    z_range_m: tuple[Length, Length] = (-0.3e-3, 0.3e-3)
    alpha_range_rad: tuple[Angle, Angle] = (-0.5, 0.5)
    beta_range_rad: tuple[Angle, Angle] | None = None
    """None: a single-tilt holder, and beta is left alone."""
    defocus_range_m: tuple[Length, Length] = (-20e-6, 20e-6)
    fov_range_m: tuple[PositiveLength, PositiveLength] = (2e-9, 50e-6)
    frame_sizes: tuple[PositiveInt, ...] = (64, 128, 256, 512, 1024, 2048, 4096)
    """Sides of the square base frame; an image is one of them or a part of one."""
    dwell_range_s: tuple[PositiveDuration, PositiveDuration] = (1e-7, 1e-2)
    stage_tolerance_m: PositiveLength = 100e-9
    stage_speed_m_per_s: PositiveSpeed = 1e-5
    """For plans only."""
    line_flyback_s: Duration = 0.0
    flip_x: bool = False
    """Whether images are to be mirrored so that they agree with the stage; `autoscope doctor` tells."""
    flip_y: bool = False
    scan_rotation_offset_rad: Angle = 0.0
    """Scan rotation at which the image's axes lie along the stage's."""
    close_valves_when_safe: bool = False
    """Whether `make_safe` also closes the column valves, after blanking."""
    max_frame_bytes: PositiveInt = 512_000_000

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for field in type(self).model_fields:
            bounds = getattr(self, field)
            if "_range_" in field and bounds is not None and not bounds[0] < bounds[1]:
                raise ValueError(f"{field}: the first bound must be below the second")
        if not self.detectors:
            raise ValueError("detectors: name at least one")
        return self
