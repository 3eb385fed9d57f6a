"""The walk of an act through a driver, and the line beside it that makes safe."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import ClassVar

from autoscope.actions import Value
from autoscope.clock import SimClock
from autoscope.delivery import NoSink
from autoscope.errors import AutoscopeError, InstrumentError, NotReached
from autoscope.exposure import predict
from autoscope.protocols import Clock, FrameSink
from autoscope.records import (
    Act,
    Action,
    Blank,
    Capabilities,
    Frame,
    Measure,
    MicroscopeState,
    Observation,
    Scan,
    SpectrumImage,
    Wait,
)
from environments.instruments.driving.admission import admit, require_reached
from environments.instruments.driving.dose import DoseMeter
from environments.instruments.simulated.config import MemoryConfig
from environments.instruments.simulated.memory import ActMemory

POLL_S = 0.05
"""How often a wait looks whether the instrument was made safe."""


class Reading(Value):
    """What a driver reads back, in SI units: a `MicroscopeState` without time and dose."""

    x_m: float = 0.0
    y_m: float = 0.0
    z_m: float = 0.0
    alpha_rad: float = 0.0
    beta_rad: float = 0.0
    defocus_m: float = 0.0
    stigmator_a_m: float = 0.0
    stigmator_b_m: float = 0.0
    beam_current_a: float = 0.0
    convergence_rad: float = 0.0
    coma_a_m: float | None = None
    coma_b_m: float | None = None
    threefold_a_m: float | None = None
    threefold_b_m: float | None = None
    spherical_m: float | None = None
    energy_offset_ev: float | None = None
    voltage_v: float = 0.0
    blanked: bool = True


class DrivenInstrument(abc.ABC):
    """The `Instrument` protocol over somebody else's software; a driver supplies reading, doing and blanking.

    An act is admitted before anything is done, done at most once per ``act_id``, and read back; what differs from the
    request is `NotReached`, never a label. The beam is blanked between exposures, unless it was unblanked by `Blank`.

    `make_safe` takes no lock of the line of acts: it calls `_stop`, which a driver must serve on a line of its own. An
    act under way notices at its next poll and fails.

    Parameters
    ----------
    can : Capabilities
        What the instrument can do.
    clock : Clock
        Time; polls wait on it.
    max_frame_bytes : int
        Frames larger than this are refused.
    """

    status: ClassVar[str] = ""
    """One phrase for ``autoscope list instruments``: what this driver has been run on."""
    darkens: ClassVar[bool] = False
    """Whether acquisitions of this instrument leave a blanked beam blanked, so that dark frames can be had."""

    def __init__(self, can: Capabilities, clock: Clock, *, max_frame_bytes: int) -> None:
        self._can = can.replace(dark=True) if self.darkens else can
        self._clock, self._max_frame_bytes = clock, max_frame_bytes
        self._memory = ActMemory(MemoryConfig())
        self._meter = DoseMeter(clock)
        self._acting = threading.Lock()
        self._sink: FrameSink = NoSink()
        """Of the act under way; drivers that can, tell it of frames while they are acquired."""
        self._stops = 0
        self._begun_at_stop = 0

    # --- the protocol ----------------------------------------------------------------------------

    def describe(self) -> Capabilities:
        """Return what this instrument can do; constant during its life."""
        return self._can

    def state(self) -> MicroscopeState:
        """Read the instrument back."""
        reading = self._read()
        dose_e = self._meter.read(blanked=reading.blanked, current_a=reading.beam_current_a)
        return MicroscopeState(time_s=self._clock.now_s(), dose_e=dose_e, **reading.model_dump())

    def execute(self, act: Act) -> Observation:
        """Do one act and return the state really reached and the frames; the same ``act_id`` is done only once.

        Raises
        ------
        OutOfRange
            A value is outside its range or none of its choices; nothing was done.
        Unsupported
            No such action, detector or signal; nothing was done.
        NotReached
            Read-back differs from the request by more than the tolerance.
        InstrumentError
            The instrument refused or failed, or was made safe meanwhile.
        OutcomeUnknown
            The line broke while the instrument was told to act: read it back.
        """
        return self.execute_into(act, NoSink())

    def execute_into(self, act: Act, sink: FrameSink) -> Observation:
        """Do what `execute` does and tell a sink of frames while they are acquired; see `Delivering`."""
        with self._acting:
            known = self._memory.recall(act.act_id)
            self._sink = sink
            try:
                return known if known is not None else self._first(act)
            finally:
                self._sink = NoSink()

    def _first(self, act: Act) -> Observation:
        self._begun_at_stop = self._stops
        admit(act.action, self._can, self._max_frame_bytes)
        self._admit(act.action)
        before = self.state()
        try:
            frames = self._do(act.action, before)
            after = self.state()
            require_reached(act.action, after, self._can)
        except AutoscopeError as failure:
            self._memory.keep(act.act_id, failure)
            raise
        except Exception as error:  # a vendor's library may raise anything; the act was begun and is not done again
            told = InstrumentError(f"the driver failed: {error!r}", where=act.action.kind)
            self._memory.keep(act.act_id, told)
            raise told from error
        observation = Observation(act.act_id, before, after, frames)
        self._memory.keep(act.act_id, observation)
        return observation

    def make_safe(self) -> None:
        """Blank the beam, stop scan and stage. Never raises, waits for no act."""
        self._stops += 1
        with contextlib.suppress(Exception):
            self._stop()

    # --- what a driver supplies --------------------------------------------------------------------

    def _admit(self, action: Action) -> None:  # noqa: B027  most drivers have nothing to add
        """Refuse what ranges and choices cannot express, and prepare an exposure, with the beam still blanked."""

    @abc.abstractmethod
    def _read(self) -> Reading:
        """Read the instrument back."""

    @abc.abstractmethod
    def _perform(self, action: Action, before: MicroscopeState) -> tuple[Frame, ...]:
        """Do an admitted action other than `Blank` and `Wait`, wait until it is done, and return its frames."""

    @abc.abstractmethod
    def _set_blanked(self, blanked: bool) -> None:
        """Blank or unblank the beam."""

    @abc.abstractmethod
    def _stop(self) -> None:
        """Blank, stop scan and stage, on a line that no act under way can block."""

    # --- doing ------------------------------------------------------------------------------------

    def _do(self, action: Action, before: MicroscopeState) -> tuple[Frame, ...]:
        match action:
            case Blank():
                self._blank(action.blanked)
                return ()
            case Wait():
                self._wait(action.duration_s)
                return ()
            case Scan() | SpectrumImage() | Measure():
                return self._exposed(action, before)
            case _:
                return self._perform(action, before)

    def _exposed(self, action: Scan | SpectrumImage | Measure, before: MicroscopeState) -> tuple[Frame, ...]:
        if not isinstance(action, SpectrumImage) and action.dark_frames:
            return self._dark(action.replace(dark_frames=0), action.dark_frames, before)
        with self._open_beam(before):
            frames = self._perform(action, before)
        self._meter.at_least(before.dose_e + predict(action, before, self._can).dose_e)
        return frames

    def _dark(self, one: Scan | Measure, count: int, before: MicroscopeState) -> tuple[Frame, ...]:
        """Record with the beam blanked, and leave the blanker as it was.

        Raises
        ------
        NotReached
            The blanker did not follow.
        """
        self._blank(True)
        try:
            require_reached(Blank(blanked=True), self.state(), self._can)
            frames = [frame for _ in range(count) for frame in self._perform(one, before)]
        finally:
            if not before.blanked and self._stops == self._begun_at_stop:
                self._blank(False)
        unexposed = {"beam_current_a": 0.0, "dose_e_per_m2": 0.0}
        return tuple(dataclasses.replace(f, meta=f.meta.replace(**unexposed)) for f in frames)

    @contextlib.contextmanager
    def _open_beam(self, before: MicroscopeState) -> Iterator[None]:
        """Unblank for an exposure and blank again, unless the beam was left open on purpose."""
        if not before.blanked:
            yield
            return
        try:
            self._blank(False)
            yield
        finally:
            self._blank(True)

    def _blank(self, blanked: bool) -> None:
        self._set_blanked(blanked)
        if not blanked and self._stops != self._begun_at_stop:
            self._set_blanked(True)  # made safe between the check and the unblanking
        self._check_stop()
        self.state()  # the dose meter sees the change

    def _check_stop(self) -> None:
        """Raise if the instrument was made safe since this act began.

        Raises
        ------
        InstrumentError
            It was.
        """
        if self._stops != self._begun_at_stop:
            raise InstrumentError("the instrument was made safe while it acted", remedy="Look why, then ask anew")

    def _wait(self, duration_s: float) -> None:
        """Wait; on real time, until the instrument is made safe at the latest.

        Raises
        ------
        InstrumentError
            It was made safe meanwhile.
        """
        if isinstance(self._clock, SimClock):
            self._clock.wait(duration_s)  # in one jump: a sum of jumps is another time in its last bit
            return
        end_s = self._clock.now_s() + duration_s
        while (left_s := end_s - self._clock.now_s()) > 0.0:
            self._clock.wait(min(left_s, POLL_S))
            self._check_stop()

    def _wait_until(self, done: Callable[[], bool], what: str, limit_s: float, poll_s: float = POLL_S) -> None:
        """Poll until something is so, on the instrument's clock.

        Raises
        ------
        NotReached
            It was not so within ``limit_s``.
        InstrumentError
            The instrument was made safe meanwhile.
        """
        end_s = self._clock.now_s() + limit_s
        while not done():
            self._check_stop()
            if self._clock.now_s() >= end_s:
                remedy = "Look at the instrument; raise the limit if it is only slow"
                raise NotReached(f"{what} did not finish in time", limit=f"{limit_s:g} s", remedy=remedy)
            self._clock.wait(poll_s)
        self._check_stop()
