"""Small protocols, one per seam. Anything that keeps them can be plugged in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from autoscope.model_maps import ModelMaps
from autoscope.records import (
    Act,
    Capabilities,
    Decision,
    Finish,
    Frame,
    MicroscopeState,
    Observation,
    Result,
    Scalar,
    Stage,
    View,
)
from autoscope.wishes import Wishes

JsonValue = None | bool | int | float | str | list[Any] | dict[str, Any]


@runtime_checkable
class Clock(Protocol):
    """Time comes in from outside."""

    def now_s(self) -> float:
        """Return monotonic time in seconds since the clock was made; never jumps back."""

    def wall(self) -> str:
        """Return the wall-clock time as ISO 8601 UTC, for people; never used for arithmetic."""

    def wait(self, duration_s: float) -> None:
        """Return when ``duration_s`` more seconds have passed on this clock."""


@runtime_checkable
class Instrument(Protocol):
    """One protocol for the simulated microscope, stored data, the bus client and every vendor driver.

    A plug-in class has a nested ``Config`` model and is made as ``cls(config, clock=clock, rng=rng)``.
    """

    def describe(self) -> Capabilities:
        """Return what this instrument can do; constant during its life."""

    def state(self) -> MicroscopeState:
        """Read the instrument back."""

    def execute(self, act: Act) -> Observation:
        """Do one act and return the state really reached and the frames.

        Executing the same ``act_id`` again returns the first observation.

        Raises
        ------
        OutOfRange
            A value is outside the range; nothing was done.
        NotReached
            Read-back differs from the request by more than the tolerance.
        Unsupported
            The instrument has no such action, detector or signal.
        """

    def make_safe(self) -> None:
        """Blank the beam, stop the scan and the stage. Never raises, always allowed."""


class FrameSink(Protocol):
    """Is told of large frames while they are acquired; all calls of one act come one after the other."""

    def begin(self, signal: str, data: np.ndarray[Any, np.dtype[Any]]) -> None:
        """Learn that a frame ``[y, x, ...]`` has begun: ``data``, in C order, is filled point after point of its scan.

        The observation of the act will hold the same values.
        """

    def advance(self, signal: str, points: int) -> None:
        """Learn that the first ``points`` points of the scan will not change any more.

        Raises
        ------
        AutoscopeError
            The rest is not wanted: the acquisition is to be stopped, and the act fails with this error.
        """


@runtime_checkable
class Delivering(Protocol):
    """An instrument that can hand frames over while it acquires them."""

    def execute_into(self, act: Act, sink: FrameSink) -> Observation:
        """Do what `Instrument.execute` does, with the same observation and errors, and tell a sink meanwhile.

        Which frames are told of is the instrument's affair; of an act that was done before, nothing is told.
        """


@runtime_checkable
class Watchable(Protocol):
    """An environment that can tell how far an acquisition is."""

    def watch(self, sink: FrameSink) -> None:
        """Tell this sink of the frames of all later acts while they are acquired."""


@runtime_checkable
class Truthful(Protocol):
    """A simulated instrument that can tell a benchmark what is really there."""

    def truth(self) -> Mapping[str, Any]:
        """Return the hidden truth; for benchmarks, never for policies."""


@runtime_checkable
class Foretelling(Protocol):
    """A simulated or stored instrument, or an environment around one, that knows what measurements come to on average.

    For benchmarks, which judge by it; never for policies.
    """

    def expected(self, signal: str, xy_m: NDArray[np.float64], dwell_s: float) -> Frame:
        """Return what measuring at offsets from the axis gives without noise, drift or damage; does and spends nothing.

        Parameters
        ----------
        signal : str
            Spectrum signal.
        xy_m : array (n, 2)
            x and y of each point, metres.
        dwell_s : float
            Of each measurement.

        Returns
        -------
        Frame
            Axes (point, channel), or (point, row, column) of a pattern; data of stored maps are the most averaged
            there are.
        """


@runtime_checkable
class Estimating(Protocol):
    """A policy that has a belief about the target at every candidate."""

    def estimate(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of the noise-free target, each (candidates,), row by row.

        Raises
        ------
        ModelError
            There is no belief yet.
        """


@runtime_checkable
class Remembering(Protocol):
    """An instrument, or an environment around one, that can tell what came of an act asked for earlier."""

    def recall(self, act_id: str) -> Observation | None:
        """Return the observation of an act that was done, or None if it was never begun; does nothing itself.

        Raises
        ------
        OutcomeUnknown
            It was begun, or may have been, and nobody can say whether it was done; read the instrument back.
        InstrumentError
            That with which it failed.
        """


@runtime_checkable
class Reproducible(Protocol):
    """A simulated instrument that lives and dies with the agent's process.

    Where ``reproducible`` is true, one made anew from the same configuration and seed answers the same acts at the
    same times with the same frames, so that a run that was cut off can be walked again; nothing physical is repeated.
    """

    @property
    def reproducible(self) -> bool:
        """Whether it does the same again."""


@runtime_checkable
class Restorable(Protocol):
    """A `Reproducible` instrument, or an environment around one, that can be put where it stood without its acts."""

    def snapshot(self) -> dict[str, JsonValue] | None:
        """Return all that acts have changed as plain data; None where it cannot be restored."""

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take up a snapshot of one made from the same configuration and seed, the clock standing where it was taken.

        Of earlier acts it does not remember the answers.
        """


@runtime_checkable
class Policy(Protocol):
    """A decision rule: a fold over what it was told, with all chance from a given generator.

    A plug-in class has a nested ``Config`` model and is made as ``cls(config, rng=rng)``.
    """

    def ask(self, view: View) -> Decision | Finish:
        """Return what to do next. May advance the generator; changes nothing else that ``tell`` depends on."""

    def tell(self, decision: Decision, result: Result) -> None:
        """Learn what came of a decision."""

    def state(self) -> dict[str, JsonValue]:
        """Return the learnt state as plain data (JSON), a shortcut for telling everything again."""

    def restore(self, state: Mapping[str, JsonValue]) -> None:
        """Take up a state returned by `state`."""


@runtime_checkable
class Checkpointed(Protocol):
    """A policy that may be told to take up its own `state` at any point of a run.

    Where ``checkpointed`` is true, ``restore(state())`` loses nothing, also after a way through JSON: whoever took
    the state up decides, to the bit, as everybody else who took it up and was told the same since.
    """

    @property
    def checkpointed(self) -> bool:
        """Whether that holds."""


@runtime_checkable
class Anticipating(Protocol):
    """A policy that uses the time an act takes, for example to fit its model again."""

    def prepare(self, view: View) -> None:
        """Work ahead of the next ``ask`` while the act in ``view.pending`` runs; its outcome is told afterwards.

        Must change nothing that decisions depend on except how soon they come. The view's state and budget are those
        expected when the act is done.
        """


@runtime_checkable
class Steerable(Protocol):
    """A policy that follows what people want of its decisions (``view.wishes``).

    Wishes come with each question and are kept nowhere else, so a decision still follows from the question and from
    what was told. What is excluded the engine refuses whatever a policy decides.
    """

    follows: frozenset[str]
    """Which fields of `Wishes` it follows."""

    def check_wishes(self, wishes: Wishes) -> None:
        """Return where it can follow them from now on; changes nothing.

        Raises
        ------
        AutoscopeError
            A setting is none of this policy's, and which there are.
        """


@runtime_checkable
class Planner(Protocol):
    """A policy that can tell beforehand what it will do; others are predicted by their first act alone."""

    def plan(self, view: View) -> tuple[Stage, ...]:
        """Return the stages of the run with predicted acts, time and dose; decides and learns nothing."""


@runtime_checkable
class Pictorial(Protocol):
    """A policy whose model can be looked at while it runs."""

    def maps(self) -> ModelMaps | None:
        """Return what the model thought of every candidate when it was last asked; None where it has not been.

        Must cost next to nothing and change nothing: it is called between decisions, while somebody watches.
        """


@runtime_checkable
class Scalarizer(Protocol):
    """Spectrum, pattern or image -> number with its standard uncertainty.

    A plug-in class has a nested ``Config`` model and is made as ``cls(config)``.
    """

    @property
    def identity(self) -> str:
        """Name, version and digest of parameters: ``band_integral/1/ab12cd34``."""

    def fits(self, frame: Frame) -> bool:
        """Return whether this scalarizer applies to that frame's signal."""

    def scalarize(self, frame: Frame, name: str) -> Scalar:
        """Return the value of one spectrum (shape (channel,)) or image (y, x) under the given name.

        Raises
        ------
        FrameRejected
            The frame cannot be scalarized, e.g. its axis does not cover the band.
        """


@runtime_checkable
class Environment(Protocol):
    """What the engine needs of a Gymnasium environment: typed acts in, typed observations out.

    A plug-in class is a ``gymnasium.Env`` with a nested ``Config`` model, made as
    ``cls(config, clock=clock, seed=seed)``. ``info["observation"]`` carries the `Observation`.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start afresh. ``options={"bare": True}`` takes no overview: the policy decides all."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Execute an `Act` (or an array of the action space)."""

    def describe(self) -> Capabilities:
        """Return the instrument's capabilities."""

    def read_state(self) -> MicroscopeState:
        """Read the instrument back."""

    def make_safe(self) -> None:
        """Blank and stop."""

    def close(self) -> None:
        """Release the instrument."""
