"""The frames of an act while it runs: offered as streams, counted for everybody, and stopped where it is overruled."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Protocol

from autoscope.bus.arrays import Array, ArrayHeader, raw_bytes
from autoscope.bus.messages import Delivering
from autoscope.bus.stream_sources import GrowingSource, PartSource
from autoscope.errors import InstrumentError

LIVE_BYTES = 256 * 1024
"""Smaller frames are not worth a stream: they come with the answer."""


class Streams(Protocol):
    """Where streams are offered; `autoscope.bus.stream_server.StreamServer` is one."""

    def offer(self, stream: str, source: PartSource) -> None:
        """Let a stream be fetched under a name."""

    def withdraw(self, stream: str) -> None:
        """Forget a stream; absent is fine."""


class LiveFrames:
    """A `FrameSink` of the server's: what an instrument tells of an act under way goes out as it comes.

    Parameters
    ----------
    act_id : str
        Of the act.
    streams : Streams or None
        Where frames are offered; None where nobody who asked can take them.
    tell : callable
        Tells whoever waits for the act that a frame can be fetched.
    overruled : callable
        Why the act is to end; empty while it may go on.
    """

    def __init__(
        self, act_id: str, streams: Streams | None, tell: Callable[[Delivering], None], overruled: Callable[[], str]
    ) -> None:
        self._act_id, self._streams, self._tell, self._overruled = act_id, streams, tell, overruled
        self._arrays: dict[str, Array] = {}
        self._sources: dict[str, GrowingSource] = {}
        self.announced: tuple[Delivering, ...] = ()
        """What whoever waits was told, to be told again where that may have been lost."""
        self.done: tuple[int, int] | None = None
        """Points acquired and in all, of the frame last told of."""

    # --- the driver's thread ------------------------------------------------------------------------

    def begin(self, signal: str, data: Array) -> None:
        """Offer a frame that has begun, if it is large."""
        self._arrays[signal] = data
        self.done = (0, _points(data))
        if self._streams is None or data.nbytes < LIVE_BYTES or not data.flags.c_contiguous:
            return
        source = self._sources[signal] = GrowingSource(data)
        stream = secrets.token_hex(16)
        self._streams.offer(stream, source)
        announced = Delivering(act_id=self._act_id, signal=signal, layout=source.layout, stream=stream)
        self.announced += (announced,)
        self._tell(announced)

    def advance(self, signal: str, points: int) -> None:
        """Let the parts that are filled be sent.

        Raises
        ------
        InstrumentError
            The act was overruled: the acquisition is to be stopped.
        """
        if why := self._overruled():
            raise InstrumentError(f"the acquisition was stopped: {why}", where=self._act_id)
        data = self._arrays[signal]
        self.done = (points, _points(data))
        if (source := self._sources.get(signal)) is not None:
            source.fill(data.nbytes * points // self.done[1])

    # --- when it is over ----------------------------------------------------------------------------

    def header_of(self, data: Array) -> ArrayHeader | None:
        """Return the description of a frame whose digest was worked out on the way, or None of any other."""
        for source in self._sources.values():
            header = source.header()
            if header is not None and _is_same(source, data):
                return header
        return None

    def fail(self, why: str) -> None:
        """Tell receivers that no more will come, and that what came is not whole."""
        for source in self._sources.values():
            source.fail(why)
        self.withdraw()

    def withdraw(self) -> None:
        """Offer nothing any more; whoever is receiving gets the rest of what is whole."""
        for announced in self.announced:
            if self._streams is not None:
                self._streams.withdraw(announced.stream)


def _points(data: Array) -> int:
    height, width = (*data.shape, 1, 1)[:2]
    return max(int(height) * int(width), 1)


def _is_same(source: GrowingSource, data: Array) -> bool:
    """Return whether these are the very bytes of the source's array, not only equal ones."""
    same = (data.dtype.str, data.shape, data.flags.c_contiguous) == (source.layout.dtype, source.layout.shape, True)
    return same and source.holds(raw_bytes(data))
