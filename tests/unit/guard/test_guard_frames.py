import re
from contextlib import nullcontext

import numpy as np
import pytest

from autoscope.config import LimitsConfig
from autoscope.errors import FrameRejected, Unsupported
from autoscope.guard import Guard
from autoscope.guard.quality import BEST_SNR, snr_estimate
from autoscope.records import (
    Axis,
    Budget,
    Capabilities,
    Frame,
    FrameMeta,
    Measure,
    MicroscopeState,
    MoveStage,
    Scan,
    SpectrumImage,
    SpectrumSignal,
)

CHANNELS = 32
SCOPE = Capabilities(
    instrument="bench", serial="7", simulated=True, voltage_v=200e3, actions=("scan",), detectors=("HAADF",),
    signals=(SpectrumSignal(name="EELS", axis=Axis(name="energy", unit="eV", size=CHANNELS)),),
)  # fmt: skip
GUARD = Guard(LimitsConfig(), SCOPE, saturated_fraction=0.05)
SCAN = Scan(fov_m=1e-6, width_px=10, height_px=8, dwell_s=1e-6)
CUBE = SpectrumImage(fov_m=1e-6, width_px=4, height_px=3, dwell_s=1e-3)
POINT = Measure(x_m=0.0, y_m=0.0, dwell_s=0.1)
METRICS = {"mean", "std", "saturated_fraction", "zero_fraction", "snr_estimate"}


def frame(data, signal="HAADF", unit="counts", axes=None):
    data = np.asarray(data)
    sizes = data.shape if axes is None else axes
    meta = FrameMeta(
        signal=signal, axes=tuple(Axis(name=f"a{k}", unit="m", size=n) for k, n in enumerate(sizes)),
        unit=unit, time_s=0.0, dwell_s=1e-6, x_m=0.0, y_m=0.0,
    )  # fmt: skip
    return Frame(meta, data.copy())


def image(**changes):
    return np.random.default_rng(1).poisson(50.0, (8, 10)).astype(np.float32)


def spectrum():
    return np.random.default_rng(2).poisson(5.0, CHANNELS).astype(np.float32)


def cube():
    return np.random.default_rng(3).poisson(5.0, (3, 4, CHANNELS)).astype(np.uint16)


def test_sound_frames_pass_with_their_metrics():
    for data, signal, action in ((image(), "HAADF", SCAN), (spectrum(), "EELS", POINT), (cube(), "EELS", CUBE)):
        metrics = GUARD.check(frame(data, signal), action)
        assert set(metrics) == METRICS
        assert metrics["mean"] == pytest.approx(data.mean(dtype=float), rel=1e-12)
        assert metrics["std"] == pytest.approx(data.std(dtype=float), rel=1e-12)
        assert metrics["zero_fraction"] == pytest.approx((data == 0).mean(), rel=1e-12)
        assert metrics["saturated_fraction"] == 0.0
        assert all(type(v) is float for v in metrics.values())


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.float16, np.float32, np.float64, ">f4"])
def test_all_real_number_types_pass(dtype):
    GUARD.check(frame(image().astype(dtype)), SCAN)


@pytest.mark.parametrize("dtype", [np.complex64, bool, "U3", object])
def test_other_types_are_rejected(dtype):
    with pytest.raises(FrameRejected, match="real numbers"):
        GUARD.check(frame(image().astype(dtype)), SCAN)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_rejects_any_frame(bad):
    for data, signal, action in ((image(), "HAADF", SCAN), (spectrum(), "EELS", POINT)):
        data.flat[7] = bad
        with pytest.raises(FrameRejected, match=f"NaN or infinity.*1 of {data.size} values"):
            GUARD.check(frame(data, signal), action)


@pytest.mark.parametrize(
    ("data", "signal", "action"),
    [
        (np.ones((10, 8)), "HAADF", SCAN),
        (np.ones((8, 10, 1)), "HAADF", SCAN),
        (np.ones(80), "HAADF", SCAN),
        (np.ones(CHANNELS + 1), "EELS", POINT),
        (np.ones((1, CHANNELS)), "EELS", POINT),
        (np.ones((4, 3, CHANNELS)), "EELS", CUBE),
        (np.ones((3, 4)), "EELS", CUBE),
        (np.ones((8, 10)), "HAADF", CUBE),
        (np.ones((0, 10)), "HAADF", SCAN),
    ],
)
def test_wrong_shape_is_rejected(data, signal, action):
    with pytest.raises(FrameRejected, match="wrong shape") as caught:
        GUARD.check(frame(data, signal, axes=[max(n, 1) for n in data.shape]), action)
    assert caught.value.value == data.shape


def test_axes_of_other_sizes_than_the_data_are_rejected():
    with pytest.raises(FrameRejected, match="axes of other sizes"):
        GUARD.check(frame(image(), axes=(10, 8)), SCAN)


@pytest.mark.parametrize(
    ("signal", "action"),
    [
        ("EELS", SCAN),
        ("HAADF", POINT),
        ("EDS", POINT.replace(signals=("EDS",))),
        ("BF", CUBE),
        ("HAADF", MoveStage(x_m=0.0)),
        ("EDS", CUBE.replace(signals=("EDS",))),
        ("EELS", CUBE.replace(signals=())),
    ],
)
def test_signal_the_action_does_not_record_is_rejected(signal, action):
    with pytest.raises(FrameRejected, match="records no such signal"):
        GUARD.check(frame(image(), signal), action)


def test_image_detector_of_a_spectrum_image_is_checked_as_an_image():
    with pytest.raises(FrameRejected, match="zeros"):
        GUARD.check(frame(np.zeros((3, 4))), CUBE)


def test_image_of_zeros_is_rejected():
    with pytest.raises(FrameRejected, match="zeros"):
        GUARD.check(frame(np.zeros((8, 10), np.uint16)), SCAN)


def test_constant_image_is_rejected():
    with pytest.raises(FrameRejected, match="one value"):
        GUARD.check(frame(np.full((8, 10), 100.0)), SCAN)


def test_image_of_few_pixels_may_be_constant_by_chance_and_one_pixel_zero():
    GUARD.check(frame(np.full((3, 5), 2.0)), SCAN.replace(width_px=5, height_px=3))
    GUARD.check(frame(np.zeros((1, 1))), SCAN.replace(width_px=1, height_px=1))
    with pytest.raises(FrameRejected, match="one value"):
        GUARD.check(frame(np.full((4, 4), 2.0)), SCAN.replace(width_px=4, height_px=4))
    with pytest.raises(FrameRejected, match="zeros"):
        GUARD.check(frame(np.zeros((1, 2))), SCAN.replace(width_px=2, height_px=1))


def test_dark_level_below_zero_is_no_fault_of_an_image():
    GUARD.check(frame(image() - 45.0), SCAN)


def test_empty_or_sparse_spectrum_is_honest():
    empty = np.zeros(CHANNELS, np.float32)
    assert GUARD.check(frame(empty, "EELS"), POINT)["zero_fraction"] == 1.0
    sparse = empty.copy()
    sparse[3] = 1.0
    assert GUARD.check(frame(sparse, "EELS"), POINT)["mean"] == pytest.approx(1 / CHANNELS)
    assert GUARD.check(frame(np.zeros((3, 4, CHANNELS)), "EELS"), CUBE)["std"] == 0.0


def test_negative_counts_of_a_spectrum_are_rejected_but_only_of_counts():
    data = spectrum() - 4.0
    for values, action in ((data, POINT), (cube().astype(float) - 1.0, CUBE)):
        with pytest.raises(FrameRejected, match="negative counts"):
            GUARD.check(frame(values, "EELS"), action)
        GUARD.check(frame(values, "EELS", unit="electrons, background removed"), action)


@pytest.mark.parametrize(
    ("bits", "dtype"),
    [(b, t) for b in (8, 10, 12, 14, 16) for t in (np.uint16, np.float32)] + [(32, np.uint32), (32, "f4")],
)
def test_image_clipped_at_the_full_scale_of_a_converter_is_rejected(bits, dtype):
    top = 2**bits - 1
    data = np.minimum(np.random.default_rng(0).normal(top * 0.9, top * 0.1, (8, 10)).clip(0), top).astype(dtype)
    assert (data == top).mean() > 0.05
    with pytest.raises(FrameRejected, match=re.escape(f"saturated at {top:g}")) as caught:
        GUARD.check(frame(data), SCAN)
    assert caught.value.value == (data == top).mean()


@pytest.mark.parametrize("top", [200, 2**7 - 1, 2**33 - 1])
def test_maximum_that_is_no_full_scale_is_taken_for_honest(top):
    data = image().astype(np.float64).clip(0, 60)
    data.flat[:40] = top
    assert GUARD.check(frame(data), SCAN)["saturated_fraction"] == 0.0


def test_saturated_spectrum_is_rejected():
    data = np.full(CHANNELS, 65535, np.uint16)
    with pytest.raises(FrameRejected, match="saturated"):
        GUARD.check(frame(data, "EELS"), POINT)


def test_as_many_saturated_values_as_permitted_pass():
    data = image()
    data.flat[:4] = 255.0
    assert GUARD.check(frame(data), SCAN)["saturated_fraction"] == 0.05
    data.flat[4] = 255.0
    with pytest.raises(FrameRejected, match="saturated"):
        GUARD.check(frame(data), SCAN)


def test_values_too_large_to_square_are_rejected():
    with pytest.raises(FrameRejected, match="too large"):
        GUARD.check(frame(image().astype(np.float64) * 1e300), SCAN)


def test_snr_of_a_flat_noisy_image_is_mean_over_deviation():
    data = np.random.default_rng(5).normal(200.0, 10.0, (200, 200))
    assert snr_estimate(data, data.mean()) == pytest.approx(20.0, rel=0.02)


def test_snr_of_a_flat_noisy_spectrum_is_mean_over_deviation():
    data = np.random.default_rng(6).normal(100.0, 10.0, 20_000)
    assert snr_estimate(data, data.mean()) == pytest.approx(10.0, rel=0.03)


def test_snr_does_not_mistake_a_smooth_ramp_for_noise():
    rng = np.random.default_rng(7)
    ramp = np.linspace(0.0, 2000.0, 300)[:, None] + np.linspace(0.0, 500.0, 300)
    data = ramp + rng.normal(0.0, 5.0, ramp.shape)
    assert snr_estimate(data, data.mean()) == pytest.approx(data.mean() / 5.0, rel=0.03)


def test_snr_does_not_mistake_what_varies_along_one_axis_only_for_noise():
    along_y, along_x = np.arange(7.0)[:, None] ** 3, 2.0 ** np.arange(9)
    assert snr_estimate(along_y + along_x, 100.0) == pytest.approx(BEST_SNR)


def test_snr_of_the_smallest_frames_follows_from_their_second_differences():
    bump = np.array([[0.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 0.0]])
    assert snr_estimate(bump, 1.0) == pytest.approx(1.0 / (np.sqrt(np.pi / 2) * 4 * 9 / 6))
    assert snr_estimate(np.array([0.0, 6.0, 0.0]), 2.0) == pytest.approx(2.0 / (np.sqrt(np.pi / 2) * 12 / np.sqrt(6)))


def test_snr_of_a_spectrum_image_is_that_of_its_map():
    data = np.random.default_rng(8).poisson(4.0, (60, 60, 25))
    summed = data.sum(axis=-1)
    assert snr_estimate(data, data.mean()) == pytest.approx(snr_estimate(summed, summed.mean()), rel=1e-12)
    assert snr_estimate(data, data.mean()) == pytest.approx(10.0, rel=0.05)  # 100 counts a pixel


def test_snr_is_bounded_and_finite_for_every_edge():
    assert snr_estimate(np.full((4, 4), 3.0), 3.0) == BEST_SNR
    assert snr_estimate(np.zeros(10), 0.0) == 0.0
    assert snr_estimate(np.full(10, -3.0), -3.0) == 0.0
    assert snr_estimate(np.ones(2), 1.0) == 0.0
    assert snr_estimate(np.ones((2, 2)), 1.0) == BEST_SNR
    assert snr_estimate(np.ones((1, 2)), 1.0) == 0.0


def test_patterns_are_checked_in_all_their_axes():
    kx = Axis(name="kx", unit="rad", size=6)
    scope = SCOPE.replace(signals=(SpectrumSignal(name="4D", axis=kx, rows=kx.replace(name="ky", size=5)),))
    guard = Guard(LimitsConfig(), scope, saturated_fraction=0.05)
    rng = np.random.default_rng(4)
    point, scan = POINT.replace(signals=("4D",)), CUBE.replace(signals=("4D",))
    assert set(guard.check(frame(rng.poisson(5.0, (5, 6)), "4D"), point)) == METRICS
    metrics = guard.check(frame(rng.poisson(5.0, (3, 4, 5, 6)), "4D"), scan)
    assert metrics["snr_estimate"] > 1.0
    for data, action in ((rng.poisson(5.0, (6, 5)), point), (rng.poisson(5.0, (3, 4, 6, 5)), scan)):
        with pytest.raises(FrameRejected, match="wrong shape"):
            guard.check(frame(data, "4D"), action)


def test_image_detectors_at_a_point_are_only_for_instruments_that_read_them():
    both = POINT.replace(detectors=("HAADF",))
    reads = Guard(LimitsConfig(), SCOPE.replace(point_readings=16, actions=("measure",)), saturated_fraction=0.05)
    assert reads.check(frame(np.linspace(1.0, 2.0, 16)), both)["mean"] == pytest.approx(1.5)
    with pytest.raises(FrameRejected, match="wrong shape"):
        reads.check(frame(np.ones(15)), both)
    with pytest.raises(FrameRejected, match="records no such signal"):
        reads.check(frame(np.ones(16)), POINT)
    with pytest.raises(FrameRejected, match="records no such signal"):
        GUARD.check(frame(np.ones(16)), both)


def test_such_an_act_is_refused_where_they_are_not_read():
    scope = SCOPE.replace(actions=("measure",))
    state = MicroscopeState(time_s=0.0)
    for can, refused in ((scope, True), (scope.replace(point_readings=16), False)):
        guard = Guard(LimitsConfig(), can, saturated_fraction=0.05)
        with pytest.raises(Unsupported, match="image detector at a point") if refused else nullcontext():
            guard.permit(POINT.replace(detectors=("HAADF",)), state, Budget())
