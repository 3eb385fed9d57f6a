"""The digital twin behind our protocol, in process and over its own servers. Slow: numba compiles at first."""

import contextlib
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest

from autoscope.clock import SimClock, SystemClock
from autoscope.errors import ConfigError, InstrumentError, OutOfRange, Unreachable, Unsupported
from autoscope.exposure import electrons
from autoscope.records import Act, Measure, MoveStage, Scan, SetOptics, SpectrumImage
from autoscope.testing import check_instrument
from autoscope.testing.conformance.deliveries import Copying
from environments.instruments.detwin import Annulus, DetwinInstrument, ServerConfig
from tests.unit.instruments.ports import free_ports, wait_until_open

pytest.importorskip("de_twin")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SCAN = Scan(fov_m=300e-9, width_px=16, height_px=12, dwell_s=1e-3, detectors=("HAADF",))


def made(clock=None, **options):
    config = DetwinInstrument.Config(**options)
    return DetwinInstrument(config, clock=clock or SimClock(), rng=np.random.default_rng(1))


@pytest.fixture(scope="module")
def twin():
    instrument = made()
    yield instrument
    instrument.close()


@pytest.fixture
def do(twin):
    def execute(action):
        return twin.execute(Act(act_id=uuid.uuid4().hex, action=action))

    return execute


def test_the_twin_keeps_every_promise_of_the_protocol(twin):
    report = check_instrument(twin)
    assert report.ok, str(report)
    assert report.count("passed") > 50


def test_virtual_detectors_summed_from_patterns_agree_with_the_twins_own(do):
    analytic = do(SCAN).frames[0].data.astype(float)
    action = SpectrumImage(**SCAN.model_dump(exclude={"kind"}), signals=("4D",))
    cube, image = do(action).frames
    assert cube.data.shape == (12, 16, 64, 64)
    assert np.corrcoef(image.data.ravel(), analytic.ravel())[0, 1] > 0.99
    assert image.data.mean() == pytest.approx(analytic.mean(), rel=0.05)
    np.testing.assert_allclose(image.data, _ring(cube), rtol=0.02)  # pixels exactly on an edge fall either way


def _ring(cube):
    ky, kx = (axis.values() for axis in cube.meta.axes[2:])
    angle = np.hypot(ky[:, None], kx[None])
    return cube.data[..., (angle >= 0.06) & (angle < 0.16 - 1e-9)].sum(axis=-1)


def test_a_pattern_holds_no_more_electrons_than_were_sent(do):
    observation = do(Measure(x_m=0.0, y_m=0.0, dwell_s=1e-3, signals=("4D",)))
    sent = electrons(observation.state.beam_current_a, 1e-3)
    assert 0.1 * sent < observation.frames[0].data.sum() < 1.01 * sent


def test_stage_moves_take_the_time_of_their_way(twin, do):
    before = twin.state()
    after = do(MoveStage(x_m=before.x_m + 10e-6)).state
    assert 0.1 <= after.time_s - before.time_s < 0.3
    do(MoveStage(x_m=before.x_m))


def test_a_beam_current_between_two_spot_sizes_is_refused(do):
    with pytest.raises(OutOfRange, match="no such value"):
        do(SetOptics(beam_current_a=2e-11))


def test_truth_tells_aberrations_and_grains(twin):
    truth = twin.truth()
    assert "C3" in truth["probe_aberrations_m"]
    assert truth["phase"]["grain_id"].shape == (64, 64)


def test_the_corrector_brings_aberrations_where_they_were_asked_for_with_our_signs(twin, do):
    def true_m():
        return twin.truth()["probe_aberrations_m"]

    before = true_m()
    state = do(SetOptics(coma_a_m=300e-9, coma_b_m=-150e-9)).state
    assert (state.coma_a_m, state.coma_b_m, state.threefold_a_m) == (300e-9, -150e-9, 0.0)
    assert state.time_s > 0.5
    # C21 = 3 B2, and third order changes sign with the axes, which are turned by half a turn; gains are off by some %
    assert true_m()["B2"] - before["B2"] == pytest.approx(-100e-9 + 50e-9j, rel=0.25)
    do(SetOptics(threefold_b_m=200e-9))
    assert true_m()["A2"] - before["A2"] == pytest.approx(-200e-9j, rel=0.25)
    do(SetOptics(spherical_m=5e-6))
    assert true_m()["C3"] - before["C3"] == pytest.approx(5e-6, rel=0.15)
    with pytest.raises(OutOfRange, match="range"):
        do(SetOptics(coma_a_m=1e-3))
    do(SetOptics(coma_a_m=0.0, coma_b_m=0.0, threefold_b_m=0.0, spherical_m=0.0))
    assert abs(true_m()["B2"] - before["B2"]) < 50e-9


def test_a_corrector_that_fails_says_so_and_nothing_is_read_back_as_set(twin, do, monkeypatch):
    unit = twin._column.twin.column.corrector.served
    monkeypatch.setattr(unit, "_run_correct", lambda *given: (False, "", "Server error: beam is off (-32000)"))
    with pytest.raises(InstrumentError, match="beam is off"):
        do(SetOptics(coma_a_m=100e-9))
    assert twin.state().coma_a_m == 0.0


def test_without_a_corrector_its_fields_are_unsupported():
    instrument = made(corrector="none")
    assert instrument.state().coma_a_m is None
    with pytest.raises(Unsupported, match="no corrector"):
        instrument.execute(Act(act_id="coma", action=SetOptics(coma_a_m=0.0)))
    instrument.close()


def test_two_twins_of_one_seed_give_the_same_night():
    first, second = (made().execute(Act(act_id="a", action=SCAN)) for _ in range(2))
    assert first.frames[0] == second.frames[0]


def test_a_camera_length_between_two_rungs_is_refused():
    with pytest.raises(ConfigError, match="no such camera length"):
        made(camera_length_m=0.0333)


def test_a_ring_beyond_the_camera_is_refused_for_4d_scans_only():
    instrument = made(detectors={"wide": Annulus(inner_rad=0.06, outer_rad=0.5)})
    scan = SCAN.replace(detectors=("wide",))
    assert instrument.execute(Act(act_id="image", action=scan)).frames
    cube = SpectrumImage(**scan.model_dump(exclude={"kind"}), signals=("4D",))
    with pytest.raises(InstrumentError, match="beyond the camera"):
        instrument.execute(Act(act_id="cube", action=cube))


@contextlib.contextmanager
def served():
    soap, deapi = free_ports(2)
    program = str(Path(sys.executable).with_name("python"))
    command = [program, "-m", "de_twin.cli", "serve", "--host", "127.0.0.1", "--soap", str(soap), "--deapi", str(deapi)]
    command += ["--camera", "DESim", "--corrector", "probe"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_open(server, soap, deapi, limit_s=240.0)
        yield ServerConfig(soap_port=soap, deapi_port=deapi)
    finally:
        server.terminate()
        server.wait(20)


def test_the_same_driver_drives_the_twins_own_servers():
    with served() as server:
        instrument = made(SystemClock(), server=server)
        moved = instrument.execute(Act(act_id="move", action=MoveStage(x_m=48.8e-6, y_m=-39.9e-6, alpha_rad=0.01)))
        assert moved.state.x_m == pytest.approx(48.8e-6, abs=1e-9)
        assert moved.state.alpha_rad == pytest.approx(0.01, abs=1e-5)
        optics = SetOptics(defocus_m=20e-9, convergence_rad=0.015)
        assert instrument.execute(Act(act_id="optics", action=optics)).state.convergence_rad == pytest.approx(0.015)
        corrected = instrument.execute(Act(act_id="coma", action=SetOptics(coma_a_m=100e-9))).state
        assert (corrected.coma_a_m, corrected.coma_b_m) == (100e-9, 0.0)
        scan = SCAN.replace(width_px=5, height_px=4, dwell_s=1e-2, detectors=("HAADF", "BF"))
        images = instrument.execute(Act(act_id="scan", action=scan)).frames
        assert [f.data.shape for f in images] == [(4, 5), (4, 5)]
        assert all(f.data.std() > 0.0 for f in images)
        cube = SpectrumImage(**scan.model_dump(exclude={"kind"}), signals=("4D",))
        data, *_ = instrument.execute_into(Act(act_id="cube", action=cube), seen := Copying()).frames
        assert len(seen.told["4D"]) > 1  # frame by frame, as the camera's server has them
        assert (seen.copies["4D"] == data.data).all()
        with pytest.raises(OutOfRange):
            instrument.execute(Act(act_id="far", action=MoveStage(x_m=1.0)))
        instrument.make_safe()
        assert instrument.state().blanked
        instrument.close()


def test_a_server_that_is_not_there_is_unreachable():
    (port,) = free_ports(1)
    with pytest.raises(Unreachable, match="does not answer"):
        made(SystemClock(), server=ServerConfig(soap_port=port, timeout_s=1.0))
