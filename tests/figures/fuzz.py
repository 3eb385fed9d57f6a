"""A seeded fuzzer of everything the bus reads: only errors made on purpose, and no memory for what is only claimed."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import ValidationError

from autoscope.bus import stream_sources, streaming, wire
from autoscope.bus.arrays import ArrayHeader, from_parts, to_parts
from autoscope.errors import AutoscopeError
from autoscope.records import Frame, FrameMeta, MicroscopeState, Observation

Message = list[bytes]
SAMPLED = 50
"""One message in so many is watched by tracemalloc, which slows everything down."""


@dataclass
class Fuzzed:
    """What came of it."""

    messages: int
    peak_bytes: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)


def _array_target(message: Message) -> None:
    header = ArrayHeader.model_validate_json(message[0])
    from_parts(header, message[1:], max_bytes=2**40)


def _reply_target(message: Message) -> None:
    reply, parts = wire.decode_reply(message)
    if reply.answer.kind == "done":
        wire.unpack(reply.answer, parts, max_bytes=2**40)


TARGETS: dict[str, Callable[[Message], object]] = {
    "array": _array_target,
    "receiver": streaming.decode_from_receiver,
    "sender": streaming.decode_from_sender,
    "request": wire.decode_request,
    "reply": _reply_target,
    "event": wire.decode_event,
}


def _observation() -> Observation:
    meta = FrameMeta(signal="HAADF", axes=(), time_s=0.0, dwell_s=1e-6, x_m=0.0, y_m=0.0)
    state = MicroscopeState(time_s=0.0)
    return Observation("run/1", state, state, (Frame(meta, np.arange(64, dtype="<u2").reshape(8, 8)),))


def seeds() -> dict[str, list[Message]]:
    """Return good messages of each kind, to be spoiled."""
    from autoscope.bus import messages as say
    from autoscope.records import Act, Scan

    header, parts = to_parts(np.arange(32, dtype="<f4").reshape(4, 8), part_bytes=48)
    scan = Act(act_id="run/1", action=Scan(fov_m=1e-6, width_px=8, height_px=8, dwell_s=1e-6), lease="x")
    done, frames = wire.pack(_observation())
    requests = [
        say.Ping(),
        say.Hello(client="me"),
        say.Execute(session="s", seq=1, act=scan),
        say.Recall(act_id="run/1"),
    ]
    layout = stream_sources.whole_frames("<u2", (9, 8, 8), part_bytes=512)
    window = streaming.WindowOffer(name="autoscope-0123456789abcdef", size=4096)
    from_sender = [
        streaming.Opened(layout=layout, nonce="0" * 64),
        streaming.Part(index=1, sha256="0" * 64),
        streaming.Progress(produced=3),
        streaming.End(outcome="complete", parts=2, sha256="0" * 64),
    ]
    from_receiver = [streaming.Open(stream="s", credit=4, window=window), streaming.Stored(parts=2), streaming.Cancel()]
    return {
        "array": [[header.model_dump_json().encode(), *map(bytes, parts)]],
        "receiver": [streaming.encode(each) for each in from_receiver],
        "sender": [streaming.encode(each) for each in from_sender] + [[*streaming.encode(from_sender[1]), b"x" * 512]],
        "request": [list(map(bytes, wire.encode_request("1", None, ask))) for ask in requests],
        "reply": [
            [*map(bytes, wire.encode_reply("1", None, done)), *map(bytes, frames)],
            list(map(bytes, wire.encode_reply("1", None, say.Fine()))),
        ],
        "event": [wire.encode_event(say.Event(kind="act", number=1, time_s=0.0, act_id="run/1", state="done"))],
    }


NASTY: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**40, 2**63, 2**64, 10**400, 1.5, 1e308, "", "x", "\u0000", "x" * 300, "NaN", [], {},
    [2**20] * 4, [2**40] * 8, [0, 2**40], [[[[]]]], "|O8", "<f8", "<c16", ">u2", "F", "../../etc/passwd",
)  # fmt: skip


class Spoiler:
    """Makes wrong messages out of good ones, from a seed."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def spoil(self, message: Sequence[bytes]) -> Message:
        """Return the message spoiled in one to three ways."""
        spoiled = list(message)
        for _ in range(int(self._rng.integers(1, 4))):
            way = self._ways[int(self._rng.integers(len(self._ways)))]
            spoiled = way(self, spoiled) or [b""]
        return spoiled

    def _flip(self, message: Message) -> Message:
        which = self._which(message)
        data = bytearray(message[which])
        if data:
            data[int(self._rng.integers(len(data)))] = int(self._rng.integers(256))
        return [*message[:which], bytes(data), *message[which + 1 :]]

    def _cut(self, message: Message) -> Message:
        which = self._which(message)
        size = int(self._rng.integers(len(message[which]) + 1))
        return [*message[:which], message[which][:size], *message[which + 1 :]]

    def _noise(self, message: Message) -> Message:
        which = self._which(message)
        return [*message[:which], self._rng.bytes(int(self._rng.integers(64))), *message[which + 1 :]]

    def _drop(self, message: Message) -> Message:
        which = self._which(message)
        return [*message[:which], *message[which + 1 :]]

    def _double(self, message: Message) -> Message:
        which = self._which(message)
        return [*message[: which + 1], *message[which:]]

    def _nasty(self, message: Message) -> Message:
        """Put a nasty value at a random place of the header."""
        which = next((k for k, part in enumerate(message) if part.startswith(b"{")), None)
        if which is None:
            return message
        try:
            tree = json.loads(message[which])
        except ValueError:
            return message
        place: Any = tree
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                return message
            key = keys[int(self._rng.integers(len(keys)))]
            if isinstance(place[key], (dict, list)) and place[key] and self._rng.random() < 0.7:
                place = place[key]
                continue
            place[key] = NASTY[int(self._rng.integers(len(NASTY)))]
            return [*message[:which], json.dumps(tree).encode(), *message[which + 1 :]]

    def _which(self, message: Message) -> int:
        return int(self._rng.integers(len(message)))

    _ways = (_flip, _cut, _noise, _drop, _double, _nasty, _nasty, _nasty)


def fuzz(messages: int, seed: int) -> Fuzzed:
    """Feed spoiled messages to every reader; anything but an error made on purpose is raised."""
    rng = np.random.default_rng(seed)
    spoiler, good, outcomes, peak = Spoiler(rng), seeds(), Counter[str](), 0
    kinds = list(TARGETS)
    for number in range(messages):
        kind = kinds[int(rng.integers(len(kinds)))]
        message = spoiler.spoil(good[kind][int(rng.integers(len(good[kind])))])
        if number % SAMPLED == 0:
            tracemalloc.start()
        try:
            TARGETS[kind](message)
            outcomes["taken"] += 1
        except ValidationError:
            outcomes["refused by the model"] += 1
        except AutoscopeError as error:
            outcomes[f"refused as {type(error).__name__}"] += 1
        finally:
            if number % SAMPLED == 0:
                peak = max(peak, tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
    return Fuzzed(messages, peak, dict(outcomes))
