"""The instrument on a line of its own, and lines beside it that make it safe while the first one hangs.

All calls of an instrument are made on one thread, in order, except ``make_safe``: that goes over *safe lines*, each a
thread of its own that waits for nothing but its order and takes no lock of the driver.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from autoscope.config import ConfigModel
from autoscope.errors import AutoscopeError, PluginError, Unreachable
from autoscope.protocols import Clock, Instrument
from autoscope.records import Capabilities

START_S = 300.0
"""How long an instrument may take to be made: some compile or calibrate first."""
CLOSE_S = 2.0

Job = Callable[[Instrument], None]


@runtime_checkable
class SecondLine(Protocol):
    """A plug-in class whose instrument can be made safe over a connection of its own, from any process.

    Without it the watchdog makes the plug-in anew to call ``make_safe`` when the server has died.
    """

    def second_line(self, config: Any) -> Callable[[], None]:
        """Return a call that blanks the beam and stops scan and stage; made beforehand, so that it needs no set-up."""


class Line(Protocol):
    """Where an instrument's calls are made."""

    def start(self) -> Capabilities:
        """Make the instrument and return what it can do."""

    def submit(self, job: Job) -> None:
        """Have a job done with the instrument after those before it."""

    def make_safe(self, timeout_s: float | None = None) -> bool:
        """Have the instrument made safe, past all jobs; wait no longer than the timeout (None: not at all).

        Returns
        -------
        bool
            Whether one of the safe lines has said that it is done.
        """

    @property
    def busy(self) -> bool:
        """Whether a job is under way or waits."""

    def close(self) -> None:
        """Make safe and let go."""


class SafeLine:
    """One thread that makes safe whenever it is told to.

    Parameters
    ----------
    call : callable
        Blanks and stops. An exception counts as not done.
    """

    def __init__(self, call: Callable[[], None], name: str) -> None:
        self._call = call
        self._changed = threading.Condition()
        self._asked = self._done = 0
        self._over = False
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def order(self) -> int:
        """Order to make safe and return the number of the order."""
        with self._changed:
            self._asked += 1
            self._changed.notify_all()
            return self._asked

    def wait(self, number: int, timeout_s: float) -> bool:
        """Return whether an order has been carried out, at the latest after the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: self._done >= number, timeout_s)

    def close(self) -> None:
        """End the thread when its call returns."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._over or self._asked > self._done)
                if self._over and self._asked <= self._done:
                    return
                number = self._asked
            try:
                self._call()
            except Exception:
                with self._changed:
                    self._changed.wait(0.05)
                continue
            with self._changed:
                self._done = max(self._done, number)
                self._changed.notify_all()


class Driver:
    """An instrument on its own thread, with its safe lines.

    Parameters
    ----------
    make : callable
        Makes the instrument; called on the driver's thread, because some vendors' software belongs to the thread that
        made it.
    second_line : callable, optional
        Makes safe over another connection.
    """

    def __init__(self, make: Callable[[], Instrument], *, second_line: Callable[[], None] | None = None) -> None:
        self._make = make
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._ready = threading.Event()
        self._instrument: Instrument | None = None
        self._capabilities: Capabilities | None = None
        self._failure: Exception | None = None
        self._open = 0
        self._lock = threading.Lock()
        self._lines = [SafeLine(second_line, "second safe line")] if second_line else []
        self._thread = threading.Thread(target=self._run, name="driver", daemon=True)

    def start(self) -> Capabilities:
        """Make the instrument and return what it can do.

        Raises
        ------
        AutoscopeError
            Whatever the instrument says; `PluginError` where it breaks, `Unreachable` where it never ends.
        """
        self._thread.start()
        if not self._ready.wait(START_S):
            raise Unreachable("the instrument was not ready in time", where="driver", limit=f"{START_S:g} s")
        if isinstance(self._failure, AutoscopeError):
            raise self._failure
        if self._failure is not None or self._capabilities is None:
            raise PluginError(f"the instrument could not be made: {self._failure!r}", where="driver")
        return self._capabilities

    def submit(self, job: Job) -> None:
        """Have a job done with the instrument after those before it; jobs catch their own exceptions."""
        with self._lock:
            self._open += 1
        self._jobs.put(job)

    @property
    def busy(self) -> bool:
        """Whether a job is under way or waits."""
        return self._open > 0

    def make_safe(self, timeout_s: float | None = None) -> bool:
        """Have the instrument made safe over all safe lines at once, past all jobs."""
        orders = [(line, line.order()) for line in self._lines]
        if timeout_s is None:
            return False
        share_s = timeout_s / max(len(orders), 1)
        return any(line.wait(number, share_s) for line, number in orders)

    def close(self) -> None:
        """Make safe and end the threads; a driver that hangs is left behind."""
        self.make_safe(CLOSE_S)
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)
        for line in self._lines:
            line.close()

    def _run(self) -> None:
        try:
            self._instrument = instrument = self._make()
            self._capabilities = instrument.describe()
            self._lines.append(SafeLine(instrument.make_safe, "safe line"))
        except Exception as error:  # told to whoever started the driver
            self._failure = error
            return
        finally:
            self._ready.set()
        while (job := self._jobs.get()) is not None:
            try:
                job(instrument)
            finally:
                with self._lock:
                    self._open -= 1
        close = getattr(instrument, "close", None)
        if callable(close):
            close()


class InLine:
    """An instrument whose jobs are done at once on the calling thread: for simulated time and tests."""

    def __init__(self, make: Callable[[], Instrument]) -> None:
        self._make = make
        self.instrument: Instrument | None = None

    def start(self) -> Capabilities:
        """Make the instrument and return what it can do."""
        self.instrument = self._make()
        return self.instrument.describe()

    def submit(self, job: Job) -> None:
        """Do the job."""
        if self.instrument is not None:
            job(self.instrument)

    def make_safe(self, timeout_s: float | None = None) -> bool:
        """Make safe."""
        if self.instrument is not None:
            self.instrument.make_safe()
        return True

    @property
    def busy(self) -> bool:
        """Nothing ever waits."""
        return False

    def close(self) -> None:
        """Make safe."""
        self.make_safe()


def second_line_of(plugin: Any, options: ConfigModel) -> Callable[[], None] | None:
    """Return the second line a plug-in class offers, or None."""
    make = getattr(plugin, "second_line", None)
    if not callable(make):
        return None
    line: Callable[[], None] = make(options)
    return line


def make_instrument(plugin: Any, options: ConfigModel, clock: Clock, rng: Any) -> Instrument:
    """Return a plug-in's instrument."""
    instrument: Instrument = plugin(options, clock=clock, rng=rng)
    return instrument
