"""The receiving end of streams: opens, grants credit as parts become safe, comes back after a broken connection."""

from __future__ import annotations

import contextlib
import hmac
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import zmq

from autoscope.bus.arrays import (
    PART_BYTES,
    ArrayLayout,
    Buffer,
    check_size,
    digesters,
    mismatch,
    part_digest,
    whole_digest,
)
from autoscope.bus.authentication import ClientSecurity, Context, Socket
from autoscope.bus.shared_memory import Window
from autoscope.bus.sinks import Sink
from autoscope.bus.streaming import (
    Cancel,
    End,
    Open,
    Opened,
    Part,
    Progress,
    Stored,
    WindowOffer,
    decode_from_sender,
    encode,
)
from autoscope.errors import BusError, Unreachable
from autoscope.protocols import Clock

CREDIT = 32
"""Parts that may be on their way: 32 MB at the usual size."""
WINDOW_BYTES = 16 * 1024 * 1024
"""Shared memory: two parts of the largest size, 16 of the usual."""
SIGN_OF_LIFE_S = 1.0
SILENCE_S = 10.0
ATTEMPTS = 3
LEAVE_S = 1.0
"""How long a sender may take to confirm that a stream is cancelled."""
IDLE_S = 30.0
"""A connection unused for longer is made anew."""
COMPARED_LATE = 4
"""Parts whose digests may still be worked out while further ones are received."""
_LOOK_MS, _GATHER_MS = 100, 2


@dataclass(frozen=True)
class StreamProgress:
    """How far a stream is, in parts."""

    stored: int
    produced: int
    total: int


@dataclass(frozen=True)
class Received:
    """A stream that came whole."""

    layout: ArrayLayout
    sha256: str
    shared_memory: bool
    """Whether the bytes went through shared memory."""
    reopened: int
    """How often the connection was made anew."""


class _Broken(Exception):
    """The connection went silent; open again."""


@dataclass
class _Terms:
    """What holds for every stream of a receiver."""

    context: Context
    security: ClientSecurity
    endpoint: str
    clock: Clock
    credit: int
    silence_s: float
    attempts: int
    verify: bool | None
    share: bool


class _Connection:
    """A socket and the shared memory offered over it."""

    def __init__(self, terms: _Terms) -> None:
        self.socket = terms.context.socket(zmq.DEALER)
        self.socket.linger = 100  # ms: the last thing said is how many parts are safe
        self.socket.set(zmq.MAXMSGSIZE, PART_BYTES + 1024)  # encryption adds a little
        self.used_s = terms.clock.now_s()
        self.window: Window | None = None
        try:
            terms.security.protect(self.socket)
            self.socket.connect(terms.endpoint)
        except BaseException:
            self.socket.close()
            raise
        if terms.share and not terms.endpoint.startswith("inproc:"):
            with contextlib.suppress(BusError):  # no shared memory: everything goes over the socket
                self.window = Window.create(WINDOW_BYTES)

    def close(self) -> None:
        """Let go of both."""
        self.socket.close()
        if self.window is not None:
            self.window.unlink()
            self.window.close()


class StreamReceiver:
    """Receives streams from one sender, one after the other; keeps its shared memory warm between them.

    Parameters
    ----------
    share : bool
        Offer shared memory; used only where it turns out to be shared.
    credit : int
        Parts that may be on their way; bounds the memory.
    silence_s : float
        Silence after which the connection counts as broken.
    attempts : int
        Connections made in all for one stream before it fails.
    verify : bool or None
        Compare digests; None: where the bytes went over a socket that does not authenticate what it carries.
    """

    def __init__(
        self,
        context: Context,
        security: ClientSecurity,
        endpoint: str,
        *,
        clock: Clock,
        share: bool = True,
        credit: int = CREDIT,
        silence_s: float = SILENCE_S,
        attempts: int = ATTEMPTS,
        verify: bool | None = None,
    ) -> None:
        self._terms = _Terms(context, security, endpoint, clock, credit, silence_s, attempts, verify, share)
        self._connection: _Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of connection and shared memory. Twice is fine."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> _Connection:
        now_s = self._terms.clock.now_s()
        if self._connection is not None and now_s - self._connection.used_s > IDLE_S:
            self.close()  # the sender may have forgotten the shared memory
        if self._connection is None:
            self._connection = _Connection(self._terms)
        return self._connection

    def receive(
        self,
        stream: str,
        sink: Sink,
        *,
        progress: Callable[[StreamProgress], None] = lambda now: None,
        cancel: threading.Event | None = None,
    ) -> Received:
        """Receive a whole stream into a sink.

        Parameters
        ----------
        progress : callable
            Told after each part and about once a second; what it raises cancels the stream.
        cancel : threading.Event, optional
            Set it from any thread to cancel.

        Raises
        ------
        Unreachable
            The sender went silent and did not come back.
        BusError
            The stream failed, was cancelled, or a part is not what was sent. The sink was discarded.
        """
        taking = _Taking(self._terms, stream, sink, progress, cancel or threading.Event())
        try:
            received = self._take(taking)
            sink.finish()
        except BaseException:
            self.close()  # parts of the stream that is given up may still be on their way
            sink.discard()
            raise
        return received

    def _take(self, taking: _Taking) -> Received:
        for attempt in range(self._terms.attempts):
            try:
                end = taking.over(connection := self._connected())
            except _Broken:
                self.close()
                continue
            connection.used_s = self._terms.clock.now_s()
            return taking.whole(end, attempt)
        raise taking.unreachable()


class _Taking:
    """One stream being received."""

    def __init__(
        self,
        terms: _Terms,
        stream: str,
        sink: Sink,
        progress: Callable[[StreamProgress], None],
        cancel: threading.Event,
    ) -> None:
        self._terms, self._stream, self._sink = terms, stream, sink
        self._progress, self._cancel = progress, cancel
        self._opened: Opened | None = None
        self._window: Window | None = None
        self._digests: list[bytes] = []
        self._comparing: deque[tuple[Part, Future[bytes]]] = deque()
        self._stored = self._told = 0
        self._produced = 0
        self._cancelling = False
        self._cancelled_s = 0.0

    def unreachable(self) -> Unreachable:
        """Return the error for a sender that did not come back."""
        return Unreachable(
            "the sender of a stream went silent and did not come back",
            where=self._place(),
            value=f"{self._stored} parts stored",
            limit=f"{self._terms.attempts} connections, {self._terms.silence_s:g} s each",
        )

    def _place(self) -> str:
        return f"stream {self._stream} at {self._terms.endpoint}"

    def over(self, connection: _Connection) -> End:
        """Take what is still to come over a connection, until the sender says that it is the end."""
        self._window, socket = connection.window, connection.socket
        window = self._window
        offer = WindowOffer(name=window.name, size=window.size) if window is not None else None
        socket.send_multipart(
            encode(Open(stream=self._stream, first=self._stored, credit=self._terms.credit, window=offer))
        )
        heard_s = spoke_s = self._terms.clock.now_s()
        while True:
            if socket.poll(_LOOK_MS if self._told == self._stored else _GATHER_MS) or self._confirm_late(socket):
                heard_s = self._terms.clock.now_s()
                if isinstance(say := self._take_one(socket), End):
                    self._confirm(socket)
                    return say
            elif (now_s := self._terms.clock.now_s()) - heard_s > self._terms.silence_s:
                raise _Broken
            elif now_s - spoke_s > SIGN_OF_LIFE_S:
                self._confirm(socket)
                spoke_s = now_s
            self._heed_cancel(socket)

    def _heed_cancel(self, socket: Socket) -> None:
        if self._cancelling and self._terms.clock.now_s() - self._cancelled_s > LEAVE_S:
            raise BusError("the stream was cancelled by the receiver", where=self._place())
        if self._cancel.is_set() and not self._cancelling:
            self._cancelling, self._cancelled_s = True, self._terms.clock.now_s()
            socket.send_multipart(encode(Cancel(reason="cancelled by the receiver")))

    def _take_one(self, socket: Socket) -> Opened | Part | Progress | End:
        frames = socket.recv_multipart(copy=False)
        say, data = decode_from_sender([frame.buffer for frame in frames])
        if isinstance(say, Opened):
            self._begin(say)
        elif isinstance(say, Part) and not self._cancelling:
            self._store(say, data)
            if self._stored - self._told >= self._terms.credit // 4:
                self._confirm(socket)
        elif isinstance(say, Progress):
            self._tell(say.produced)
        return say

    def _confirm(self, socket: Socket) -> None:
        self._compare(0)
        socket.send_multipart(encode(Stored(parts=self._stored)))
        self._told = self._stored

    def _confirm_late(self, socket: Socket) -> bool:
        """Tell of parts not told of yet, now that no more come at once; each told of alone would wake the sender."""
        if self._told != self._stored:
            self._confirm(socket)
        return bool(socket.poll(0))

    def _begin(self, opened: Opened) -> None:
        window = self._window
        if opened.nonce is not None and (window is None or not hmac.compare_digest(opened.nonce, window.nonce)):
            raise BusError("the sender has other shared memory than was offered", where=self._place())
        if self._opened is None:
            self._sink.begin(opened.layout)
        elif opened.layout != self._opened.layout:
            raise BusError("the stream is another one than before the connection broke", where=self._place())
        if window is not None:
            window.unlink()  # both have it, or it is not shared: the name is needed no more
        self._opened = opened

    def _store(self, part: Part, data: Buffer | None) -> None:
        opened = self._opened
        if opened is None or part.index != self._stored:
            raise BusError("a part came out of turn", where=self._place(), value=part.index, limit=self._stored)
        if (data is None) != (opened.nonce is not None):
            raise BusError("the bytes of a part did not come the way that was agreed", where=self._place())
        data = self._in_window(opened.layout, part.index) if data is None else data
        check_size(opened.layout, part.index, memoryview(data).nbytes)
        if self._verifies(opened):
            self._comparing.append((part, digesters().submit(part_digest, data)))
        self._sink.write(part.index, data)
        self._compare(COMPARED_LATE)
        self._stored += 1
        self._tell(self._stored)

    def _compare(self, late: int) -> None:
        """Compare digests, all but so many: those may still be worked out while further parts come."""
        while len(self._comparing) > late:
            part, digest = self._comparing.popleft()
            self._digests.append(digest.result())
            if part.sha256 not in {None, self._digests[-1].hex()}:
                raise mismatch(self._layout(), f"part {part.index}")

    def _layout(self) -> ArrayLayout:
        assert self._opened is not None, "parts come after the layout"  # noqa: S101
        return self._opened.layout

    def _in_window(self, layout: ArrayLayout, index: int) -> memoryview:
        assert self._window is not None, "an agreed window is there"  # noqa: S101
        slot = index % (self._window.size // layout.part_bytes)
        return self._window.slot(slot * layout.part_bytes, layout.part_size(index))

    def _verifies(self, opened: Opened) -> bool:
        if self._terms.verify is not None:
            return self._terms.verify
        return opened.nonce is None and not self._terms.security.authenticates

    def _tell(self, produced: int) -> None:
        self._produced = max(self._produced, produced)
        if self._opened is not None:
            self._progress(StreamProgress(self._stored, self._produced, self._opened.layout.parts))

    def whole(self, end: End, attempt: int) -> Received:
        """Return what came, once it is known to be whole and what was sent."""
        self._compare(0)
        opened = self._opened
        if end.outcome != "complete" or opened is None:
            raise BusError(
                f"the stream was not received whole: {end.reason or end.outcome}",
                where=self._place(),
                value=f"{self._stored} parts",
                limit=f"{opened.layout.parts} parts" if opened else None,
            )
        if self._stored != opened.layout.parts:
            raise BusError("the stream ended before its last part", where=self._place(), value=self._stored)
        sha256 = end.sha256 or opened.sha256 or ""
        if self._verifies(opened) and sha256 and whole_digest(self._digests) != sha256:
            raise mismatch(opened.layout, "acquisition")
        return Received(opened.layout, sha256, opened.nonce is not None, attempt)
