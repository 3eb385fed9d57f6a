"""F15: whatever comes over the wire is refused on purpose, and no memory is taken for what is only claimed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from autoscope.errors import AutoscopeError
from tests.figures.fuzz import TARGETS, fuzz, seeds

LITTLE = 200_000


def test_ten_thousand_spoiled_messages_are_refused_or_taken_without_a_crash():
    result = fuzz(10_000, seed=1)
    assert result.messages == 10_000
    assert result.outcomes["taken"] > 100
    assert sum(result.outcomes.values()) == 10_000
    assert result.peak_bytes < LITTLE


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_two_hundred_thousand_more(seed):
    assert fuzz(200_000, seed=100 + seed).peak_bytes < LITTLE


@pytest.mark.parametrize("target", TARGETS)
def test_the_messages_that_are_spoiled_are_good_ones(target):
    for message in seeds()[target]:
        TARGETS[target](message)


parts = (
    st.sampled_from([b"autoscope/1", b"", b"{}", b"act"])
    | st.binary(max_size=200)
    | st.text(max_size=50).map(str.encode)
)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(sorted(TARGETS)), st.lists(parts, min_size=1, max_size=5))
def test_any_bytes_at_all_are_refused_on_purpose(target, message):
    with pytest.raises((AutoscopeError, ValidationError)):
        TARGETS[target](message)


@pytest.mark.parametrize("depth", [1000, 100_000])
@pytest.mark.parametrize("target", ["request", "reply", "receiver", "sender"])
def test_deeply_nested_headers_are_refused(target, depth):
    with pytest.raises(AutoscopeError):
        TARGETS[target]([b"autoscope/1", b"[" * depth + b"]" * depth])
