"""Frozen values: what is asked, what happened, and why. SI units; the unit stands in the name.

Frames of reference
-------------------
*Stage frame*: ``x_m``, ``y_m`` of the stage, the specimen point under the optical axis of a drift-free,
ideal stage. A point ``(x_m, y_m)`` of a scan or measurement is an *offset from the optical axis* in the
same orientation: with the stage at ``(X, Y)`` it looks at the specimen point ``(X + x, Y + y)``.

*Arrays* are ``[y, x]`` (spectrum images ``[y, x, channel]``, 4D-STEM ``[y, x, row, column]``); row 0 has the smallest
y. The centre of pixel ``(i, j)`` of a scan without rotation lies at
``centre_x_m + ((j + 0.5) / width_px - 0.5) * fov_m`` and
``centre_y_m + ((i + 0.5) / height_px - 0.5) * fov_m * height_px / width_px`` (square pixels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from autoscope.actions import Action as Action
from autoscope.actions import Blank as Blank
from autoscope.actions import LoadSample as LoadSample
from autoscope.actions import Measure as Measure
from autoscope.actions import MoveStage as MoveStage
from autoscope.actions import Scan as Scan
from autoscope.actions import SetOptics as SetOptics
from autoscope.actions import SetStimulus as SetStimulus
from autoscope.actions import SetValves as SetValves
from autoscope.actions import SpectrumImage as SpectrumImage
from autoscope.actions import Value as Value
from autoscope.actions import Wait as Wait
from autoscope.actions import dark_frames as dark_frames
from autoscope.frames import Axis as Axis
from autoscope.frames import Frame as Frame
from autoscope.frames import FrameMeta as FrameMeta
from autoscope.frames import FrameRef as FrameRef
from autoscope.interventions import Intervention as Intervention
from autoscope.wishes import NO_WISHES, Wishes


class Act(Value):
    """An action on its way to an instrument: executing the same ``act_id`` twice returns the first result."""

    act_id: str
    """Unique over all runs of an installation: the run's own id and the number of the step."""
    action: Action
    deadline_s: PositiveFloat = 3600.0
    lease: str = ""


# --- the instrument --------------------------------------------------------------------------------


class MicroscopeState(Value):
    """What the instrument reads back about itself."""

    time_s: float
    sample_slot: int = 0
    x_m: float = 0.0
    y_m: float = 0.0
    z_m: float = 0.0
    alpha_rad: float = 0.0
    beta_rad: float = 0.0
    defocus_m: float = 0.0
    stigmator_a_m: float = 0.0
    stigmator_b_m: float = 0.0
    beam_current_a: NonNegativeFloat = 0.0
    convergence_rad: NonNegativeFloat = 0.0
    coma_a_m: float | None = Field(default=None, exclude_if=lambda value: value is None)
    """As set with a corrector, like all that follow: see `SetOptics`; None where there is none."""
    coma_b_m: float | None = Field(default=None, exclude_if=lambda value: value is None)
    threefold_a_m: float | None = Field(default=None, exclude_if=lambda value: value is None)
    threefold_b_m: float | None = Field(default=None, exclude_if=lambda value: value is None)
    spherical_m: float | None = Field(default=None, exclude_if=lambda value: value is None)
    voltage_v: NonNegativeFloat = 0.0
    temperature_k: float | None = None
    bias_v: float | None = None
    energy_offset_ev: float | None = Field(default=None, exclude_if=lambda value: value is None)
    """What the energy-loss spectrometer is set to add; None where software does not set it."""
    vacuum_pa: PositiveFloat | None = Field(default=None, exclude_if=lambda value: value is None)
    """Pressure at the sample, where there is a gauge."""
    blanked: bool = True
    valves_open: bool | None = Field(default=None, exclude_if=lambda value: value is None)
    """Whether the valves between gun and sample are open; None where software cannot tell."""
    dose_e: NonNegativeFloat = 0.0
    """Electrons that have reached the sample since the instrument was started."""


TIME = "time"
"""Name of the axis of what image detectors read at a point."""


class Range(Value):
    """A closed interval."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


class SpectrumSignal(Value):
    """What is recorded at each point: a spectrum ("EELS", "EDS"), or the pattern of a pixelated detector ("4D")."""

    name: str
    axis: Axis
    """Energies of a spectrum, or the columns of a pattern."""
    rows: Axis | None = Field(default=None, exclude_if=lambda value: value is None)
    """The rows of a pattern; None for a spectrum."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what is recorded at one point: (channel,), or (row, column)."""
        return (self.axis.size,) if self.rows is None else (self.rows.size, self.axis.size)

    @property
    def size(self) -> int:
        """Values recorded at one point."""
        return self.axis.size * (self.rows.size if self.rows else 1)


class Timing(Value):
    """What acts cost in time besides dwell; used to predict plans and to value travel."""

    stage_speed_m_per_s: PositiveFloat = 1e-4
    stage_settle_s: NonNegativeFloat = 0.0
    optics_settle_s: NonNegativeFloat = 0.0
    line_flyback_s: NonNegativeFloat = 0.0
    frame_overhead_s: NonNegativeFloat = 0.0
    point_overhead_s: NonNegativeFloat = 0.0
    sample_load_s: NonNegativeFloat = 0.0


class Capabilities(Value):
    """What an instrument can do: detectors, signals, ranges in SI units, tolerances and timing.

    ``ranges`` and ``tolerances`` are keyed by action field name (``"x_m"``, ``"dwell_s"``, ``"fov_m"``, ...).
    """

    instrument: str
    serial: str
    simulated: bool
    voltage_v: PositiveFloat
    actions: tuple[str, ...]
    detectors: tuple[str, ...]
    signals: tuple[SpectrumSignal, ...] = ()
    ranges: dict[str, Range] = {}
    tolerances: dict[str, float] = {}
    timing: Timing = Timing()
    slots: PositiveInt = 1
    point_readings: int = Field(default=0, ge=0, exclude_if=lambda number: number == 0)
    """How often an image detector is read, evenly over the dwell, while a spectrum is recorded at a point: the length
    of the frame, whose only axis is `TIME`. 0: image detectors record images only."""
    native_scan: Scan | None = None
    """The only image an instrument of stored data has; None where any scan in range is possible."""
    choices: dict[str, tuple[float, ...]] = Field(default={}, exclude_if=lambda value: not value)
    """Fields that take only these values: sizes of frames, rungs of a ladder. Keyed like ``ranges``."""
    dark: bool = Field(default=False, exclude_if=lambda value: not value)
    """Whether it can read its detectors out with the beam kept from the sample: see ``dark_frames`` of `Measure`."""

    def signal(self, name: str) -> SpectrumSignal | None:
        """Return the spectrum signal of that name, or None."""
        for signal in self.signals:  # a loop: this is asked several times at every act
            if signal.name == name:
                return signal
        return None


@dataclass(frozen=True)
class Observation:
    """What an instrument answers to an act: the state really reached, and the frames."""

    act_id: str
    state_before: MicroscopeState
    state: MicroscopeState
    frames: tuple[Frame, ...] = ()

    @property
    def dose_e(self) -> float:
        """Electrons this act put on the sample."""
        return self.state.dose_e - self.state_before.dose_e


# --- decisions and outcomes ------------------------------------------------------------------------


class Candidate(Value):
    """A runner-up: what else was considered, and how it was valued."""

    action: Action
    mean: float | None = None
    std: float | None = None
    value: float | None = None


class FitSummary(Value):
    """How the model behind a decision was fitted."""

    model: str
    n: int
    iterations: int = 0
    log_evidence: float | None = None
    hyperparameters: dict[str, float] = {}
    rung: str = "ok"


class Calibration(Value):
    """How honest a series of predictions was, each made before its measurement.

    A calibrated Gaussian forecaster has mean z 0, standard deviation of z 1, and covers 90 % of values with 90 %
    intervals.
    """

    n: int
    mean_z: float
    std_z: float
    coverage_90: float
    log_score: float
    """Mean log predictive density; higher is better."""
    sharpness: float | None = None
    """Mean predictive standard deviation, in the unit of the target; smaller is better among the calibrated."""
    scale: float = 1.0
    """Factor by which predicted standard deviations were multiplied to make them honest."""


class Decision(Value):
    """What to do next, and everything needed to say why."""

    action: Action
    purpose: str
    """One word for people and reports: overview, focus, align, spectrum, travel, ..."""
    reason: str
    """One sentence: why this and not something else."""
    target: str = ""
    """What the action is about, e.g. ``tile 12`` or ``particle 340``."""
    predicted_mean: float | None = None
    predicted_std: float | None = None
    acquisition: str = ""
    acquisition_value: float | None = None
    acquisition_parameters: dict[str, float] = {}
    runners_up: tuple[Candidate, ...] = ()
    candidates: int = 0
    candidates_sha256: str = ""
    fit: FitSummary | None = None
    calibration: Calibration | None = Field(default=None, exclude_if=lambda value: value is None)
    """How honest the model's earlier predictions were, where there were any; left out of the journal where not."""
    data_sha256: str = ""
    random_state_sha256: str = ""
    decided_by: str = "policy"
    order: str = Field(default="", exclude_if=lambda value: not value)
    """The order of a person that it carries out."""
    consult_s: PositiveFloat | None = Field(default=None, exclude_if=lambda value: value is None)
    """It is a suggestion: people are given so long to choose, and the policy is asked again."""
    pair: tuple[str, str] | None = Field(default=None, exclude_if=lambda value: value is None)
    """Ids of the acts of two measurements that people are asked to compare."""


class Finish(Value):
    """A policy's word that nothing worth doing is left."""

    reason: str


class Scalar(Value):
    """A target value with its standard uncertainty, and who computed it."""

    name: str
    value: float
    std: NonNegativeFloat
    unit: str
    scalarizer: str
    """Identity of the scalarizer: name, version and digest of its parameters."""


class Fault(Value):
    """An error as it is written down."""

    error: str
    """Class name in the tree of `autoscope.errors`."""
    message: str


class Outcome(Value):
    """What came of a decision."""

    act_id: str
    status: Literal["done", "refused", "rejected", "failed"]
    state_before: MicroscopeState
    state: MicroscopeState
    begun_s: float | None = Field(default=None, exclude_if=lambda value: value is None)
    """When the act was sent to the instrument, on the clock of the run; absent where it never was, or nobody knows."""
    ended_s: float | None = Field(default=None, exclude_if=lambda value: value is None)
    """When the instrument had answered."""
    dose_e: NonNegativeFloat = 0.0
    frames: tuple[FrameRef, ...] = ()
    dark: dict[str, tuple[str, ...]] = Field(default={}, exclude_if=lambda value: not value)
    """Ids of the acts whose dark reference was subtracted before anybody learnt from the frames, by signal: one of the
    same dwell, or two that enclose it. The frames themselves are kept as they were recorded."""
    values: tuple[Scalar, ...] = ()
    quality: dict[str, float] = {}
    fault: Fault | None = None

    @property
    def overruled(self) -> bool:
        """Whether a person did not want it done, which is no fault and tells nothing of the place."""
        return self.fault is not None and self.fault.error == OVERRULED


OVERRULED = "Overruled"
"""Class name of the error of an act that a person did not want done."""


@dataclass(frozen=True)
class Result:
    """An outcome as a policy is told it: the record and the arrays it refers to, in the same order."""

    outcome: Outcome
    frames: tuple[Frame, ...] = ()

    def frame(self, signal: str) -> Frame | None:
        """Return the first frame of a signal, or None."""
        return next((f for f in self.frames if f.meta.signal == signal), None)

    def value(self, name: str) -> Scalar | None:
        """Return the scalar of that name, or None."""
        return next((v for v in self.outcome.values if v.name == name), None)


class AreaLeft(Value):
    """What the place under the optical axis may still receive, where the run has a dose for every area."""

    limit_e_per_m2: PositiveFloat
    """What any place may receive over the whole run, averaged over a cell."""
    cell_m: PositiveFloat
    """Side of a cell."""
    here_e_per_m2: NonNegativeFloat
    """What the cell under the optical axis may still receive."""


class Budget(Value):
    """What is left to spend; None means unlimited."""

    time_s: float | None = None
    """Until the time budget is spent or the run has to be over, whichever comes first."""
    dose_e: float | None = None
    steps: int | None = None
    bytes: int | None = Field(default=None, exclude_if=lambda value: value is None)
    """Volume of frames."""
    area: AreaLeft | None = Field(default=None, exclude_if=lambda value: value is None)


class View(Value):
    """All a policy sees of the world when it is asked."""

    step: int
    time_s: float
    budget: Budget
    state: MicroscopeState
    capabilities: Capabilities
    """What the instrument can do; its ranges are narrowed by the limits of the run."""
    pending: tuple[Action, ...] = ()
    suspensions: int = Field(default=0, exclude_if=lambda value: value == 0)
    """How often the run was held because the instrument read back as unfit; the sample may have moved meanwhile."""
    wishes: Wishes = NO_WISHES
    """What people want of the decision."""
    silence_s: NonNegativeFloat | None = Field(default=None, exclude_if=lambda value: value is None)
    """How long people were waited for in vain after the last suggestion; 0: nobody attends the run."""


class Stage(Value):
    """A part of a plan, predicted before any beam."""

    name: str
    acts: int
    time_s: float
    dose_e: float
    bytes: int = 0
    note: str = ""
    whole: float = 1.0
    """How many times the stage would take to do all that it is for; 1 where what is planned is all."""
    examples: tuple[Action, ...] = ()
    """Acts like those of the stage, for the guard to try before any beam."""
