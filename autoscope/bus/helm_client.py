"""Asking the process of a run from another computer."""

from __future__ import annotations

import secrets
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

import zmq

from autoscope.bus import helm_messages as say
from autoscope.bus.authentication import ClientSecurity, Context, Socket
from autoscope.bus.messages import Trouble
from autoscope.bus.transport import tune
from autoscope.bus.wire import error_of
from autoscope.clock import SystemClock
from autoscope.errors import Refused, Unreachable
from autoscope.interventions import Order, Receipt

ANSWER_S = 5.0
T = TypeVar("T")
TRIES = 3
"""A question is put again when its answer does not come; an order that came twice is done once."""


class HelmClient:
    """One connection to the door of a run; for one thread.

    Parameters
    ----------
    address : str
        Of the run.
    security : ClientSecurity
        Our key and that of the server, or none.
    answer_s : float
        How long an answer may take.
    """

    def __init__(self, address: str, security: ClientSecurity, *, answer_s: float = ANSWER_S) -> None:
        self._address, self._answer_s, self._clock = address, answer_s, SystemClock()
        self._context: Context = zmq.Context()
        self._socket: Socket = self._context.socket(zmq.DEALER)
        tune(self._socket, largest_bytes=say.MAX_REPLY_BYTES)
        security.protect(self._socket)
        self._socket.connect(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the network."""
        self._socket.close(linger=0)
        self._context.destroy(linger=0)

    def about(self) -> say.About:
        """Return which run it is, and who we are there."""
        answer, _ = self._ask(say.AskAbout())
        return _expected(answer, say.About)

    def rows(self, after: int, kind: str | None = None) -> tuple[say.StoredRow, ...]:
        """Return records after a number, as many as fit into one answer."""
        answer, _ = self._ask(say.AskRows(after=after, kind=kind))
        return _expected(answer, say.Rows).rows

    def frame(self, file: str) -> bytes | None:
        """Return the stored bytes of a frame, or None if there is no such frame."""
        content = b""
        while True:
            answer, parts = self._ask(say.AskFrame(file=file, offset=len(content)))
            part = _expected(answer, say.FramePart)
            if not part.total:
                return None
            content += parts[0] if parts else b""
            if len(content) >= part.total:
                return content

    def receipts(self) -> tuple[Receipt, ...]:
        """Return what became of orders given over the network."""
        answer, _ = self._ask(say.AskReceipts())
        return _expected(answer, say.Receipts).receipts

    def post(self, order: Order) -> Receipt:
        """Send an order and return its receipt.

        Raises
        ------
        Refused
            Our key may not steer, or the order was altered on its way.
        """
        answer, _ = self._ask(say.Post(order=order))
        return _expected(answer, say.Receipts).receipts[0]

    def _ask(self, ask: Any) -> tuple[Any, list[bytes]]:
        request = say.Request(id=secrets.token_hex(8), ask=ask)
        for _ in range(TRIES):
            with suppress(zmq.Again):
                if self._socket.poll(int(self._answer_s * 1000 / TRIES), zmq.POLLOUT):
                    self._socket.send_multipart(say.encode(request), zmq.NOBLOCK)
            if (got := self._wait(request.id)) is not None:
                reply, parts = got
                if isinstance(reply.answer, Trouble):
                    raise error_of(reply.answer)
                return reply.answer, parts
        raise Unreachable(
            "the run does not answer", where=self._address, limit=f"{self._answer_s:g} s",
            remedy="Is it running with --steer there, and does it know this key?",
        )  # fmt: skip

    def _wait(self, identifier: str) -> tuple[say.Reply, list[bytes]] | None:
        until_s = self._clock.now_s() + self._answer_s / TRIES
        while (left_s := until_s - self._clock.now_s()) > 0.0 and self._socket.poll(int(left_s * 1000)):
            parts = self._socket.recv_multipart()
            with suppress(Refused):  # not of this protocol: as good as lost
                reply = say.decode(say.Reply, parts)
                if reply.id in (identifier, ""):
                    return reply, parts[2:]
        return None


def _expected(answer: object, kind: type[T]) -> T:
    if not isinstance(answer, kind):
        raise Refused("the run answers something else than was asked", value=type(answer).__name__)
    return answer
