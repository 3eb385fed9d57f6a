"""A Gymnasium environment around any instrument: typed acts for the engine, arrays for everybody else."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from autoscope.chance import stream
from autoscope.clock import SimClock
from autoscope.delivery import NoSink, deliver
from autoscope.errors import AutoscopeError, OutcomeUnknown, Unsupported
from autoscope.protocols import Clock, Foretelling, FrameSink, Instrument, Remembering, Restorable, Truthful
from autoscope.records import Act, Action, Capabilities, Frame, MicroscopeState, Observation
from environments.task import Arrays, Task, TaskConfig

Build = Callable[[Clock, np.random.Generator], Instrument]


class InstrumentEnvironment(gymnasium.Env[Arrays, Any]):
    """Wraps an instrument that is built anew at each seeded reset.

    Parameters
    ----------
    build : callable
        ``build(clock, rng) -> Instrument``.
    task : TaskConfig
        What array actions mean, what is observed and rewarded.
    clock : Clock, optional
        Given: used for ever (the engine's way). Absent: a new `SimClock` at each reset, so that two resets
        with the same seed give the same episode.
    seed : int, optional
        Used by a reset without seed.

    Notes
    -----
    ``step`` takes an array of `action_space`, or an `Act` or action record. ``info["observation"]`` is the typed
    `Observation`; ``info["truth"]`` (simulated instruments, at reset) is the hidden truth, for benchmarks only.
    ``terminated`` and ``truncated`` come from the wrappers in `environments.wrappers`.
    """

    metadata = {"render_modes": []}

    def __init__(self, build: Build, task: TaskConfig, *, clock: Clock | None = None, seed: int | None = None) -> None:
        self._build, self._task_config, self._clock, self._seed = build, task, clock, seed
        self.action_space = Task.action_space()
        self.observation_space = Task.observation_space(task)  # type: ignore[assignment]  # Dict of Box is a space
        self._instrument: Instrument | None = None
        self._task: Task | None = None
        self._acts, self._closed = 0, True
        self._sink: FrameSink = NoSink()

    def watch(self, sink: FrameSink) -> None:
        """Tell this sink of large frames while they are acquired, from now on; see `Watchable`."""
        self._sink = sink

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Arrays, dict[str, Any]]:
        """Build the instrument and take an overview (``options={"bare": True}``: no act at all).

        Returns
        -------
        tuple
            The observation, and info with ``truth`` where the instrument is simulated.
        """
        super().reset(seed=seed)
        chosen = seed if seed is not None else self._seed
        if chosen is None:
            chosen = int(self.np_random.integers(2**31))
        if not self._closed:
            self.close()  # the one before
        self._instrument = self._build(self._clock or SimClock(), stream(chosen, "environment"))
        self._closed = False
        self._task, self._acts = Task(self._task_config, self._instrument.describe()), 0
        info: dict[str, Any] = {}
        if not (options or {}).get("bare", False):
            observation = self._execute(self._task.overview_action())
            self._task.take_overview(observation.frames[0])
            info["observation"] = observation
        if isinstance(self._instrument, Truthful):
            info["truth"] = copy.deepcopy(dict(self._instrument.truth()))
        return self._task.observation(), info

    def step(self, action: Any) -> tuple[Arrays, float, bool, bool, dict[str, Any]]:
        """Execute an act, an action record, or a position of the action space.

        Returns
        -------
        tuple
            Observation, reward (0 for typed acts), terminated, truncated, info with the typed ``observation``.
        """
        task = self._require(self._task)
        if isinstance(action, np.ndarray):
            observation = self._execute(task.decode(action))
            reward = task.reward(observation.frames[0])
            task.note(action, reward)
        else:
            observation = self._execute(action)
            reward = 0.0
        return task.observation(), reward, False, False, {"observation": observation}

    def _execute(self, action: Act | Action) -> Observation:
        self._acts += 1
        act = action if isinstance(action, Act) else Act(act_id=f"gym-{self._acts:06d}", action=action)
        return deliver(self._require(self._instrument), act, self._sink)

    def _require(self, part: Any) -> Any:
        if part is None:
            raise AutoscopeError("the environment has not been reset", where=type(self).__name__, remedy="Call reset()")
        return part

    def describe(self) -> Capabilities:
        """Return the instrument's capabilities."""
        capabilities: Capabilities = self._require(self._instrument).describe()
        return capabilities

    def read_state(self) -> MicroscopeState:
        """Read the instrument back."""
        state: MicroscopeState = self._require(self._instrument).state()
        return state

    @property
    def reproducible(self) -> bool:
        """Whether the instrument lives in this process and, made anew, does the same again; see `Reproducible`."""
        return bool(getattr(self._instrument, "reproducible", False))

    def snapshot(self) -> dict[str, Any] | None:
        """Return all that acts have changed of an instrument that can be restored, else None; see `Restorable`."""
        instrument = self._require(self._instrument)
        return instrument.snapshot() if isinstance(instrument, Restorable) else None

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Put the instrument where it stood when a snapshot was taken; see `Restorable`."""
        self._require(self._instrument).restore(snapshot)

    def recall(self, act_id: str) -> Observation | None:
        """Return what came of an act asked for earlier, or None if it was never begun; see `Remembering`.

        Raises
        ------
        OutcomeUnknown
            Nobody can say, as with every instrument that does not remember its acts.
        InstrumentError
            The act failed.
        """
        instrument = self._require(self._instrument)
        if isinstance(instrument, Remembering):
            return instrument.recall(act_id)
        raise OutcomeUnknown(
            "the instrument does not remember its acts, so whether this one was done cannot be told",
            where=act_id,
            remedy="Read the instrument back; the act is not sent again",
        )

    def expected(self, signal: str, xy_m: NDArray[np.float64], dwell_s: float) -> Frame:
        """Return what measurements come to on average; see `Foretelling`.

        Raises
        ------
        Unsupported
            The instrument cannot tell.
        """
        instrument = self._require(self._instrument)
        if not isinstance(instrument, Foretelling):
            raise Unsupported("cannot tell what is expected", where=type(instrument).__name__, value=signal)
        return instrument.expected(signal, xy_m, dwell_s)

    @property
    def expectation(self) -> str:
        """Return where expected values come from, as a phrase."""
        return str(getattr(self._instrument, "expectation", "mean counts"))

    def truth(self) -> dict[str, Any]:
        """Return the hidden truth of a simulated instrument (empty otherwise); for benchmarks only."""
        instrument = self._require(self._instrument)
        return dict(instrument.truth()) if isinstance(instrument, Truthful) else {}

    def make_safe(self) -> None:
        """Blank the beam and stop; does nothing before the first reset."""
        if self._instrument is not None:
            self._instrument.make_safe()

    def close(self) -> None:
        """Make safe and let go of the instrument; one that holds connections is closed."""
        if self._closed:
            return
        self.make_safe()
        self._closed = True
        close = getattr(self._instrument, "close", None)
        if callable(close):
            close()
