"""The seam between the client and the network: messages out on a line, messages in from a line.

Four lines, so that nothing urgent ever waits behind something large: *ask* for questions, *act* for acts and their
frames, *renew* and *control* for the lease and for commands to make safe (two connections to one socket).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import zmq

from autoscope.bus.arrays import PART_BYTES, Buffer
from autoscope.bus.wire import Parts
from autoscope.errors import ConfigError

Line = Literal["ask", "act", "renew", "control"]
LINES: tuple[Line, ...] = ("ask", "act", "renew", "control")
SOCKETS = ("ask", "act", "control", "publish")
"""Of a server at ``tcp://host:port``: on this port and the next three, in this order."""
HANDSHAKE_MS = 3000
HEARTBEAT_MS = 1000
SILENCE_MS = 4000
QUEUE = 64
"""Messages that may wait in a socket."""
Secure = Callable[["zmq.Socket[bytes]"], None]
"""Gives a socket its keys before it connects or binds."""


class Transport(Protocol):
    """Carries messages; may lose them, double them and bring them late, but never alters them unseen."""

    def send(self, line: Line, parts: Sequence[Buffer]) -> None:
        """Send a message, or lose it; never blocks for long."""

    def receive(self, line: Line, timeout_s: float) -> Parts | None:
        """Return the next message of a line, or None after the timeout."""

    def close(self) -> None:
        """Let go of the network; what has not left yet is lost."""


def addresses(address: str) -> dict[str, str]:
    """Return the four addresses of a server.

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
        remedy = "Write tcp://HOST:PORT (this port and the next three are used) or ipc://PATH"
        raise ConfigError("is not an address of the bus", where="address", value=address, remedy=remedy)
    return {name: f"{match[1]}:{port + k}" for k, name in enumerate(SOCKETS)}


def is_loopback(address: str) -> bool:
    """Return whether an address can be reached from this computer only.

    Examples
    --------
    >>> is_loopback("tcp://127.0.0.1:5560"), is_loopback("tcp://*:5560"), is_loopback("ipc:///run/scope")
    (True, False, True)
    """
    return address.startswith(("tcp://127.", "tcp://localhost:", "tcp://[::1]:", "ipc://"))


def tune(socket: zmq.Socket[bytes], *, largest_bytes: int) -> None:
    """Set what every socket of the bus has: nothing lingers, queues stay short, silence is noticed, sizes bounded."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, QUEUE)
    socket.setsockopt(zmq.RCVHWM, QUEUE)
    socket.setsockopt(zmq.MAXMSGSIZE, largest_bytes)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, SILENCE_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, SILENCE_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)


class ZmqTransport:
    """The bus over ZeroMQ: one DEALER socket for each line, connected when it is first used.

    Parameters
    ----------
    address : str
        Of the server.
    secure : callable, optional
        Gives a socket its keys.
    """

    def __init__(self, address: str, secure: Secure | None = None) -> None:
        found = addresses(address)
        self._addresses: dict[Line, str] = {
            "ask": found["ask"], "act": found["act"], "renew": found["control"], "control": found["control"]
        }  # fmt: skip
        self._secure = secure
        self._context = zmq.Context()
        self._context.setsockopt(zmq.BLOCKY, False)
        self._sockets: dict[Line, zmq.Socket[bytes]] = {}

    def send(self, line: Line, parts: Sequence[Buffer]) -> None:
        """Queue a message; where the queue is full, because nobody takes it, it is lost."""
        try:
            self._socket(line).send_multipart(parts, flags=zmq.NOBLOCK)
        except zmq.Again:
            return

    def receive(self, line: Line, timeout_s: float) -> Parts | None:
        """Return the next message of a line, or None after the timeout."""
        socket = self._socket(line)
        try:
            frames = socket.recv_multipart(flags=zmq.NOBLOCK, copy=False)
        except zmq.Again:
            if not socket.poll(max(int(timeout_s * 1000), 0)):
                return None
            frames = socket.recv_multipart(copy=False)
        return [frame.buffer for frame in frames]

    def close(self) -> None:
        """Close all sockets; what has not left yet is lost."""
        for socket in self._sockets.values():
            socket.close(linger=0)
        self._sockets.clear()
        self._context.destroy(linger=0)

    def _socket(self, line: Line) -> zmq.Socket[bytes]:
        socket = self._sockets.get(line)
        if socket is None:
            socket = self._context.socket(zmq.DEALER)
            tune(socket, largest_bytes=PART_BYTES + 1024)
            if self._secure:
                self._secure(socket)
            socket.connect(self._addresses[line])
            self._sockets[line] = socket
        return socket
