"""What can be said on the bus: requests and answers as frozen values; every one is a line of strict JSON on the wire.

A request carries one *ask*, told apart by its ``verb``; a reply carries one *answer*, told apart by its ``kind``.
Unknown fields, numbers as text, NaN and infinity are refused on both sides.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, StringConstraints

from autoscope.actions import Value
from autoscope.bus.arrays import ArrayHeader, ArrayLayout, Sha256
from autoscope.bus.streaming import StreamName
from autoscope.records import Act, Capabilities, FrameMeta, MicroscopeState, Range

VERSION = 1
"""Of the protocol; a peer of another version is refused by name."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
"""An identifier of an act, a session, a lease, a request or a person."""
Text = Annotated[str, StringConstraints(max_length=500)]
Plain = None | bool | int | float | str

# --- asks -------------------------------------------------------------------------------------------


class Hello(Value):
    """Open a session; acts of the session it replaces are not begun any more."""

    verb: Literal["hello"] = "hello"
    client: Name
    """Who asks, for people."""
    replaces: Name | None = None


class Ping(Value):
    """Ask whether server, driver and watchdog are alive."""

    verb: Literal["ping"] = "ping"


class Describe(Value):
    """Ask what the instrument can do."""

    verb: Literal["describe"] = "describe"


class ReadState(Value):
    """Ask for a read-back of the instrument."""

    verb: Literal["state"] = "state"


class Recall(Value):
    """Ask what came of an act."""

    verb: Literal["recall"] = "recall"
    act_id: Name


class ReadLimits(Value):
    """Ask what is permitted, and what is left of the dose."""

    verb: Literal["limits"] = "limits"


class ReadLedger(Value):
    """Ask how many acts came to what, and what happened lately."""

    verb: Literal["ledger"] = "ledger"


class AskHolder(Value):
    """Ask who holds the lease."""

    verb: Literal["holder"] = "holder"


class Acquire(Value):
    """Take the lease while nobody holds it."""

    verb: Literal["acquire"] = "acquire"
    session: Name


class Renew(Value):
    """Keep the lease one holds."""

    verb: Literal["renew"] = "renew"
    lease: Name


class Release(Value):
    """Give the lease back; the instrument is made safe."""

    verb: Literal["release"] = "release"
    lease: Name


class TakeOver(Value):
    """Take the lease from whoever holds it; the running act is aborted, the instrument made safe, both written down."""

    verb: Literal["take_over"] = "take_over"
    session: Name
    why: Annotated[str, StringConstraints(min_length=1, max_length=500)]


class Execute(Value):
    """Have one act done, at most once."""

    verb: Literal["execute"] = "execute"
    session: Name
    seq: PositiveInt
    """Counts the acts of a session from 1 without a gap."""
    act: Act
    """With identifier, deadline and lease."""
    acknowledge: Annotated[tuple[Name, ...], Field(max_length=16)] = ()
    """Earlier acts whose frames are safe with the client; the server may let go of them."""
    live: bool = Field(default=False, exclude_if=lambda value: not value)
    """Whether the client would like large frames as streams while they are acquired."""


class Abort(Value):
    """End the running act before its time."""

    verb: Literal["abort"] = "abort"
    act_id: Name


class MakeSafe(Value):
    """Blank the beam and stop scan and stage, whoever holds the lease; acts may follow."""

    verb: Literal["make_safe"] = "make_safe"


class EmergencyStop(Value):
    """The same, and refuse every act until a person clears it."""

    verb: Literal["emergency_stop"] = "emergency_stop"
    why: Text = ""


class ClearEmergency(Value):
    """Permit acts again after an emergency stop."""

    verb: Literal["clear_emergency"] = "clear_emergency"
    why: Annotated[str, StringConstraints(min_length=1, max_length=500)]


class Stop(Value):
    """Make the instrument safe and end the server."""

    verb: Literal["stop"] = "stop"
    why: Text = ""


Ask = Annotated[
    Hello | Ping | Describe | ReadState | Recall | ReadLimits | ReadLedger | AskHolder | Acquire | Renew | Release
    | TakeOver | Execute | Abort | MakeSafe | EmergencyStop | ClearEmergency | Stop,
    Field(discriminator="verb"),
]  # fmt: skip


class Request(Value):
    """One question or command."""

    version: Literal[1] = 1
    id: Name
    """Unique among the client's requests; its reply carries the same."""
    clock_s: float | None = None
    """The client's instrument time, where it lives on simulated time."""
    ask: Ask


# --- answers ----------------------------------------------------------------------------------------


class Trouble(Value):
    """An error of the tree in `autoscope.errors`, by its class name and with its fields."""

    kind: Literal["trouble"] = "trouble"
    error: Name
    what: Annotated[str, StringConstraints(max_length=2000)]
    where: Annotated[str, StringConstraints(max_length=500)] = ""
    value: Plain = None
    limit: Plain = None
    remedy: Annotated[str, StringConstraints(max_length=1000)] = ""
    code: Literal["", "session", "sequence", "lease", "busy", "hung", "emergency", "role", "identity", "message"] = ""
    """Why the server refused, for programs."""
    next_seq: PositiveInt | None = None
    """The sequence number the session's next act must carry, where that was wrong."""


class Welcome(Value):
    """A session is open."""

    kind: Literal["welcome"] = "welcome"
    session: Name
    server: Name
    """Changes whenever the server is started."""
    user: Name
    """The key's name, as the server knows it."""
    role: Name
    clock: Literal["system", "simulated"]
    lease_s: float
    """How long a lease lives without renewal."""
    instrument: Name
    serial: str


class Pong(Value):
    """How the server's parts are."""

    kind: Literal["pong"] = "pong"
    driver: Literal["idle", "busy", "hung"]
    watchdog: Literal["alive", "silent", "none"]
    emergency: bool
    holder: str = ""


class Described(Value):
    """What the instrument can do."""

    kind: Literal["described"] = "described"
    capabilities: Capabilities


class StateRead(Value):
    """The instrument's read-back."""

    kind: Literal["state"] = "state"
    state: MicroscopeState
    busy: str = ""
    """The act that runs: the state is the last one read before it."""


class Limits(Value):
    """What the server permits."""

    kind: Literal["limits"] = "limits"
    ranges: dict[str, Range]
    max_dose_e: float | None = None
    dose_e: NonNegativeFloat = 0.0
    """Electrons on the sample in its slot, over all runs and restarts."""
    max_area_e_per_m2: float | None = Field(default=None, exclude_if=lambda value: value is None)
    """Fluence that no place of the sample may pass, averaged over a cell."""


class Account(Value):
    """How many acts came to what, and what happened lately, oldest first."""

    kind: Literal["ledger"] = "ledger"
    acts: dict[str, NonNegativeInt]
    events: tuple[str, ...] = ()


class Holder(Value):
    """Who holds the lease; empty where nobody does."""

    kind: Literal["holder"] = "holder"
    user: str = ""
    left_s: NonNegativeFloat = 0.0


class Leased(Value):
    """The lease is held by the one who asked."""

    kind: Literal["leased"] = "leased"
    lease: Name
    left_s: NonNegativeFloat


class Accepted(Value):
    """The act is in the ledger and will be done; what came of it follows under the same request id."""

    kind: Literal["accepted"] = "accepted"
    act_id: Name


class Delivering(Value):
    """A large frame of the act has begun; it may be fetched while it is acquired, under the same request id."""

    kind: Literal["delivering"] = "delivering"
    act_id: Name
    signal: Name
    layout: ArrayLayout
    stream: StreamName


class FrameHeader(Value):
    """A frame of an observation; its parts follow the header in the order of the frames, or are fetched."""

    meta: FrameMeta
    array: ArrayHeader
    stream: Name | None = Field(default=None, exclude_if=lambda value: value is None)
    """Under which name a large array is fetched from the socket *stream*; absent: its parts follow."""
    npy_sha256: Sha256 | None = Field(default=None, exclude_if=lambda value: value is None)
    """Of the frame as a ``.npy`` file, which is what a journal hashes when it stores it; absent for small frames."""


class Done(Value):
    """The act was done: its observation."""

    kind: Literal["done"] = "done"
    act_id: Name
    state_before: MicroscopeState
    state: MicroscopeState
    frames: Annotated[tuple[FrameHeader, ...], Field(max_length=64)] = ()
    kept: bool = True
    """False where the frames are no longer in the ledger."""


class Failed(Value):
    """The act was not done as asked: refused, failed or aborted; it will not be done again under this identifier."""

    kind: Literal["failed"] = "failed"
    act_id: Name
    trouble: Trouble


class NotBegun(Value):
    """The server has never begun this act, and without a new request never will."""

    kind: Literal["not_begun"] = "not_begun"
    act_id: Name


class Fine(Value):
    """It was done."""

    kind: Literal["fine"] = "fine"


Answer = Annotated[
    Trouble | Welcome | Pong | Described | StateRead | Limits | Account | Holder | Leased | Accepted | Delivering | Done
    | Failed | NotBegun | Fine,
    Field(discriminator="kind"),
]  # fmt: skip


class Reply(Value):
    """The answer to a request."""

    version: Literal[1] = 1
    id: str
    """Of the request; empty where the request could not be read."""
    clock_s: float | None = None
    """The server's instrument time, where it lives on simulated time."""
    answer: Answer


# --- what is published ------------------------------------------------------------------------------


class Event(Value):
    """Something everybody may know; sent to all subscribers under the topic of its kind."""

    version: Literal[1] = 1
    kind: Literal["act", "lease", "safe", "server"]
    number: NonNegativeInt
    """Counts the events of a server from 0: a gap tells a subscriber what it missed."""
    time_s: float
    """The server's monotonic time."""
    act_id: str = ""
    state: Literal["", "accepted", "running", "done", "failed", "aborted", "refused"] = ""
    elapsed_s: NonNegativeFloat | None = None
    """How long a running act has taken; told once a second."""
    expected_s: NonNegativeFloat | None = None
    """How long it should take."""
    points_done: NonNegativeInt | None = Field(default=None, exclude_if=lambda value: value is None)
    """Points of the scan that a running act has acquired; absent where its instrument does not tell."""
    points_total: NonNegativeInt | None = Field(default=None, exclude_if=lambda value: value is None)
    text: Text = ""
