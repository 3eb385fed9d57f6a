"""Frames of an act received while they are acquired, beside the line on which its answer will come."""

from __future__ import annotations

import threading
from collections.abc import Callable

from autoscope.bus.arrays import Array, ArrayHeader, ArrayLayout
from autoscope.bus.messages import Delivering
from autoscope.bus.sinks import ArraySink
from autoscope.bus.stream_client import Received, StreamProgress, StreamReceiver
from autoscope.bus.wire import Fetch
from autoscope.errors import BusError
from autoscope.protocols import FrameSink

LEAVE_S = 2.0
"""How long a stream that is given up may take to end."""


class Followers:
    """The frames of one act, each received on a thread of its own.

    What comes is nothing but a head start: the act's answer describes every frame with its digest, and a frame is taken
    from here only where it is that one; any other is fetched as if nobody had followed.

    Parameters
    ----------
    receiver : callable
        Makes a `StreamReceiver`.
    sink : FrameSink
        Told on the thread that calls `tell`.
    max_bytes : int
        A larger frame is not followed.
    """

    def __init__(self, receiver: Callable[[], StreamReceiver], sink: FrameSink, max_bytes: int) -> None:
        self._receiver, self._sink, self._max_bytes = receiver, sink, max_bytes
        self._following: dict[str, _Following] = {}
        self._left: list[_Following] = []

    def __bool__(self) -> bool:
        return bool(self._following)

    def take(self, announced: Delivering) -> None:
        """Follow a frame that has begun; one that has begun anew, on a server started again, takes its place."""
        before = self._following.get(announced.signal)
        if before is not None and before.stream == announced.stream:
            return
        if before is not None:
            before.leave()
            self._left.append(before)
        if announced.layout.nbytes <= self._max_bytes:
            self._following[announced.signal] = _Following(announced, self._receiver())

    def tell(self) -> None:
        """Tell the sink of what has come since.

        Raises
        ------
        AutoscopeError
            It wants no more.
        """
        for signal, following in self._following.items():
            following.tell(signal, self._sink)

    def array(self, header: ArrayHeader) -> Array | None:
        """Return the array that an answer describes, when its stream has ended, or None where it was not that one."""
        for signal, following in self._following.items():
            if following.layout == ArrayLayout(**header.model_dump(exclude={"sha256"})):
                found = following.result(header.sha256)
                following.tell(signal, self._sink)
                if found is not None:
                    return found
        return None

    def before(self, fetch: Fetch) -> Fetch:
        """Return a way to have an array that looks here before it fetches."""

        def look(stream: str, header: ArrayHeader) -> Array:
            found = self.array(header)
            return fetch(stream, header) if found is None else found

        return look

    def close(self) -> None:
        """Give up what is still on its way."""
        everybody = [*self._following.values(), *self._left]
        for following in everybody:
            following.leave()
        for following in everybody:
            following.join()
        self._following, self._left = {}, []


class _Following:
    """One frame."""

    def __init__(self, announced: Delivering, receiver: StreamReceiver) -> None:
        self.stream, self.layout = announced.stream, announced.layout
        self._receiver, self._array = receiver, ArraySink(announced.layout.nbytes)
        self._enough = threading.Event()
        self._stored = self._told = 0
        self._received: Received | None = None
        self._begun = False
        self._thread = threading.Thread(target=self._run, name="follow", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._received = self._receiver.receive(self.stream, self._array, progress=self._note, cancel=self._enough)
        except BusError:
            return  # the answer will say what became of the act, and its frames can be fetched
        finally:
            self._receiver.close()

    def _note(self, now: StreamProgress) -> None:
        self._stored = now.stored

    def tell(self, signal: str, sink: FrameSink) -> None:
        """Tell how many points of the scan have come."""
        if (stored := self._stored) == self._told and self._begun:
            return
        if not self._begun:
            if (growing := self._array.growing) is None:
                return
            self._begun = True
            sink.begin(signal, growing)
        self._told = stored
        height, width = (*self.layout.shape, 1, 1)[:2]
        nbytes = min(stored * self.layout.part_bytes, self.layout.nbytes)
        sink.advance(signal, height * width * nbytes // max(self.layout.nbytes, 1))

    def result(self, sha256: str) -> Array | None:
        """Wait for the end and return the array if it is the one of this digest."""
        self._thread.join()
        received = self._received
        if received is None or received.sha256 != sha256 or received.layout != self.layout:
            return None
        return self._array.array

    def leave(self) -> None:
        """Have the stream given up."""
        self._enough.set()

    def join(self) -> None:
        """Wait until it is."""
        self._thread.join(LEAVE_S)
