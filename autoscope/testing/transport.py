"""Networks that misbehave on purpose: between a client and a server in one process, on simulated time."""

from __future__ import annotations

import enum
import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from autoscope.bus.arrays import Buffer
from autoscope.bus.receiving import VERBS, take_message
from autoscope.bus.roles import Peer, Role
from autoscope.bus.service import Service
from autoscope.bus.transport import Line, Transport
from autoscope.bus.wire import Parts
from autoscope.clock import SimClock
from autoscope.protocols import Clock

DELAY_S = 3.0


class Crash(BaseException):
    """A process dies here; raised by a test's instrument or ledger, caught by nobody but the network."""


class Fate(enum.StrEnum):
    """What becomes of one message."""

    DELIVER = "deliver"
    DROP = "drop"
    DUPLICATE = "duplicate"
    DELAY = "delay"
    """It comes some seconds later, after those sent meanwhile."""
    DUPLICATE_LATE = "duplicate_late"
    """It comes now, and once more some seconds later."""


class MemoryTransport:
    """A client and a server in one process, without sockets: a message sent is answered before `send` returns.

    Parameters
    ----------
    service : Service, optional
        None while the server is down: messages are lost.
    clock : Clock
        On which `receive` waits.
    user, role : str, Role
        Whom the server sees.
    """

    def __init__(
        self, service: Service | None, *, clock: Clock, user: str = "agent", role: Role = Role.OPERATOR
    ) -> None:
        self.service, self._clock, self._user, self._role = service, clock, user, role
        self._inbox: dict[Line, deque[Parts]] = defaultdict(deque)

    def send(self, line: Line, parts: Sequence[Buffer]) -> None:
        """Have the server take a message; one that kills it leaves it down."""
        service = self.service
        if service is None:
            return
        copied = [bytes(part) for part in parts]
        inbox, peer = self._inbox[line], Peer(self._user, self._role)
        verbs = VERBS["control" if line == "renew" else line]
        try:
            take_message(service, copied, peer, lambda reply: inbox.append(list(reply)), "memory", verbs)
            service.tick()
        except Crash:
            self.service = None

    def receive(self, line: Line, timeout_s: float) -> Parts | None:
        """Return the next answer, or None when the timeout has passed on the clock."""
        if self._inbox[line]:
            return self._inbox[line].popleft()
        self._clock.wait(max(timeout_s, 0.0))
        if self.service is not None:
            self.service.tick()
        return self._inbox[line].popleft() if self._inbox[line] else None

    def close(self) -> None:
        """Forget what was not received."""
        self._inbox.clear()


class FaultyTransport:
    """Loses, doubles, delays and reorders messages in both directions, by a plan.

    Parameters
    ----------
    inner : Transport
        What carries a message that is delivered.
    clock : SimClock
        Delays pass on it.
    plan : callable
        ``plan() -> Fate`` of the next message.
    delay_s : float
        How late a late message is.

    Examples
    --------
    >>> clock = SimClock()
    >>> network = FaultyTransport(MemoryTransport(None, clock=clock), clock, lambda: Fate.DROP)
    >>> network.send("ask", [b"lost"])
    >>> network.receive("ask", 5.0), clock.now_s()
    (None, 5.0)
    """

    def __init__(
        self, inner: Transport, clock: SimClock, plan: Callable[[], Fate], *, delay_s: float = DELAY_S
    ) -> None:
        self._inner, self._clock, self._plan, self._delay_s = inner, clock, plan, delay_s
        self._out: list[tuple[float, int, Line, list[bytes]]] = []
        self._in: dict[Line, list[tuple[float, int, Parts]]] = defaultdict(list)
        self._number = 0
        self.sent: list[tuple[Line, list[bytes]]] = []
        """Every message sent, as somebody who listens would record it."""
        self.met: dict[Fate, int] = defaultdict(int)
        """How often each fate was met."""

    def send(self, line: Line, parts: Sequence[Buffer]) -> None:
        """Send a message to its fate."""
        message = [bytes(part) for part in parts]
        self.sent.append((line, message))
        for delay_s in self._delays():
            self._push_out(line, message, delay_s)
        self._deliver()

    def replay(self, number: int) -> None:
        """Send a recorded message once more, as somebody who recorded it might."""
        line, message = self.sent[number]
        self._inner.send(line, message)

    def receive(self, line: Line, timeout_s: float) -> Parts | None:
        """Return the next answer that arrives within the timeout."""
        until_s = self._clock.now_s() + timeout_s
        while True:
            self._deliver()
            self._collect(line)
            waiting = self._in[line]
            if waiting and waiting[0][0] <= self._clock.now_s():
                return heapq.heappop(waiting)[2]
            if self._clock.now_s() >= until_s:
                return None
            next_s = min([until_s, *(sent[0] for sent in self._out[:1]), *(answer[0] for answer in waiting[:1])])
            self._clock.wait(max(next_s - self._clock.now_s(), 1e-6))

    def close(self) -> None:
        """Close what is inside."""
        self._inner.close()

    def _delays(self) -> tuple[float, ...]:
        fate = self._plan()
        self.met[fate] += 1
        return {
            Fate.DELIVER: (0.0,),
            Fate.DROP: (),
            Fate.DUPLICATE: (0.0, 0.0),
            Fate.DELAY: (self._delay_s,),
            Fate.DUPLICATE_LATE: (0.0, self._delay_s),
        }[fate]

    def _push_out(self, line: Line, message: list[bytes], delay_s: float) -> None:
        self._number += 1
        heapq.heappush(self._out, (self._clock.now_s() + delay_s, self._number, line, message))

    def _deliver(self) -> None:
        while self._out and self._out[0][0] <= self._clock.now_s():
            _, _, line, message = heapq.heappop(self._out)
            self._inner.send(line, message)

    def _collect(self, line: Line) -> None:
        while (got := self._inner.receive(line, 0.0)) is not None:
            for delay_s in self._delays():
                self._number += 1
                heapq.heappush(self._in[line], (self._clock.now_s() + delay_s, self._number, got))


def chance(seed: int, odds: Mapping[Fate, float]) -> Callable[[], Fate]:
    """Return a plan that draws fates with these probabilities; what is left is delivered."""
    rng = np.random.default_rng(seed)
    fates = [*odds, Fate.DELIVER]
    weights = [*odds.values(), 1.0 - sum(odds.values())]
    return lambda: fates[int(rng.choice(len(fates), p=weights))]
