"""What is said between a dashboard and the process of a run: values, as strict JSON.

Part 0 of each message is `MAGIC`, part 1 the header; a reply to `AskFrame` has the bytes as part 2
(docs/steering.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, StringConstraints, ValidationError

from autoscope.actions import Value
from autoscope.bus.messages import Trouble
from autoscope.errors import Refused
from autoscope.interventions import Order, Receipt

MAGIC = b"autoscope-helm/1"
MAX_REQUEST_BYTES = 64 * 1024
MAX_REPLY_BYTES = 16 * 1024 * 1024
MOST_ROWS = 500
CHUNK_BYTES = 4 * 1024 * 1024
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}$")]
"""Of a file: no separators, and no dot in front."""


class AskAbout(Value):
    """Ask which run this is."""

    verb: Literal["about"] = "about"


class AskRows(Value):
    """Ask for the records after a number."""

    verb: Literal["rows"] = "rows"
    after: NonNegativeInt = 0
    kind: Annotated[str, StringConstraints(max_length=40)] | None = None
    most: Annotated[int, Field(ge=1, le=MOST_ROWS)] = MOST_ROWS


class AskFrame(Value):
    """Ask for a part of the stored bytes of a frame."""

    verb: Literal["frame"] = "frame"
    file: Name
    offset: NonNegativeInt = 0


class AskReceipts(Value):
    """Ask what became of orders."""

    verb: Literal["receipts"] = "receipts"


class Post(Value):
    """An order; posted again, as after an answer that was lost, it is answered and not done again."""

    verb: Literal["post"] = "post"
    order: Order


class About(Value):
    """Which run it is."""

    kind: Literal["about"] = "about"
    run_id: str
    name: str
    user: str
    """Name of the key that asks."""
    role: str


class StoredRow(Value):
    """A record as it is stored: ``body`` is the text that was hashed."""

    seq: PositiveInt
    kind: str
    step: NonNegativeInt | None
    time_s: float
    wall: str
    body: str
    previous: str
    hash: str


class Rows(Value):
    """Records in their order; fewer than asked for: there are no more now."""

    kind: Literal["rows"] = "rows"
    rows: tuple[StoredRow, ...]


class FramePart(Value):
    """Says what the bytes of part 2 are; ``total`` 0: there is no such frame."""

    kind: Literal["frame"] = "frame"
    total: NonNegativeInt
    offset: NonNegativeInt


class Receipts(Value):
    """What became of orders, oldest first."""

    kind: Literal["receipts"] = "receipts"
    receipts: tuple[Receipt, ...]


class Request(Value):
    """A question with an id that its answer carries back."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    ask: Annotated[AskAbout | AskRows | AskFrame | AskReceipts | Post, Field(discriminator="verb")]


class Reply(Value):
    """The answer; ``busy_s`` says how long it took to make."""

    id: str
    busy_s: NonNegativeFloat = 0.0
    answer: Annotated[About | Rows | FramePart | Receipts | Trouble, Field(discriminator="kind")]


Message = TypeVar("Message", Request, Reply)


def encode(message: Request | Reply, *more: bytes) -> list[bytes]:
    """Return the parts of a message."""
    return [MAGIC, message.model_dump_json().encode("utf-8"), *more]


def decode(kind: type[Message], parts: Sequence[bytes]) -> Message:
    """Return what the parts say.

    Raises
    ------
    Refused
        Not of this protocol.
    """
    if len(parts) < 2 or parts[0] != MAGIC:
        raise Refused("is not a message of the helm", where="message", limit=MAGIC.decode())
    try:
        return kind.model_validate_json(parts[1])
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise Refused(f"cannot be understood: {first['msg']}", where="message") from None
