"""The watchdog: a small process beside the server. Either's silence makes safe.

::

    server  --- beat: alive, n ---->  watchdog      silent for too long: the watchdog makes safe, over a line of its own
            <-- beat: n ------------                silent for too long: the server makes safe, and starts another

The two talk over a local pipe that proves a secret made for this pair. What the watchdog makes safe with is the
plug-in's ``second_line``; where the plug-in has none, the plug-in made anew, once the server is silent.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

from autoscope.clock import SystemClock
from autoscope.errors import AutoscopeError
from autoscope.protocols import Clock

BEATS = 5.0
"""Beats within the time that counts as silence."""
START_S = 30.0
"""How long a watchdog may take to answer for the first time."""
BYE = b"bye"
_GONE = (EOFError, OSError, ConnectionError)


class Watch:
    """The server's end: starts the watchdog, beats, listens, and makes safe when it is silent.

    Parameters
    ----------
    make_safe : callable
        Called on this object's thread when the watchdog is silent.
    alive : callable
        Whether the server is well: its loops turn. Where not, no beat is sent.
    told : callable
        Told in a sentence what happened.
    silence_s : float
        What counts as silence.
    instrument : dict
        Name and plain options of the plug-in.
    simulated : bool
        Whether the instrument dies with the server: then there is nothing left to make safe.
    """

    def __init__(
        self,
        make_safe: Callable[[], None],
        alive: Callable[[], bool],
        told: Callable[[str], None],
        *,
        silence_s: float,
        instrument: dict[str, Any],
        simulated: bool,
    ) -> None:
        self._make_safe, self._alive, self._told = make_safe, alive, told
        self._silence_s, self._instrument, self._simulated = silence_s, instrument, simulated
        self._over = threading.Event()
        self._ready = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self.state = "silent"
        """``alive`` or ``silent``."""
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> bool:
        """Start the watchdog and return whether it answers."""
        self._thread.start()
        return self._ready.wait(START_S)

    @property
    def pid(self) -> int | None:
        """Process number of the watchdog."""
        return self._process.pid if self._process else None

    def close(self) -> None:
        """Tell the watchdog that all is well, and end it."""
        self._over.set()
        self._thread.join(START_S)

    def _run(self) -> None:
        while not self._over.is_set():
            with suppress(*_GONE):
                self._one_life()
            self.state = "silent"
            if not self._over.is_set():
                self._make_safe()
                self._told("the watchdog is silent: made safe, starting another")
                self._over.wait(self._silence_s)
        self._end()

    def _one_life(self) -> None:
        with Listener(authkey=(secret := _secret())) as listener:
            self._end()
            self._process = self._spawn(listener.address, secret)
            with listener.accept() as link:
                self._beat(link)

    def _spawn(self, address: Any, secret: bytes) -> subprocess.Popen[bytes]:
        task = {"address": address, "secret": secret.hex(), "silence_s": self._silence_s}
        task |= {"instrument": self._instrument, "simulated": self._simulated}
        command = [sys.executable, "-m", "autoscope.bus.watchdog"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        if process.stdin is not None:
            process.stdin.write(json.dumps(task).encode())
            process.stdin.close()
        return process

    def _beat(self, link: Connection) -> None:
        clock, every_s = SystemClock(), self._silence_s / BEATS
        heard_s = clock.now_s()
        allowed_s = START_S  # until it has beaten once: it may have a plug-in to import
        while not self._over.is_set():
            if self._alive():
                link.send_bytes(b"beat")
            if link.poll(every_s):
                link.recv_bytes(64)
                heard_s, allowed_s, self.state = clock.now_s(), self._silence_s, "alive"
                self._ready.set()
                self._over.wait(every_s)
            elif clock.now_s() - heard_s > allowed_s:
                return
        link.send_bytes(BYE)

    def _end(self) -> None:
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0 if self._over.is_set() else 0.0)
            self._process.kill()
            self._process.wait()


def _secret() -> bytes:
    import secrets

    return secrets.token_bytes(32)


# --- the watchdog's own process -----------------------------------------------------------------------


def main() -> int:
    """Watch one server until it says goodbye or is silent."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server; it says goodbye
    task = json.loads(sys.stdin.buffer.read(1_000_000))
    line = _Safety(task["instrument"], simulated=task["simulated"])
    try:
        with Client(task["address"], authkey=bytes.fromhex(task["secret"])) as link:
            well = _listen(link, task["silence_s"], SystemClock(), line)
    except _GONE:
        well = False
    if not well:
        line.make_safe()
    return 0


def _listen(link: Connection, silence_s: float, clock: Clock, line: _Safety) -> bool:
    heard_s, silent = clock.now_s(), False
    while True:
        link.send_bytes(b"beat")
        if link.poll(silence_s / BEATS):
            if link.recv_bytes(64) == BYE:
                return True
            heard_s, silent = clock.now_s(), False
        elif clock.now_s() - heard_s > silence_s and not silent:
            silent = True
            line.make_safe()
        elif silent:
            line.make_safe()  # as long as it is silent: what is frozen may thaw and go on


class _Safety:
    """Makes safe by the plug-in's second line, or by the plug-in made anew."""

    def __init__(self, instrument: dict[str, Any], *, simulated: bool) -> None:
        from autoscope.bus.driver import second_line_of
        from autoscope.registry import load

        self._anew = not simulated
        self._line: Callable[[], None] | None = None
        if self._anew:
            self._plugin = load("instruments", instrument["name"])
            self._options = self._plugin.Config.model_validate(instrument["options"])
            self._line = second_line_of(self._plugin, self._options)

    def make_safe(self) -> None:
        """Blank and stop, if it can be done from here."""
        if self._line is None and self._anew:
            self._line = self._made_anew()
        if self._line is not None:
            with suppress(Exception):  # tried again at the next beat
                self._line()

    def _made_anew(self) -> Callable[[], None] | None:
        import numpy as np

        with suppress(AutoscopeError, Exception):
            instrument = self._plugin(self._options, clock=SystemClock(), rng=np.random.default_rng(0))
            make_safe: Callable[[], None] = instrument.make_safe
            return make_safe
        return None


if __name__ == "__main__":
    sys.exit(main())
