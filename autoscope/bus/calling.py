"""Questions and their answers over a line that may lose, double, delay and reorder; and the renewal of a lease."""

from __future__ import annotations

import secrets
import threading
from typing import NamedTuple

from autoscope.bus.messages import Ask, Leased, Renew, Reply, Trouble
from autoscope.bus.transport import Line, Transport
from autoscope.bus.wire import Parts, decode_reply, encode_request
from autoscope.errors import Refused
from autoscope.protocols import Clock

RENEWALS = 3.0
"""Renewals in the life of a lease: two may be lost."""


class Asking(NamedTuple):
    """A request as it is sent, perhaps more than once: its identifier and its parts."""

    id: str
    parts: Parts


class Caller:
    """Asks over one line and takes an answer only for the question it belongs to.

    Parameters
    ----------
    transport : Transport
        The network.
    line : str
        Which line of it.
    timer : Clock
        Monotonic time.
    """

    def __init__(self, transport: Transport, line: Line, timer: Clock) -> None:
        self._transport, self._line, self._timer = transport, line, timer
        self._prefix, self._number = secrets.token_hex(6), 0
        self.late = 0
        """Answers that came when nobody waited for them any more; dropped."""

    def request(self, ask: Ask, clock_s: float | None = None) -> Asking:
        """Return a request with an identifier of its own."""
        self._number += 1
        identifier = f"{self._prefix}-{self._number}"
        return Asking(identifier, encode_request(identifier, clock_s, ask))

    def send(self, request: Asking) -> None:
        """Send a request, perhaps not for the first time."""
        self._transport.send(self._line, request.parts)

    def wait(self, identifier: str, timeout_s: float) -> tuple[Reply, Parts] | None:
        """Return the answer to a request, or None after the timeout; answers to others are counted and dropped."""
        until_s, left_s = self._timer.now_s() + timeout_s, timeout_s
        while (got := self._transport.receive(self._line, left_s)) is not None:
            if (found := self._taken(got, identifier)) is not None:
                return found
            left_s = max(until_s - self._timer.now_s(), 0.0)
        return None

    def _taken(self, got: Parts, identifier: str) -> tuple[Reply, Parts] | None:
        try:
            reply, parts = decode_reply(got)
        except Refused:
            return None  # not of this protocol: as good as lost
        if reply.id == identifier:
            return reply, parts
        self.late += 1
        return None

    def call(self, ask: Ask, timeout_s: float, clock_s: float | None = None) -> tuple[Reply, Parts] | None:
        """Ask once and return the answer, or None after the timeout."""
        request = self.request(ask, clock_s)
        self.send(request)
        return self.wait(request.id, timeout_s)


class Keeper:
    """Renews a lease while this process lives.

    Parameters
    ----------
    caller : Caller
        On a line of its own.
    timer : Clock
        Monotonic time.
    threaded : bool
        Whether a thread renews; otherwise `renew_if_due` does, on simulated time.
    """

    def __init__(self, caller: Caller, timer: Clock, *, threaded: bool) -> None:
        self._caller, self._timer, self._threaded = caller, timer, threaded
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._every_s, self._due_s = 1.0, 0.0
        self.lease = ""
        """The one we hold; empty where we hold none."""

    def start(self, lease: str, lease_s: float) -> None:
        """Keep a lease from now on."""
        self.lease, self._every_s = lease, lease_s / RENEWALS
        self._due_s = self._timer.now_s() + self._every_s
        if self._threaded and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
            self._thread.start()

    def lose(self) -> None:
        """Forget the lease: it does not live any more."""
        self.lease = ""

    def stop(self) -> str:
        """End the renewal and return the lease, to be given back."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(2.0 * self._every_s)
        lease, self.lease = self.lease, ""
        return lease

    def renew_if_due(self) -> None:
        """Renew on the caller's thread, where there is no thread for it."""
        if not self._threaded and self.lease and self._timer.now_s() >= self._due_s:
            self._renew()

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            if self.lease:
                self._renew()

    def _renew(self) -> None:
        lease = self.lease
        self._due_s = self._timer.now_s() + self._every_s
        got = self._caller.call(Renew(lease=lease), self._every_s)
        if got is None or isinstance(got[0].answer, Leased):
            return
        if isinstance(got[0].answer, Trouble) and got[0].answer.code == "lease" and self.lease == lease:
            self.lose()
