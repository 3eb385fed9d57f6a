"""The sending end of streams: one thread, one socket, any number of streams and receivers, bounded memory."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import zmq

from autoscope.bus.authentication import Context, ServerSecurity
from autoscope.bus.roles import Peer, Verb, require
from autoscope.bus.shared_memory import Window
from autoscope.bus.stream_sources import PartSource
from autoscope.bus.streaming import (
    MAX_HEADER_BYTES,
    Cancel,
    End,
    Open,
    Opened,
    Part,
    Progress,
    Stored,
    WindowOffer,
    decode_from_receiver,
    encode,
)
from autoscope.errors import AutoscopeError
from autoscope.protocols import Clock

SIGN_OF_LIFE_S = 1.0
"""A receiver that waits hears this often that the sender is alive."""
SILENCE_S = 10.0
"""A receiver that has said nothing for so long is taken for dead; it may open again."""
FORGET_S = 60.0
"""Shared memory of a receiver that asks for nothing is let go of after this time."""
_FINE_MS, _COARSE_MS = 2, 100


@dataclass
class _Reader:
    """One receiver's place in its stream."""

    route: bytes
    caller: Peer
    source: PartSource
    next: int
    permitted: int
    credit: int
    window: Window | None
    spoke_s: float
    heard_s: float
    over: bool = False


class StreamServer:
    """Sends the streams it is offered to those who may fetch them.

    Parameters
    ----------
    endpoint : str
        Where to listen, e.g. ``tcp://127.0.0.1:*``.
    """

    def __init__(self, context: Context, security: ServerSecurity, endpoint: str, *, clock: Clock) -> None:
        self._security, self._clock = security, clock
        self._socket = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.set(zmq.MAXMSGSIZE, MAX_HEADER_BYTES + 1024)
        self._socket.set(zmq.HEARTBEAT_IVL, 1000)
        self._socket.set(zmq.HEARTBEAT_TIMEOUT, 5000)
        try:
            self.endpoint = security.bind(self._socket, endpoint)
            """Where it listens."""
        except BaseException:
            self._socket.close()
            raise
        self._sources: dict[str, PartSource] = {}
        self._readers: dict[bytes, _Reader] = {}
        self._windows: dict[bytes, tuple[str, Window, float]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def offer(self, stream: str, source: PartSource) -> None:
        """Let a stream be fetched under a name nobody can guess or that is not secret to any key that may fetch."""
        self._sources[stream] = source

    def withdraw(self, stream: str) -> None:
        """Forget a stream; whoever reads it is told that it failed. Absent is fine."""
        source = self._sources.pop(stream, None)
        if source is not None:
            source.cancel("the stream was withdrawn")

    def close(self) -> None:
        """Stop sending. Twice is fine."""
        self._stop.set()
        self._thread.join()

    # --- the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._hear(_FINE_MS if any(not reader.over for reader in self._readers.values()) else _COARSE_MS)
                for reader in list(self._readers.values()):
                    self._serve(reader)
                self._forget_windows()
        finally:
            for _, window, _ in self._windows.values():
                window.close()
            self._socket.close()

    def _hear(self, wait_ms: int) -> None:
        if not self._socket.poll(wait_ms):
            return
        for _ in range(100):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._take(frames)

    def _take(self, frames: Sequence[zmq.Frame]) -> None:
        route = frames[0].bytes
        try:
            caller = self._security.caller(frames[0])
            require(caller.role, Verb.FETCH, who=caller.user)
            say = decode_from_receiver([frame.buffer for frame in frames[1:]])
            if isinstance(say, Open):
                self._open(route, caller, say)
            elif (reader := self._readers.get(route)) is not None:
                self._heard(reader, say)
        except AutoscopeError as error:
            self._drop(route)
            self._send(route, End(outcome="failed", parts=0, reason=str(error)[:500]))

    def _open(self, route: bytes, caller: Peer, say: Open) -> None:
        source = self._sources.get(say.stream)
        if source is None:
            self._send(route, End(outcome="failed", parts=0, reason="there is no such stream, or not any more"))
            return
        if say.first < source.held().start:
            reason = f"part {say.first} is not kept any more, the first is {source.held().start}"
            self._send(route, End(outcome="failed", parts=0, reason=reason))
            return
        for other in [reader for reader in self._readers.values() if reader.source is source]:
            if other.caller != caller:
                reason = f"{other.caller.user} is receiving this stream"
                self._send(route, End(outcome="failed", parts=0, reason=reason))
                return
            self._drop(other.route)
        window = self._window_of(route, say.window, source.layout.part_bytes)
        credit = min(say.credit, window.size // source.layout.part_bytes) if window is not None else say.credit
        self._readers[route] = _Reader(
            route=route,
            caller=caller,
            source=source,
            next=say.first,
            permitted=say.first + credit,
            credit=credit,
            window=window,
            spoke_s=self._clock.now_s(),
            heard_s=self._clock.now_s(),
        )
        nonce = window.nonce if window is not None else None
        self._send(route, Opened(layout=source.layout, sha256=source.sha256, nonce=nonce))

    def _heard(self, reader: _Reader, say: Stored | Cancel) -> None:
        reader.heard_s = self._clock.now_s()
        if isinstance(say, Cancel):
            reason = say.reason or "cancelled by the receiver"
            reader.source.cancel(reason)
            reader.over = True
            self._send(reader.route, End(outcome="cancelled", parts=reader.next, reason=reason))
            return
        stored = min(say.parts, reader.next)
        reader.permitted = max(reader.permitted, stored + reader.credit)
        reader.source.release(stored)
        if reader.over and stored >= reader.source.layout.parts:
            self._drop(reader.route)

    def _serve(self, reader: _Reader) -> None:
        if self._clock.now_s() - reader.heard_s > SILENCE_S:
            self._drop(reader.route)
        elif not reader.over:
            self._send_ahead(reader)

    def _send_ahead(self, reader: _Reader) -> None:
        held = reader.source.held()
        for index in range(reader.next, min(held.stop, reader.permitted)):
            self._send_part(reader, index)
        ended = reader.source.ended()
        if ended is not None and (ended.outcome != "complete" or reader.next >= reader.source.layout.parts):
            reader.over = True
            self._send(reader.route, ended)
        elif self._clock.now_s() - reader.spoke_s >= SIGN_OF_LIFE_S:
            self._send(reader.route, Progress(produced=held.stop))
            reader.spoke_s = self._clock.now_s()

    def _send_part(self, reader: _Reader, index: int) -> None:
        ready = reader.source.part(index, digest=reader.window is None)
        header = encode(Part(index=index, sha256=ready.sha256))
        reader.next = index + 1
        reader.spoke_s = self._clock.now_s()
        if reader.window is None:
            self._post([reader.route, *header, ready.data])
            return
        size = reader.source.layout.part_bytes
        slot = reader.window.slot(index % (reader.window.size // size) * size, ready.data.nbytes)
        np.frombuffer(slot, np.uint8)[:] = np.frombuffer(ready.data, np.uint8)
        self._post([reader.route, *header])

    def _send(self, route: bytes, say: Opened | Progress | End) -> None:
        self._post([route, *encode(say)])

    def _post(self, frames: list[bytes | memoryview]) -> None:
        with contextlib.suppress(zmq.Again):  # a receiver that does not read what it permitted is told nothing
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=False)

    def _drop(self, route: bytes) -> None:
        self._readers.pop(route, None)

    # --- shared memory ---------------------------------------------------------------------------------

    def _window_of(self, route: bytes, offer: WindowOffer | None, part_bytes: int) -> Window | None:
        """Return the memory offered, kept from the receiver's last stream or opened, or None where it is not shared."""
        if offer is None or offer.size < part_bytes:
            return None
        name, window, _ = self._windows.get(route, ("", None, 0.0))
        if name != offer.name or window is None:
            try:
                window = Window.open(offer.name, offer.size)
            except AutoscopeError:
                return None
        self._windows[route] = (offer.name, window, self._clock.now_s())
        return window

    def _forget_windows(self) -> None:
        now_s = self._clock.now_s()
        for route, (_, window, used_s) in list(self._windows.items()):
            if route in self._readers:
                self._windows[route] = (self._windows[route][0], window, now_s)
            elif now_s - used_s > FORGET_S:
                window.close()
                del self._windows[route]
