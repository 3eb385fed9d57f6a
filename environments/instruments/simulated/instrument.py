"""The simulated microscope behind the instrument protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from autoscope.chance import chance_to_plain, restore_chance, stream
from autoscope.delivery import NoSink
from autoscope.errors import AutoscopeError, InstrumentError
from autoscope.protocols import Clock, FrameSink
from autoscope.records import (
    Act,
    Action,
    Axis,
    Blank,
    Capabilities,
    Frame,
    FrameMeta,
    LoadSample,
    Measure,
    MicroscopeState,
    MoveStage,
    Observation,
    Scan,
    SetOptics,
    SetStimulus,
    SetValves,
    SpectrumImage,
    Wait,
)
from environments.instruments.simulated.acquisition import Exposing, acquire, expected, image_axes, unexposed
from environments.instruments.simulated.capabilities import admit
from environments.instruments.simulated.column import Column
from environments.instruments.simulated.config import MicroscopeConfig
from environments.instruments.simulated.faults import hung
from environments.instruments.simulated.labels import centre_m, label
from environments.instruments.simulated.memory import LogRecord
from environments.instruments.simulated.pace import Pace
from environments.sample import SpecimenConfig, build_specimen
from environments.sample.specimen import Specimen

Array = NDArray[np.float64]

PATH_POINTS = 64
"""An unblanked move exposes this many points along its way."""


def _one_catalyst() -> tuple[SpecimenConfig, ...]:
    return (TypeAdapter(SpecimenConfig).validate_python({"kind": "catalyst"}),)


class SimulatedInstrument(Column):
    """A simulated STEM that keeps the `Instrument` protocol, with honest optics, mechanics, noise, time and dose.

    The beam is blanked between exposures. After ``Blank(blanked=False)`` it stays on: all time that passes on the
    clock then exposes the place where the probe is parked (where it last was; the optical axis after a move).
    Loading a sample blanks the beam.

    Parameters
    ----------
    config : SimulatedInstrument.Config
        The carousel and the microscope.
    clock : Clock
        Every act waits on it for as long as the act takes.
    rng : numpy.random.Generator
        One number is drawn, from which all chance of this instrument follows.
    """

    reproducible: ClassVar[bool] = True
    """Made anew it does the same acts at the same times with the same frames."""

    class Config(MicroscopeConfig):
        """The microscope, and what is in its carousel."""

        specimens: tuple[SpecimenConfig, ...] = Field(default_factory=_one_catalyst, min_length=1)
        """One specimen for each slot, slot 0 loaded."""

    def __init__(self, config: Config, *, clock: Clock, rng: np.random.Generator) -> None:
        seed = int(rng.integers(2**63))
        specimens = [
            build_specimen(c, rng=stream(seed, f"specimen/{slot}"), voltage_v=config.gun.voltage_v)
            for slot, c in enumerate(config.specimens)
        ]
        self._assemble(config, specimens, clock, seed)

    @classmethod
    def holding(
        cls,
        specimens: Sequence[Specimen],
        config: MicroscopeConfig | None = None,
        *,
        clock: Clock,
        rng: np.random.Generator,
    ) -> Self:
        """Return a microscope whose carousel holds ready specimens.

        Raises
        ------
        ConfigError
            No specimen, or their signals differ in energy axis.
        """
        instrument = cls.__new__(cls)
        instrument._assemble(config or MicroscopeConfig(), specimens, clock, int(rng.integers(2**63)))
        return instrument

    # --- the protocol ----------------------------------------------------------------------------

    def describe(self) -> Capabilities:
        """Return what this microscope can do; constant during its life."""
        return self._can

    def state(self) -> MicroscopeState:
        """Read the microscope back: encoder positions, set optics, electrons so far."""
        now_s = self._clock.now_s()
        self._expose_parked(now_s)
        return MicroscopeState(
            time_s=now_s,
            sample_slot=self._carousel.slot,
            **self._stage.read(),
            **self._optics.model_dump(exclude={"kind", "beam_current_a"}),
            beam_current_a=self._current_a * self._faults.beam_share(now_s - self._born_s),
            vacuum_pa=self._faults.pressure_pa(now_s - self._born_s),
            voltage_v=self._config.gun.voltage_v,
            temperature_k=self._heater.temperature_k(now_s) if self._heater else None,
            blanked=self._beam.blanked,
            valves_open=self._valves_open,
            dose_e=self._beam.dose_e,
        )

    def execute(self, act: Act) -> Observation:
        """Do one act and return the state really reached and the frames; the same ``act_id`` is done only once.

        Raises
        ------
        OutOfRange
            A value is outside its range; nothing was done.
        NotReached
            The stage stopped further from the request than the tolerance; it has moved.
        Unsupported
            No such action, detector, signal or stimulus; nothing was done.
        InstrumentError
            A sample jammed, the valves are closed, or the act was done so long ago that its answer is no longer kept.
        """
        return self.execute_into(act, NoSink())

    def execute_into(self, act: Act, sink: FrameSink) -> Observation:
        """Do what `execute` does and tell a sink of spectrum images row by row; see `Delivering`."""
        known = self.recall(act.act_id)
        if known is not None:
            return known
        admit(act.action, self._can, self._carousel.specimen, self._config.scan.max_frame_bytes)
        self._answer_in_time(act.act_id)
        before = self.state()
        on_s = self._beam.on_s
        try:
            frames = self._perform(act.action, before, sink)
        except AutoscopeError as failure:
            self._memory.keep(act.act_id, failure)
            raise
        finally:
            after = self.state()
            self._note(act.act_id, act.action.kind, before.time_s, on_s)
        observation = Observation(act.act_id, before, after, frames)
        self._memory.keep(act.act_id, observation)
        return observation

    def _answer_in_time(self, act_id: str) -> None:
        now_s = self._clock.now_s()
        until_s = self._faults.hangs_until_s(now_s - self._born_s)
        if until_s is not None:
            self._wait_until(self._born_s + until_s)
            failure = hung(act_id, self._clock.now_s() - now_s)
            self._memory.keep(act_id, failure)
            raise failure

    def recall(self, act_id: str) -> Observation | None:
        """Return the observation of an act that was done, or None if it was never begun.

        Raises
        ------
        NotReached
            The act failed so.
        InstrumentError
            It failed so, or was done so long ago that its answer is no longer kept.
        """
        return self._memory.recall(act_id)

    def make_safe(self) -> None:
        """Blank the beam. Never raises."""
        now_s, on_s = self._clock.now_s(), self._beam.on_s
        self._expose_parked(now_s)
        self._beam.blanked = True
        self._note("", "make_safe", now_s, on_s)

    # --- to be resumed --------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Return all that acts have changed as plain data; answers and log are left out."""
        return {
            "carousel": self._carousel.snapshot(),
            "stage": self._stage.snapshot(),
            "drift": self._drift.snapshot(),
            "beam": self._beam.snapshot(),
            "heater": self._heater.snapshot() if self._heater else None,
            "optics": self._optics.model_dump(exclude={"kind"}),
            "parked_m": list(self._parked_m),
            "valves_open": self._valves_open,
            "noise": chance_to_plain(self._noise),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take up the snapshot of a microscope of this configuration and seed, with the clock where it was taken."""
        self._carousel.restore(snapshot["carousel"])
        self._stage.restore(snapshot["stage"])
        self._drift.restore(snapshot["drift"])
        self._beam.restore(snapshot["beam"])
        if self._heater:
            self._heater.restore(snapshot["heater"])
        self._optics = SetOptics(**snapshot["optics"])
        self._probe = self._form_probe()
        self._parked_m = (snapshot["parked_m"][0], snapshot["parked_m"][1])
        self._valves_open = snapshot["valves_open"]
        restore_chance(self._noise, snapshot["noise"])

    # --- what only a simulation can tell ------------------------------------------------------------

    def truth(self) -> Mapping[str, Any]:
        """Return the hidden truth about now; for benchmarks, never for policies.

        ``drift_m`` and ``view_m`` are (x, y): the specimen point under the optical axis is ``view_m``, the true
        stage position plus drift. ``loss_shift_ev`` is where the zero-loss peak lies. ``true_defocus_m`` is the
        effective defocus of that point, zero when in focus.
        """
        view = self._view_now()
        stage = self._stage.true_m
        height_m = float(self._carousel.specimen.height_m(view[:1], view[1:])[0])
        defocus_m = self._flat_defocus_m() + height_m
        return {
            "specimen": self._carousel.specimen.truth(),
            "drift_m": (float(view[0] - stage[0]), float(view[1] - stage[1])),
            "view_m": (float(view[0]), float(view[1])),
            "true_stage_m": stage,
            "faults": tuple((fault.at_s, fault.kind) for fault in self._faults.planned),
            "true_defocus_m": defocus_m,
            "true_stigmator_m": (self._probe.stigmator_a_m, self._probe.stigmator_b_m),
            "third_order_rms_m": math.sqrt(self._probe.third_m2[0] + self._probe.third_m2[2]),
            "loss_shift_ev": (self._optics.energy_offset_ev or 0.0)
            + self._spectrometer.drift_ev(self._clock.now_s() - self._born_s),
            "probe_rms_m": self._probe.rms_m(defocus_m),
            "fluence_e_per_m2": self._carousel.exposed.fluence_e_per_m2(),
        }

    def expected(self, signal: str, xy_m: Array, dwell_s: float) -> Frame:
        """Return mean counts of measurements of the undamaged specimen where it lies now; see `Foretelling`."""
        (wanted,) = self._signals((signal,))
        data = expected(
            np.asarray(xy_m, np.float64), dwell_s, self._scene(self._clock.now_s(), 0.0, self._current_a), signal
        )
        axes = (Axis(name="point", unit="", size=len(data)), wanted.axis)
        x_m, y_m = (float(v) for v in self._view_now())
        meta = FrameMeta(signal=signal, axes=axes, time_s=self._clock.now_s(), dwell_s=dwell_s, x_m=x_m, y_m=y_m)
        return Frame(meta, data)

    @property
    def log(self) -> tuple[LogRecord, ...]:
        """What the instrument physically did, oldest first; acts sent again do not appear again."""
        return self._log.records()

    # --- doing ------------------------------------------------------------------------------------

    def _perform(self, action: Action, before: MicroscopeState, sink: FrameSink) -> tuple[Frame, ...]:
        match action:
            case MoveStage():
                self._move(action, before.time_s)
            case SetOptics():
                self._set_optics(action)
            case Scan() | Measure() | SpectrumImage():
                if not isinstance(action, SpectrumImage) and action.dark_frames:
                    return self._unexposed(action, before)
                self._require_open_valves(action)
                return self._expose(action, before, sink)
            case LoadSample():
                self._load(action.slot, before.time_s)
            case SetStimulus():
                if self._heater and action.temperature_k is not None:
                    self._heater.heat_to(action.temperature_k, before.time_s)
            case Blank():
                if not action.blanked:
                    self._require_open_valves(action)
                self._beam.blanked = action.blanked
            case SetValves():
                self._set_valves(action.valves_open)
            case Wait():
                self._clock.wait(action.duration_s)
        return ()

    def _move(self, move: MoveStage, start_s: float) -> None:
        travel_s = self._stage.travel_s(move)
        start_m = self._view(np.array([start_s - self._born_s]))[0]
        moved_m = self._stage.move(move)
        self._drift.moved(start_s + travel_s - self._born_s, moved_m)
        self._parked_m = (0.0, 0.0)
        if not self._beam.blanked:
            path = start_m + np.linspace(0.0, 1.0, PATH_POINTS)[:, None] * moved_m
            dose_e = self._beam.expose(travel_s, self._current_a)
            self._carousel.exposed.expose(path[:, 0], path[:, 1], dose_e / PATH_POINTS)
        self._beam.skip_time(start_s + travel_s)
        self._wait_until(start_s + travel_s + self._config.stage.settle_s)
        self._stage.verify(move)

    def _set_optics(self, wanted: SetOptics) -> None:
        self._clock.wait(self._config.lens.settle_s)
        self._expose_parked(self._clock.now_s())  # at the old current: the new one holds when it has settled
        self._optics = self._optics.replace(**wanted.model_dump(exclude_none=True))
        self._probe = self._form_probe()

    def _load(self, slot: int, start_s: float) -> None:
        if slot == self._carousel.slot:
            return
        self._beam.blanked = True
        end_s = start_s + self._config.carousel.load_s
        self._beam.skip_time(end_s)
        self._wait_until(end_s)
        self._carousel.load(slot)
        self._parked_m = (0.0, 0.0)
        self._drift.loaded(end_s - self._born_s)

    def _set_valves(self, open_: bool) -> None:
        self._beam.blanked = self._beam.blanked or not open_
        if self._config.valves and open_ != self._valves_open:
            self._clock.wait(self._config.valves.travel_s)
            self._valves_open = open_

    def _require_open_valves(self, action: Action) -> None:
        if self._valves_open is False:
            remedy = "Open the valves first"
            raise InstrumentError("the valves are closed: no beam reaches the sample", where=action.kind, remedy=remedy)

    def _unexposed(self, action: Scan | Measure, before: MicroscopeState) -> tuple[Frame, ...]:
        """Record with the beam blanked, and leave the blanker as it was."""
        one = action.replace(dark_frames=0)
        shut = before.replace(beam_current_a=0.0)
        frames: list[Frame] = []
        left_blanked, self._beam.blanked = self._beam.blanked, True
        try:
            for _ in range(action.dark_frames):
                now_s = self._clock.now_s()
                if self._faults.blanker_sticks(now_s - self._born_s):
                    seen = self._expose(one, before.replace(time_s=now_s), NoSink())
                    frames += [replace(f, meta=f.meta.replace(beam_current_a=0.0)) for f in seen]
                else:
                    frames += self._dark_records(one, now_s, shut)
        finally:
            self._beam.skip_time(self._clock.now_s())
            self._beam.blanked = left_blanked
        return tuple(frames)

    def _dark_records(self, one: Scan | Measure, now_s: float, shut: MicroscopeState) -> list[Frame]:
        coils = self._config.scan
        begin_s = now_s + (coils.point_overhead_s if isinstance(one, Measure) else coils.frame_overhead_s)
        detectors = () if isinstance(one, Measure) else self._detectors(one.detectors)
        signals = () if isinstance(one, Scan) else self._signals(one.signals)
        axes = None if isinstance(one, Measure) else image_axes((one.height_px, one.width_px), one.fov_m / one.width_px)
        records = unexposed(one, begin_s - self._born_s, self._dark, detectors, signals, axes, self._noise)
        self._wait_until(begin_s + sum(self._spans(one)))
        return [label(record, one, shut, begin_s, 0.0, self._probe.rms_m(0.0)) for record in records]

    def _expose(self, action: Exposing, before: MicroscopeState, sink: FrameSink) -> tuple[Frame, ...]:
        coils = self._config.scan
        overhead_s = coils.point_overhead_s if isinstance(action, Measure) else coils.frame_overhead_s
        begin_s = before.time_s + overhead_s
        self._expose_parked(begin_s)
        self._parked_m = centre_m(action)
        beam_s, flyback_s = self._spans(action)
        stray_e = 0.0 if self._beam.blanked else self._beam.expose(flyback_s, self._current_a)
        detectors = self._detectors(action.detectors)
        detectors = self._faults.detectors(detectors, begin_s - self._born_s)
        signals = () if isinstance(action, Scan) else self._signals(action.signals)
        current_a = self._current_a * self._faults.beam_share(*(begin_s - self._born_s + t for t in (0.0, beam_s)))
        rows = 1 if isinstance(action, Measure) else action.height_px
        pace = Pace(sink, self._clock, begin_s, (beam_s + flyback_s) / rows)
        # the specimen's map is charged with the whole exposure beforehand, so one that is cut short costs all of it too
        dose_e = self._beam.expose(beam_s, current_a)
        self._beam.skip_time(begin_s + beam_s + flyback_s)
        records = acquire(action, self._scene(begin_s, stray_e, current_a), detectors, signals, self._noise, pace)
        self._wait_until(begin_s + beam_s + flyback_s)
        pace.end()
        probe_m = self._probe.rms_m(0.0)
        return tuple(label(record, action, before, begin_s, dose_e, probe_m) for record in records)
