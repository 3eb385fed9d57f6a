"""Who may say which verb, from one table.

Four roles. An *observer* looks. An *agent* runs an experiment. An *operator* is a person who may do all of it and take
over. An *emergency* key sits in a red button: it can make the instrument safe and see that it worked, nothing else.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from autoscope.errors import Refused


class Role(enum.StrEnum):
    """What a key may do."""

    OBSERVER = "observer"
    OPERATOR = "operator"
    AGENT = "agent"
    EMERGENCY = "emergency"


class Peer(NamedTuple):
    """Who says something, as the authenticator says: the name of the key, what it may do, and which key it is."""

    user: str
    role: Role
    fingerprint: str = ""


class Verb(enum.StrEnum):
    """Everything that can be said on the bus; the value is the word on the wire."""

    HELLO = "hello"
    """Open a session and learn the protocol's version, the limits and the session's challenge."""
    PING = "ping"
    """Ask whether the server, its driver and its watchdog are alive."""
    DESCRIBE = "describe"
    """Ask what the instrument can do."""
    STATE = "state"
    """Ask for a read-back of the instrument."""
    RECALL = "recall"
    """Ask what came of an act."""
    HOLDER = "holder"
    """Ask who holds the lease."""
    SUBSCRIBE = "subscribe"
    """Listen to what is published."""
    LIMITS = "limits"
    """Ask what is permitted and what is left of the dose."""
    LEDGER = "ledger"
    """Ask how many acts came to what, and what happened lately."""
    FETCH = "fetch"
    """Take the parts of an array or of an acquisition, and say how many more may come."""
    WATCH = "watch"
    """Read the record of a run at its own door."""
    STEER = "steer"
    """Give orders to a run at its own door."""
    ACQUIRE = "acquire"
    """Take the lease while nobody holds it."""
    RENEW = "renew"
    """Keep the lease one holds."""
    RELEASE = "release"
    """Give the lease back."""
    EXECUTE = "execute"
    """Have one act done."""
    ABORT = "abort"
    """End the running act before its time."""
    TAKE_OVER = "take_over"
    """Take the lease from whoever holds it."""
    MAKE_SAFE = "make_safe"
    """Blank the beam and stop everything, whoever holds the lease; acts may follow."""
    EMERGENCY_STOP = "emergency_stop"
    """The same, and permit no act until it is cleared."""
    CLEAR_EMERGENCY = "clear_emergency"
    """Permit acts again after an emergency stop."""
    STOP = "stop"
    """Make the instrument safe and end the server."""


class Duty(enum.Enum):
    """Verbs that go together."""

    LIVENESS = frozenset({Verb.HELLO, Verb.PING, Verb.STATE, Verb.HOLDER, Verb.SUBSCRIBE})
    LOOKING = frozenset({Verb.DESCRIBE, Verb.RECALL, Verb.LIMITS, Verb.LEDGER, Verb.FETCH, Verb.WATCH})
    CONTROLLING = frozenset({Verb.ACQUIRE, Verb.RENEW, Verb.RELEASE, Verb.EXECUTE, Verb.ABORT})
    STOPPING = frozenset({Verb.MAKE_SAFE, Verb.EMERGENCY_STOP})
    OVERRULING = frozenset({Verb.TAKE_OVER, Verb.CLEAR_EMERGENCY, Verb.STOP, Verb.STEER})


DUTIES: dict[Role, tuple[Duty, ...]] = {
    Role.OBSERVER: (Duty.LIVENESS, Duty.LOOKING),
    Role.AGENT: (Duty.LIVENESS, Duty.LOOKING, Duty.CONTROLLING, Duty.STOPPING),
    Role.OPERATOR: (Duty.LIVENESS, Duty.LOOKING, Duty.CONTROLLING, Duty.STOPPING, Duty.OVERRULING),
    Role.EMERGENCY: (Duty.LIVENESS, Duty.STOPPING),
}
"""The one table that every permission comes from."""

PERMITTED: dict[Role, frozenset[Verb]] = {
    role: frozenset[Verb]().union(*(duty.value for duty in duties)) for role, duties in DUTIES.items()
}
"""The verbs of each role, worked out from `DUTIES`."""


def may(role: Role, verb: str) -> bool:
    """Return whether a role may say a verb.

    Examples
    --------
    >>> may(Role.EMERGENCY, Verb.EMERGENCY_STOP), may(Role.OBSERVER, Verb.EXECUTE)
    (True, False)
    """
    return verb in PERMITTED[role]


def require(role: Role, verb: str, *, who: str) -> None:
    """Return where the role may say the verb.

    Parameters
    ----------
    who : str
        Name of the key, for the error.

    Raises
    ------
    Refused
        The role may not say it; the error names the roles that may.
    """
    if not may(role, verb):
        roles = ", ".join(r.value for r in Role if may(r, verb))
        raise Refused(
            f"the role {role.value} may not say {verb}",
            where=f"key {who}",
            limit=f"permitted to {roles}",
            remedy="Use a key of such a role ('autoscope keys list' on the server shows them)",
        )


def table() -> str:
    """Return the matrix of verbs and roles as Markdown, as it stands in the documentation."""
    head = ["| verb | " + " | ".join(role.value for role in Role) + " |", "|---|" + "---|" * len(Role)]
    rows = (f"| `{verb.value}` | " + " | ".join("yes" if may(r, verb) else "-" for r in Role) + " |" for verb in Verb)
    return "\n".join([*head, *rows]) + "\n"
