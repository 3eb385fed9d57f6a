"""What a Nion driver is told: which column, its ranges, and how its axes lie."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from autoscope.actions import CORRECTOR_FIELDS
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
    Speed,
)

LengthRange = tuple[Length, Length]


class UsimConfig(ConfigModel):
    """The column of nionswift-usim, started in this process without window or document."""

    kind: Literal["usim"] = "usim"
    sample: Literal["flakes", "amorphous", "gold"] = "flakes"
    """Rectangular flakes of Ni, Ge and Si; amorphous carbon; gold balls on carbon (too slow for spectrum images)."""
    physics: bool = False
    """Give the images what usim leaves out: electrons and their noise, defocus, blanker, beam current."""
    hidden_defocus_m: Length = 0.0
    """With ``physics``: defocus C10 at which the image is sharp."""
    drift_m_per_s: tuple[Speed, Speed] = (0.0, 0.0)
    """With ``physics``: how the sample drifts along x and y of the scan; usim's own drift is switched off in it."""

    @model_validator(mode="after")
    def _only_with_physics(self) -> Self:
        if not self.physics and (self.hidden_defocus_m or any(self.drift_m_per_s)):
            raise ValueError("hidden_defocus and drift need 'physics: true': usim's own images know neither")
        return self


class AttachConfig(ConfigModel):
    """A column that Nion Swift has already registered in this very process: the way to a real one."""

    kind: Literal["attach"] = "attach"
    controller: str = "autostem_controller"
    """Identifier of the STEM controller."""
    serial: str = ""
    """Serial number to write into the record."""


class ScanUnitConfig(ConfigModel):
    """The scan unit."""

    source: str = "usim_scan_device"
    """Identifier of its hardware source (real instruments: often ``superscan``)."""
    channels: tuple[str, ...] = ("HAADF", "MAADF")
    """Names of the channels that are used as detectors, as the scan unit calls them."""
    fov_range_m: tuple[PositiveLength, PositiveLength] = (1e-9, 2e-6)
    offset_range_m: LengthRange = (-1e-6, 1e-6)
    dwell_range_s: tuple[PositiveDuration, PositiveDuration] = (1e-7, 1e-2)
    """Dwell time per pixel of an image."""
    max_pixels: PositiveInt = 2048
    """Most pixels along one side."""
    frame_overhead_s: Duration = 0.08


class CameraConfig(ConfigModel):
    """A camera behind the sample: the spectrometer's, or one that records patterns."""

    name: str = Field(min_length=1)
    """What its signal is called here."""
    source: str
    """Identifier of its hardware source."""
    kind: Literal["spectrum", "pattern"] = "spectrum"
    """``spectrum``: summed over the camera's height; ``pattern``: the whole frame (4D-STEM)."""
    binning: PositiveInt = 1
    exposure_range_s: tuple[PositiveDuration, PositiveDuration] = (1e-3, 10.0)
    """Exposure times it can have: of one spectrum, or of one pixel of a spectrum image."""
    point_overhead_s: Duration = 0.3
    """Time a single exposure takes beyond its dwell time."""


class StageConfig(ConfigModel):
    """The stage, and how its axes lie as seen by the scan."""

    range_m: LengthRange = (-10e-6, 10e-6)
    """Where it may go, on both axes."""
    tolerance_m: PositiveLength = 1e-9
    speed_m_per_s: PositiveSpeed = 10e-6
    flip_x: bool = True
    """Whether a positive x of the column moves the view to -x of the scan (so it is in usim, on both axes)."""
    flip_y: bool = True
    rotation_rad: Angle = 0.0
    """Angle from the scan's axes to the (flipped) stage's axes."""


class CorrectorConfig(ConfigModel):
    """The aberration corrector's settings that software may change, in Krivanek's notation, as the column has them."""

    coma_controls: tuple[str, str] = ("C21.a", "C21.b")
    coma_range_m: LengthRange = (-5e-6, 5e-6)
    threefold_controls: tuple[str, str] = ("C23.a", "C23.b")
    threefold_range_m: LengthRange = (-2e-6, 2e-6)
    spherical_control: str = "C30"
    spherical_range_m: LengthRange = (-100e-6, 100e-6)
    tolerance_m: PositiveLength = 1e-9
    """Largest difference of a read-back from what was asked for, on each of the five."""

    @property
    def controls(self) -> dict[str, str]:
        """The column's name of each field of `SetOptics`."""
        (coma_a, coma_b), (threefold_a, threefold_b) = self.coma_controls, self.threefold_controls
        return dict(zip(CORRECTOR_FIELDS, (coma_a, coma_b, threefold_a, threefold_b, self.spherical_control)))

    @property
    def ranges(self) -> dict[str, LengthRange]:
        """The range of each field of `SetOptics`, m."""
        coma, threefold = self.coma_range_m, self.threefold_range_m
        return dict(zip(CORRECTOR_FIELDS, (coma, coma, threefold, threefold, self.spherical_range_m)))


class OpticsConfig(ConfigModel):
    """Lenses."""

    defocus_control: str = "C10"
    defocus_sign: Literal[-1, 1] = 1
    """``defocus`` is this times C10: 1 where more C10 is more of what you call defocus."""
    defocus_range_m: LengthRange = (-10e-6, 10e-6)
    defocus_tolerance_m: PositiveLength = 1e-10
    stigmator_controls: tuple[str, str] = ("C12.a", "C12.b")
    stigmator_range_m: LengthRange = (-1e-6, 1e-6)
    stigmator_tolerance_m: PositiveLength = 1e-10
    current_range_a: tuple[Current, Current] | None = (1e-12, 1e-9)
    """None where the beam current is measured and cannot be set."""
    current_control: str = "BeamCurrent"
    convergence_control: str = "ConvergenceAngle"
    blank_control: str = "C_Blank"
    energy_offset_control: str = "EELS_MagneticShift_Offset"
    energy_offset_ev: Energy | None = None
    """First energy of the spectrometer, set when the driver is made; None: left as it is."""
    energy_shift_range_ev: tuple[Energy, Energy] | None = None
    """How far the spectrometer may be shifted from there during a run, as zero-loss alignment does; None: never."""
    energy_tolerance_ev: PositiveEnergy = 0.01
    corrector: CorrectorConfig | None = None
    """None: the corrector is left to the column's own tuning; ``{}``: coma and what follows it may be set."""
    confirm_s: PositiveDuration = 10.0
    """How long the column may take to confirm a setting."""


def _usim_cameras() -> tuple[CameraConfig, ...]:
    return (CameraConfig(name="EELS", source="usim_eels_camera"),)


class NionConfig(ConfigModel):
    """A Nion STEM. The defaults are those of nionswift-usim."""

    connection: UsimConfig | AttachConfig = Field(default=UsimConfig(), discriminator="kind")
    scan: ScanUnitConfig = ScanUnitConfig()
    cameras: tuple[CameraConfig, ...] = Field(default_factory=_usim_cameras)
    stage: StageConfig = StageConfig()
    optics: OpticsConfig = OpticsConfig()
    max_frame_bytes: PositiveInt = 500_000_000
    """Largest set of frames of one act."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [camera.name for camera in self.cameras]
        if len(set(names)) < len(names):
            raise ValueError(f"cameras: a name is given twice in {names}")
        ranges = {
            "scan.fov_range": self.scan.fov_range_m,
            "scan.offset_range": self.scan.offset_range_m,
            "scan.dwell_range": self.scan.dwell_range_s,
            "stage.range": self.stage.range_m,
            "optics.defocus_range": self.optics.defocus_range_m,
            "optics.stigmator_range": self.optics.stigmator_range_m,
        }
        if (shift := self.optics.energy_shift_range_ev) is not None:
            ranges["optics.energy_shift_range"] = shift
        if (corrector := self.optics.corrector) is not None:
            ranges |= {f"optics.corrector: range of {name}": bounds for name, bounds in corrector.ranges.items()}
        for name, (low, high) in ranges.items():
            if not low < high:
                raise ValueError(f"{name}: the first bound must be below the second")
        return self
