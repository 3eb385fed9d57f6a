"""The seam between the client and the network: messages out on a line, messages in from a line.

Four lines, so that nothing urgent ever waits behind something large: *ask* for questions, *act* for acts and their
frames, *renew* and *control* for the lease and for commands to make safe (two connections to one socket).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal, Protocol, runtime_checkable

import zmq

from autoscope.bus.arrays import PART_BYTES, Array, ArrayHeader, ArrayLayout, Buffer
from autoscope.bus.authentication import HANDSHAKE_MS, ClientSecurity, OpenClient, Socket
from autoscope.bus.sinks import ArraySink
from autoscope.bus.stream_client import StreamReceiver
from autoscope.bus.wire import Parts
from autoscope.clock import SystemClock
from autoscope.errors import BusError, ConfigError

Line = Literal["ask", "act", "renew", "control"]
LINES: tuple[Line, ...] = ("ask", "act", "renew", "control")
SOCKETS = ("ask", "act", "control", "publish", "stream")
"""Of a server at ``tcp://host:port``: on this port and the next four, in this order."""
HEARTBEAT_MS = 1000
SILENCE_MS = 4000
NOBLOCK, SNDMORE = int(zmq.NOBLOCK), int(zmq.SNDMORE)
QUEUE = 64
"""Messages that may wait in a socket."""
CONNECT_MS = 500
"""How long a message waits for a connection to be made before it is lost."""


class Transport(Protocol):
    """Carries messages; may lose them, double them and bring them late, but never alters them unseen."""

    def send(self, line: Line, parts: Sequence[Buffer]) -> None:
        """Send a message, or lose it; never blocks for long."""

    def receive(self, line: Line, timeout_s: float) -> Parts | None:
        """Return the next message of a line, or None after the timeout."""

    def close(self) -> None:
        """Let go of the network; what has not left yet is lost."""


@runtime_checkable
class Fetching(Protocol):
    """A transport that can also fetch what is too large for a reply."""

    @property
    def authenticates(self) -> bool:
        """Whether bytes that arrive are certain to be those that were sent."""

    def fetch(self, stream: str, header: ArrayHeader) -> Array:
        """Return the array of a stream, read-only, compared with its header.

        Raises
        ------
        BusError
            It is not there any more, or not what the header says.
        """


@runtime_checkable
class Following(Protocol):
    """A transport that can also receive frames while they are acquired."""

    def receiver(self) -> StreamReceiver:
        """Return a receiver of streams with a connection of its own; whoever asked closes it."""


def addresses(address: str) -> dict[str, str]:
    """Return the five addresses of a server.

    Raises
    ------
    ConfigError
        Neither ``tcp://host:port`` nor ``ipc://path``.

    Examples
    --------
    >>> addresses("tcp://127.0.0.1:5560")["control"]
    'tcp://127.0.0.1:5562'
    >>> addresses("ipc:///run/scope")["act"]
    'ipc:///run/scope.act'
    """
    if address.startswith("ipc://") and len(address) > len("ipc://"):
        return {name: f"{address}.{name}" for name in SOCKETS}
    match = re.fullmatch(r"(tcp://.+):(\d+)", address)
    port = int(match[2]) if match else 0
    if not match or not 0 < port <= 65535 - len(SOCKETS):
        remedy = "Write tcp://HOST:PORT (this port and the next four are used) or ipc://PATH"
        raise ConfigError("is not an address of the bus", where="address", value=address, remedy=remedy)
    return {name: f"{match[1]}:{port + k}" for k, name in enumerate(SOCKETS)}


def tune(socket: Socket, *, largest_bytes: int) -> None:
    """Set what every socket of the bus has: nothing lingers, queues stay short, silence is noticed, sizes bounded."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, QUEUE)
    socket.setsockopt(zmq.RCVHWM, QUEUE)
    socket.setsockopt(zmq.MAXMSGSIZE, largest_bytes)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, SILENCE_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, SILENCE_MS)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)


def send_small(socket: Socket, parts: Sequence[Buffer]) -> None:
    """Send a message of small parts without waiting; what pyzmq does for any message costs as much as all the rest.

    Raises
    ------
    zmq.Again
        Nobody takes it now.
    """
    *first, last = parts
    for part in first:
        socket.send(part, NOBLOCK | SNDMORE)
    socket.send(last, NOBLOCK)


class ZmqTransport:
    """The bus over ZeroMQ: one DEALER socket a line, connected from the start, so that nothing urgent waits for it.

    Parameters
    ----------
    address : str
        Of the server.
    security : ClientSecurity, optional
        Keys; none by default.
    """

    def __init__(self, address: str, security: ClientSecurity | None = None) -> None:
        found = addresses(address)
        self._security, self._streams = security or OpenClient(), found["stream"]
        self._fetcher: StreamReceiver | None = None
        self._context: zmq.Context[Socket] = zmq.Context()
        self._timeouts_s: dict[Line, float] = {}
        self._sockets = {line: self._connected(found["control" if line == "renew" else line]) for line in LINES}

    def send(self, line: Line, parts: Sequence[Buffer]) -> None:
        """Queue a message; where nobody takes it in time, it is lost."""
        socket = self._sockets[line]
        try:
            send_small(socket, parts)
        except zmq.Again:
            if socket.poll(CONNECT_MS, zmq.POLLOUT):
                with suppress(zmq.Again):
                    send_small(socket, parts)

    def receive(self, line: Line, timeout_s: float) -> Parts | None:
        """Return the next message of a line, or None after the timeout."""
        socket = self._sockets[line]
        if self._timeouts_s.get(line) != timeout_s:  # dearer to set than to compare
            socket.setsockopt(zmq.RCVTIMEO, max(math.ceil(timeout_s * 1000), 0))
            self._timeouts_s[line] = timeout_s
        try:
            return _received(socket)
        except zmq.Again:
            return None

    def fetch(self, stream: str, header: ArrayHeader) -> Array:
        """Return the array of a stream; through shared memory where the server is on this computer.

        Raises
        ------
        BusError
            It is not there any more, or not what the header says.
        """
        if self._fetcher is None:
            self._fetcher = self.receiver()
        sink = ArraySink(header.nbytes)
        received = self._fetcher.receive(stream, sink)
        if received.sha256 != header.sha256 or received.layout != ArrayLayout(**header.model_dump(exclude={"sha256"})):
            raise BusError("another array was fetched than the answer describes", where=f"stream {stream[:16]}")
        return sink.array

    @property
    def authenticates(self) -> bool:
        """Whether the connection is one with keys."""
        return self._security.authenticates

    def receiver(self) -> StreamReceiver:
        """Return a receiver of streams; through shared memory where the server is on this computer."""
        return StreamReceiver(self._context, self._security, self._streams, clock=SystemClock())

    def close(self) -> None:
        """Close all sockets; what has not left yet is lost."""
        if self._fetcher is not None:
            self._fetcher.close()
        for socket in self._sockets.values():
            socket.close(linger=0)
        self._context.destroy(linger=0)

    def _connected(self, endpoint: str) -> Socket:
        socket: Socket = self._context.socket(zmq.DEALER)
        tune(socket, largest_bytes=PART_BYTES + 1024)
        self._security.protect(socket)
        socket.connect(endpoint)
        return socket


def _received(socket: Socket) -> Parts:
    """Return a message: its two small parts copied, its arrays where they lie."""
    parts: Parts = []
    while True:
        frame: zmq.Frame = socket.recv(copy=False)
        parts.append(frame.bytes if len(parts) < 2 else frame.buffer)
        if not frame.more:
            return parts
