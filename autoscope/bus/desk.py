"""One socket of the server and the thread that alone touches it: takes messages, sends answers, those of others too.

A thread that waits in ``recv`` itself is woken for less than one that waits for several things at once. So a desk waits
for messages alone for as long as nobody else owes an answer, and for both where somebody does.
"""

from __future__ import annotations

import queue
import socket as sockets
import threading
from collections.abc import Callable
from contextlib import suppress

import zmq

from autoscope.bus.authentication import ServerSecurity, Socket
from autoscope.bus.roles import Peer
from autoscope.bus.transport import NOBLOCK, send_small
from autoscope.bus.wire import Parts
from autoscope.errors import Unauthenticated

TICK_MS = 20
"""How long a desk waits, so that its thread can look after other things when nobody says anything."""
HEADER_PARTS = 3
"""Identity, magic word, header: what comes after them is arrays, and sent from where it lies."""
MOST_PARTS = 3
"""Of a request that are kept: one more than it may have, so that it is refused."""

Send = Callable[[Parts], None]
Take = Callable[[Parts, Peer, Send, str], None]


class Desk:
    """Answers what comes over one ROUTER socket; all its methods belong to one thread.

    Parameters
    ----------
    socket : zmq.Socket
        Bound and guarded.
    security : ServerSecurity
        Tells who says something.
    take : callable
        Takes a message: its parts, who says it, where answers go (from any thread, at any time), and over which
        connection it came.
    refused : callable
        Told, of a message that nobody may send, the key and in a sentence why; not a byte of it is looked at.
    awaits_others : bool
        Whether answers may come from elsewhere at any time, even to requests that were answered before.
    """

    def __init__(
        self,
        socket: Socket,
        security: ServerSecurity,
        take: Take,
        refused: Callable[[str, str], None],
        *,
        awaits_others: bool = False,
    ) -> None:
        self._socket, self._security, self._take, self._refused = socket, security, take, refused
        socket.setsockopt(zmq.RCVTIMEO, TICK_MS)
        self._awaits_others, self._owed, self._answered = awaits_others, 0, False
        self.listening = awaits_others
        """Whether it waits for answers of others too."""
        self._finished: queue.SimpleQueue[Parts] = queue.SimpleQueue()
        self._waker, self._woken = sockets.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        self._poller = zmq.Poller()
        for descriptor in (socket.fileno(), self._woken.fileno()):
            self._poller.register(descriptor, zmq.POLLIN)

    def close(self) -> None:
        """Let go of what wakes it; the socket stays open."""
        self._waker.close()
        self._woken.close()

    def turn(self) -> None:
        """Answer one message, if one comes within a tick, and send what others have finished."""
        try:
            first: zmq.Frame = self._socket.recv(NOBLOCK if self.listening else 0, copy=False)
        except zmq.Again:
            if self.listening:
                self._wait_for_either()
        else:
            self._answer(first)
        if not self._finished.empty():
            self.send_finished()

    def _wait_for_either(self) -> None:
        # a descriptor tells once that something has changed: so the socket was found empty before we wait for it
        if self._woken.fileno() in dict(self._poller.poll(TICK_MS)):
            with suppress(BlockingIOError):
                self._woken.recv(4096)

    def _answer(self, first: zmq.Frame) -> None:
        identity, parts = first.bytes, _rest(self._socket)
        try:
            peer = self._security.caller(first)
        except Unauthenticated as error:
            self._refused(str(error.value), f"refused a message: {error}")
            return
        self._answered = False
        self._take(parts, peer, self._sender(identity), identity.hex())
        if not self._answered:
            self._owed, self.listening = self._owed + 1, True

    def _sender(self, identity: bytes) -> Send:
        home = threading.get_ident()

        def send(parts: Parts) -> None:
            message: Parts = [identity, *parts]
            if threading.get_ident() == home:
                self._answered = True
                self._send(message)
            else:
                self._finished.put(message)
                self._wake()

        return send

    def send_finished(self) -> None:
        """Send what other threads have answered."""
        while not self._finished.empty():
            self._send(self._finished.get())
            self._owed = max(self._owed - 1, 0)
        self.listening = self._awaits_others or self._owed > 0

    def _send(self, message: Parts) -> None:
        """Send an answer, or drop it where nobody is there to take it: whoever asks again gets it from the ledger."""
        with suppress(zmq.Again, zmq.ZMQError):
            if len(message) <= HEADER_PARTS:
                send_small(self._socket, message)
            else:
                self._socket.send_multipart(message, flags=NOBLOCK, copy=False)

    def _wake(self) -> None:
        with suppress(OSError):  # full: it is awake; closed: the server has ended
            self._waker.send(b"1")


def _rest(socket: Socket) -> Parts:
    """Return the parts after the identity, and no more of them than tell whether it is a request."""
    parts: Parts = []
    while True:
        part: zmq.Frame = socket.recv(copy=False)
        if len(parts) < MOST_PARTS:
            parts.append(part.bytes)
        if not part.more:
            return parts
