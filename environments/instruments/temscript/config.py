"""Where the microscope's server runs, and what TEM scripting cannot tell about its column."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import PositiveInt, model_validator

from autoscope.config import ConfigModel
from autoscope.quantities import Angle, Current, Duration, Length, PositiveDuration, PositiveLength, PositiveSpeed


class TemscriptConfig(ConfigModel):
    """A ``temscript-server`` and the calibrations of the column behind it."""

    host: str = "127.0.0.1"
    port: PositiveInt = 8080
    emergency_port: PositiveInt | None = None
    """A second ``temscript-server`` on the microscope PC, for `make_safe` alone: one server does one thing at a time,
    so without it blanking waits for a scan or a stage move under way."""
    timeout_s: PositiveDuration = 10.0
    stage_timeout_s: PositiveDuration = 120.0
    serial: str = ""
    """Name in the record; empty: what the microscope calls itself."""
    beam_current_a: Current = 0.0
    """Measured by the operator; dose is counted with it. 0: no dose can be counted."""
    convergence_rad: Angle = 0.0
    """Of the probe, as aligned; 0: not told."""
    field_at_1x_m: PositiveLength = 0.1
    """Width of a FULL frame times the STEM magnification."""
    magnifications: tuple[float, ...] = ()
    """The column's ladder of STEM magnifications. Empty: any; one that the column rounds is refused when read back."""
    magnification_range: tuple[float, float] = (1e3, 1e8)
    full_frame_px: PositiveInt = 2048
    binnings: tuple[PositiveInt, ...] = (1, 2, 4, 8, 16)
    dwell_range_s: tuple[PositiveDuration, PositiveDuration] = (1e-7, 1e-3)
    line_flyback_s: Duration = 0.0
    stage_speed_m_per_s: PositiveSpeed = 1e-5
    """For plans only."""
    flip_x: bool = False
    """Whether images are to be mirrored so that they agree with the stage; `autoscope doctor` tells."""
    flip_y: bool = False
    scan_rotation_offset_rad: Angle = 0.0
    """Scan rotation at which the image's axes lie along the stage's."""
    defocus_control: Literal["probe_defocus", "defocus"] = "probe_defocus"
    defocus_m_per_unit: float = 1.0
    """Of ``defocus``; 1 on a Titan, whose ``probe_defocus`` and ``defocus`` are metres."""
    defocus_range_m: tuple[Length, Length] = (-20e-6, 20e-6)
    stigmator_m_per_unit: PositiveLength | None = None
    """Twofold astigmatism per unit of the condenser stigmator; None: the stigmator is left alone."""
    close_valves_when_safe: bool = False
    """Whether `make_safe` also closes the column valves, after blanking."""
    max_frame_bytes: PositiveInt = 512_000_000

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("magnification_range", "dwell_range_s", "defocus_range_m"):
            low, high = getattr(self, name)
            if not low < high:
                raise ValueError(f"{name}: the first bound must be below the second")
        odd = [b for b in self.binnings if self.full_frame_px % b]
        if odd:
            raise ValueError(f"binnings {odd} do not divide the full frame of {self.full_frame_px} pixels")
        return self
