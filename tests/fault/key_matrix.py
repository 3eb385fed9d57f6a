"""Five kinds of key at the door of a server whose authenticator is up, dead or set for another domain."""

from __future__ import annotations

import socket as tcp
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq

from autoscope.bus.authentication import Authenticator, CurveClient, CurveServer
from autoscope.bus.keyring import Entry, Keyring, write_entries
from autoscope.bus.keys import KeyPair
from autoscope.bus.roles import Role

KEYS = ("none", "null", "wrong", "revoked", "right")
STATES = ("up", "dead", "mis-set")
PATIENCE_MS = 250
"""How long a message may take that ought not to come."""


class Door:
    """A real server socket in one of the three states, and what is needed to knock with each kind of key."""

    def __init__(self, folder: Path, state: str) -> None:
        self.server = KeyPair.generate("server")
        self.right = KeyPair.generate("right", server=self.server.public)
        self.revoked = KeyPair.generate("revoked", server=self.server.public)
        self.wrong = KeyPair.generate("wrong", server=self.server.public)
        path = folder / "authorized_keys"
        write_entries(path, [self._entry(self.right), self._entry(self.revoked)])
        self._context = zmq.Context()
        ring = Keyring(path)
        self._guard = CurveServer(self._context, self.server, ring)
        self.socket = self._context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.endpoint = self._guard.bind(self.socket, "tcp://127.0.0.1:*")
        write_entries(path, [self._entry(self.right)])
        self._other: Authenticator | None = None
        if state != "up":
            self._guard.authenticator.close()
        if state == "mis-set":
            self._other = Authenticator(self._context, ring, domain=b"*")

    @staticmethod
    def _entry(pair: KeyPair) -> Entry:
        return Entry(role=Role.AGENT, name=pair.name, public=pair.public, made="2026-01-01")

    def close(self) -> None:
        """Close everything."""
        for part in (self._guard, self._other, self.socket):
            if part is not None:
                part.close()
        self._context.destroy(linger=0)

    def enters(self, kind: str) -> bool:
        """Return whether a message sent with that kind of key comes out of the server's socket."""
        with self._knocking(kind):
            if not self.socket.poll(PATIENCE_MS if kind != "right" else 20 * PATIENCE_MS):
                return False
            return self.socket.recv_multipart()[-1] == kind.encode()

    @contextmanager
    def _knocking(self, kind: str) -> Iterator[None]:
        if kind == "none":
            host, _, port = self.endpoint.removeprefix("tcp://").rpartition(":")
            with tcp.create_connection((host, int(port)), timeout=2) as raw:
                # the greeting of a peer that skips the handshake, a READY command, and then a message
                raw.sendall(b"\xff" + b"\0" * 8 + b"\x7f\x03\x00NULL".ljust(55, b"\0"))
                raw.sendall(b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x06DEALER" + b"\0\x04none")
                yield
            return
        with zmq.Context() as context:
            socket = context.socket(zmq.DEALER)
            socket.linger = 0
            if kind != "null":
                CurveClient(getattr(self, kind)).protect(socket)
            socket.connect(self.endpoint)
            socket.send(kind.encode())
            yield
            socket.close()


@contextmanager
def door(state: str) -> Iterator[Door]:
    """Open a server in one of the states, and close it again."""
    with tempfile.TemporaryDirectory() as folder:
        opened = Door(Path(folder), state)
        try:
            yield opened
        finally:
            opened.close()


def as_it_must_be(key: str, state: str) -> bool:
    """Return whether this key must enter in this state: the right one with the authenticator up, and no other."""
    return key == "right" and state == "up"


def measured() -> dict[tuple[str, str], bool]:
    """Return for each key and state whether a message got through."""
    found = {}
    for state in STATES:
        with door(state) as opened:
            found |= {(key, state): opened.enters(key) for key in KEYS}
    return found
