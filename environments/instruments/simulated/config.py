"""Parameters of the simulated microscope, in groups; the defaults are those of a 200 kV probe-corrected STEM."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from autoscope.config import ConfigModel
from autoscope.quantities import (
    Angle,
    Current,
    Duration,
    Energy,
    Length,
    PositiveCurrent,
    PositiveDuration,
    PositiveLength,
    PositiveSpeed,
    PositiveVoltage,
    Pressure,
    Quantity,
    Speed,
    Temperature,
)

NonNegativeLength = Annotated[float, Quantity("m", low=0.0)]
NonNegativeEnergy = Annotated[float, Quantity("eV", low=0.0)]
PositiveAngle = Annotated[float, Quantity("rad", low=0.0, low_open=True, high=0.2)]
TiltAngle = Annotated[float, Quantity("rad", low=-1.4, high=1.4)]
PositiveBrightness = Annotated[float, Quantity("A/m^2/sr/V", low=0.0, low_open=True)]
LengthRange = tuple[Length, Length]


class GunConfig(ConfigModel):
    """Where the electrons come from."""

    voltage_v: PositiveVoltage = 200e3
    """Acceleration voltage."""
    reduced_brightness: PositiveBrightness = 5e7
    """Brightness per volt, A / (m^2 sr V): 1e7 to 2e8 for field emission."""
    energy_spread_ev: NonNegativeEnergy = 0.35
    """Energy spread, full width at half maximum."""
    beam_current_a: PositiveCurrent = 50e-12
    """Beam current at the start."""
    beam_current_range_a: tuple[Current, Current] = (1e-12, 1e-9)


class CorrectorConfig(ConfigModel):
    """An aberration corrector that software may set, and what it leaves while it reads zero."""

    coma_range_m: LengthRange = (-10e-6, 10e-6)
    threefold_range_m: LengthRange = (-5e-6, 5e-6)
    spherical_range_m: LengthRange = (-50e-6, 50e-6)
    hidden_coma_a_m: Length = 0.0
    hidden_coma_b_m: Length = 0.0
    hidden_threefold_a_m: Length = 0.0
    hidden_threefold_b_m: Length = 0.0


class LensConfig(ConfigModel):
    """Probe-forming lenses, and how far their zero points are from where the operator believes them."""

    convergence_rad: PositiveAngle = 25e-3
    """Convergence semi-angle at the start."""
    convergence_range_rad: tuple[PositiveAngle, PositiveAngle] = (1e-3, 40e-3)
    spherical_m: Length = 1e-6
    """Spherical aberration coefficient Cs (C3) left by the corrector."""
    chromatic_m: NonNegativeLength = 1.4e-3
    """Chromatic aberration coefficient Cc."""
    defocus_range_m: LengthRange = (-20e-6, 20e-6)
    stigmator_range_m: LengthRange = (-1e-6, 1e-6)
    hidden_defocus_m: Length = 0.0
    """True defocus when the read-back is zero, on a specimen of zero height."""
    hidden_stigmator_a_m: Length = 0.0
    """True astigmatism (0 degrees) when the read-back is zero."""
    hidden_stigmator_b_m: Length = 0.0
    """True astigmatism (45 degrees) when the read-back is zero."""
    corrector: CorrectorConfig | None = None
    """None: coma, threefold and spherical aberration cannot be set, and there is no coma."""
    settle_s: Duration = 0.2
    """Time any change of optics takes."""


class StageConfig(ConfigModel):
    """A stage driven through gears with play, read back by encoders on the drive."""

    x_range_m: LengthRange = (-500e-6, 500e-6)
    y_range_m: LengthRange = (-500e-6, 500e-6)
    z_range_m: LengthRange = (-100e-6, 100e-6)
    alpha_range_rad: tuple[TiltAngle, TiltAngle] = (-0.5, 0.5)
    beta_range_rad: tuple[TiltAngle, TiltAngle] = (-0.5, 0.5)
    speed_m_per_s: PositiveSpeed = 20e-6
    settle_s: Duration = 1.0
    """Time waited after every move."""
    precision_m: NonNegativeLength = 3e-9
    """Standard deviation of where a moved axis stops; the encoders see it."""
    backlash_m: NonNegativeLength = 30e-9
    """Width of the play between drive and sample; the encoders do not see it."""
    encoder_m: PositiveLength = 0.1e-9
    """Resolution of the position read-back."""
    tilt_encoder_rad: PositiveAngle = 1e-5
    """Resolution of the tilt read-back."""
    tolerance_m: PositiveLength = 50e-9
    """A read-back further than this from the request is an error."""
    tilt_tolerance_rad: PositiveAngle = 1e-4


class DriftConfig(ConfigModel):
    """How the sample moves although nobody asked it to."""

    ramp_x_m_per_s: Speed = 5e-12
    ramp_y_m_per_s: Speed = -3e-12
    walk_per_minute_m: NonNegativeLength = 0.1e-9
    """Random walk: standard deviation per axis of the displacement in one minute."""
    creep_fraction: float = Field(default=2e-3, ge=0.0, le=1.0)
    """Part of a stage move by which the sample lags behind at arrival."""
    creep_max_m: NonNegativeLength = 20e-9
    """Largest lag a single move leaves."""
    creep_time_s: PositiveDuration = 30.0
    """Time constant with which the lag dies away."""
    load_m: NonNegativeLength = 40e-9
    """Displacement still to come when a sample has just been loaded, in a random direction."""
    load_time_s: PositiveDuration = 600.0
    """Time constant of that displacement."""


class ScanConfig(ConfigModel):
    """Scan coils: limits, what a line and a frame cost, and how far the field is from a square."""

    fov_range_m: tuple[PositiveLength, PositiveLength] = (1e-9, 40e-6)
    offset_range_m: LengthRange = (-20e-6, 20e-6)
    """How far from the optical axis a scan may be centred or a point be measured, per axis."""
    dwell_range_s: tuple[PositiveDuration, PositiveDuration] = (50e-9, 100.0)
    max_pixels: PositiveInt = 2048
    """Most pixels along one side of a frame."""
    max_frame_bytes: PositiveInt = 2_000_000_000
    """Largest spectrum image."""
    line_flyback_s: Duration = 100e-6
    frame_overhead_s: Duration = 0.1
    point_overhead_s: Duration = 0.02
    hidden_rotation_rad: Angle = 3e-3
    """True rotation of the scan when zero is asked."""
    scale_error_x: float = Field(default=2e-3, gt=-0.5, lt=0.5)
    """Relative error of the field's width."""
    scale_error_y: float = Field(default=-1e-3, gt=-0.5, lt=0.5)
    shear: float = Field(default=1e-3, gt=-0.5, lt=0.5)
    """x displacement per y."""
    flyback_lag: float = Field(default=5e-4, ge=0.0, lt=0.5)
    """Where a line begins, as a part of the field by which the probe is still behind."""
    lag_time_s: PositiveDuration = 20e-6
    """Time constant with which it catches up."""


class DetectorConfig(ConfigModel):
    """An image detector: ``value = offset + gain * electrons + readout noise``, rounded, saturating at its depth."""

    name: str = Field(min_length=1)
    gain: float = Field(default=1.0, gt=0.0)
    """Counts per electron."""
    offset: float = Field(default=20.0, ge=0.0)
    """Counts without beam."""
    readout: float = Field(default=1.0, ge=0.0)
    """Standard deviation of the readout noise in counts."""
    bits: int = Field(default=16, ge=1, le=16)
    """Values above ``2**bits - 1`` saturate."""


class DoseConfig(ConfigModel):
    """How finely the exposure of each specimen is remembered."""

    cell_m: PositiveLength = 20e-9
    """Side of a cell over which fluence is averaged (larger where the map would pass ``max_cells``)."""
    max_cells: PositiveInt = 2048
    """Most cells along one side of the map."""


class HolderConfig(ConfigModel):
    """A heating holder: the temperature approaches its set point exponentially while other acts go on."""

    ambient_k: Temperature = 293.0
    max_k: Temperature = 1473.0
    time_constant_s: PositiveDuration = 2.0


class CarouselConfig(ConfigModel):
    """Changing samples."""

    load_s: Duration = 120.0
    will_not_load: tuple[NonNegativeInt, ...] = ()
    """Slots whose sample jams: the loader tries, gives up and puts the sample back that was loaded before."""


class ValvesConfig(ConfigModel):
    """Valves between gun and sample that software opens and closes."""

    travel_s: Duration = 3.0


class SpectrometerConfig(ConfigModel):
    """An energy-loss spectrometer whose offset software sets, and whose supplies are not quite steady."""

    offset_range_ev: tuple[Energy, Energy] = (-100.0, 100.0)
    hidden_offset_ev: Energy = 0.0
    """Where the zero-loss peak lies at the start when the read-back is zero."""
    ramp_per_hour_ev: Energy = 0.2
    """Steady drift of spectra along their axis."""
    walk_per_hour_ev: NonNegativeEnergy = 0.1
    """Random walk on top: standard deviation after one hour."""


class DarkSignalConfig(ConfigModel):
    """What one detector gives without beam, on top of its ``offset``; it grows with the dwell and over the hours."""

    name: str = Field(min_length=1)
    """An image detector, or a signal such as ``EELS``."""
    pedestal: float = Field(default=0.0, ge=0.0)
    """Counts added by the converter."""
    pattern: float = Field(default=0.0, ge=0.0)
    """Standard deviation, over the channels of a spectrometer, of a fixed difference from that, in counts."""
    ramp_per_hour: float = 0.0
    """Steady drift of the pedestal, in counts."""
    walk_per_hour: float = Field(default=0.0, ge=0.0)
    """Random walk on top: standard deviation after one hour, in counts."""
    current_per_second: float = Field(default=0.0, ge=0.0)
    """Dark current: events of each channel or pixel in a second."""
    hot_channels: NonNegativeInt = 0
    """So many channels of a spectrometer, anywhere, have more of it."""
    hot_per_second: float = Field(default=0.0, ge=0.0)
    """By so many events in a second."""
    readout: float = Field(default=0.0, ge=0.0)
    """Standard deviation of a spectrometer's read-out noise in counts; image detectors have their own."""


class MemoryConfig(ConfigModel):
    """How much of the past is kept."""

    observations: PositiveInt = 64
    """Answers kept for acts that are sent again."""
    observation_bytes: PositiveInt = 512_000_000
    """Frames kept with them (the newest answer is always kept)."""
    records: PositiveInt = 100_000
    """Entries of the physical log, and act identifiers remembered as done."""


FaultKind = Literal["beam_loss", "vacuum", "drift_jump", "dim", "saturated", "hang", "blanker"]


class FaultConfig(ConfigModel):
    """One thing that goes wrong on purpose; a ``blanker`` stays open though it reads back as closed."""

    kind: FaultKind
    at_s: Duration
    """Since the instrument was started."""
    lasts_s: PositiveDuration = 300.0
    """For how long; a jump is at once and for ever."""
    remaining: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Part of the beam (``beam_loss``), or of an image detector's signal (``dim``), that is left."""
    pressure_pa: Pressure = 1e-2
    """What the gauge reads (``vacuum``)."""
    jump_m: PositiveLength = 3e-6
    """How far the sample jumps (``drift_jump``)."""
    direction_rad: Angle = 0.0
    """Where to, from x towards y."""


class RandomFaultsConfig(ConfigModel):
    """Faults drawn from the instrument's seed, evenly over a time and over the kinds."""

    count: PositiveInt
    within_s: PositiveDuration
    kinds: tuple[FaultKind, ...] = ("beam_loss", "vacuum", "drift_jump", "dim", "saturated", "hang")


class FaultsConfig(ConfigModel):
    """What goes wrong on purpose."""

    events: tuple[FaultConfig, ...] = ()
    random: RandomFaultsConfig | None = None
    base_pressure_pa: Pressure | None = None
    """What the gauge reads when all is well; absent and without vacuum faults: there is no gauge."""


class MicroscopeConfig(ConfigModel):
    """Everything about the microscope except what is in its carousel."""

    name: str = "simulated STEM"
    serial: str = "SIM-200"
    gun: GunConfig = GunConfig()
    lens: LensConfig = LensConfig()
    stage: StageConfig = StageConfig()
    drift: DriftConfig = DriftConfig()
    scan: ScanConfig = ScanConfig()
    detectors: tuple[DetectorConfig, ...] = (DetectorConfig(name="HAADF"), DetectorConfig(name="BF"))
    dose: DoseConfig = DoseConfig()
    carousel: CarouselConfig = CarouselConfig()
    holder: HolderConfig | None = None
    """None: no in-situ holder, and stimuli are unsupported."""
    valves: ValvesConfig | None = None
    """None: no valves that software moves."""
    spectrometer: SpectrometerConfig | None = Field(default=None, exclude_if=lambda value: value is None)
    """None: energy losses are where they belong for ever, and there is no offset that software sets."""
    dark_signals: tuple[DarkSignalConfig, ...] = Field(default=(), exclude_if=lambda value: not value)
    """What detectors give without beam besides their offset; none: spectrometers count the beam's events alone."""
    memory: MemoryConfig = MemoryConfig()
    faults: FaultsConfig = Field(default=FaultsConfig(), exclude_if=lambda value: value == FaultsConfig())
    """What goes wrong on purpose, to rehearse it."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for group in (self.gun, self.lens, self.stage, self.scan, *([self.spectrometer] if self.spectrometer else [])):
            for field in type(group).model_fields:
                if "_range_" in field and not getattr(group, field)[0] < getattr(group, field)[1]:
                    raise ValueError(f"{field}: the first bound must be below the second")
        names = [d.name for d in self.detectors]
        if len(set(names)) < len(names):
            raise ValueError(f"detectors: a name is given twice in {names}")
        if self.holder and self.holder.max_k <= self.holder.ambient_k:
            raise ValueError("holder: max must be above ambient")
        _within("gun.beam_current", self.gun.beam_current_a, self.gun.beam_current_range_a)
        _within("lens.convergence", self.lens.convergence_rad, self.lens.convergence_range_rad)
        return self


def _within(name: str, value: float, bounds: tuple[float, float]) -> None:
    if not bounds[0] <= value <= bounds[1]:
        raise ValueError(f"{name}: the starting value {value!r} lies outside its range {bounds!r}")
