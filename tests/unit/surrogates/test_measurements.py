"""Measurements in their order: what was added comes out, however it arrived, and old views stay true."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscope.surrogates.measurements import Measurements


def rows(n, d=3, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)).astype(dtype), rng.normal(size=n), rng.uniform(0.1, 1.0, n)


@given(st.lists(st.integers(1, 90), max_size=8), st.sampled_from([np.float32, np.float64]))
def test_what_was_added_in_any_portions_comes_out_in_order(portions, dtype):
    x, y, noise = rows(sum(portions), dtype=dtype)
    known, at = Measurements(), 0
    for count in portions:
        part = slice(at, at + count)
        known.add(x[part], y[part], noise[part])
        at += count
        assert len(known) == at
    if portions:
        for kept, given_ in ((known.x, x), (known.y, y), (known.noise_std, noise)):
            np.testing.assert_array_equal(kept, given_)
        assert known.x.dtype == dtype


def test_nothing_added_is_no_measurement():
    known = Measurements()
    assert (len(known), known.x.shape[0], known.y.shape, known.noise_std.shape) == (0, 0, (0,), (0,))


def test_a_view_taken_earlier_keeps_what_it_showed():
    x, y, noise = rows(300)
    known = Measurements()
    known.add(x[:10], y[:10], noise[:10])
    early = known.x, known.y, known.noise_std
    for k in range(10, 300):
        known.add(x[k : k + 1], y[k : k + 1], noise[k : k + 1])
    for view, given_ in zip(early, (x, y, noise), strict=True):
        np.testing.assert_array_equal(view, given_[:10])


def test_later_changes_to_what_was_given_change_nothing_kept():
    x, y, noise = rows(4)
    known = Measurements()
    known.add(x, y, noise)
    expected = x.copy()
    x[:] = y[:] = noise[:] = 0.0
    np.testing.assert_array_equal(known.x, expected)
    assert known.y.all()
    assert known.noise_std.all()


def test_adding_one_seldom_copies_the_others():
    x, y, noise = rows(1000)
    known, moves, before = Measurements(), 0, None
    for k in range(1000):
        known.add(x[k : k + 1], y[k : k + 1], noise[k : k + 1])
        moves += before is not None and known.x.base is not before
        before = known.x.base
    assert moves <= 5


def test_features_of_another_width_are_refused():
    known = Measurements()
    known.add(*rows(2, d=3))
    with pytest.raises(ValueError, match="shape"):
        known.add(*rows(1, d=4))
