"""CURVE with ZAP on every socket: a connection without a key of the server's file gets no byte as far as the codec.

Each server socket has the ZAP domain ``autoscope`` and enforces it, so that nobody enters while the authenticator is
down either. The authenticator answers for that domain by its name only. A connection is known by name and fingerprint
of its key in the metadata of each of its messages; whether that key still stands is asked for each message, so that
revoking works on connections that are open.
"""

from __future__ import annotations

import contextlib
import ipaddress
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Protocol, Self

import zmq
from zmq.utils import z85

from autoscope.bus.keyring import Keyring
from autoscope.bus.keys import KeyPair, fingerprint
from autoscope.bus.roles import Peer, Role
from autoscope.errors import BusError, ConfigError, Unauthenticated

ZAP_DOMAIN = b"autoscope"
ZAP_ENDPOINT = "inproc://zeromq.zap.01"
HANDSHAKE_MS = 3000
"""A connection that has not proved its key within this time is closed."""

Socket = zmq.Socket[Any]
Context = zmq.Context[Any]
OnRefused = Callable[[str, str], None]
ANYBODY = Peer("anybody", Role.OPERATOR)
"""The one caller there is without keys."""


class ServerSecurity(Protocol):
    """How a server's sockets are guarded."""

    def bind(self, socket: Socket, endpoint: str) -> str:
        """Guard a socket, bind it, and return the endpoint really bound."""

    def caller(self, frame: zmq.Frame) -> Peer:
        """Return who sent a message, from any frame of it.

        Raises
        ------
        Unauthenticated
            The key was revoked since the connection was made, or the connection has none.
        """

    @property
    def generation(self) -> int:
        """Grows whenever somebody is shut out: a publishing socket must then be closed and bound again."""


class Authenticator:
    """Answers, on a thread of its own, whether a key may enter.

    Parameters
    ----------
    context : zmq.Context
        The context of the sockets it guards; there is one authenticator a context.
    on_refused : callable, optional
        Told, on the authenticator's thread, the address of who was refused, and in a sentence why.

    Raises
    ------
    ConfigError
        The context has an authenticator already.
    """

    def __init__(
        self,
        context: Context,
        keyring: Keyring,
        *,
        domain: bytes = ZAP_DOMAIN,
        on_refused: OnRefused = lambda source, sentence: None,
    ) -> None:
        self._keyring, self._domain, self._on_refused = keyring, domain, on_refused
        self._guests: set[str] = set()
        self._own_strangers: set[str] = set()
        self._socket = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        try:
            self._socket.bind(ZAP_ENDPOINT)
        except zmq.ZMQError as error:
            self._socket.close()
            raise ConfigError(f"this context has an authenticator already: {error}", where=ZAP_ENDPOINT) from error
        self._stop = context.socket(zmq.PAIR)
        self._stopped = context.socket(zmq.PAIR)
        address = f"inproc://autoscope-authenticator-{id(self)}"
        self._stopped.bind(address)
        self._stop.connect(address)
        self._thread = threading.Thread(target=self._run, name="authenticator", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it still answers; nobody enters where it does not."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop answering: from now on nobody new enters. Twice is fine."""
        if not self._stop.closed:
            with contextlib.suppress(zmq.ZMQError):
                self._stop.send(b"", zmq.NOBLOCK)
            self._thread.join()
            self._stop.close(linger=0)

    @contextlib.contextmanager
    def admitting(self, public: str) -> Iterator[None]:
        """Let a key in that stands in no file, for the server's self-test; its messages are refused all the same."""
        self._guests.add(public)
        try:
            yield
        finally:
            self._guests.discard(public)

    @contextlib.contextmanager
    def expecting(self, public: str) -> Iterator[None]:
        """Refuse a key without telling anybody: the server's self-test plays a stranger with it."""
        self._own_strangers.add(public)
        try:
            yield
        finally:
            self._own_strangers.discard(public)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._stopped, zmq.POLLIN)
        with contextlib.suppress(zmq.ZMQError):  # the context ended before us: nobody can knock any more
            while self._stopped not in (ready := dict(poller.poll())):
                if self._socket in ready:
                    self._answer(self._socket.recv_multipart())
        self._socket.unbind(ZAP_ENDPOINT)  # at once: closing alone gives the name back some time later
        self._socket.close()
        self._stopped.close()

    def _answer(self, request: list[bytes]) -> None:
        with contextlib.suppress(ValueError):  # not a request: no answer, and so no entry
            empty = request.index(b"")
            envelope, (version, number, *fields) = request[: empty + 1], request[empty + 1 :]
            code, text, user_id = self._judge(version, fields)
            self._socket.send_multipart([*envelope, b"1.0", number, code, text, user_id, b""])

    def _judge(self, version: bytes, fields: list[bytes]) -> tuple[bytes, bytes, bytes]:
        domain, address, _, mechanism, *credentials = fields
        source = address.decode("ascii", "replace")
        if version != b"1.0" or domain != self._domain or mechanism != b"CURVE" or list(map(len, credentials)) != [32]:
            way, wanted = (word.decode("ascii", "replace") for word in (mechanism, domain))
            self._on_refused(source, f"refused {source}: it came with {way} for the domain {wanted!r}")
            return b"400", b"not this way", b""
        public = z85.encode(credentials[0]).decode()
        if public in self._guests:
            return b"200", b"OK", b"guest"
        if (entry := self._keyring.by_public(public)) is None:
            if public not in self._own_strangers:
                self._on_refused(source, f"refused {source}: nobody here knows its key {fingerprint(public)}")
            return b"400", b"unknown key", b""
        return b"200", b"OK", entry.user_id.encode()


class CurveServer:
    """CURVE for every socket of a server, with its own authenticator."""

    def __init__(
        self,
        context: Context,
        key: KeyPair,
        keyring: Keyring,
        *,
        on_refused: OnRefused = lambda source, sentence: None,
    ) -> None:
        self._key, self._keyring = key, keyring
        self.authenticator = Authenticator(context, keyring, on_refused=on_refused)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop the authenticator: nobody new enters from now on."""
        self.authenticator.close()

    @property
    def public(self) -> str:
        """The server's public key, which clients pin."""
        return self._key.public

    @property
    def generation(self) -> int:
        """Grows whenever somebody is shut out: a publishing socket must then be closed and bound again."""
        self._keyring.refresh()
        return self._keyring.generation

    def protect(self, socket: Socket) -> None:
        """Guard a socket; must come before ``bind``."""
        socket.zap_domain = ZAP_DOMAIN
        socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)
        socket.curve_server = True
        socket.curve_publickey = self._key.public.encode()
        socket.curve_secretkey = self._key.secret.get_secret_value().encode()
        socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)

    def bind(self, socket: Socket, endpoint: str) -> str:
        """Guard a socket, bind it, and return the endpoint really bound.

        Raises
        ------
        ConfigError
            The endpoint is taken or is none.
        """
        self.protect(socket)
        return _bind(socket, endpoint)

    def caller(self, frame: zmq.Frame) -> Peer:
        """Return who sent a message, from any frame of it.

        Raises
        ------
        Unauthenticated
            The key was revoked since the connection was made, or the connection has none.
        """
        try:
            user_id: str = frame.get(b"User-Id")
        except zmq.ZMQError:
            raise Unauthenticated("a message came over a connection without a key") from None
        if (peer := self._keyring.by_user_id(user_id)) is None:
            raise Unauthenticated("the key of this connection was revoked", value=user_id)
        return peer


class OpenServer:
    """No keys at all, for a first try on one computer: refuses every endpoint that another computer could reach.

    Whoever has an account on the computer is its operator.
    """

    generation = 0

    def bind(self, socket: Socket, endpoint: str) -> str:
        """Bind a socket and return the endpoint really bound.

        Raises
        ------
        ConfigError
            The endpoint is taken, is none, or is not on this computer alone.
        """
        bound = _bind(socket, endpoint)
        if not is_local(bound):
            socket.close(linger=0)
            raise ConfigError(
                "without keys a server may listen on this computer only",
                value=bound,
                limit="tcp://127.0.0.1:*, tcp://[::1]:* or ipc://",
                remedy="Make keys ('autoscope keys new'), or listen on tcp://127.0.0.1",
            )
        return bound

    def caller(self, frame: zmq.Frame) -> Peer:
        """Return `ANYBODY`."""
        return ANYBODY


def is_local(bound: str) -> bool:
    """Return whether only this computer reaches an endpoint, as the operating system reports it after binding.

    Examples
    --------
    >>> [is_local(e) for e in ("tcp://127.0.0.1:5555", "tcp://[::1]:5555", "ipc:///tmp/a", "tcp://0.0.0.0:5555")]
    [True, True, True, False]
    """
    scheme, _, rest = bound.partition("://")
    if scheme in {"ipc", "inproc"}:
        return True
    host = rest.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        return scheme == "tcp" and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bind(socket: Socket, endpoint: str) -> str:
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        raise ConfigError(
            f"cannot listen: {error.strerror}",
            where=endpoint,
            remedy="Is another server running, or the address wrong?",
        ) from error
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


class ClientSecurity(Protocol):
    """How a client's sockets are guarded."""

    @property
    def authenticates(self) -> bool:
        """Whether bytes that arrive are certain to be those that were sent, message by message."""

    def protect(self, socket: Socket) -> None:
        """Guard a socket; must come before ``connect``."""


class CurveClient:
    """A client with a key of its own and the server's public key pinned.

    Raises
    ------
    BusError
        The key does not say which server it is for.
    """

    def __init__(self, key: KeyPair) -> None:
        if key.server is None:
            raise BusError(
                "a key does not name the server it is for",
                where=f"key {key.name}",
                remedy='Add the line  server = "..."  with the key in the server\'s server.pub to the key file',
            )
        self._key, self._server = key, key.server

    authenticates = True
    """CurveZMQ seals each message with Poly1305: one that was altered never arrives."""

    def protect(self, socket: Socket) -> None:
        """Guard a socket; must come before ``connect``."""
        socket.curve_serverkey = self._server.encode()
        socket.curve_publickey = self._key.public.encode()
        socket.curve_secretkey = self._key.secret.get_secret_value().encode()
        socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)


class OpenClient:
    """A client without keys, for a server without keys."""

    authenticates = False
    """Nothing guards them but the checksums of the system."""

    def protect(self, socket: Socket) -> None:
        """Leave the socket as it is."""
