"""Laws of arrays on the wire: what leaves arrives, to the bit; what is spoiled does not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from autoscope.bus.arrays import ArrayHeader, from_parts, to_parts
from autoscope.errors import BusError

dtypes = st.sampled_from(
    [
        "|b1",
        "|i1",
        "|u1",
        *(o + k for o in "<>" for k in ("i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")),
    ]
).map(np.dtype)
arrays = dtypes.flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)


@st.composite
def views(draw):
    """An array seen through transposition and strides: contiguous either way, or scattered."""
    array = draw(arrays)
    if array.ndim:
        array = array.transpose(draw(st.permutations(range(array.ndim))))
        steps = tuple(slice(None, None, draw(st.sampled_from([1, 1, 2, -1]))) for _ in array.shape)
        array = array[steps]
    return array


@settings(max_examples=300, deadline=None)
@given(views(), st.integers(1, 40))
def test_any_array_arrives_to_the_bit(array, part_bytes):
    header, parts = to_parts(array, part_bytes=part_bytes)
    assert all(1 <= part.nbytes <= part_bytes for part in parts)
    read = ArrayHeader.model_validate_json(header.model_dump_json())
    assert read == header
    back = from_parts(read, [bytes(part) for part in parts])
    assert back.dtype.str == array.dtype.str
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


@settings(max_examples=200, deadline=None)
@given(views().filter(lambda a: a.nbytes), st.integers(1, 40), st.data())
def test_one_bit_flipped_anywhere_is_found(array, part_bytes, data):
    header, views_ = to_parts(array, part_bytes=part_bytes)
    parts = [bytearray(view) for view in views_]
    which = data.draw(st.integers(0, len(parts) - 1))
    at = data.draw(st.integers(0, 8 * len(parts[which]) - 1))
    parts[which][at // 8] ^= 1 << at % 8
    with pytest.raises(BusError):
        from_parts(header, parts)


headers = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["<f4", ">u2", "|b1", "<c16", "|O8", "<f16", ""]) | st.text(max_size=5),
        "shape": st.lists(st.integers(-1, 2**41) | st.integers(0, 4), max_size=10),
        "order": st.sampled_from(["C", "F", "A"]),
        "part_bytes": st.integers(-1, 2**24),
        "parts": st.integers(-1, 2**41) | st.integers(0, 3),
        "sha256": st.just("0" * 64),
    }
)


@settings(max_examples=500, deadline=None)
@given(headers, st.lists(st.binary(max_size=20), max_size=4))
def test_any_header_is_refused_or_consistent_and_never_allocates_what_it_claims(fields, parts):
    try:
        header = ArrayHeader.model_validate({**fields, "shape": tuple(fields["shape"])})
    except ValidationError:
        return
    assert header.nbytes == sum(header.part_size(k) for k in (range(header.parts) if header.parts < 1000 else ())) or (
        header.parts >= 1000
    )
    with pytest.raises(BusError):
        from_parts(header, parts, max_bytes=2**60)
    # the digest of zeros is nobody's: even the right sizes are refused
