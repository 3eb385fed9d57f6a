import numpy as np
import pytest

from autoscope.bus import shelf as shelves
from autoscope.bus.messages import Fine
from autoscope.bus.shelf import Shelf
from autoscope.bus.wire import pack, unpack
from autoscope.errors import BusError
from autoscope.records import Frame, FrameMeta, MicroscopeState, Observation


class Streams(dict):
    """Keeps what it is offered."""

    offer = dict.__setitem__

    def withdraw(self, name):
        del self[name]

    def fetch(self, name, header):
        source = self[name]
        data = b"".join(source.part(k, digest=False).data for k in source.held())
        return np.frombuffer(data, header.dtype).reshape(header.shape)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(shelves, "INLINE_BYTES", 1000)


def observation(*sizes):
    def frame(k, size):
        meta = FrameMeta(signal=f"S{k}", axes=(), time_s=0.0, dwell_s=1e-6, x_m=0.0, y_m=0.0)
        return Frame(meta, np.arange(k, k + size, dtype="<u2"))

    state = MicroscopeState(time_s=0.0)
    return Observation("act", state, state, tuple(frame(k, size) for k, size in enumerate(sizes)))


def test_large_arrays_are_laid_out_and_small_ones_stay_with_the_answer():
    seen, streams = observation(10, 900, 20, 2000), Streams()
    answer, inline = Shelf(streams).lay_out(*pack(seen))
    assert [frame.stream is not None for frame in answer.frames] == [False, True, False, True]
    assert sum(part.nbytes for part in inline) == 60
    assert unpack(answer, inline, fetch=streams.fetch) == seen


def test_an_answer_without_large_arrays_is_left_alone():
    shelf, streams = Shelf(Streams()), Streams()
    done, parts = pack(observation(10, 20))
    assert shelf.lay_out(done, parts) == (done, parts)
    assert shelf.lay_out(Fine(), []) == (Fine(), [])
    assert not streams


def test_the_same_array_has_the_same_name_and_the_oldest_goes_first():
    streams = Streams()
    shelf = Shelf(streams, keep_bytes=5000)
    first, _ = shelf.lay_out(*pack(observation(1000)))
    again, _ = shelf.lay_out(*pack(observation(1000)))
    assert first == again
    shelf.lay_out(*pack(observation(1001)))
    assert first.frames[0].stream in streams
    shelf.lay_out(*pack(observation(1002)))
    assert first.frames[0].stream not in streams
    assert len(streams) == 2


def test_one_array_stays_however_large_it_is():
    streams = Streams()
    Shelf(streams, keep_bytes=1).lay_out(*pack(observation(1000)))
    assert len(streams) == 1


def test_a_network_that_cannot_fetch_says_so():
    answer, inline = Shelf(Streams()).lay_out(*pack(observation(1000)))
    with pytest.raises(BusError, match="cannot"):
        unpack(answer, inline)


def test_an_array_too_large_is_refused_before_it_is_fetched():
    streams = Streams()
    answer, inline = Shelf(streams).lay_out(*pack(observation(1000)))
    with pytest.raises(BusError, match="larger"):
        unpack(answer, inline, max_bytes=1999, fetch=streams.fetch)
