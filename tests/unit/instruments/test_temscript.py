"""Thermo Fisher's names and units over temscript's own server: the null microscope, and one that has STEM."""

import contextlib
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

from autoscope.clock import SystemClock
from autoscope.errors import InstrumentError, NotReached, OutcomeUnknown, OutOfRange, Unreachable, Unsupported
from autoscope.records import Act, Blank, Measure, MoveStage, Scan, SetOptics
from autoscope.testing import Steps, check_instrument
from environments.instruments.temscript import TemscriptInstrument
from tests.unit.instruments.ports import free_ports, wait_until_open

pytest.importorskip("temscript")
from tests.unit.instruments.stem_double import FULL_PX, StemMicroscope, served

SCAN = Scan(fov_m=1e-6, width_px=128, height_px=128, dwell_s=1e-6)


def made(port, **options):
    config = {"port": port, "beam_current_a": 50e-12, "full_frame_px": FULL_PX, "binnings": (2, 4, 8)} | options
    return TemscriptInstrument(TemscriptInstrument.Config(**config), clock=SystemClock())


@contextlib.contextmanager
def null_server(port):
    start = f"from temscript.server import run_server; run_server(['--null', '--host', '127.0.0.1', '-p', '{port}'])"
    server = subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_open(server, port)
        yield server
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(scope="module")
def null_port():
    (port,) = free_ports(1)
    with null_server(port):
        yield port


def act(action, name="a"):
    return Act(act_id=name, action=action)


def test_the_null_server_keeps_every_promise_it_can(null_port):
    report = check_instrument(made(null_port, stigmator_m_per_unit=1e-6))
    assert report.ok, str(report)
    assert {c.promise for c in report.checks if c.status == "passed"} >= {
        "x_m is set and read back",
        "x_m out of range is refused and nothing moves",
        "make_safe blanks the beam, twice as well as once",
    }


def test_a_microscope_without_stem_says_so(null_port):
    instrument = made(null_port)
    can = instrument.describe()
    assert can.simulated
    assert can.voltage_v == 200e3
    assert (can.detectors, "scan" in can.actions) == ((), False)
    for action in (SCAN, Measure(x_m=0.0, y_m=0.0, dwell_s=1.0), SetOptics(stigmator_a_m=1e-9)):
        with pytest.raises(Unsupported):
            instrument.execute(act(action))


def test_limits_come_from_the_microscope_and_a_clamp_is_caught(null_port):
    instrument = made(null_port)
    assert instrument.describe().ranges["x_m"].high == 1e-3
    with pytest.raises(OutOfRange, match="move_stage"):
        instrument.execute(act(MoveStage(x_m=1.0)))
    wider = instrument.describe().ranges["x_m"].replace(high=2.0)
    instrument._can = instrument.describe().replace(ranges=instrument.describe().ranges | {"x_m": wider})
    with pytest.raises(NotReached, match="clamp"):
        instrument.execute(act(MoveStage(x_m=1.0), "clamped"))


def test_units_and_signs_are_the_microscopes_own(null_port):
    instrument = made(null_port, defocus_control="defocus", defocus_m_per_unit=2e-6)
    seen = instrument.execute(act(SetOptics(defocus_m=-3e-6), "focus")).state
    assert seen.defocus_m == pytest.approx(-3e-6)
    from temscript import RemoteMicroscope

    assert RemoteMicroscope(("127.0.0.1", null_port)).get_defocus() == pytest.approx(-1.5)


@pytest.mark.parametrize("mirrored", [False, True])
def test_with_stem_every_promise_is_kept_and_images_go_the_right_way(mirrored):
    with served(StemMicroscope(mirrored=mirrored)) as port:
        report = check_instrument(made(port, flip_x=mirrored), steps=Steps(fov_m=1e-6, dwell_s=1e-6))
    assert report.ok, str(report)
    passed = {c.promise for c in report.checks if c.status == "passed"}
    assert "with the stage at +x the image goes to -x" in passed
    assert "with the stage at +y the image goes to -y" in passed
    assert "a scan turned by a positive angle looks from x towards y" in passed


def test_a_mirrored_image_is_noticed():
    with served(StemMicroscope(mirrored=True)) as port:
        report = check_instrument(made(port), steps=Steps(fov_m=1e-6, dwell_s=1e-6))
    assert any("mirrored" in check.detail for check in report.failed)


def test_everything_is_set_before_the_beam_is_opened():
    microscope = StemMicroscope(rungs=(50_000.0, 200_000.0))
    microscope.set_beam_blanked(True)
    with served(microscope) as port:
        instrument = made(port)
        microscope.calls.clear()
        with pytest.raises(NotReached, match="stem_magnification"):
            instrument.execute(act(SCAN))
        assert microscope.calls == []
        instrument.execute(act(SCAN.replace(fov_m=2e-6), "rung"))
        assert microscope.calls == ["unblank", "acquire", "blank"]


@pytest.mark.parametrize(
    ("scan", "error"),
    [
        (SCAN.replace(height_px=256), OutOfRange),
        (SCAN.replace(width_px=100, height_px=100), OutOfRange),
        (SCAN.replace(centre_x_m=1e-8), Unsupported),
        (SCAN.replace(fov_m=0.5e-6), OutOfRange),
    ],
)
def test_frames_that_tem_scripting_does_not_have_are_refused(scan, error):
    with served(StemMicroscope()) as port, pytest.raises(error):
        made(port, magnifications=(50_000.0, 100_000.0)).execute(act(scan))


def test_a_microscope_in_tem_mode_is_not_switched_behind_anybodys_back():
    microscope = StemMicroscope()
    with served(microscope) as port:
        instrument = made(port)
        microscope.mode = "TEM"
        with pytest.raises(InstrumentError, match="not in STEM mode"):
            instrument.execute(act(SCAN))


def test_a_second_server_blanks_while_the_first_is_busy():
    microscope = StemMicroscope()
    with served(microscope) as port, served(microscope) as emergency_port:
        instrument = made(port, emergency_port=emergency_port)
        errors = []

        def scan():
            try:
                instrument.execute(act(SCAN.replace(dwell_s=100e-6)))
            except InstrumentError as error:
                errors.append(error)

        line = threading.Thread(target=scan)
        line.start()
        clock = SystemClock()
        while "acquire" not in microscope.calls:
            assert clock.now_s() < 10.0
        instrument.make_safe()
        assert microscope.get_beam_blanked()
        assert line.is_alive()
        line.join(30.0)
        assert instrument.state().blanked
    assert "made safe" in str(errors[0])


def test_closing_the_column_valves_is_a_choice():
    microscope = StemMicroscope()
    microscope.set_column_valves_open(True)
    with served(microscope) as port:
        made(port).make_safe()
        assert microscope.get_column_valves_open()
        made(port, close_valves_when_safe=True).make_safe()
        assert not microscope.get_column_valves_open()


def test_a_server_that_is_not_there_is_unreachable():
    (port,) = free_ports(1)
    with pytest.raises(Unreachable, match=str(port)):
        made(port)


def test_a_line_that_breaks_under_an_act_leaves_its_outcome_unknown(null_port):
    instrument = made(null_port)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as deaf:
        instrument._controller._line._address = deaf.getsockname()
        instrument._controller._line._timeout_s = 0.2
        with pytest.raises(OutcomeUnknown, match="Read the instrument back"):
            instrument._controller._line.do("set_beam_blanked", True)


def test_make_safe_never_raises_and_a_blank_is_read_back(null_port):
    instrument = made(null_port)
    assert not instrument.execute(act(Blank(blanked=False), "open")).state.blanked
    instrument.make_safe()
    assert instrument.state().blanked
    instrument._beside._address = ("127.0.0.1", free_ports(1)[0])
    instrument.make_safe()


def test_frames_are_labelled_in_metres():
    with served(StemMicroscope()) as port:
        (frame,) = made(port).execute(act(SCAN.replace(rotation_rad=0.2))).frames
    assert frame.data.shape == (128, 128)
    assert frame.meta.axes[1].scale == pytest.approx(1e-6 / 128)
    assert frame.meta.rotation_rad == 0.2
    assert np.ptp(frame.data) > 0


def test_a_server_that_dies_under_the_driver_is_an_error_at_once_and_make_safe_still_returns():
    (port,) = free_ports(1)
    with null_server(port) as server:
        instrument = made(port, timeout_s=2.0)
        server.kill()
        server.wait(10)
        for action in (MoveStage(x_m=1e-6), Blank(blanked=True)):
            with pytest.raises(Unreachable, match=str(port)):
                instrument.execute(act(action))
        instrument.make_safe()
    with null_server(port):
        assert instrument.execute(act(MoveStage(x_m=2e-6), "again")).state.x_m == 2e-6
