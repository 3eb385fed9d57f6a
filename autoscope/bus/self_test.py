"""Before a server starts: strangers knock at each of its sockets, and it does not start if one gets in.

The same knock with a good key must open, or the test would also pass at a door that is bricked up.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

import zmq

from autoscope.bus.authentication import CurveClient, CurveServer, Socket
from autoscope.bus.keys import KeyPair
from autoscope.clock import SystemClock
from autoscope.errors import SelfTestFailed

WAIT_MS = 5000
"""How long a knock may take to be answered."""
PARTNER: dict[int, int] = {
    zmq.ROUTER: zmq.DEALER,
    zmq.PUB: zmq.SUB,
    zmq.XPUB: zmq.SUB,
    zmq.PULL: zmq.PUSH,
    zmq.REP: zmq.REQ,
}
"""The kind of socket that knocks at each kind of door."""


class Answer(enum.Enum):
    """What came of a knock."""

    ENTERED = "entered"
    REFUSED = "refused"
    SILENCE = "no answer"


def knock(endpoint: str, kind: int, key: KeyPair | None, *, wait_ms: int = WAIT_MS) -> Answer:
    """Return what comes of connecting to an endpoint with a key, or with none.

    Parameters
    ----------
    kind : int
        Type of the knocking socket, e.g. ``zmq.DEALER``.
    key : KeyPair or None
        None: without CURVE, as any ZeroMQ program would.
    """
    with zmq.Context() as context:
        socket = context.socket(kind)
        socket.linger = 0
        if key is not None:
            CurveClient(key).protect(socket)
        monitor = socket.get_monitor_socket()
        try:
            socket.connect(endpoint)
            return _outcome(monitor, wait_ms)
        finally:
            socket.disable_monitor()
            monitor.close(linger=0)
            socket.close(linger=0)


def _outcome(monitor: Socket, wait_ms: int) -> Answer:
    clock = SystemClock()
    while monitor.poll(max(wait_ms - int(1000 * clock.now_s()), 0)):  # trying again is an event, too
        event = _event(monitor)
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            return Answer.ENTERED
        if event & (zmq.EVENT_HANDSHAKE_FAILED_AUTH | _CLOSED):
            return Answer.REFUSED
    return Answer.SILENCE


_CLOSED = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_DISCONNECTED


def _event(monitor: Socket) -> int:
    frames: list[Any] = monitor.recv_multipart()
    return int.from_bytes(frames[0][:2], "little")


def self_test(server: CurveServer, doors: Iterable[tuple[str, int]], *, wait_ms: int = WAIT_MS) -> None:
    """Return where strangers stay out of every socket and a good key gets in.

    Parameters
    ----------
    doors : iterable of (endpoint, socket type)
        As bound, e.g. ``("tcp://127.0.0.1:5555", zmq.ROUTER)``.

    Raises
    ------
    SelfTestFailed
        A random key or no key was let in, or a good key was not.
    """
    for endpoint, kind in doors:
        stranger = KeyPair.generate("stranger", server=server.public)
        for who, key in (("a random key", stranger), ("no key", None)):
            with server.authenticator.expecting(stranger.public):
                answer = knock(_reachable(endpoint), PARTNER[kind], key, wait_ms=wait_ms)
            if answer is Answer.ENTERED:
                raise _failed(f"{who} was let in", endpoint, answer, "Do not use this server: nothing guards it")
        guest = KeyPair.generate("guest", server=server.public)
        with server.authenticator.admitting(guest.public):
            answer = knock(_reachable(endpoint), PARTNER[kind], guest, wait_ms=wait_ms)
        if answer is not Answer.ENTERED:
            raise _failed(
                "a good key was not let in", endpoint, answer, "Is a firewall between, or the authenticator dead?"
            )


def _reachable(endpoint: str) -> str:
    return endpoint.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _failed(what: str, endpoint: str, answer: Answer, remedy: str) -> SelfTestFailed:
    return SelfTestFailed(f"the self-test failed: {what}", where=endpoint, value=answer.value, remedy=remedy)
