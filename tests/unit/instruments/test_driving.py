"""What all drivers do alike: refuse before acting, act once, read back, count electrons, stop."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscope.clock import SimClock
from autoscope.errors import InstrumentError, NotReached, OutOfRange, PluginError, Unsupported
from autoscope.exposure import electrons
from autoscope.records import (
    Act,
    Axis,
    Blank,
    Capabilities,
    Measure,
    MoveStage,
    Range,
    Scan,
    SetOptics,
    SpectrumSignal,
    Wait,
)
from environments.instruments.driving import DoseMeter, DrivenInstrument, Reading, admit, image_frame, vendor_package

CURRENT_A = 1e-10
SCAN = Scan(fov_m=1e-7, width_px=8, height_px=8, dwell_s=1e-3)
CAN = Capabilities(
    instrument="bench",
    serial="1",
    simulated=True,
    voltage_v=2e5,
    actions=("move_stage", "set_optics", "scan", "blank", "wait"),
    detectors=("HAADF",),
    ranges={
        "x_m": Range(low=-1e-3, high=1e-3),
        "defocus_m": Range(low=-1e-5, high=1e-5),
        "fov_m": Range(low=1e-8, high=1e-5),
        "width_px": Range(low=1, high=64),
        "height_px": Range(low=1, high=64),
        "dwell_s": Range(low=1e-6, high=1.0),
    },
    tolerances={"x_m": 1e-9},
    choices={"width_px": (8.0, 16.0)},
)


class Bench(DrivenInstrument):
    """A column in memory whose stage clamps, whose blanker logs, and whose scan can be made to hang."""

    def __init__(self, clock, *, clamp_m=1.0):
        super().__init__(CAN, clock, max_frame_bytes=100_000)
        self.clamp_m, self.x_m, self.blanked, self.calls = clamp_m, 0.0, True, []
        self.during = None

    def _read(self):
        return Reading(x_m=self.x_m, beam_current_a=CURRENT_A, voltage_v=2e5, blanked=self.blanked)

    def _perform(self, action, before):
        self.calls.append(action.kind)
        if isinstance(action, MoveStage):
            self.x_m = min(action.x_m, self.clamp_m)
        if isinstance(action, Scan):
            if self.during:
                self.during()
            self._wait_until(lambda: self.during is None, "the scan", 10.0)
            return (image_frame("HAADF", np.ones((8, 8)), action, before, time_s=self._clock.now_s()),)
        return ()

    def _set_blanked(self, blanked):
        self.blanked = blanked

    def _stop(self):
        self.blanked = True
        raise OSError("the line beside is down")


@pytest.fixture
def bench():
    return Bench(SimClock())


def act(action, name="a"):
    return Act(act_id=name, action=action)


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        (MoveStage(x_m=2e-3), OutOfRange, "move_stage.x_m"),
        (MoveStage(y_m=0.0), Unsupported, "move_stage.y_m"),
        (SetOptics(beam_current_a=1e-9), Unsupported, "set_optics.beam_current_a"),
        (SCAN.replace(width_px=9), OutOfRange, "8, 16"),
        (SCAN.replace(rotation_rad=0.1), Unsupported, "rotation_rad"),
        (SCAN.replace(centre_x_m=1e-9), Unsupported, "centre_x_m"),
        (SCAN.replace(detectors=("BF",)), Unsupported, "BF"),
        (SCAN.replace(detectors=()), Unsupported, "without"),
        (Measure(x_m=0.0, y_m=0.0, dwell_s=0.1), Unsupported, "no such action"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_done(bench, action, error, words):
    with pytest.raises(error, match=words):
        bench.execute(act(action))
    assert bench.calls == []
    assert bench.state().dose_e == 0.0


def test_frames_too_large_to_hold_are_refused():
    with pytest.raises(OutOfRange, match="max_frame_bytes"):
        admit(SCAN.replace(height_px=64), CAN, max_frame_bytes=1000)


def test_a_clamped_stage_is_an_error_and_never_a_label():
    bench = Bench(SimClock(), clamp_m=1e-6)
    with pytest.raises(NotReached, match="clamp"):
        bench.execute(act(MoveStage(x_m=5e-6)))


def test_an_act_is_done_once_and_its_failure_is_its_answer():
    bench = Bench(SimClock(), clamp_m=1e-6)
    first = bench.execute(act(MoveStage(x_m=1e-7), "good"))
    assert bench.execute(act(MoveStage(x_m=1e-7), "good")) is first
    for _ in range(2):
        with pytest.raises(NotReached):
            bench.execute(act(MoveStage(x_m=5e-6), "bad"))
    assert bench.calls == ["move_stage", "move_stage"]


def test_the_beam_is_open_for_the_exposure_only(bench):
    seen = []
    bench._wait_until = lambda *_: seen.append(bench.blanked)
    observation = bench.execute(act(SCAN))
    assert seen == [False]
    assert observation.state.blanked
    assert observation.dose_e == pytest.approx(electrons(CURRENT_A, 64e-3))


def test_a_beam_left_open_stays_open_and_counts(bench):
    bench.execute(act(Blank(blanked=False), "open"))
    bench.execute(act(SCAN, "scan"))
    before = bench.state()
    bench.execute(act(Wait(duration_s=2.0), "wait"))
    assert not bench.state().blanked
    assert bench.state().dose_e - before.dose_e == pytest.approx(electrons(CURRENT_A, 2.0))


def test_make_safe_overrules_an_act_under_way_and_never_raises(bench):
    def trouble():
        bench.blanked = False
        safe = threading.Thread(target=bench.make_safe)
        safe.start()
        safe.join(5.0)
        assert not safe.is_alive()

    bench.during = trouble
    with pytest.raises(InstrumentError, match="made safe"):
        bench.execute(act(SCAN))
    assert bench.state().blanked


def test_a_vendors_own_exception_is_an_instrument_error_and_the_act_is_not_done_again(bench):
    def trouble():
        raise ZeroDivisionError("in a library")

    bench.during = trouble
    for _ in range(2):
        with pytest.raises(InstrumentError, match="in a library"):
            bench.execute(act(SCAN))
    assert bench.calls == ["scan"]
    assert bench.state().blanked


def test_a_stop_while_an_exposure_is_prepared_is_not_forgotten(bench):
    bench._admit = lambda action: bench.make_safe()
    with pytest.raises(InstrumentError, match="made safe"):
        bench.execute(act(SCAN))
    assert bench.calls == []
    assert bench.state().blanked


def test_one_act_sent_by_two_threads_at_once_is_done_once(bench):
    entered, go = threading.Event(), threading.Event()

    def slowly():
        entered.set()
        go.wait(5.0)
        bench.during = None

    bench.during, answers = slowly, []
    lines = [threading.Thread(target=lambda: answers.append(bench.execute(act(SCAN)))) for _ in range(2)]
    lines[0].start()
    assert entered.wait(5.0)
    lines[1].start()
    go.set()
    for line in lines:
        line.join(5.0)
    assert bench.calls == ["scan"]
    assert answers[0] is answers[1]


def test_what_never_finishes_is_an_error_in_bounded_time(bench):
    bench.during = lambda: None
    with pytest.raises(NotReached, match="did not finish"):
        bench.execute(act(SCAN))
    assert bench.state().blanked


def test_an_absent_package_is_named_with_what_to_do():
    with pytest.raises(PluginError, match=r"no_such_vendor.*pip install"):
        vendor_package("no_such_vendor", driver="bench", remedy="pip install no-such-vendor")


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.booleans(), st.floats(0.0, 1e-9)), max_size=20))
def test_the_meter_counts_what_was_read_open_and_never_counts_back(readings):
    clock = SimClock()
    meter, expected, current_a, last = DoseMeter(clock), 0.0, 0.0, 0.0
    for wait_s, blanked, next_a in readings:
        clock.wait(wait_s)
        expected += electrons(current_a, wait_s)
        total = meter.read(blanked=blanked, current_a=next_a)
        assert total >= last
        assert total == pytest.approx(expected, rel=1e-9, abs=1e-3)
        current_a, last = 0.0 if blanked else next_a, total


def test_a_pattern_is_a_signal_with_rows():
    axes = (Axis(name="ky", unit="rad", size=3), Axis(name="kx", unit="rad", size=5))
    pattern = SpectrumSignal(name="4D", axis=axes[1], rows=axes[0])
    assert pattern.shape == (3, 5)
    assert pattern.size == 15
    assert "rows" not in SpectrumSignal(name="EELS", axis=axes[0]).model_dump()


class DarkBench(Bench):
    """One whose scans leave the beam blanked, and whose blanker may be stuck."""

    darkens = True
    stuck = False

    def _perform(self, action, before):
        frames = super()._perform(action, before)
        self.calls.append("dark" if self.blanked else "bright")
        return frames

    def _set_blanked(self, blanked):
        self.blanked = blanked and not self.stuck


@pytest.mark.parametrize("blanked", [True, False])
def test_dark_frames_are_taken_with_the_beam_blanked_and_leave_the_blanker_as_it_was(blanked):
    bench = DarkBench(SimClock())
    assert bench.describe().dark
    bench.execute(act(Blank(blanked=blanked), "first"))
    seen = bench.execute(act(SCAN.replace(dark_frames=3)))
    assert bench.calls == ["scan", "dark"] * 3
    assert (len(seen.frames), seen.state.blanked, seen.dose_e) == (3, blanked, 0.0)
    assert all(f.meta.beam_current_a == 0.0 for f in seen.frames)
    assert len(bench.execute(act(SCAN, "bright")).frames) == 1
    assert bench.calls[-1] == "bright"


def test_dark_frames_fail_where_the_blanker_does_not_follow_or_the_instrument_has_none(bench):
    with pytest.raises(Unsupported, match="dark_frames"):
        bench.execute(act(SCAN.replace(dark_frames=3)))
    stuck = DarkBench(SimClock())
    stuck.blanked, stuck.stuck = False, True
    with pytest.raises(NotReached, match="blanker"):
        stuck.execute(act(SCAN.replace(dark_frames=3)))
    assert stuck.calls == []
