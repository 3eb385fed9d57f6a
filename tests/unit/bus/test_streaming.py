import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
import zmq

from autoscope.bus import stream_sources, streaming
from autoscope.bus.arrays import MAX_ARRAY_BYTES, PART_BYTES, to_parts
from autoscope.bus.authentication import CurveClient, CurveServer, OpenClient, OpenServer
from autoscope.bus.keyring import Entry, Keyring, write_entries
from autoscope.bus.keys import KeyPair
from autoscope.bus.roles import Role
from autoscope.bus.shared_memory import PREFIX, Window, sweep
from autoscope.bus.sinks import ArraySink, Hdf5Sink, NpySink
from autoscope.bus.stream_client import StreamReceiver
from autoscope.bus.stream_server import StreamServer
from autoscope.bus.stream_sources import ArraySource, LiveSource, whole_frames
from autoscope.bus.streaming import (
    End,
    Opened,
    Part,
    decode_from_receiver,
    decode_from_sender,
    encode,
)
from autoscope.clock import SystemClock
from autoscope.errors import AutoscopeError, BusError, ConfigError, DataError, Unreachable

CLOCK = SystemClock()
SHAPE = (40, 16, 16)
FRAMES = np.random.default_rng(4).integers(0, 4096, SHAPE, dtype=np.uint16)
LAYOUT = whole_frames("<u2", SHAPE, part_bytes=8 * 16 * 16 * 2)


@contextmanager
def ends(tmp_path=None, role=Role.AGENT, **terms):
    """A sender and a receiver, with keys where a folder is given."""
    server_security, client_security, close = OpenServer(), OpenClient(), lambda: None
    with zmq.Context() as ours, zmq.Context() as theirs:
        if tmp_path is not None:
            server = KeyPair.generate("server")
            client = KeyPair.generate("client", server=server.public)
            entry = Entry(role=role, name="client", public=client.public, made="2026-01-01")
            write_entries(tmp_path / "authorized_keys", [entry])
            server_security = CurveServer(ours, server, Keyring(tmp_path / "authorized_keys"))
            client_security, close = CurveClient(client), server_security.close
        try:
            with (
                StreamServer(ours, server_security, "tcp://127.0.0.1:*", clock=CLOCK) as sender,
                StreamReceiver(theirs, client_security, sender.endpoint, clock=CLOCK, **terms) as receiver,
            ):
                yield sender, receiver
        finally:
            close()


def started(context, endpoint):
    """A sender where one has just been closed: the system lets go of an address in its own time."""
    for _ in range(200):
        try:
            return StreamServer(context, OpenServer(), endpoint, clock=CLOCK)
        except ConfigError:
            CLOCK.wait(0.01)
    raise AssertionError(f"{endpoint} is not let go of")


def memory():
    return ArraySink(MAX_ARRAY_BYTES)


def windows():
    return {path.name for path in Path("/dev/shm").glob(f"{PREFIX}*")}


def acquire(source, frames=FRAMES):
    """Fill a live source on a thread of its own; what it raised is in the list."""
    raised = []

    def run():
        try:
            for frame in frames:
                source.put(frame)
        except BusError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, raised


@pytest.mark.parametrize("curve", [False, True])
@pytest.mark.parametrize("share", [False, True])
def test_an_array_arrives_to_the_bit_with_its_digest(tmp_path, curve, share):
    with ends(tmp_path if curve else None, share=share) as (sender, receiver):
        sender.offer("plain", ArraySource(FRAMES))
        header, _ = to_parts(FRAMES, part_bytes=1000)
        sender.offer("described", ArraySource(FRAMES, header))
        for stream in ("plain", "described", "described"):
            received = receiver.receive(stream, sink := memory())
            assert (sink.array == FRAMES).all()
            assert received.shared_memory == share
        assert received.sha256 == header.sha256


@pytest.mark.parametrize("array", [np.empty((0, 4)), np.float32(3), np.asfortranarray(np.arange(6.0).reshape(2, 3))])
def test_odd_arrays_arrive_too(array):
    with ends() as (sender, receiver):
        sender.offer("odd", ArraySource(np.asarray(array)))
        receiver.receive("odd", sink := memory())
        assert sink.array.shape == np.shape(array)
        assert (sink.array == array).all()


@pytest.mark.parametrize("share", [False, True])
def test_an_acquisition_goes_to_disk_while_it_runs_through_memory_for_three_parts(tmp_path, share):
    source, told = LiveSource(LAYOUT, capacity=3), []
    with ends(share=share) as (sender, receiver):
        sender.offer("live", source)
        thread, raised = acquire(source)
        received = receiver.receive("live", NpySink(tmp_path / "a.npy"), progress=told.append)
        thread.join()
    assert not raised
    assert (np.load(tmp_path / "a.npy") == FRAMES).all()
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]
    assert [now.stored for now in told if now.stored][-1] == told[-1].total == LAYOUT.parts
    assert received.sha256 == to_parts(FRAMES, part_bytes=LAYOUT.part_bytes)[0].sha256


def test_an_hdf5_file_holds_the_same(tmp_path):
    layout = whole_frames("<u2", (39, 16, 16), part_bytes=LAYOUT.part_bytes)
    source = LiveSource(layout)
    with ends() as (sender, receiver):
        sender.offer("live", source)
        thread, _ = acquire(source, FRAMES[:39])
        receiver.receive("live", Hdf5Sink(tmp_path / "a.h5", "scan/data"))
        thread.join()
    with h5py.File(tmp_path / "a.h5") as file:
        assert (file["scan/data"][...] == FRAMES[:39]).all()


class Procrastinating(ThreadPoolExecutor):
    """Hashes only once it may."""

    def __init__(self):
        super().__init__(1)
        self.may = threading.Event()

    def submit(self, work, data):
        return super().submit(lambda: self.may.wait(10) and work(data))


def test_memory_is_not_used_again_before_its_digest_is_worked_out(monkeypatch):
    late = Procrastinating()
    monkeypatch.setattr(stream_sources, "digesters", lambda: late)
    source = LiveSource(LAYOUT, capacity=1)
    acquiring, raised = acquire(source)

    def free():
        while not source.wait_stored(0.001):
            source.release(source.held().stop)

    freeing = threading.Thread(target=free)
    freeing.start()
    reused = source.wait_stored(0.05)  # whoever reuses memory too early does it now, long before it is hashed
    late.may.set()
    acquiring.join()
    freeing.join()
    late.shutdown()
    assert not reused
    assert not raised
    assert source.ended().sha256 == to_parts(FRAMES, part_bytes=LAYOUT.part_bytes)[0].sha256


class SlowSink(ArraySink):
    """Lets the test act while a part is being written."""

    def __init__(self, at, act):
        super().__init__(MAX_ARRAY_BYTES)
        self.at, self.act, self.discarded = at, act, False

    def write(self, index, data):
        if index == self.at:
            self.act()
        super().write(index, data)

    def discard(self):
        self.discarded = True


def test_a_receiver_that_is_too_slow_fails_the_acquisition_and_nothing_is_left_out():
    source, overflowed = LiveSource(LAYOUT, capacity=1, patience_s=0.05), threading.Event()
    thread, raised = acquire(source)
    with ends() as (sender, receiver):
        sender.offer("live", source)
        sink = SlowSink(0, lambda: (thread.join(), overflowed.set()))
        with pytest.raises(BusError, match=r"too slow.*\(got '1 parts', limit 5 parts\)"):
            receiver.receive("live", sink)
    assert overflowed.is_set()
    assert sink.discarded
    assert "too slow" in str(raised[0])


def test_no_more_parts_are_on_their_way_than_the_credit(tmp_path):
    source, most = LiveSource(LAYOUT, capacity=5), []
    thread, _ = acquire(source)
    thread.join()
    with ends(share=False, credit=2) as (sender, receiver):
        sender.offer("live", source)

        class Watching(ArraySink):
            def write(self, index, data):
                reader = next(iter(sender._readers.values()))
                most.append(reader.next - index)
                super().write(index, data)

        receiver.receive("live", Watching(MAX_ARRAY_BYTES))
    assert max(most) <= 2


def test_cancelling_ends_the_acquisition_and_leaves_no_file(tmp_path):
    source, cancel = LiveSource(LAYOUT, capacity=1), threading.Event()
    with ends() as (sender, receiver):
        sender.offer("live", source)
        thread, raised = acquire(source)
        with pytest.raises(BusError, match="cancelled"):
            receiver.receive("live", NpySink(tmp_path / "a.npy"), progress=lambda now: cancel.set(), cancel=cancel)
        thread.join()
    assert "cancelled" in str(raised[0])
    assert not list(tmp_path.iterdir())


def test_a_failed_acquisition_is_told_with_its_reason():
    source = LiveSource(LAYOUT)
    source.put(FRAMES[:20])
    source.fail("the detector lost its cooling")
    with ends() as (sender, receiver):
        sender.offer("live", source)
        with pytest.raises(BusError, match="lost its cooling"):
            receiver.receive("live", memory())


def test_more_than_the_layout_says_is_refused():
    source = LiveSource(LAYOUT)
    source.put(FRAMES)
    with pytest.raises(BusError, match="more was acquired"):
        source.put(FRAMES[0])


@pytest.mark.parametrize("share", [False, True])
def test_a_stream_goes_on_where_it_was_when_the_sender_comes_back(share):
    source = LiveSource(LAYOUT, capacity=5)
    acquire(source)[0].join()
    with ends(share=share, credit=1, silence_s=0.2, attempts=10) as (sender, receiver):
        sender.offer("live", source)
        again = []

        def restart():
            if not again:
                sender.close()
                again.append(started(context, sender.endpoint))
                again[0].offer("live", source)

        with zmq.Context() as context:
            try:
                received = receiver.receive("live", sink := SlowSink(2, restart))
            finally:
                for server in again:
                    server.close()
    assert received.reopened >= 1
    assert (sink.array == FRAMES).all()


def test_a_stream_whose_next_part_is_gone_fails_instead_of_leaving_a_hole():
    source = LiveSource(LAYOUT)
    source.put(FRAMES)
    source.release(2)
    with ends() as (sender, receiver):
        sender.offer("live", source)
        with pytest.raises(BusError, match="part 0 is not kept any more, the first is 2"):
            receiver.receive("live", memory())


def test_silence_is_bounded():
    with zmq.Context() as context, context.socket(zmq.ROUTER) as mute:
        mute.bind("tcp://127.0.0.1:*")
        terms = {"silence_s": 0.1, "attempts": 2}
        with StreamReceiver(context, OpenClient(), mute.last_endpoint.decode(), clock=CLOCK, **terms) as receiver:
            sink = SlowSink(-1, None)
            with pytest.raises(Unreachable, match="2 connections"):
                receiver.receive("any", sink)
            assert sink.discarded


def lies():
    part = FRAMES[:8].tobytes()
    true = to_parts(FRAMES[:8])[0].sha256
    opened = encode(Opened(layout=LAYOUT))
    return {
        "altered bytes": [opened, [*encode(Part(index=0, sha256=true)), b"\1" + part[1:]]],
        "wrong size": [opened, [*encode(Part(index=0, sha256=true)), part[:-1]]],
        "out of turn": [opened, [*encode(Part(index=1, sha256=true)), part]],
        "before opening": [[*encode(Part(index=0, sha256=true)), part]],
        "no bytes": [opened, encode(Part(index=0, sha256=true))],
        "too early an end": [opened, encode(End(outcome="complete", parts=5))],
        "shared memory that is not": [encode(Opened(layout=LAYOUT, nonce="0" * 64))],
        "too large": [encode(Opened(layout=whole_frames("<u2", (2**20, 2**10, 2**10))))],
        "no header": [[b"autoscope/1", b"{}"]],
        "another protocol": [[b"HTTP/1.1", b"{}"]],
        "a word too many": [[*opened, b"more"]],
        "four parts": [[*encode(Part(index=0)), part, part]],
        "huge header": [[b"autoscope/1", b" " * 10_000]],
    }


@pytest.mark.parametrize("lie", lies())
def test_a_sender_that_lies_is_found_out(lie):
    with zmq.Context() as context, context.socket(zmq.ROUTER) as liar:
        liar.bind("tcp://127.0.0.1:*")

        def run():
            route = liar.recv_multipart()[0]
            for frames in lies()[lie]:
                liar.send_multipart([route, *frames])

        thread = threading.Thread(target=run)
        thread.start()
        endpoint = liar.last_endpoint.decode()
        with StreamReceiver(context, OpenClient(), endpoint, clock=CLOCK, silence_s=2, attempts=1) as receiver:
            sink = SlowSink(-1, None)
            with pytest.raises(AutoscopeError):
                receiver.receive("any", sink)
            assert sink.discarded
        thread.join()


@pytest.mark.parametrize(
    "frames",
    [
        [b"autoscope/1"],
        [b"autoscope/1", b"{}"],
        [b"autoscope/1", b'{"say":{"kind":"open"}}'],
        [b"x", b"{}"],
        [b"", b"", b""],
    ],
)
def test_a_receiver_that_talks_nonsense_is_told_so_and_the_sender_goes_on(frames):
    with ends() as (sender, receiver), zmq.Context() as context, context.socket(zmq.DEALER) as odd:
        odd.linger = 0
        odd.connect(sender.endpoint)
        odd.send_multipart(frames)
        say, _ = decode_from_sender(odd.recv_multipart())
        assert isinstance(say, End)
        assert say.outcome == "failed"
        sender.offer("a", ArraySource(FRAMES))
        receiver.receive("a", memory())


@pytest.mark.parametrize(("role", "may"), [(Role.OBSERVER, True), (Role.AGENT, True), (Role.EMERGENCY, False)])
def test_only_roles_that_may_fetch_receive_anything(tmp_path, role, may):
    with ends(tmp_path, role) as (sender, receiver):
        sender.offer("a", ArraySource(FRAMES))
        if may:
            receiver.receive("a", memory())
        else:
            with pytest.raises(BusError, match="may not say fetch"):
                receiver.receive("a", memory())


def test_a_key_revoked_in_the_middle_of_a_stream_gets_no_more(tmp_path):
    source = LiveSource(LAYOUT, capacity=5)
    acquire(source)[0].join()
    with ends(tmp_path, credit=1) as (sender, receiver):
        sender.offer("live", source)
        sink = SlowSink(1, lambda: write_entries(tmp_path / "authorized_keys", []))
        with pytest.raises(BusError, match="revoked"):
            receiver.receive("live", sink)


def test_two_receivers_of_one_stream_do_not_share_it(tmp_path):
    source = LiveSource(LAYOUT, capacity=5)
    with ends() as (sender, receiver), zmq.Context() as context:
        sender.offer("live", source)
        source.put(FRAMES[:8])
        first = context.socket(zmq.DEALER)
        first.linger = 0
        first.connect(sender.endpoint)
        first.send_multipart(encode(streaming.Open(stream="live", credit=1)))
        assert isinstance(decode_from_sender(first.recv_multipart())[0], Opened)
        thread, _ = acquire(source, FRAMES[8:])
        receiver.receive("live", sink := memory())  # the same user again: the newer connection has it
        thread.join()
        first.close()
    assert (sink.array == FRAMES).all()


def test_without_shared_memory_everything_goes_over_the_socket(monkeypatch):
    def refused(size):
        raise BusError("no room")

    monkeypatch.setattr(Window, "create", refused)
    with ends() as (sender, receiver):
        sender.offer("a", ArraySource(FRAMES))
        assert not receiver.receive("a", sink := memory()).shared_memory
        assert (sink.array == FRAMES).all()


def test_memory_of_another_computer_is_not_taken_for_shared(monkeypatch):
    monkeypatch.setattr(Window, "open", lambda name, size: (_ for _ in ()).throw(BusError("no such name here")))
    with ends() as (sender, receiver):
        sender.offer("a", ArraySource(FRAMES))
        assert not receiver.receive("a", sink := memory()).shared_memory
        assert (sink.array == FRAMES).all()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows shared memory as files")
def test_the_name_of_shared_memory_is_gone_as_soon_as_both_have_it():
    with ends() as (sender, receiver):
        sender.offer("a", ArraySource(FRAMES))
        seen = []
        sink = SlowSink(0, lambda: seen.append((receiver._connection.window.name, windows())))
        assert receiver.receive("a", sink).shared_memory
    ((name, left),) = seen
    assert name.startswith(PREFIX)
    assert name not in left


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows shared memory as files")
def test_what_a_killed_process_left_behind_is_removed_and_what_is_in_use_is_not():
    code = "from autoscope.bus.shared_memory import Window\nw = Window.create(4096)\nprint(w.name, flush=True)\ninput()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    name = child.stdout.readline().strip()
    sweep()
    assert name in windows()
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()
    with Window.create(4096) as mine:
        assert name not in windows()
        assert mine.name in windows()
    assert mine.name not in windows()


@pytest.mark.parametrize("name", ["../etc/passwd", "autoscope-1", "autoscope-0123456789abcdef", "", "x" * 300])
def test_no_other_memory_can_be_named(name):
    with pytest.raises(BusError):
        Window.open(name, 4096)


def test_a_window_is_one_users_and_has_the_size_it_says():
    with Window.create(4096) as window:
        with pytest.raises(BusError):
            Window.open(window.name, 8192)
        other = Window.open(window.name, 4096)
        assert other.nonce == window.nonce
        with pytest.raises(BusError, match="outside"):
            other.slot(4000, 97)
        other.close()


@pytest.mark.parametrize("sink", [NpySink, Hdf5Sink])
def test_a_file_that_is_there_is_not_overwritten(tmp_path, sink):
    (tmp_path / "a").write_text("precious")
    with ends() as (sender, receiver):
        sender.offer("a", ArraySource(FRAMES))
        with pytest.raises(DataError, match="none is overwritten"):
            receiver.receive("a", sink(tmp_path / "a"))
    assert (tmp_path / "a").read_text() == "precious"


def test_a_disk_without_room_refuses_before_anything_is_sent(tmp_path):
    sink = NpySink(tmp_path / "a.npy")
    with pytest.raises(DataError, match="cannot be made"):
        sink.begin(whole_frames("<u2", (2**28, 256, 256)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">u2", "|b1", "<c16"])
def test_a_npy_file_is_read_by_numpy_as_it_was(tmp_path, dtype, order):
    array = np.ones((3, 4, 5), dtype=dtype, order=order)
    with ends() as (sender, receiver):
        sender.offer("a", ArraySource(array))
        receiver.receive("a", NpySink(tmp_path / "a.npy"))
    back = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert back.dtype.str == dtype
    assert back.flags.f_contiguous == (order == "F")
    assert (back == array).all()


@pytest.mark.parametrize("say", [streaming.Open(stream="s", credit=3), streaming.Stored(parts=2), streaming.Cancel()])
def test_what_a_receiver_says_comes_back(say):
    assert decode_from_receiver(encode(say)) == say


@pytest.mark.parametrize("share", [False, True])
def test_parts_of_the_largest_size_pass_an_encrypted_connection(tmp_path, share):
    layout = whole_frames("<u2", (9, 1024, 1024), part_bytes=PART_BYTES)
    assert layout.part_bytes == PART_BYTES
    array = np.arange(9 * 2**20, dtype="<u2").reshape(9, 1024, 1024)
    header, _ = to_parts(array, part_bytes=PART_BYTES)
    with ends(tmp_path, share=share) as (sender, receiver):
        sender.offer("a", ArraySource(array, header))
        receiver.receive("a", sink := memory())
    assert (sink.array == array).all()
