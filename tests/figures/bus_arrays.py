"""The figures of arrays on the bus: rates against raw pyzmq, shared memory, a fast detector to disk, keys, fuzz."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from autoscope.bus.arrays import MAX_ARRAY_BYTES, Array, ArrayHeader, from_parts, to_parts
from autoscope.bus.authentication import ClientSecurity, CurveClient, CurveServer, OpenClient, OpenServer
from autoscope.bus.keyring import Entry, Keyring, write_entries
from autoscope.bus.keys import KeyPair
from autoscope.bus.roles import Role
from autoscope.bus.sinks import ArraySink, NpySink
from autoscope.bus.stream_client import StreamReceiver
from autoscope.bus.stream_server import StreamServer
from autoscope.bus.stream_sources import ArraySource, LiveSource, PartsSource, whole_frames
from autoscope.clock import SystemClock
from autoscope.journal import Journal
from autoscope.journal.frames import npy_digest
from autoscope.records import Axis, Frame, FrameMeta
from tests.fault.key_matrix import KEYS, STATES, as_it_must_be, measured
from tests.figures.figure import Figure
from tests.figures.fuzz import fuzz

MB = 1024 * 1024
INLINE_BYTES = 8 * MB
SIZES = {1: 40, 8: 20, 64: 8, 512: 3}
"""Megabytes, and transfers of each a round."""
FRAMES_PER_S, FRAME = 4000, (256, 256)
_SPAWN = multiprocessing.get_context("spawn")


def figures(slow: bool) -> Iterator[Figure]:
    """Yield the figures; a minute of the fast detector and a million messages only with ``slow``."""
    yield from _key_matrix()
    yield from _fuzz(1_000_000 if slow else 20_000)
    for curve in (False, True):
        yield from _rates(curve, rounds=5 if slow else 2)
    yield from _shared(rounds=5 if slow else 3)
    for curve in (False, True):
        yield _detector(curve, 60.0 if slow else 3.0)


# --- keys and fuzz -------------------------------------------------------------------------------------


def _key_matrix() -> Iterator[Figure]:
    found = measured()
    right = sum(found[key, state] == as_it_must_be(key, state) for key in KEYS for state in STATES)
    how = f"real sockets, one message each: {KEYS} x authenticator {STATES}"
    yield Figure("bus_key_matrix", right, "cases as they must be", "15 of 15", right == 15, 15, how)


def _fuzz(messages: int) -> Iterator[Figure]:
    result = fuzz(messages, seed=0)
    how = "seed 0; headers of arrays, streams, requests and replies, random and mutated; " + json.dumps(result.outcomes)
    yield Figure("bus_fuzz_messages", result.messages, "messages", f"{messages}, no crash", True, result.messages, how)
    yield Figure(
        "bus_fuzz_peak_memory", round(result.peak_bytes / MB, 2), "MB", "< 8", result.peak_bytes < 8 * MB, 1,
        "most that any of a sample of messages made Python allocate (tracemalloc); headers claim up to 2^60 bytes",
    )  # fmt: skip


# --- two processes -------------------------------------------------------------------------------------


Fetch = dict[bool, StreamReceiver]


@dataclass(frozen=True)
class Peers:
    """Keys for both ends, or none."""

    folder: str
    curve: bool

    def server(self, context: zmq.Context[Any]) -> Any:
        """Return the guard of a server's sockets."""
        if not self.curve:
            return OpenServer()
        folder = Path(self.folder)
        return CurveServer(context, KeyPair.load(folder / "server.key"), Keyring(folder / "authorized_keys"))

    def client(self) -> ClientSecurity:
        """Return the guard of a client's sockets."""
        return CurveClient(KeyPair.load(Path(self.folder) / "client.key")) if self.curve else OpenClient()


def _peers(folder: str, curve: bool) -> Peers:
    server = KeyPair.generate("server")
    client = KeyPair.generate("client", server=server.public)
    server.save(Path(folder) / "server.key")
    client.save(Path(folder) / "client.key")
    entry = Entry(role=Role.AGENT, name="client", public=client.public, made="2026-01-01")
    write_entries(Path(folder) / "authorized_keys", [entry])
    return Peers(folder, curve)


def _array(megabytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full(megabytes * MB, 7, np.uint8)


# how a sender answers the request for an array: raw in four ways, and as a reply on the bus

RAW: dict[str, Callable[[memoryview], list[list[memoryview]]]] = {
    "one message": lambda data: [[data]],
    "parts of 8 MB in one message": lambda data: [[data[k : k + 8 * MB] for k in range(0, data.nbytes, 8 * MB)]],
    "messages of 8 MB": lambda data: [[data[k : k + 8 * MB]] for k in range(0, data.nbytes, 8 * MB)],
    "messages of 1 MB": lambda data: [[data[k : k + MB]] for k in range(0, data.nbytes, MB)],
}


def _answer(peers: Peers, pipe: Connection) -> None:
    """Be the sending process: answers requests ``[way, megabytes]``."""
    with zmq.Context() as context:
        security, socket = peers.server(context), context.socket(zmq.ROUTER)
        socket.linger = 0
        socket.sndhwm = 0
        pipe.send(security.bind(socket, "tcp://127.0.0.1:*"))
        arrays = {size: _array(size) for size in SIZES}
        described = {size: to_parts(array) for size, array in arrays.items()}
        streams = StreamServer(context, security, "tcp://127.0.0.1:*", clock=SystemClock())
        for size, (header, parts) in described.items():
            streams.offer(str(size), PartsSource(header, parts, header.sha256))
        pipe.send(streams.endpoint)
        while (request := socket.recv_multipart())[1] != b"stop":
            route, way, size = request[0], request[1].decode(), int(request[2])
            if way == "bus":
                header, parts = described[size]
                socket.send_multipart([route, header.model_dump_json().encode(), *parts], copy=False)
            else:
                for message in RAW[way](arrays[size].data):
                    socket.send_multipart([route, *message], copy=False)
        socket.close()
        streams.close()
        if peers.curve:
            security.close()


def _receive(socket: zmq.Socket[Any], way: str, megabytes: int, verify: bool, fetch: Fetch) -> Array:
    if way == "bus" and megabytes * MB > INLINE_BYTES:
        fetch[verify].receive(str(megabytes), sink := ArraySink(MAX_ARRAY_BYTES))
        assert sink.array[-1] == 7
        return sink.array
    socket.send_multipart([way.encode(), str(megabytes).encode()])
    if way == "bus":
        first, *frames = socket.recv_multipart(copy=False)
        header = ArrayHeader.model_validate_json(first.bytes)
        array = from_parts(header, [frame.buffer for frame in frames], verify=verify)
        assert array[-1] == 7
        return array
    if way == "one message":
        array, at = np.frombuffer(socket.recv(copy=False).buffer, np.uint8), megabytes * MB
    else:
        array, at = np.empty(megabytes * MB, np.uint8), 0
    while at < array.size:
        for frame in socket.recv_multipart(copy=False):
            array[at : at + frame.buffer.nbytes] = np.frombuffer(frame.buffer, np.uint8)
            at += frame.buffer.nbytes
    assert array[-1] == 7
    return array


def _rates(curve: bool, rounds: int) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder, zmq.Context() as context:
        peers = _peers(folder, curve)
        ours, theirs = _SPAWN.Pipe()
        sender = _SPAWN.Process(target=_answer, args=(peers, theirs), daemon=True)
        sender.start()
        socket = context.socket(zmq.DEALER)
        socket.linger = 100
        socket.rcvhwm = 0
        peers.client().protect(socket)
        socket.connect(ours.recv())
        endpoint, clock = ours.recv(), SystemClock()
        fetch = {
            verify: StreamReceiver(context, peers.client(), endpoint, clock=clock, share=False, verify=verify)
            for verify in (False, True)
        }
        try:
            for size, transfers in SIZES.items():
                yield from _compare(socket, fetch, size, transfers, rounds, "curve" if curve else "plain")
            if not curve:
                yield _bound(socket, fetch, sender.pid or 0, 4 * rounds)
            yield _stored(socket, fetch, 4 * rounds, curve)
        finally:
            socket.send_multipart([b"stop", b""])
            for receiver in fetch.values():
                receiver.close()
            socket.close()
            sender.join(10)


def _compare(
    socket: zmq.Socket[Any], fetch: Fetch, size: int, transfers: int, rounds: int, security: str
) -> Iterator[Figure]:
    """Time every way in turn, again and again; the best of each counts, as neighbours only ever slow things down."""
    ways = [*((way, False) for way in RAW), ("bus", False), ("bus", True)]
    best = dict.fromkeys(ways, 0.0)
    for way, verify in ways:
        _receive(socket, way, size, verify, fetch)
    for _ in range(rounds):
        for way, verify in ways:
            for _ in range(transfers):
                started = time.perf_counter()
                _receive(socket, way, size, verify, fetch)
                best[way, verify] = max(best[way, verify], size * MB / (time.perf_counter() - started) / 1e9)
    raw = {way: best[way, False] for way in RAW}
    top = max(raw, key=lambda way: raw[way])
    detail = f"{best['bus', False]:.2f} GB/s against raw {raw[top]:.2f} ({top}); all raw: " + ", ".join(
        f"{way} {rate:.2f}" for way, rate in raw.items()
    )
    for verify, name in ((False, "transfer"), (True, "transfer_and_sha256")):
        ratio = best["bus", verify] / raw[top]
        how = (
            "TCP loopback, two processes, best of all; raw: the same bytes as one array by pyzmq alone; "
            "bus: header checked, in the reply up to 8 MB, as a stream beyond; "
            + (
                "digests worked out and compared on arrival, as without keys"
                if verify
                else "the digest is compared where the array is stored, as with keys"
            )
            + f"; {detail}; {best['bus', True]:.2f} GB/s with the digest"
        )
        n = rounds * transfers
        yield Figure(
            f"bus_array_{size}MB_{security}_{name}",
            round(ratio, 2),
            "x raw",
            ">= 0.9",
            ratio >= 0.9,
            n,
            how,
        )


def _bound(socket: zmq.Socket[Any], fetch: Fetch, sender: int, transfers: int) -> Figure:
    """Say what no program could pass here that compares digests on arrival: all cores busy, nothing else done."""
    data, walls = _array(64), list[float]()
    begun = time.thread_time()
    hashlib.sha256(data).digest()
    hash_s, used_s = time.thread_time() - begun, used(sender) + used()
    for _ in range(transfers):
        begun = time.perf_counter()
        _receive(socket, "messages of 1 MB", 64, False, fetch)
        walls.append(time.perf_counter() - begun)
    used_s = (used(sender) + used() - used_s) / transfers
    wall_s, cores = min(walls), len(os.sched_getaffinity(0))
    wall_s, used_s, hash_s = (seconds / (64 * MB / 1e9) for seconds in (wall_s, used_s, hash_s))
    most = wall_s / max(wall_s, (used_s + hash_s) / cores)
    how = (
        f"a GB by pyzmq alone takes {wall_s:.2f} s at best, {used_s:.2f} s of processor time at both ends, its sha256 "
        f"another {hash_s:.2f} s ({1 / hash_s:.2f} GB/s a core); {cores} cores, which both ends share"
    )
    return Figure("bus_array_64MB_plain_sha256_bound", round(most, 2), "x raw at most", "report", None, transfers, how)


def used(process: int | None = None) -> float:
    """Return the seconds of processor time that a process has used, all its threads together; None: this one."""
    fields = Path(f"/proc/{process or 'self'}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stored(socket: zmq.Socket[Any], fetch: Fetch, rounds: int, curve: bool) -> Figure:
    """Time an array of 64 MB from the request to its file in a journal, ours with its digest compared on the way."""
    axes = (Axis(name="bytes", unit="", size=64 * MB),)
    meta = FrameMeta(signal="4D", axes=axes, time_s=0.0, dwell_s=1.0, x_m=0.0, y_m=0.0)
    promised = npy_digest(Frame(meta, _array(64)))
    times: dict[str, list[float]] = {"bus": [], "messages of 1 MB": []}
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal.create(Path(folder) / "run", clock=SystemClock(), config="")
        for round_ in range(rounds):
            for which, (way, taken) in enumerate(times.items()):
                started = time.perf_counter()
                array = _receive(socket, way, 64, not curve, fetch)
                journal.write_frame(Frame(meta, array, promised if way == "bus" else ""), step=round_, index=which)
                taken.append(time.perf_counter() - started)
                for file in (Path(folder) / "run" / "frames").iterdir():
                    file.unlink()
        journal.close()
    ours, raw = (statistics.median(taken) for taken in times.values())
    how = (
        f"median of {rounds}, in turn, request to durable .npy file: bus {ours * 1e3:.0f} ms, "
        f"pyzmq in messages of 1 MB {raw * 1e3:.0f} ms with the same journal, which hashes either; bus: "
        + ("digest compared by the journal alone" if curve else "digests of parts compared on arrival, then the file's")
    )
    name = f"bus_array_64MB_{'curve' if curve else 'plain'}_to_journal"
    return Figure(name, round(raw / ours, 2), "x raw", ">= 0.9", raw / ours >= 0.9, rounds, how)


# --- shared memory -------------------------------------------------------------------------------------


def _offer(peers: Peers, pipe: Connection) -> None:
    """Be the process that sends streams of arrays."""
    with zmq.Context() as context:
        security = peers.server(context)
        with StreamServer(context, security, "tcp://127.0.0.1:*", clock=SystemClock()) as sender:
            for size in SIZES:
                sender.offer(str(size), ArraySource(_array(size)))
            pipe.send(sender.endpoint)
            pipe.recv()
        if peers.curve:
            security.close()


class _KeptSink(ArraySink):
    """Uses its memory again, as a program does that takes one spectrum image after the other."""

    def begin(self, layout: Any) -> None:
        """Allocate at the first stream of a size only."""
        if self._layout != layout:
            super().begin(layout)


def _shared(rounds: int) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder, zmq.Context() as context:
        peers = _peers(folder, curve=True)
        ours, theirs = _SPAWN.Pipe()
        sender = _SPAWN.Process(target=_offer, args=(peers, theirs), daemon=True)
        sender.start()
        with StreamReceiver(context, peers.client(), ours.recv(), clock=SystemClock()) as receiver:
            for size in (64, 512):
                for name, make in (("kept", _KeptSink), ("fresh", ArraySink)):
                    rates, sink = [], make(MAX_ARRAY_BYTES)
                    for _ in range(rounds + 1):
                        sink = sink if name == "kept" else make(MAX_ARRAY_BYTES)
                        started = time.perf_counter()
                        received = receiver.receive(str(size), sink)
                        rates.append(size * MB / (time.perf_counter() - started) / 1e9)
                        assert received.shared_memory
                    best = max(rates[1:])
                    goal = size == 512 and name == "kept"
                    yield Figure(
                        f"bus_shared_memory_{size}MB_{name}", round(best, 2), "GB/s", ">= 5" if goal else "",
                        best >= 5 if goal else None, rounds,
                        f"two processes, headers over CURVE, bytes through shared memory into a {name} array; best; "
                        f"median {statistics.median(rates[1:]):.2f}, first {rates[0]:.2f}",
                    )  # fmt: skip
        ours.send(None)
        sender.join(10)


# --- a fast detector, to disk ---------------------------------------------------------------------------


def _acquire(peers: Peers, seconds: float, share: bool, pipe: Connection) -> None:
    """Be the detector's process: frames at a fixed rate, as long as there is room; tells how late it became."""
    clock, frames = SystemClock(), int(FRAMES_PER_S * seconds)
    source = LiveSource(whole_frames("<u2", (frames, *FRAME)), capacity=32)
    sixteen = np.random.default_rng(0).poisson(3.0, (16, *FRAME)).astype("<u2")
    with zmq.Context() as context:
        security = peers.server(context)
        with StreamServer(context, security, "tcp://127.0.0.1:*", clock=clock) as sender:
            sender.offer("scan", source)
            pipe.send(sender.endpoint)
            pipe.recv()
            started, late = clock.now_s(), 0.0
            for first in range(0, frames, 16):
                due = started + first / FRAMES_PER_S
                if (now := clock.now_s()) < due:
                    clock.wait(due - now)
                source.put(sixteen[: frames - first])
                late = max(late, clock.now_s() - due)
            took = clock.now_s() - started
            source.wait_stored(60.0)
            pipe.send((took, late))
            pipe.recv()
        if peers.curve:
            security.close()


def _detector(curve: bool, seconds: float) -> Figure:
    security, frames = "curve" if curve else "plain", int(FRAMES_PER_S * seconds)
    guarded = "sealed with Poly1305" if curve else "compared on arrival"
    with tempfile.TemporaryDirectory() as folder, zmq.Context() as context:
        peers = _peers(folder, curve)
        ours, theirs = _SPAWN.Pipe()
        detector = _SPAWN.Process(target=_acquire, args=(peers, seconds, False, theirs), daemon=True)
        detector.start()
        path = Path(folder) / "scan.npy"
        with StreamReceiver(
            context, peers.client(), ours.recv(), clock=SystemClock(), share=False, credit=16
        ) as receiver:
            threading.Timer(0.2, lambda: ours.send(None)).start()
            started, ends = time.perf_counter(), (detector.pid, None)
            before = [used(end) for end in ends]
            received = receiver.receive("scan", NpySink(path))
            whole = time.perf_counter() - started
            busy = [(used(end) - begun) / whole for end, begun in zip(ends, before, strict=True)]
        took, late = ours.recv()
        ours.send(None)
        detector.join(10)
        kept = np.load(path, mmap_mode="r").shape[0]
    rate = frames / took
    how = (
        f"{seconds:g} s at {FRAMES_PER_S}/s of {FRAME} uint16 ({rate * 131072 / 1e6:.0f} MB/s acquired), TCP, "
        f"{security}, every part hashed by the sender and {guarded}, "
        f"into .npy: {kept} of {frames} frames kept, on the disk "
        f"(fsync) after {whole:.1f} s; the detector was at most {late:.2f} s behind its schedule, no frame left out; "
        f"{received.reopened} reconnections; cores busy: {busy[0]:.2f} of the detector's process, {busy[1]:.2f} of the "
        f"one that stores, of {len(os.sched_getaffinity(0))}"
    )
    ok = kept == frames and rate >= 0.99 * FRAMES_PER_S
    return Figure(f"bus_detector_to_disk_{security}", round(rate), "frames/s", ">= 4000", ok, frames, how)
