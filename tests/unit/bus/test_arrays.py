import json
import os
import tracemalloc

import numpy as np
import pytest
from pydantic import ValidationError

from autoscope.bus.arrays import PART_BYTES, ArrayHeader, digesters, from_parts, part_digest, to_parts
from autoscope.errors import BusError


def spectrum_image():
    return np.arange(4 * 5 * 64, dtype="<u2").reshape(4, 5, 64)


def header_as(**changes):
    header, _ = to_parts(spectrum_image(), part_bytes=1000)
    return json.dumps(json.loads(header.model_dump_json()) | changes)


def test_sending_a_contiguous_array_copies_nothing():
    array = spectrum_image()
    _, parts = to_parts(array, part_bytes=1000)
    assert all(np.shares_memory(array, np.frombuffer(part, np.uint8)) for part in parts)


def test_receiving_one_part_copies_nothing_and_the_array_is_read_only():
    header, (part,) = to_parts(spectrum_image())
    array = from_parts(header, [part])
    assert np.shares_memory(array, np.frombuffer(part, np.uint8))
    assert not array.flags.writeable


def test_parts_are_at_most_8_mb():
    header, parts = to_parts(np.zeros(PART_BYTES * 2 + 1, np.uint8), part_bytes=PART_BYTES)
    assert [part.nbytes for part in parts] == [PART_BYTES, PART_BYTES, 1]
    with pytest.raises(ValidationError):
        ArrayHeader.model_validate(header.model_dump() | {"part_bytes": PART_BYTES + 1, "parts": 2})


def test_big_endian_and_column_major_arrays_arrive_as_they_are():
    array = np.asfortranarray(np.arange(12, dtype=">f4").reshape(3, 4))
    header, parts = to_parts(array, part_bytes=8)
    back = from_parts(header, parts)
    assert back.dtype.str == ">f4"
    assert back.flags.f_contiguous
    assert (back == array).all()


@pytest.mark.parametrize("array", [np.array([object()]), np.array(["a"]), np.zeros(2, "M8[s]"), np.zeros(2, "i4,f8")])
def test_what_is_not_plain_numbers_cannot_travel(array):
    with pytest.raises(BusError, match="cannot travel"):
        to_parts(array)


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "|O8"},
        {"dtype": "<f3"},
        {"dtype": "=f4"},
        {"dtype": "<U4"},
        {"shape": [4, 5, 640]},
        {"shape": [4, 5, -64]},
        {"shape": [4, 5, 64.0]},
        {"shape": ["4", 5, 64]},
        {"shape": [2**40, 2**40, 2**40]},
        {"shape": [0, 2**40, 2**40], "parts": 0},
        {"shape": [1] * 9},
        {"order": "K"},
        {"part_bytes": 0},
        {"parts": 2},
        {"parts": 1_000_000},
        {"sha256": "0" * 63},
        {"sha256": "Z" * 64},
        {"colour": "green"},
    ],
)
def test_a_header_that_contradicts_itself_is_refused(changes):
    with pytest.raises(ValidationError):
        ArrayHeader.model_validate_json(header_as(**changes))


def test_a_claim_of_a_gigabyte_allocates_nothing():
    lie = ArrayHeader(dtype="<f8", shape=(2**27,), part_bytes=PART_BYTES, parts=128, sha256="0" * 64)
    tracemalloc.start()
    try:
        for parts, limit in (([], 2**31), ([b"x"] * 128, 2**31), ([b"x"] * 128, 2**29)):
            with pytest.raises(BusError):
                from_parts(lie, parts, max_bytes=limit)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize("spoil", ["missing", "surplus", "short", "long", "altered", "swapped"])
def test_parts_other_than_those_described_are_refused(spoil):
    header, views = to_parts(spectrum_image(), part_bytes=1000)
    parts = [bytes(view) for view in views]
    spoiled = {
        "missing": parts[:-1],
        "surplus": [*parts, b""],
        "short": [parts[0][:-1], *parts[1:]],
        "long": [parts[0] + b"\0", *parts[1:]],
        "altered": [bytes([parts[0][0] ^ 1]) + parts[0][1:], *parts[1:]],
        "swapped": [parts[1], parts[0], *parts[2:]],
    }[spoil]
    with pytest.raises(BusError):
        from_parts(header, spoiled)


def test_the_digest_of_several_parts_is_the_digest_of_their_digests():
    import hashlib

    header, parts = to_parts(spectrum_image(), part_bytes=1000)
    assert header.sha256 == hashlib.sha256(b"".join(hashlib.sha256(p).digest() for p in parts)).hexdigest()
    header, (part,) = to_parts(spectrum_image())
    assert header.sha256 == hashlib.sha256(part).hexdigest()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_hashes_with_threads_of_its_own():
    wanted = digesters().submit(part_digest, memoryview(b"part")).result()
    pid = os.fork()
    if not pid:  # pragma: no cover - the child
        status = 1
        try:
            status = int(digesters().submit(part_digest, memoryview(b"part")).result(timeout=5) != wanted)
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
