"""From the bytes of a request to the bytes of its answers: the part that all networks share."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from autoscope.bus.arrays import Buffer
from autoscope.bus.messages import Answer
from autoscope.bus.roles import Peer
from autoscope.bus.service import Service
from autoscope.bus.wire import Parts, decode_request, encode_reply, trouble_of
from autoscope.errors import BusError, Refused

Send = Callable[[Parts], None]
LayOut = Callable[[Answer, list[Buffer]], tuple[Answer, list[Buffer]]]
VERBS = {
    "act": frozenset({"execute"}),
    "control": frozenset({"ping", "renew", "holder", "abort", "make_safe", "emergency_stop", "clear_emergency"}),
    "ask": frozenset(
        {"hello", "ping", "describe", "state", "recall", "limits", "ledger", "holder", "acquire", "renew", "release",
         "take_over", "stop"}
    ),
}  # fmt: skip
"""What may be said on which socket."""


def take_message(
    service: Service,
    parts: Sequence[Buffer],
    peer: Peer,
    send: Send,
    source: str,
    verbs: Container[str] | None = None,
    lay_out: LayOut = lambda answer, arrays: (answer, arrays),
) -> None:
    """Have the service answer a message, whatever is in it.

    Parameters
    ----------
    peer : Peer
        Name and role of the key it came under.
    send : callable
        Takes each answer's parts, perhaps from another thread and perhaps later.
    source : str
        Names the connection, to know a repeated request by.
    verbs : container of str, optional
        What may be said on this connection.
    lay_out : callable
        Puts large arrays of an answer aside, to be fetched, and returns the rest.
    """
    try:
        request = decode_request(parts)
    except Refused as error:
        send(encode_reply("", None, trouble_of(error, "message")))
        return

    def respond(answer: Answer, arrays: list[Buffer]) -> None:
        answer, arrays = lay_out(answer, arrays)
        send([*encode_reply(request.id, service.clock_s(), answer), *arrays])

    if verbs is not None and request.ask.verb not in verbs:
        what = "this is not said on this socket"
        refused = Refused(what, where="message", value=request.ask.verb, remedy="See the table in docs/bus.md")
        respond(trouble_of(refused, "message"), [])
        return
    try:
        service.handle(request, peer, respond, source)
    except Exception as error:  # a bug must not end the loop that can still make safe
        respond(trouble_of(BusError(f"the server is broken: {error!r}", where=request.ask.verb)), [])
