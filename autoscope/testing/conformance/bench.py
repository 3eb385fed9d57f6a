"""The bench an instrument stands on while it is checked: numbered acts, small steps, a limit on dose."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from autoscope.actions import CORRECTOR_FIELDS, OPTICS_FIELDS
from autoscope.delivery import deliver
from autoscope.errors import AutoscopeError, DoseExceeded
from autoscope.exposure import predict
from autoscope.protocols import FrameSink, Instrument
from autoscope.records import (
    Act,
    Action,
    Blank,
    Capabilities,
    Measure,
    MicroscopeState,
    MoveStage,
    Observation,
    Range,
    Scan,
    SetOptics,
    SpectrumImage,
    Value,
)
from autoscope.testing.conformance.report import Check, Status

STAGE_FIELDS = ("x_m", "y_m", "z_m", "alpha_rad", "beta_rad")
EXPOSING = ("scan", "measure", "spectrum_image")


class Steps(Value):
    """How far the checks may go: steps of the stage and of lenses, fields, exposures."""

    stage_m: PositiveFloat = 200e-9
    tilt_rad: PositiveFloat = 2e-3
    defocus_m: PositiveFloat = 1e-6
    stigmator_m: PositiveFloat = 20e-9
    energy_ev: PositiveFloat = 1.0
    fov_m: PositiveFloat | None = None
    """Width of the images; None: 2 um, 1 um, 500 nm, 4 um or 250 nm, whichever shows most to recognise."""
    image_px: PositiveInt = 128
    dwell_s: PositiveFloat = 10e-6
    """Per pixel of an image; brought into the instrument's range."""
    point_dwell_s: PositiveFloat = 0.02
    """Of a spectrum; brought into the instrument's range."""
    dose_e: NonNegativeFloat | None = None
    """Electrons that all checks together may put on the sample; None: as many as they need."""


GENTLE = Steps(stage_m=200e-9, tilt_rad=1e-4, defocus_m=50e-9, stigmator_m=2e-9, dose_e=1e10)
"""For a real instrument with a sample one cares about."""


@dataclass
class Bench:
    """An instrument under test.

    Parameters
    ----------
    instrument : Instrument
        What is checked.
    steps : Steps
        How far the checks may go.
    gentle : bool
        Whether nothing may be asked that would harm if the driver were wrong.
    session : str
        Makes the identifiers of acts unique; a new one by default, since a bus remembers those of former checks.
    """

    instrument: Instrument
    steps: Steps
    gentle: bool = False
    session: str = ""

    def __post_init__(self) -> None:
        self.session = self.session or uuid.uuid4().hex[:12]
        self._acts = 0
        self.can: Capabilities = self.instrument.describe()
        self.start: MicroscopeState = self.instrument.state()

    def act(self, action: Action) -> Act:
        """Return an act with an identifier of its own."""
        self._acts += 1
        return Act(act_id=f"check-{self.session}-{self._acts:04d}", action=action)

    def do(self, action: Action, sink: FrameSink | None = None) -> Observation:
        """Execute an action as a new act; a sink is told of its frames.

        Raises
        ------
        DoseExceeded
            It would put more electrons on the sample than the checks may.
        """
        return self.execute(self.act(action), sink)

    def execute(self, act: Act, sink: FrameSink | None = None) -> Observation:
        """Execute an act, within the dose the checks may spend."""
        state = self.instrument.state()
        allowed, spent = self.steps.dose_e, state.dose_e - self.start.dose_e
        asked = predict(act.action, state, self.can).dose_e if act.action.kind in EXPOSING else 0.0
        if allowed is not None and spent + asked > allowed:
            raise DoseExceeded(
                "the electrons that the checks may spend are spent",
                value=spent + asked,
                limit=f"{allowed:g} e",
                remedy="Permit more with --max-dose",
            )
        return self.instrument.execute(act) if sink is None else deliver(self.instrument, act, sink)

    def can_do(self, kind: str) -> bool:
        """Return whether the instrument says it has such an action."""
        return kind in self.can.actions

    def tolerance(self, field: str, step: float) -> float:
        """Return how far a read-back may be off: what the instrument declares, or a hundredth of the step."""
        return self.can.tolerances.get(field, 0.01 * abs(step))

    def step(self, field: str) -> float:
        """Return a step of a field that a read-back can tell from none."""
        own = {
            "alpha_rad": self.steps.tilt_rad,
            "beta_rad": self.steps.tilt_rad,
            "defocus_m": self.steps.defocus_m,
            "stigmator_a_m": self.steps.stigmator_m,
            "stigmator_b_m": self.steps.stigmator_m,
            **dict.fromkeys(CORRECTOR_FIELDS, 10.0 * self.steps.stigmator_m),
            "energy_offset_ev": self.steps.energy_ev,
            "beam_current_a": 0.2 * self.start.beam_current_a,
            "convergence_rad": 0.1 * self.start.convergence_rad,
        }.get(field, self.steps.stage_m)
        return own if self.gentle else max(own, 4.0 * self.can.tolerances.get(field, 0.0))

    def elsewhere(self, field: str, value: float) -> float | None:
        """Return another value for a field: a step away, or the next of its choices; None if there is none."""
        if choices := self.can.choices.get(field):
            others = [choice for choice in choices if abs(choice - value) > 1e-6 * abs(value)]
            return min(others, key=lambda choice: abs(choice - value), default=None)
        step, interval = self.step(field), self.can.ranges[field]
        return next((v for v in (value + step, value - step) if v in interval), None)

    def inside(self, field: str, value: float) -> float:
        """Return the value brought into the range or to a choice of a field (only values that the kit chooses)."""
        if choices := self.can.choices.get(field):
            return min(choices, key=lambda choice: abs(choice - value))
        interval = self.can.ranges.get(field, Range(low=value, high=value))
        return min(max(value, interval.low), interval.high)

    def small(self, width: int, height: int) -> Scan:
        """Return an image of so many pixels; the smallest square one where only some sizes are possible."""
        if self.can.native_scan:
            return self.scan()
        if choices := self.can.choices.get("width_px"):
            width = height = int(min(choices))
        return self.scan(width_px=width, height_px=height)

    def scan(self, **changes: object) -> Scan:
        """Return a small image that the instrument can take, with some fields changed."""
        if self.can.native_scan:
            return self.can.native_scan.replace(**changes)
        side = int(self.inside("width_px", float(self.steps.image_px)))
        plain = Scan(
            fov_m=self.inside("fov_m", self.steps.fov_m or 1e-6),
            width_px=side,
            height_px=side,
            dwell_s=self.inside("dwell_s", self.steps.dwell_s),
            detectors=self.can.detectors[:1],
        )
        return plain.replace(**{field: self._chosen(field, value) for field, value in changes.items()})

    def _chosen(self, field: str, value: Any) -> Any:
        """Return the nearest choice to a size or field, and everything else as it is."""
        if field not in ("width_px", "height_px", "fov_m") or not self.can.choices.get(field):
            return value
        return type(value)(self.inside(field, value))

    def measure(self, **changes: object) -> Measure:
        """Return a spectrum at the optical axis that the instrument can take, with some fields changed."""
        dwell_s = self.can.ranges["dwell_s"].high if self.can.native_scan else self.steps.point_dwell_s
        signals = tuple(signal.name for signal in self.can.signals[:1])
        return Measure(x_m=0.0, y_m=0.0, dwell_s=self.inside("dwell_s", dwell_s), signals=signals).replace(**changes)

    def spectrum_image(self) -> SpectrumImage:
        """Return a spectrum image of a few pixels, taller than wide where any size is possible."""
        scan = self.small(3, 4)
        fields = scan.model_dump(exclude={"kind", "dwell_s"})
        signals = tuple(signal.name for signal in self.can.signals[:1])
        dwell_s = self.can.ranges["dwell_s"].high if self.can.native_scan else self.inside("dwell_s", 0.01)
        return SpectrumImage(dwell_s=dwell_s, signals=signals, **fields)

    def setting(self, field: str, value: float) -> Action:
        """Return the action that sets one field of stage or optics."""
        kind = MoveStage if field in STAGE_FIELDS else SetOptics
        return kind.model_validate({field: value})

    def restore(self) -> None:
        """Bring stage and optics back to where they were, the beam blanked."""
        fields = ((STAGE_FIELDS, "move_stage"), (OPTICS_FIELDS, "set_optics"))
        for names, kind in fields:
            if self.can_do(kind):
                now = self.instrument.state()
                moved = [n for n in names if n in self.can.ranges and getattr(now, n) != getattr(self.start, n)]
                for name in moved:
                    self.do(self.setting(name, getattr(self.start, name)))
        if self.can_do("blank"):
            self.do(Blank(blanked=True))


Checking = Callable[[Bench], Iterator[Check]]


def line(group: str, promise: str, status: Status | bool, detail: str = "", remedy: str = "") -> Check:
    """Return a check; True is passed, False is failed."""
    if isinstance(status, bool):
        status = "passed" if status else "failed"
    return Check(group=group, promise=promise, status=status, detail=detail, remedy=remedy)


def told(error: BaseException) -> str:
    """Return an error as one phrase."""
    text = error.what if isinstance(error, AutoscopeError) else str(error)
    return f"{type(error).__name__}: {text}"[:300]
