"""What goes out of an act while it runs: filled parts only, described as a whole; one that is overruled is stopped."""

import numpy as np
import pytest

from autoscope.bus.arrays import to_parts
from autoscope.bus.live import LIVE_BYTES, LiveFrames
from autoscope.bus.stream_sources import SMALLEST_PART_BYTES, GrowingSource
from autoscope.errors import InstrumentError

SHAPE = (16, 8, 1024)


class Streams(dict):
    def offer(self, stream, source):
        self[stream] = source

    def withdraw(self, stream):
        self.pop(stream, None)


def live(streams, why=""):
    told = []
    return LiveFrames("act", streams, told.append, lambda: why), told


def filled(frames, data, values, points):
    flat = data.reshape(-1, data.shape[2])
    flat[:points] = values.reshape(flat.shape)[:points]
    frames.advance("EELS", points)


@pytest.fixture
def values():
    return np.random.default_rng(3).integers(0, 2**32, SHAPE, dtype=np.uint32)


def test_only_what_is_filled_can_be_sent_and_the_whole_is_described_as_if_it_had_been_packed_at_once(values):
    frames, told = live(streams := Streams())
    frames.begin("EELS", data := np.zeros(SHAPE, np.uint32))
    (announced,) = told
    source = streams[announced.stream]
    assert source.layout == announced.layout
    for points in (0, 1, 15, 16, 17, 100):
        filled(frames, data, values, points)
        assert source.held().stop == points * 4096 // SMALLEST_PART_BYTES
        assert frames.done == (points, 128)
        assert source.ended() is None
    assert frames.header_of(data) is None
    filled(frames, data, values, 128)
    header, parts = to_parts(values, part_bytes=source.layout.part_bytes)
    assert [bytes(source.part(k, digest=False).data) for k in source.held()] == [bytes(part) for part in parts]
    assert frames.header_of(data) == header
    assert source.ended().sha256 == header.sha256
    assert source.part(3, digest=True).sha256 is not None


def test_a_frame_that_is_only_equal_is_described_anew(values):
    frames, _ = live(Streams())
    frames.begin("EELS", data := np.zeros(SHAPE, np.uint32))
    filled(frames, data, values, 128)
    assert frames.header_of(data) is not None
    assert frames.header_of(data.copy()) is None
    assert frames.header_of(data[:8]) is None


def test_an_act_that_is_overruled_is_stopped_at_its_next_points(values):
    why = []
    frames = LiveFrames("act", Streams(), lambda told: None, lambda: "".join(why))
    frames.begin("EELS", data := np.zeros(SHAPE, np.uint32))
    filled(frames, data, values, 10)
    why.append("emergency stop by anna")
    with pytest.raises(InstrumentError, match="stopped: emergency stop by anna"):
        filled(frames, data, values, 20)


def test_an_acquisition_that_failed_is_never_whole_and_offered_no_longer(values):
    frames, _ = live(streams := Streams())
    frames.begin("EELS", data := np.zeros(SHAPE, np.uint32))
    (source,) = streams.values()
    filled(frames, data, values, 100)
    frames.fail("the camera broke")
    assert not streams
    end = source.ended()
    assert (end.outcome, end.reason, end.sha256) == ("failed", "the camera broke", None)
    assert end.parts == 100 * 4096 // SMALLEST_PART_BYTES


def test_small_or_scattered_frames_and_those_nobody_can_take_are_counted_only():
    streams = Streams()
    scattered = np.zeros((16, 8, 2048), np.uint32)[..., ::2]
    small = np.zeros((4, 4, LIVE_BYTES // 64), np.uint16)[..., :-1].copy()
    for offered, data in ((streams, scattered), (streams, small), (None, np.zeros(SHAPE, np.uint32))):
        frames, told = live(offered)
        frames.begin("EELS", data)
        frames.advance("EELS", 7)
        assert frames.done == (7, data.shape[0] * data.shape[1])
        assert not told
    assert not streams


def test_whoever_reads_a_growing_array_cannot_end_its_acquisition():
    source = GrowingSource(np.zeros(SHAPE, np.uint32))
    source.cancel("I have seen enough")
    source.release(3)
    source.fill(source.layout.nbytes)
    assert source.ended().outcome == "complete"
