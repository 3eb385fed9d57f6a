"""What a person can tell a run to do, as it is signed, sent and answered.

A *command* says what is to be done. An *order* is a command as somebody gave it: who, when, why, for which run, seeing
what, signed. A *receipt* says what became of an order. What is written down is an `autoscope.records.Intervention`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    TypeAdapter,
    model_validator,
)

from autoscope.actions import Value
from autoscope.wishes import AcquisitionWish, Region

Text = Annotated[str, StringConstraints(max_length=4000)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=120)]
ActId = Annotated[str, StringConstraints(min_length=1, max_length=240)]
OrderId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Level = Literal["each_step", "hazardous_only", "autonomous"]
OnTimeout = Literal["proceed", "skip", "pause"]


# --- the course of the run -------------------------------------------------------------------------


class Pause(Value):
    """Make the instrument safe after the running act and begin nothing until told to resume."""

    command: Literal["pause"] = "pause"


class Resume(Value):
    """Go on after a pause."""

    command: Literal["resume"] = "resume"


class Stop(Value):
    """Finish cleanly after the running act."""

    command: Literal["stop"] = "stop"


class Abort(Value):
    """End the running act before its time; the run goes on."""

    command: Literal["abort"] = "abort"


class EmergencyStop(Value):
    """Blank at once and end the run."""

    command: Literal["emergency_stop"] = "emergency_stop"


class SetAutonomy(Value):
    """Which acts need a person's word, how long it is waited for, and what happens then."""

    command: Literal["autonomy"] = "autonomy"
    level: Level
    timeout_s: PositiveFloat | None = None
    """None: as long as it takes."""
    on_timeout: OnTimeout = "pause"


class Approve(Value):
    """Let the act that waits for a person's word be done; of a suggestion, choose it."""

    command: Literal["approve"] = "approve"
    act_id: ActId


class Veto(Value):
    """Have a proposed act not done, and nothing within ``radius_m`` of its site."""

    command: Literal["veto"] = "veto"
    act_id: ActId
    radius_m: NonNegativeFloat = 0.0


# --- where and how ---------------------------------------------------------------------------------


class SendTo(Value):
    """Measure at a point, or at the best place of a region, next."""

    command: Literal["send_to"] = "send_to"
    place: Region


class Exclude(Value):
    """Measure nothing in a region."""

    command: Literal["exclude"] = "exclude"
    place: Region


class Pin(Value):
    """Measure in a region before everything else."""

    command: Literal["pin"] = "pin"
    place: Region


class Mark(Value):
    """Find a region interesting, or not: places that look like it are preferred, or left for later."""

    command: Literal["mark"] = "mark"
    place: Region
    interesting: bool = True


class Prefer(Value):
    """Find one measurement more interesting than another."""

    command: Literal["prefer"] = "prefer"
    better: ActId
    worse: ActId

    @model_validator(mode="after")
    def _two(self) -> Prefer:
        if self.better == self.worse:
            raise ValueError("nothing is more interesting than itself: name two acts")
        return self


class SetAcquisition(Value):
    """Decide by another acquisition function, or with another exploration parameter."""

    command: Literal["set_acquisition"] = "set_acquisition"
    wish: AcquisitionWish

    @model_validator(mode="after")
    def _says_something(self) -> SetAcquisition:
        if not self.wish.changes():
            raise ValueError("name a function, or a parameter of it")
        return self


class SetScalarizer(Value):
    """Compute a target otherwise, for what is measured already too."""

    command: Literal["set_scalarizer"] = "set_scalarizer"
    target: Word
    name: Word
    options: dict[str, str | float | int | bool | list[float] | list[str] | None] = {}
    """As in a configuration, quantities with their units: ``{"band": ["500 eV", "560 eV"]}``."""


class SetBudget(Value):
    """Change what the run may spend in total; what is None stays as it is."""

    command: Literal["set_budget"] = "set_budget"
    time_s: PositiveFloat | None = None
    dose_e: PositiveFloat | None = None
    steps: PositiveInt | None = None

    @model_validator(mode="after")
    def _says_something(self) -> SetBudget:
        if self.time_s is None and self.dose_e is None and self.steps is None:
            raise ValueError("name a time, a dose or a number of acts")
        return self


class SetDwell(Value):
    """Take spectra of another dwell time from now on."""

    command: Literal["set_dwell"] = "set_dwell"
    dwell_s: PositiveFloat


class Retract(Value):
    """Take a bad measurement out of the model's data; its frames and record stay."""

    command: Literal["retract"] = "retract"
    act_id: ActId


class Enqueue(Value):
    """Put a place at the end of the queue of places that people want measured, or before another order in it."""

    command: Literal["enqueue"] = "enqueue"
    place: Region
    before: OrderId | None = None


class Dequeue(Value):
    """Take a place out of the queue, by the order that put it there; all of them where none is named."""

    command: Literal["dequeue"] = "dequeue"
    order: OrderId | None = None


# --- people ----------------------------------------------------------------------------------------


class Note(Value):
    """Write a sentence into the record."""

    command: Literal["note"] = "note"
    text: Annotated[str, StringConstraints(min_length=1, max_length=4000)]


class TakeWheel(Value):
    """Be the one who steers."""

    command: Literal["take_wheel"] = "take_wheel"
    over: bool = False
    """Take it from whoever has it."""


class GiveWheel(Value):
    """Let anybody take the wheel."""

    command: Literal["give_wheel"] = "give_wheel"


class Undo(Value):
    """Take an earlier order back, where it can be."""

    command: Literal["undo"] = "undo"
    order: OrderId


Command = Annotated[
    Pause
    | Resume
    | Stop
    | Abort
    | EmergencyStop
    | SetAutonomy
    | Approve
    | Veto
    | SendTo
    | Exclude
    | Pin
    | Mark
    | Prefer
    | SetAcquisition
    | SetScalarizer
    | SetBudget
    | SetDwell
    | Retract
    | Enqueue
    | Dequeue
    | Note
    | TakeWheel
    | GiveWheel
    | Undo,
    Field(discriminator="command"),
]
COMMANDS: TypeAdapter[Any] = TypeAdapter(Command)

URGENT = frozenset({"abort", "emergency_stop"})
"""Commands that do not wait for a step boundary."""
FREE = frozenset({"pause", "stop", "abort", "emergency_stop", "note", "take_wheel"})
"""Commands of anybody who may steer, whoever has the wheel: to halt is always allowed, and to say something."""
UNDOABLE = frozenset(
    {"autonomy", "veto", "exclude", "pin", "mark", "set_acquisition", "set_scalarizer", "set_budget", "set_dwell",
     "retract", "send_to", "enqueue", "prefer"}
)  # fmt: skip
"""Commands that can be taken back; of a veto the exclusion, of ``send_to`` and ``enqueue`` what is still waiting."""


# --- orders and receipts ---------------------------------------------------------------------------


class Order(Value):
    """A command as a person gave it."""

    id: OrderId
    """Drawn by chance; no order of any run has the same."""
    run_id: Word
    who: Word
    """The person."""
    seat: Word
    """The terminal: one running dashboard, or one call of a command line."""
    seq: NonNegativeInt
    """Counts the orders of a seat."""
    seen_step: NonNegativeInt
    """The step the person saw."""
    when: Word
    """Wall-clock time, ISO 8601 UTC."""
    expires: Word
    """When it is no longer to be done, ISO 8601 UTC."""
    why: Text = ""
    command: Command
    public_key: str = ""
    """Ed25519, 64 hexadecimal digits."""
    signature: str = ""

    def message(self) -> bytes:
        """Return what is signed: all fields but the signature, as JSON with sorted keys."""
        fields = self.model_dump(mode="json", exclude={"signature"})
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return b"autoscope-order/1 " + text.encode("utf-8")

    def genuine(self) -> bool:
        """Return whether the signature is that of the public key; False for anything malformed."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.public_key))
            key.verify(bytes.fromhex(self.signature), self.message())
        except (InvalidSignature, ValueError):
            return False
        return True


Status = Literal["waiting", "accepted", "refused"]


class Receipt(Value):
    """What became of an order."""

    order: OrderId
    status: Status
    """Waiting for the next step boundary, accepted and written down, or refused."""
    command: str
    who: str
    reason: str = ""
    """Why it was refused, or what it meant."""
    record: NonNegativeInt | None = None
    """Number of the record that tells of it."""
    step: NonNegativeInt | None = None
    """The step before which it took effect."""


class Intervention(Value):
    """What a person told the run to do, as it is written down."""

    who: str
    when: str
    why: str
    command: str
    arguments: dict[str, Any] = {}
    order: Order | None = Field(default=None, exclude_if=lambda value: value is None)
    """As it was signed; absent where a signal of the operating system said it."""
    through: str = Field(default="", exclude_if=lambda value: not value)
    """The way it came, and under whose key."""
    told: int | None = Field(default=None, exclude_if=lambda value: value is None)
    """Outcomes the policy had been told by then, where it is told everything again."""
    effect: dict[str, Any] = Field(default={}, exclude_if=lambda value: not value)
    """What it meant when it took effect."""

    @classmethod
    def of(cls, order: Order, through: str, *, told: int | None = None, effect: dict[str, Any] | None = None) -> Self:
        """Return the record of an order that is accepted."""
        return cls(
            who=order.who,
            when=order.when,
            why=order.why,
            command=order.command.command,
            arguments=order.command.model_dump(mode="json", exclude={"command"}),
            order=order,
            through=through,
            told=told,
            effect=effect or {},
        )

    @property
    def id(self) -> str:
        """The id of its order; empty where it has none."""
        return self.order.id if self.order else ""

    def parsed(self) -> Command:
        """Return what is to be done.

        Raises
        ------
        pydantic.ValidationError
            This version knows no such command.
        """
        if self.order is not None:
            return self.order.command
        command: Command = COMMANDS.validate_json(json.dumps({"command": self.command, **self.arguments}))
        return command
