"""AutoScript against a contract of its documented calls: names, order, units; nothing here has met a microscope."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscope.clock import SimClock, SystemClock
from autoscope.errors import InstrumentError, NotReached, OutOfRange, PluginError, Unreachable, Unsupported
from autoscope.records import Act, Blank, Measure, MoveStage, Scan, SetOptics
from autoscope.testing import Steps, check_instrument
from environments.instruments.autoscript import AutoscriptInstrument
from environments.instruments.autoscript.acquisition import base_frame
from tests.unit.instruments import autoscript_double

GOLDEN = Path(__file__).parents[2] / "golden" / "instruments" / "autoscript_calls.txt"
SCAN = Scan(fov_m=1e-6, width_px=128, height_px=128, dwell_s=1e-6)
PARTIAL = SCAN.replace(width_px=96, height_px=64, centre_x_m=200e-9, centre_y_m=-100e-9, rotation_rad=0.3)
POINT = Measure(x_m=100e-9, y_m=-50e-9, dwell_s=0.05, signals=("EDS",))


@pytest.fixture
def bench(monkeypatch):
    return autoscript_double.install(monkeypatch)


def made(clock=None, **options):
    config = {"serial": "Spectra 1234", "eds": {}, "beam_current_a": 50e-12, "beta_range_rad": (-0.5, 0.5)} | options
    return AutoscriptInstrument(AutoscriptInstrument.Config(**config), clock=clock or SimClock())


def act(action, name="a"):
    return Act(act_id=name, action=action)


def test_every_act_says_exactly_what_is_written_in_the_golden_file(bench):
    instrument = made(close_valves_when_safe=True)
    acts = {
        "move": MoveStage(x_m=12e-6, y_m=-3e-6),
        "tilt": MoveStage(alpha_rad=0.1),
        "focus": SetOptics(defocus_m=-150e-9),
        "scan": SCAN,
        "partial scan": PARTIAL,
        "spectrum": POINT,
        "unblank": Blank(blanked=False),
    }
    said = []
    for name, action in acts.items():
        bench.log.clear()
        instrument.execute(act(action, name))
        said += [f"# {name}", *bench.log]
    bench.log.clear()
    instrument.make_safe()
    said += ["# make safe", *bench.log]
    assert "\n".join(said) + "\n" == GOLDEN.read_text()


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_driver_keeps_every_promise_as_far_as_the_contract_goes(bench, mirrored):
    bench.mirrored = mirrored
    report = check_instrument(
        made(SystemClock(), flip_x=mirrored, defocus_range_m=(-1e-5, 1e-5)), steps=Steps(fov_m=1e-6, dwell_s=1e-6)
    )
    assert report.ok, str(report)
    passed = {check.promise for check in report.checks if check.status == "passed"}
    assert "with the scan's centre at +y the image goes to -y" in passed
    assert "a scan turned by a positive angle looks from x towards y" in passed


def test_a_part_of_a_frame_looks_where_the_same_part_of_the_whole_does(bench):
    instrument = made()
    whole = instrument.execute(act(SCAN.replace(width_px=256, height_px=256, fov_m=2e-6))).frames[0].data
    part = SCAN.replace(width_px=64, height_px=32, fov_m=0.5e-6, centre_x_m=0.25e-6, centre_y_m=-0.5e-6)
    seen = instrument.execute(act(part, "part")).frames[0].data
    np.testing.assert_array_equal(seen, whole[48:80, 128:192])


@given(
    st.integers(1, 600),
    st.integers(1, 600),
    st.floats(-1e-6, 1e-6),
    st.floats(-1e-6, 1e-6),
    st.floats(-math.pi, math.pi),
    st.booleans(),
)
def test_a_base_frame_holds_its_scan(width, height, x_m, y_m, rotation_rad, flip):
    config = AutoscriptInstrument.Config(serial="1", flip_x=flip)
    action = SCAN.replace(width_px=width, height_px=height, centre_x_m=x_m, centre_y_m=y_m, rotation_rad=rotation_rad)
    try:
        frame = base_frame(action, config)
    except OutOfRange:
        return
    assert 0.0 <= frame.left <= frame.left + frame.width <= 1.0 + 1e-9
    assert 0.0 <= frame.top <= frame.top + frame.height <= 1.0 + 1e-9
    assert frame.field_m / frame.size_px == pytest.approx(action.fov_m / width)
    assert round(frame.width * frame.size_px) == width
    along = ((frame.left + frame.width / 2 - 0.5) * frame.field_m) * (-1 if flip else 1)
    down = (frame.top + frame.height / 2 - 0.5) * frame.field_m
    c, s = math.cos(rotation_rad), math.sin(rotation_rad)
    assert c * along - s * down == pytest.approx(x_m, abs=2e-6 * action.fov_m)
    assert s * along + c * down == pytest.approx(y_m, abs=2e-6 * action.fov_m)


def test_the_beam_is_open_for_the_exposure_only_and_all_is_set_before(bench):
    instrument = made()
    instrument.execute(act(POINT))
    opened = bench.log.index("optics.blanker.unblank()")
    closed = bench.log.index("optics.blanker.blank()")
    assert "acquire_spectrum" in "".join(bench.log[opened:closed])
    assert closed - opened == 2
    assert any("paused_scan_beam_position" in line for line in bench.log[:opened])


@pytest.mark.parametrize(
    ("fault", "action", "error"),
    [
        ({"optics.scan_field_of_view": 0.9e-6}, SCAN, NotReached),
        ({"optics.scan_rotation": 0.1}, SCAN, NotReached),
        ({"optics.paused_scan_beam_position": [0.5, 0.5]}, POINT, NotReached),
        ({"optics.defocus": 0.0}, SetOptics(defocus_m=1e-6), NotReached),
        ({"specimen.stage.absolute_move_safe": RuntimeError("limit")}, MoveStage(x_m=1e-6), InstrumentError),
        ({"acquisition.acquire_stem_images_advanced": RuntimeError("busy")}, SCAN, InstrumentError),
    ],
)
def test_what_the_microscope_does_otherwise_is_an_error_and_the_beam_is_blanked(bench, fault, action, error):
    instrument = made()
    bench.faults = fault
    with pytest.raises(error):
        instrument.execute(act(action))
    assert bench.values["optics.blanker.is_beam_blanked"]


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (SetOptics(stigmator_a_m=1e-9), Unsupported),
        (SetOptics(beam_current_a=1e-10), Unsupported),
        (SCAN.replace(detectors=("ABF",)), Unsupported),
        (POINT.replace(signals=("EELS",)), Unsupported),
        (SCAN.replace(dwell_s=0.5), OutOfRange),
        (POINT.replace(dwell_s=1e-6), OutOfRange),
        (SCAN.replace(width_px=4000, height_px=4000, centre_x_m=5e-7), OutOfRange),
        (MoveStage(x_m=5e-3), OutOfRange),
    ],
)
def test_what_it_cannot_do_is_refused_with_the_beam_blanked(bench, action, error):
    instrument = made()
    bench.log.clear()
    with pytest.raises(error):
        instrument.execute(act(action))
    assert not any("blanker" in line or "move" in line or "acquire" in line for line in bench.log)


def test_a_single_tilt_holder_is_never_asked_for_beta(bench):
    with pytest.raises(Unsupported, match="beta"):
        made(beta_range_rad=None).execute(act(MoveStage(beta_rad=0.0)))


def test_a_microscope_in_tem_mode_is_not_switched_behind_anybodys_back(bench):
    instrument = made()
    bench.values["optics.optical_mode"] = "Tem"
    with pytest.raises(InstrumentError, match="not in STEM mode"):
        instrument.execute(act(SCAN))


def test_acts_readings_and_emergencies_have_a_client_each(bench):
    instrument = made()
    assert bench.clients == 3
    with instrument._line._acting, instrument._line._reading:
        instrument.make_safe()
    assert bench.log[-1] == "optics.blanker.blank()"
    instrument.close()
    assert bench.clients == 0


def test_valves_stay_open_unless_wanted(bench):
    made().make_safe()
    assert not bench.valves_closed
    made(close_valves_when_safe=True).make_safe()
    assert bench.valves_closed


def test_without_the_vendors_package_the_error_says_where_it_comes_from():
    with pytest.raises(PluginError, match="microscope PC"):
        made()


def test_a_server_that_does_not_answer_is_unreachable(bench):
    bench.faults = {"connect": OSError("refused")}
    with pytest.raises(Unreachable, match="refused"):
        made()


def test_a_detector_that_this_autoscript_does_not_have_is_named(bench):
    instrument = made(detectors=("HAADF", "ABF_S"))
    with pytest.raises(PluginError, match="ABF_S"):
        instrument.execute(act(SCAN.replace(detectors=("ABF_S",))))
    assert bench.values["optics.blanker.is_beam_blanked"]


def test_the_double_itself_refuses_wrong_units_and_unknown_words(bench):
    client = autoscript_double.Node(bench, "")
    with pytest.raises(AssertionError, match="scan_field_of_view"):
        client.optics.scan_field_of_view = 500.0
    with pytest.raises(AssertionError, match="has no optics"):
        _ = client.optics.magic
    with pytest.raises(AssertionError, match="cannot be set"):
        client.optics.optical_mode = "Tem"
    with pytest.raises(AssertionError, match=r"StagePosition\.x"):
        bench.structures.StagePosition(x=12.0)
