import pytest

from autoscope.clock import SimClock, SystemClock
from autoscope.errors import AutoscopeError
from autoscope.protocols import Clock


def test_simulated_time_moves_only_by_waiting():
    clock = SimClock()
    assert clock.now_s() == 0.0
    clock.wait(10.0)
    clock.wait(0.5)
    assert clock.now_s() == 10.5
    assert clock.wall() == "2026-01-01T20:00:10.500+00:00"


@pytest.mark.parametrize("duration_s", [-1.0, float("nan"), float("inf")])
def test_no_clock_waits_an_impossible_time(duration_s):
    for clock in (SimClock(), SystemClock()):
        with pytest.raises(AutoscopeError, match="finite, non-negative"):
            clock.wait(duration_s)


def test_system_time_never_goes_back_and_waits_at_least_as_long_as_asked():
    clock = SystemClock()
    before = clock.now_s()
    clock.wait(0.001)
    assert clock.now_s() - before >= 0.001
    assert clock.wall().endswith("+00:00")


def test_both_are_clocks():
    assert isinstance(SimClock(), Clock)
    assert isinstance(SystemClock(), Clock)
