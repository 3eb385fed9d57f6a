"""What a server's log says of those who are refused: enough to know, never enough to fill a disk."""

import pytest

from autoscope.bus.refusals import AT_ONCE, COUNTED_APART, WINDOW_S, Refusals
from autoscope.clock import SimClock


@pytest.fixture
def log():
    """What was said, by refusals on a clock of their own."""
    lines, clock = [], SimClock()
    refusals = Refusals(lines.append, clock)
    return refusals, clock, lines


def test_a_stranger_is_told_of_at_once_and_only_once(log):
    refusals, _, lines = log
    for _ in range(3):
        refusals.note("10.0.0.7", "refused 10.0.0.7")
    assert lines == ["refused 10.0.0.7"]


def test_however_many_knock_from_wherever_the_log_grows_by_a_few_lines_a_window(log):
    refusals, clock, lines = log
    windows, knocks = 10, 5000
    for _ in range(windows):
        for number in range(knocks):
            refusals.note(f"10.0.{number // 256}.{number % 256}", "refused")
        clock.wait(WINDOW_S)
        refusals.look()
    assert len(lines) == windows * (AT_ONCE + 1)
    assert (
        lines[AT_ONCE]
        == f"refused {knocks - AT_ONCE} more times in the last 60 s, from {COUNTED_APART} or more sources"
    )


def test_what_was_counted_is_told_when_the_window_is_over_also_where_nobody_knocks_again(log):
    refusals, clock, lines = log
    refusals.note("a", "refused a")
    refusals.note("a", "refused a")
    clock.wait(WINDOW_S / 2.0)
    refusals.look()
    assert lines == ["refused a"]
    clock.wait(WINDOW_S / 2.0)
    refusals.look()
    refusals.look()
    assert lines == ["refused a", "refused once more in the last 60 s, from 1 source"]


def test_after_a_window_a_stranger_is_told_of_again(log):
    refusals, clock, lines = log
    refusals.note("a", "refused a")
    clock.wait(WINDOW_S)
    refusals.note("a", "refused a")
    assert lines == ["refused a", "refused a"]
