"""Spectrum images told of while they are acquired: the same to the bit, in their time, and ended where not wanted."""

import numpy as np
import pytest

from autoscope.clock import SimClock, SystemClock
from autoscope.errors import InstrumentError
from autoscope.records import Act, SpectrumImage
from autoscope.testing.conformance.deliveries import Copying
from environments.instruments.simulated import SimulatedInstrument

CUBE = SpectrumImage(fov_m=8e-8, width_px=8, height_px=6, dwell_s=1e-3, signals=("EDS",))


def made(clock):
    return SimulatedInstrument(SimulatedInstrument.Config(), clock=clock, rng=np.random.default_rng(5))


def act(name, action=CUBE):
    return Act(act_id=name, action=action)


def test_who_watches_changes_nothing():
    alone, watched = made(SimClock()), made(SimClock())
    for name in ("first", "second"):
        assert alone.execute(act(name)) == watched.execute_into(act(name), sink := Copying())
        assert sink.told["EDS"] == [8, 16, 24, 32, 40, 48]


def test_in_simulated_time_an_act_that_is_not_wanted_fails_and_what_follows_is_as_if_it_had_been_done():
    alone, watched = made(SimClock()), made(SimClock())
    alone.execute(act("first"))
    with pytest.raises(InstrumentError, match="wants no more"):
        watched.execute_into(act("first"), sink := Copying(enough=16))
    assert sink.told["EDS"] == [8, 16]
    with pytest.raises(InstrumentError, match="wants no more"):
        watched.execute(act("first"))  # done once, and remembered as it ended
    assert alone.execute(act("second")) == watched.execute(act("second"))


def test_in_real_time_rows_come_no_sooner_than_the_beam_has_left_them_and_the_rest_is_not_waited_for():
    clock = SystemClock()
    scope = made(clock)
    slow = CUBE.replace(dwell_s=0.25 / 8)  # a quarter of a second a row
    began_s = clock.now_s()
    with pytest.raises(InstrumentError, match="wants no more"):
        scope.execute_into(act("slow", slow), sink := Copying(enough=16))
    assert sink.told["EDS"] == [8, 16]
    assert clock.now_s() - began_s >= 0.5
    assert scope.state().blanked
