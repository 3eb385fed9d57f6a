"""The Nion driver on nionswift-usim: another team's column and the makers' own instrumentation stack."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from autoscope.actions import CORRECTOR_FIELDS
from autoscope.errors import ConfigError, InstrumentError, OutOfRange, Unsupported
from autoscope.exposure import electrons
from autoscope.perception.registration import register
from autoscope.quantities import FROM_FILE
from autoscope.records import Blank, Measure, MoveStage, Scan, SetOptics, SpectrumImage, Wait
from autoscope.testing import Steps, check_instrument
from environments.instruments.nion import NionInstrument
from tests.unit.nion.conftest import INSTALLED, column

pytestmark = [
    pytest.mark.skipif(not INSTALLED, reason="nionswift-usim is not installed (pip install 'autoscope[nion]')"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.xdist_group("nion"),
]

FIELD = Scan(fov_m=460e-9, width_px=64, height_px=64, dwell_s=4e-6)


def image(do, nion, **changes):
    return do(nion, FIELD.replace(**changes)).frames[0].data


def test_the_driver_keeps_every_promise_of_the_conformance_kit(nion):
    report = check_instrument(nion, steps=Steps(fov_m=500e-9, image_px=96))
    assert report.ok, str(report)
    assert report.count("passed") > 50


def test_a_column_with_a_corrector_and_a_shifting_spectrometer_keeps_them_too():
    full = column(optics={"corrector": {}, "energy_shift_range": ["-50 eV", "50 eV"]})
    report = check_instrument(full, steps=Steps(fov_m=500e-9, image_px=96))
    full.make_safe()
    assert report.ok, str(report)
    checked = {check.promise.split()[0] for check in report.checks if check.status == "passed"}
    assert {*CORRECTOR_FIELDS, "energy_offset_ev"} <= checked


def test_a_corrector_is_set_and_read_in_the_columns_own_controls(do):
    made = column(optics={"corrector": {}})
    seen = do(made, SetOptics(coma_a_m=2e-7, threefold_b_m=-3e-8, spherical_m=1e-6)).state
    assert (seen.coma_a_m, seen.coma_b_m, seen.threefold_b_m, seen.spherical_m) == (2e-7, 0.0, -3e-8, 1e-6)
    vendor = made._acquisition._column.controller
    assert [vendor.GetVal(name) for name in ("C21.a", "C23.b", "C30")] == [2e-7, -3e-8, 1e-6]


def test_a_corrector_is_left_alone_unless_the_configuration_gives_it(nion, do):
    assert nion.state().coma_a_m is None
    with pytest.raises(Unsupported, match="no corrector"):
        do(nion, SetOptics(coma_a_m=1e-8))


def test_a_positive_energy_offset_moves_losses_up_the_axis_and_back_brings_them_back(do):
    made = column(optics={"energy_offset": "-20 eV", "energy_shift_range": ["-50 eV", "50 eV"]})
    axis, look = made.describe().signals[0].axis, Measure(x_m=0.0, y_m=0.0, dwell_s=0.05)

    def zero_loss_ev():
        return axis.offset + axis.scale * int(np.argmax(do(made, look).frames[0].data))

    before = zero_loss_ev()
    assert do(made, SetOptics(energy_offset_ev=12.0)).state.energy_offset_ev == pytest.approx(12.0)
    assert zero_loss_ev() - before == pytest.approx(12.0, abs=2.0 * axis.scale)
    assert do(made, SetOptics(energy_offset_ev=0.0)).state.energy_offset_ev == 0.0
    assert zero_loss_ev() == pytest.approx(before, abs=2.0 * axis.scale)


@pytest.mark.parametrize(
    "optics", [{"energy_shift_range": ["5 eV", "-5 eV"]}, {"corrector": {"coma_range": ["1 um", "0 m"]}}]
)
def test_ranges_the_wrong_way_round_are_refused(optics):
    with pytest.raises(ValueError, match="the first bound must be below the second"):
        NionInstrument.Config.model_validate({"optics": optics}, context=FROM_FILE)


def test_starting_does_not_touch_the_working_directory(tmp_path):
    (tmp_path / "test_data").mkdir()
    (tmp_path / "test_data" / "precious.txt").write_text("ten years of work")
    script = (
        "from autoscope.clock import SystemClock\n"
        "from environments.instruments.nion import NionInstrument\n"
        "print(NionInstrument(NionInstrument.Config(), clock=SystemClock()).describe().instrument)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "Nion STEM (nionswift-usim)", done.stderr  # and the process ended by itself
    assert [p.name for p in tmp_path.iterdir()] == ["test_data"]
    assert (tmp_path / "test_data" / "precious.txt").read_text() == "ten years of work"


def test_a_new_driver_finds_a_blanked_column_at_its_first_settings(nion, do):
    do(nion, MoveStage(x_m=1e-6))
    do(nion, SetOptics(defocus_m=2e-6, stigmator_a_m=1e-8))
    do(nion, Blank(blanked=False))
    state = column().state()
    assert (state.x_m, state.y_m, state.defocus_m, state.stigmator_a_m, state.blanked) == (0.0, 0.0, 0.0, 0.0, True)


def test_fields_that_are_not_square_show_what_a_square_one_shows_there(nion, do):
    square = image(do, nion, dwell_s=20e-6)
    wide = do(nion, FIELD.replace(height_px=32, dwell_s=20e-6)).frames[0]
    tall = do(nion, FIELD.replace(fov_m=230e-9, width_px=32, dwell_s=20e-6)).frames[0]
    assert np.corrcoef(square[16:48].ravel(), wide.data.ravel())[0, 1] > 0.9
    assert np.corrcoef(square[:, 16:48].ravel(), tall.data.ravel())[0, 1] > 0.9
    assert {round(a.scale / (460e-9 / 64), 6) for f in (wide, tall) for a in f.meta.axes} == {1.0}


def test_detectors_come_in_the_order_asked_for(nion, do):
    frames = do(nion, FIELD.replace(width_px=16, height_px=16, detectors=("MAADF", "HAADF"))).frames
    assert [frame.meta.signal for frame in frames] == ["MAADF", "HAADF"]


def test_with_physics_counts_follow_current_and_dwell_and_focus_shows(nion, do):
    bright = image(do, nion).mean()
    do(nion, SetOptics(beam_current_a=20e-12))
    dim = image(do, nion).mean()
    assert dim / bright == pytest.approx(0.1, rel=0.1)
    do(nion, SetOptics(beam_current_a=200e-12, defocus_m=5e-6))
    assert image(do, nion).std() < 0.8 * image(do, nion, dwell_s=4e-6).max()
    blurred, sharp = image(do, nion, dwell_s=20e-6).std(), None
    do(nion, SetOptics(defocus_m=0.0))
    sharp = image(do, nion, dwell_s=20e-6).std()
    assert blurred < 0.7 * sharp


def test_the_image_drifts_as_configured(do):
    nion = column(connection={"kind": "usim", "physics": True, "drift": ["20 nm/s", "-12 nm/s"]})
    still = FIELD.replace(width_px=128, height_px=128, dwell_s=1e-6)
    first = do(nion, still).frames[0]
    do(nion, Wait(duration_s=1.0))
    second = do(nion, still).frames[0]
    seen, passed_s = register(first, second), second.meta.time_s - first.meta.time_s
    assert seen.dx_m == pytest.approx(20e-9 * passed_s, abs=8e-9)
    assert seen.dy_m == pytest.approx(-12e-9 * passed_s, abs=8e-9)


def test_without_physics_the_image_is_usims_own():
    import nion.usim_device.InstrumentDevice as device

    plain = column()
    generator = plain._acquisition._column.controller.scan_data_generator
    assert isinstance(generator, device.ScanDataGenerator)
    assert generator.generate_scan_data.__func__ is device.ScanDataGenerator.generate_scan_data


def test_a_spectrum_is_that_of_the_place_where_the_probe_was_parked(nion, do):
    picture = do(nion, FIELD.replace(dwell_s=20e-6)).frames[0]
    pixel_m = FIELD.fov_m / 64
    thick = np.unravel_index(np.argmax(picture.data), picture.data.shape)
    thin = np.unravel_index(np.argmin(picture.data), picture.data.shape)
    x_m, y_m = ((k + 0.5 - 32) * pixel_m for k in (thick[1], thick[0]))
    x0_m, y0_m = ((k + 0.5 - 32) * pixel_m for k in (thin[1], thin[0]))
    losses = [do(nion, Measure(x_m=x, y_m=y, dwell_s=0.02)).frames[0].data[80:] for x, y in ((x_m, y_m), (x0_m, y0_m))]
    assert losses[0].sum() > 100 * max(losses[1].sum(), 1.0)


def test_the_spectrometer_starts_where_the_configuration_says():
    axis = column(optics={"energy_offset": "700 eV"}).describe().signals[0].axis
    assert (axis.offset, axis.unit) == (700.0, "eV")


def test_dose_is_current_times_the_time_the_beam_was_open(nion, do):
    seen = do(nion, Measure(x_m=0.0, y_m=0.0, dwell_s=0.05))
    open_s = seen.state.time_s - seen.state_before.time_s
    least, most = (electrons(200e-12, t) for t in (0.05, open_s))
    assert least <= seen.dose_e <= most
    assert do(nion, MoveStage(x_m=0.0)).dose_e == 0.0


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (MoveStage(z_m=0.0), Unsupported),
        (SetOptics(convergence_rad=0.03), Unsupported),
        (MoveStage(x_m=1.0), OutOfRange),
        (FIELD.replace(dwell_s=0.5), OutOfRange),  # a spectrum may take that long, a pixel of an image not
        (Measure(x_m=0.0, y_m=0.0, dwell_s=1e-5), OutOfRange),
        (FIELD.replace(fov_m=1e-3), OutOfRange),
    ],
    ids=["z", "convergence", "far", "slow image", "fast spectrum", "wide"],
)
def test_what_the_column_cannot_do_is_refused_and_exposes_nothing(nion, do, action, error):
    before = nion.state().dose_e
    with pytest.raises(error):
        do(nion, action)
    assert nion.state().dose_e - before < electrons(200e-12, 0.2)
    assert nion.state().blanked


def test_names_of_hardware_that_is_not_there_are_told_with_those_that_are():
    with pytest.raises(ConfigError, match=r"scan\.source.*superscan.*usim_scan_device"):
        column(scan={"source": "superscan"})
    with pytest.raises(ConfigError, match=r"X9.*HAADF"):
        column(scan={"channels": ["X9"]})
    with pytest.raises(ConfigError, match=r"autostem_controller.*usim_stem_controller"):
        column(connection={"kind": "attach"})


def test_a_column_that_is_there_already_can_be_attached_to(nion):
    attached = column(connection={"kind": "attach", "controller": "usim_stem_controller", "serial": "N-42"})
    assert attached.describe().serial == "N-42"
    assert not attached.describe().simulated


def test_making_safe_ends_a_long_scan_at_once_and_its_act_fails(nion, do):
    failures = []

    def scan():
        try:
            do(nion, FIELD.replace(width_px=256, height_px=256, dwell_s=1e-4))
        except InstrumentError as error:
            failures.append(error)

    thread = threading.Thread(target=scan)
    thread.start()
    while nion.state().blanked:
        assert thread.is_alive()
    nion.make_safe()
    thread.join(3.0)  # the scan takes 6.6 s
    assert not thread.is_alive()
    assert len(failures) == 1
    assert nion.state().blanked
    assert image(do, nion).shape == (64, 64)  # and the column works on


@pytest.mark.slow
@pytest.mark.parametrize("centre_m", [(0.0, 0.0), (40e-9, -30e-9)], ids=["on axis", "off axis"])
def test_a_spectrum_image_holds_the_spectra_of_its_pixels_with_the_image_beside_it(nion, do, centre_m):
    from nion.usim_device.SampleSimulator import RectangleFlakeSample

    flakes = RectangleFlakeSample(1000).features

    def shows_a_flake(x_m, y_m):
        return any(
            abs(x_m - f.position_m.x) < f.size_m.width / 2 and abs(y_m - f.position_m.y) < f.size_m.height / 2
            for f in flakes
        )

    do(nion, Measure(x_m=200e-9, y_m=0.0, dwell_s=0.01))  # a field before, which must not matter
    action = SpectrumImage(
        fov_m=300e-9, width_px=14, height_px=12, dwell_s=0.002, centre_x_m=centre_m[0], centre_y_m=centre_m[1]
    )
    picture, data = do(nion, action).frames
    assert picture.data.shape == (12, 14)
    assert data.data.shape == (12, 14, 1024)
    rows, columns = (axis.values() for axis in picture.meta.axes)
    half_m = 0.5 * picture.meta.axes[0].scale

    def truth(dx_m, dy_m):
        return np.array(
            [[shows_a_flake(centre_m[0] + x + dx_m, centre_m[1] + y + dy_m) for x in columns] for y in rows]
        )

    assert np.corrcoef(picture.data.ravel(), truth(0.0, 0.0).ravel())[0, 1] > 0.8
    losses = data.data[..., 80:].sum(axis=2) > 1e5
    # usim's spectra come from half a pixel beside, to the right and above
    assert np.corrcoef(losses.ravel(), truth(half_m, -half_m).ravel())[0, 1] > 0.85


@pytest.mark.slow
def test_4d_data_are_patterns_at_every_pixel(do):
    camera = {"name": "4D", "source": "usim_ronchigram_camera", "kind": "pattern", "binning": 8}
    nion = column(cameras=[camera])
    signal = nion.describe().signals[0]
    assert signal.shape == (256, 256)
    action = SpectrumImage(fov_m=50e-9, width_px=4, height_px=3, dwell_s=0.02, signals=("4D",), detectors=())
    (data,) = do(nion, action).frames
    assert data.data.shape == (3, 4, 256, 256)
    assert data.meta.axes[2:] == (signal.rows, signal.axis)
    report = check_instrument(nion, steps=Steps(fov_m=500e-9, image_px=64))
    assert report.ok, str(report)
