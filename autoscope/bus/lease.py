"""The lease: one controller at a time, for a few seconds at a time. A lapse is seen once by whoever looks."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, replace

from autoscope.errors import Refused
from autoscope.protocols import Clock


@dataclass(frozen=True)
class Hold:
    """Who holds the lease, and until when on the server's monotonic clock."""

    user: str
    session: str
    lease: str
    until_s: float
    asked: str = ""
    """The request it was granted to: one that comes twice, because its answer was slow, is granted the same."""


class Lease:
    """Grants control to one session at a time. Any thread may call it.

    Parameters
    ----------
    clock : Clock
        Monotonic; the wall clock plays no part.
    duration_s : float
        How long a grant or a renewal lasts.

    Examples
    --------
    >>> from autoscope.clock import SimClock
    >>> clock = SimClock()
    >>> lease = Lease(clock, duration_s=5.0)
    >>> held = lease.acquire("anna", "s1")
    >>> clock.wait(6.0)
    >>> lease.lapsed().user, lease.lapsed()
    ('anna', None)
    """

    def __init__(self, clock: Clock, duration_s: float) -> None:
        self._clock, self.duration_s = clock, duration_s
        self._lock = threading.Lock()
        self._hold: Hold | None = None

    def acquire(self, user: str, session: str, asked: str = "") -> Hold:
        """Return the lease where nobody else holds it; a session that holds it gets a new one for a new request.

        Raises
        ------
        Refused
            Somebody else holds it.
        """
        with self._lock:
            held = self._live()
            if held is not None and held.session != session:
                raise Refused(
                    "somebody else holds the lease",
                    where="lease",
                    value=held.user,
                    limit="one controller at a time",
                    remedy="Wait until it is given back or lapses; an operator can take over",
                )
            return self._granted(session, asked) or self._grant(user, session, asked)

    def take_over(self, user: str, session: str, asked: str = "") -> tuple[Hold, Hold | None]:
        """Return the lease, whoever holds it, and from whom it was taken; itself, where the request comes again."""
        with self._lock:
            before = self._live()
            return self._granted(session, asked) or self._grant(user, session, asked), before

    def renew(self, lease: str) -> Hold:
        """Return the lease, lasting from now.

        Raises
        ------
        Refused
            It lapsed, was given back, or was taken over: it never lives again.
        """
        with self._lock:
            held = self._require(lease)
            self._hold = replace(held, until_s=self._clock.now_s() + self.duration_s)
            return self._hold

    def release(self, lease: str) -> Hold:
        """End the lease and return it.

        Raises
        ------
        Refused
            It is not the one that is held.
        """
        with self._lock:
            held, self._hold = self._require(lease), None
            return held

    def drop(self, session: str) -> bool:
        """End the lease a session holds, and return whether it held one."""
        with self._lock:
            held = self._live()
            if held is None or held.session != session:
                return False
            self._hold = None
            return True

    def require(self, lease: str, session: str) -> None:
        """Return where a session holds this lease now.

        Raises
        ------
        Refused
            It does not.
        """
        with self._lock:
            if self._require(lease).session != session:
                raise _stale()

    def holder(self) -> Hold | None:
        """Return who holds the lease now."""
        with self._lock:
            return self._live()

    def left_s(self, hold: Hold) -> float:
        """Return how long a grant lasts from now."""
        return max(hold.until_s - self._clock.now_s(), 0.0)

    def lapsed(self) -> Hold | None:
        """Return a lease that has run out since the last call, once; None otherwise."""
        with self._lock:
            held = self._hold
            if held is None or self._clock.now_s() < held.until_s:
                return None
            self._hold = None
            return held

    def _grant(self, user: str, session: str, asked: str) -> Hold:
        self._hold = Hold(user, session, secrets.token_hex(12), self._clock.now_s() + self.duration_s, asked)
        return self._hold

    def _granted(self, session: str, asked: str) -> Hold | None:
        held = self._live()
        again = held is not None and asked != "" and (held.session, held.asked) == (session, asked)
        return held if again else None

    def _live(self) -> Hold | None:
        # a lease that has run out stays until `lapsed` has told of it, but is nobody's any more
        return self._hold if self._hold is not None and self._clock.now_s() < self._hold.until_s else None

    def _require(self, lease: str) -> Hold:
        held = self._live()
        if held is None or not secrets.compare_digest(held.lease.encode(), lease.encode()):
            raise _stale()
        return held


def _stale() -> Refused:
    return Refused(
        "this lease is not, or no longer, the one that is held",
        where="lease",
        remedy="Acquire a new one; the instrument was made safe when the old one ended",
    )
