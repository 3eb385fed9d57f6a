"""Large arrays of answers, laid out to be fetched as streams, so that a reply stays small."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence

from autoscope.bus.arrays import ArrayHeader, Buffer
from autoscope.bus.messages import Answer, Done, FrameHeader
from autoscope.bus.stream_server import StreamServer
from autoscope.bus.stream_sources import PartsSource

INLINE_BYTES = 8 * 1024 * 1024
"""Larger arrays are fetched; smaller ones follow the header of the reply."""
KEEP_BYTES = 1024**3
"""What may lie here at once, beside the array laid out last; what is gone comes back by asking for the act again."""


class Shelf:
    """Offers the large arrays of answers under names that only those know who got the answer.

    Parameters
    ----------
    streams : StreamServer
        Where they are offered.
    keep_bytes : int
        The oldest go where there are more.
    """

    def __init__(self, streams: StreamServer, *, keep_bytes: int = KEEP_BYTES) -> None:
        self._streams, self._keep_bytes = streams, keep_bytes
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] = OrderedDict()

    def lay_out(self, answer: Answer, parts: Sequence[Buffer]) -> tuple[Answer, list[Buffer]]:
        """Return an answer whose large arrays are to be fetched, and the parts of the others; on any thread."""
        if not parts or not isinstance(answer, Done) or not any(_large(frame) for frame in answer.frames):
            return answer, list(parts)
        frames: list[FrameHeader] = []
        inline: list[Buffer] = []
        start = 0
        for frame in answer.frames:
            own = parts[start : start + frame.array.parts]
            start += frame.array.parts
            if _large(frame):
                frames.append(frame.replace(stream=self._offered(frame.array, own)))
            else:
                frames.append(frame)
                inline += own
        return answer.replace(frames=tuple(frames)), inline

    def _offered(self, header: ArrayHeader, parts: Sequence[Buffer]) -> str:
        name = hashlib.sha256(header.model_dump_json().encode()).hexdigest()
        with self._lock:
            self._streams.offer(name, PartsSource(header, parts, header.sha256))
            self._sizes[name] = header.nbytes
            self._sizes.move_to_end(name)
            while len(self._sizes) > 1 and sum(self._sizes.values()) > self._keep_bytes:
                self._streams.withdraw(self._sizes.popitem(last=False)[0])
        return name


def _large(frame: FrameHeader) -> bool:
    return frame.array.nbytes > INLINE_BYTES
