import json

import numpy as np
import pytest

from autoscope.clock import SimClock
from autoscope.errors import DataError, OutOfRange, Unsupported
from autoscope.exposure import electrons
from autoscope.protocols import Instrument, Truthful
from autoscope.quantities import FROM_FILE
from autoscope.records import Act, Blank, Measure, MoveStage, Scan, SpectrumImage, Wait
from environments.instruments.replay import ReplayInstrument

HEIGHT, WIDTH, CHANNELS = 6, 9, 4


@pytest.fixture
def path(tmp_path):
    spectra = np.arange(HEIGHT * WIDTH * CHANNELS, dtype=np.float32).reshape(HEIGHT, WIDTH, CHANNELS)
    meta = {"px": "2 nm", "axis_unit": "eV", "unit": "counts", "modality": "EELS"}
    image, target = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) + 100.0, spectra.sum(axis=2)
    np.savez(
        tmp_path / "map.npz", image=image, spectra=spectra, axis=np.arange(4.0), target=target, meta=json.dumps(meta)
    )
    return tmp_path / "map.npz"


@pytest.fixture
def instrument(path):
    return ReplayInstrument(ReplayInstrument.Config(path=path), clock=SimClock(), rng=np.random.default_rng(0))


def act(action, name="a"):
    return Act(act_id=name, action=action)


def measure(x_m, y_m, dwell_s=0.05, signals=("EELS",)):
    return Measure(x_m=x_m, y_m=y_m, dwell_s=dwell_s, signals=signals)


def centre_m(index, size):
    return ((index + 0.5) / size - 0.5) * size * 2e-9


def test_every_pixel_answers_with_its_own_spectrum_in_any_order(instrument, path):
    stored = np.load(path)["spectra"]
    order = np.random.default_rng(3).permutation(HEIGHT * WIDTH)
    jitter = np.random.default_rng(4).uniform(-0.49, 0.49, (HEIGHT * WIDTH, 2)) * 2e-9
    for k in order:
        i, j = divmod(int(k), WIDTH)
        x_m, y_m = centre_m(j, WIDTH) + jitter[k, 0], centre_m(i, HEIGHT) + jitter[k, 1]
        (frame,) = instrument.execute(act(measure(x_m, y_m), f"p{k}")).frames
        np.testing.assert_array_equal(frame.data, stored[i, j])
        assert (frame.meta.x_m, frame.meta.y_m) == (
            pytest.approx(centre_m(j, WIDTH), abs=1e-15),
            pytest.approx(centre_m(i, HEIGHT), abs=1e-15),
        )


def test_an_image_detector_beside_a_spectrum_reads_the_stored_image_there(instrument, path):
    stored = np.load(path)["image"]
    height, width = stored.shape
    for i, j in ((0, 0), (1, width - 1), (height - 1, 1)):
        action = measure(centre_m(j, width), centre_m(i, height)).replace(detectors=("HAADF",))
        spectrum, reading = instrument.execute(act(action, f"{i}-{j}")).frames
        assert (spectrum.meta.signal, reading.meta.signal) == ("EELS", "HAADF")
        assert [axis.name for axis in reading.meta.axes] == ["time"]
        assert reading.data.tolist() == [stored[i, j]]


def test_native_scan_is_the_stored_image(instrument, path):
    native = instrument.describe().native_scan
    assert (native.width_px, native.height_px, native.fov_m) == (WIDTH, HEIGHT, pytest.approx(18e-9))
    (frame,) = instrument.execute(act(native)).frames
    np.testing.assert_array_equal(frame.data, np.load(path)["image"])
    assert [axis.name for axis in frame.meta.axes] == ["y", "x"]
    assert frame.meta.axes[1].values()[0] == pytest.approx(centre_m(0, WIDTH))


def test_whole_spectrum_image_holds_cube_and_image(instrument, path):
    native = instrument.describe().native_scan
    whole = SpectrumImage(**native.model_dump(exclude={"kind", "dwell_s", "detectors"}), dwell_s=0.05)
    cube, image = instrument.execute(act(whole)).frames
    np.testing.assert_array_equal(cube.data, np.load(path)["spectra"])
    assert (cube.meta.signal, image.meta.signal) == ("EELS", "HAADF")
    assert [axis.name for axis in cube.meta.axes] == ["y", "x", "energy"]


@pytest.mark.parametrize(
    ("x_px", "y_px"), [(WIDTH / 2 + 0.01, 0.0), (-WIDTH / 2 - 0.01, 0.0), (0.0, HEIGHT / 2 + 0.01), (0.0, -1e6)]
)
def test_point_outside_the_field_is_refused_and_costs_nothing(instrument, x_px, y_px):
    with pytest.raises(OutOfRange, match="outside the recorded field"):
        instrument.execute(act(measure(x_px * 2e-9, y_px * 2e-9)))
    assert (instrument.state().dose_e, instrument.state().time_s) == (0.0, 0.0)


def test_corners_of_the_field_belong_to_the_corner_pixels(instrument, path):
    stored = np.load(path)["spectra"]
    for k, (sx, sy, i, j) in enumerate([(-1, -1, 0, 0), (1, 1, -1, -1), (-1, 1, -1, 0), (1, -1, 0, -1)]):
        (frame,) = instrument.execute(act(measure(sx * 9e-9, sy * 6e-9), f"c{k}")).frames
        np.testing.assert_array_equal(frame.data, stored[i, j])


@pytest.mark.parametrize(
    "change",
    [
        {"fov_m": 17e-9},
        {"width_px": 8},
        {"height_px": 7},
        {"centre_x_m": 1e-9},
        {"centre_y_m": -1e-9},
        {"rotation_rad": 0.1},
        {"dwell_s": 1.0},
    ],
)
def test_any_other_scan_was_not_recorded(instrument, change):
    with pytest.raises(OutOfRange, match="was not recorded"):
        instrument.execute(act(instrument.describe().native_scan.replace(**change)))


def test_other_dwell_time_is_refused_and_the_nominal_one_told(instrument):
    with pytest.raises(OutOfRange, match=r"0\.05 only"):
        instrument.execute(act(measure(0.0, 0.0, dwell_s=0.1)))


@pytest.mark.parametrize(
    "action",
    [
        MoveStage(x_m=0.0),
        measure(0.0, 0.0, signals=("EDS",)),
        Scan(fov_m=18e-9, width_px=9, height_px=6, dwell_s=10e-6, detectors=("BF",)),
    ],
)
def test_what_was_never_recorded_is_unsupported(instrument, action):
    with pytest.raises(Unsupported):
        instrument.execute(act(action))


def test_same_act_id_returns_the_first_observation_without_time_or_dose(instrument):
    first = instrument.execute(act(measure(0.0, 0.0), "once"))
    after = instrument.state()
    assert instrument.execute(act(measure(4e-9, 4e-9), "once")) is first
    assert instrument.state() == after


def test_refused_act_may_be_asked_again(instrument):
    for _ in range(2):
        with pytest.raises(OutOfRange):
            instrument.execute(act(measure(1.0, 0.0), "again"))


def test_time_and_dose_are_those_of_the_nominal_exposure(path):
    config = ReplayInstrument.Config(path=path, dwell_s=0.2, point_overhead_s=0.3, beam_current_a=50e-12)
    instrument = ReplayInstrument(config, clock=SimClock())
    observation = instrument.execute(act(measure(0.0, 0.0, dwell_s=0.2)))
    assert observation.state.time_s == pytest.approx(0.5)
    assert observation.dose_e == pytest.approx(electrons(50e-12, 0.2))
    assert observation.frames[0].meta.dose_e_per_m2 == pytest.approx(electrons(50e-12, 0.2) / 4e-18)
    observation = instrument.execute(act(instrument.describe().native_scan, "b"))
    assert observation.dose_e == pytest.approx(electrons(50e-12, 10e-6 * HEIGHT * WIDTH))


def test_waiting_and_blanking_work_and_make_safe_blanks(instrument):
    assert instrument.execute(act(Wait(duration_s=7.0), "w")).state.time_s == 7.0
    assert instrument.execute(act(Blank(blanked=False), "u")).state.blanked is False
    instrument.make_safe()
    assert instrument.state().blanked is True


def test_truth_holds_the_stored_target(instrument, path):
    assert isinstance(instrument, Instrument)
    assert isinstance(instrument, Truthful)
    np.testing.assert_array_equal(instrument.truth()["target"], np.load(path)["target"])


def test_frames_cannot_be_written_to(instrument):
    (frame,) = instrument.execute(act(measure(0.0, 0.0))).frames
    with pytest.raises(ValueError, match="read-only"):
        frame.data[0] = 1.0


def test_binned_replay_describes_the_binned_data(path):
    options = {"path": str(path), "read": {"bin_px": 3, "band": ["1 eV", "2 eV"]}, "dwell": "20 ms"}
    instrument = ReplayInstrument(ReplayInstrument.Config.model_validate(options, context=FROM_FILE), clock=SimClock())
    capabilities = instrument.describe()
    assert (capabilities.native_scan.width_px, capabilities.native_scan.height_px) == (3, 2)
    assert capabilities.signals[0].axis.size == 2
    (frame,) = instrument.execute(act(measure(0.0, 3e-9, dwell_s=0.02))).frames
    np.testing.assert_allclose(frame.data, np.load(path)["spectra"][3:6, 3:6, 1:3].sum(axis=(0, 1)))


def test_changed_file_is_read_again(path):
    before = ReplayInstrument(ReplayInstrument.Config(path=path), clock=SimClock()).truth()["image"]
    content = dict(np.load(path)) | {"image": np.full((HEIGHT, WIDTH), 3.0), "extra": np.ones(5000)}
    np.savez(path, **content)
    after = ReplayInstrument(ReplayInstrument.Config(path=path), clock=SimClock()).truth()["image"]
    assert before[0, 0] == 100.0
    assert after[0, 0] == 3.0


def test_absent_file_is_a_data_error_when_the_instrument_is_made(tmp_path):
    with pytest.raises(DataError, match="no such data file"):
        ReplayInstrument(ReplayInstrument.Config(path=tmp_path / "absent.npz"), clock=SimClock())
