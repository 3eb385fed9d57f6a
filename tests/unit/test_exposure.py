import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscope.exposure import ELEMENTARY_CHARGE_C, electrons, predict, travel_m
from autoscope.records import (
    Axis,
    Blank,
    Capabilities,
    LoadSample,
    Measure,
    MicroscopeState,
    MoveStage,
    Scan,
    SetOptics,
    SpectrumImage,
    SpectrumSignal,
    Timing,
    Wait,
)

EDS = SpectrumSignal(name="EDS", axis=Axis(name="energy", unit="eV", size=100))
SCOPE = Capabilities(
    instrument="x",
    serial="1",
    simulated=True,
    voltage_v=2e5,
    actions=(),
    detectors=("HAADF",),
    signals=(EDS,),
    timing=Timing(
        stage_speed_m_per_s=1e-6,
        stage_settle_s=2.0,
        optics_settle_s=0.5,
        line_flyback_s=1e-3,
        frame_overhead_s=0.1,
        point_overhead_s=0.01,
        sample_load_s=600.0,
    ),
)
STATE = MicroscopeState(time_s=0.0, beam_current_a=1e-10)


def test_a_scan_costs_its_pixels_flybacks_and_overhead():
    cost = predict(Scan(fov_m=1e-6, width_px=10, height_px=20, dwell_s=1e-3), STATE, SCOPE)
    assert cost.time_s == pytest.approx(0.2 + 0.02 + 0.1)
    assert cost.dose_e == pytest.approx(1e-10 * 0.2 / ELEMENTARY_CHARGE_C)
    assert cost.dose_e_per_m2 == pytest.approx(cost.dose_e / (1e-6 * 2e-6))
    assert cost.bytes == 400


def test_a_spectrum_image_costs_the_time_of_its_scan_and_the_data_of_its_spectra():
    cost = predict(SpectrumImage(fov_m=1e-6, width_px=4, height_px=4, dwell_s=1e-3, signals=("EDS",)), STATE, SCOPE)
    assert cost.bytes == 2 * 16 * (1 + 200)


@pytest.mark.parametrize(
    ("action", "time_s"),
    [
        (MoveStage(x_m=3e-6, y_m=4e-6), 7.0),
        (SetOptics(defocus_m=0.0), 0.5),
        (Measure(x_m=0.0, y_m=0.0, dwell_s=1.0, signals=("EDS",)), 1.01),
        (LoadSample(slot=1), 600.0),
        (LoadSample(slot=0), 0.0),
        (Wait(duration_s=9.0), 9.0),
        (Blank(), 0.0),
    ],
)
def test_each_act_costs_its_own_time(action, time_s):
    assert predict(action, STATE, SCOPE).time_s == pytest.approx(time_s)


@given(st.floats(0, 1e-8), st.floats(0, 1e4), st.floats(0, 1e4))
def test_electrons_add_up_over_time(current_a, first_s, second_s):
    together = electrons(current_a, first_s + second_s)
    assert together == pytest.approx(electrons(current_a, first_s) + electrons(current_a, second_s), rel=1e-9, abs=1e-6)


def test_travel_ignores_axes_that_stay():
    assert travel_m(MoveStage(z_m=1e-6), MicroscopeState(time_s=0.0, x_m=5.0)) == pytest.approx(1e-6)
