"""Listening to what a server publishes: acts with their progress, the lease, whenever it was made safe."""

from __future__ import annotations

import math

import zmq

from autoscope.bus.authentication import ClientSecurity, OpenClient, Socket
from autoscope.bus.messages import Event
from autoscope.bus.transport import addresses, tune
from autoscope.bus.wire import MAX_REQUEST_BYTES, decode_event
from autoscope.errors import Refused


class Listener:
    """Takes a server's events in their order.

    Parameters
    ----------
    address : str
        Of the server.
    security : ClientSecurity, optional
        Keys; none by default.
    """

    def __init__(self, address: str, security: ClientSecurity | None = None) -> None:
        self._context: zmq.Context[Socket] = zmq.Context()
        self._socket: Socket = self._context.socket(zmq.SUB)
        tune(self._socket, largest_bytes=MAX_REQUEST_BYTES + 1024)
        (security or OpenClient()).protect(self._socket)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        self._socket.connect(addresses(address)["publish"])
        self._next: int | None = None
        self.missed = 0
        """Events that did not arrive, by the gaps in their numbers."""

    def receive(self, timeout_s: float) -> Event | None:
        """Return the next event, or None after the timeout."""
        if not self._socket.poll(max(math.ceil(timeout_s * 1000), 0)):
            return None
        try:
            event = decode_event(self._socket.recv_multipart())
        except Refused:
            return None  # not of this protocol: as good as lost
        if self._next is not None and event.number > self._next:
            self.missed += event.number - self._next
        self._next = event.number + 1
        return event

    def close(self) -> None:
        """Let go of the network."""
        self._socket.close(linger=0)
        self._context.destroy(linger=0)
