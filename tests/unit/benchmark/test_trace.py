"""Traces and truths: shapes that fit, arrays nobody can change."""

import numpy as np
import pytest

from autoscope.benchmark.trace import SERIES, Trace, Truth
from autoscope.errors import DataError


def trace(n=4, **changed):
    series = {name: np.arange(n) + 0.5 for name in SERIES}
    return Trace(**({"chosen": np.arange(n)} | series | changed))


def truth(**changed):
    return Truth(**({"name": "t", "values": np.arange(6), "xy_m": np.zeros((6, 2)), "shape": (2, 3)} | changed))


def test_arrays_become_numbers_of_one_kind_that_nobody_can_change():
    made = trace()
    assert made.chosen.dtype == np.int64
    assert {getattr(made, name).dtype for name in SERIES} == {np.dtype(np.float64)}
    with pytest.raises(ValueError, match="read-only"):
        made.value[0] = 9.0
    with pytest.raises(TypeError):
        made.maps[3] = (np.zeros(2), np.zeros(2))


def test_a_trace_copies_what_it_is_given():
    own = np.zeros(4)
    made = trace(value=own)
    own[:] = 7.0
    assert not made.value.any()


@pytest.mark.parametrize("name", SERIES)
def test_series_of_another_length_are_refused(name):
    with pytest.raises(DataError, match=name):
        trace(**{name: np.zeros(3)})


def test_cutting_a_trace_keeps_the_maps_known_by_then():
    belief = np.zeros(6), np.ones(6)
    cut = trace(maps={2: belief, 4: belief}).up_to(3)
    assert len(cut) == 3
    assert list(cut.maps) == [2]


@pytest.mark.parametrize(
    "changed",
    [{"values": np.zeros(5)}, {"xy_m": np.zeros((6, 3))}, {"shape": (2, 2)}, {"values": np.full(6, np.nan)}],
    ids=["values", "places", "lattice", "not_finite"],
)
def test_a_truth_that_does_not_fit_is_refused(changed):
    with pytest.raises(DataError):
        truth(**changed)
