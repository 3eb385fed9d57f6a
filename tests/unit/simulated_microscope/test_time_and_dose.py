"""Time and electrons: what acts take is what the capabilities predict, to the electron."""

from __future__ import annotations

import numpy as np
import pytest

from autoscope.exposure import electrons, predict
from autoscope.records import (
    Blank,
    LoadSample,
    Measure,
    MoveStage,
    Scan,
    SetOptics,
    SetStimulus,
    SpectrumImage,
    Wait,
)
from environments.instruments.simulated import HolderConfig, MicroscopeConfig

ACTIONS = (
    MoveStage(x_m=3e-6, y_m=-4e-6, z_m=1e-6),
    MoveStage(alpha_rad=0.2),
    SetOptics(defocus_m=1e-7, beam_current_a=1e-10),
    Scan(fov_m=1e-7, width_px=32, height_px=16, dwell_s=3e-6, detectors=("HAADF", "BF")),
    Measure(x_m=1e-8, y_m=0.0, dwell_s=0.05),
    SpectrumImage(fov_m=5e-8, width_px=5, height_px=4, dwell_s=2e-3),
    SetStimulus(temperature_k=600.0),
    LoadSample(slot=1),
    LoadSample(slot=0),
    Blank(),
    Wait(duration_s=12.5),
)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda a: a.kind)
def test_acts_take_the_time_and_electrons_that_are_predicted(bench, analytic, action):
    b = bench(analytic(), analytic(), config=MicroscopeConfig(holder=HolderConfig()))
    b.do(MoveStage(x_m=1e-6))
    state, start_s = b.microscope.state(), b.clock.now_s()
    predicted = predict(action, state, b.microscope.describe())
    seen = b.do(action)
    assert b.clock.now_s() - start_s == pytest.approx(predicted.time_s, abs=1e-9)
    assert seen.dose_e == pytest.approx(predicted.dose_e, rel=1e-12)
    if isinstance(action, Scan | SpectrumImage):
        assert seen.frames[0].meta.dose_e_per_m2 == pytest.approx(predicted.dose_e_per_m2, rel=1e-12)
    if seen.frames and not isinstance(action, SpectrumImage):
        assert sum(f.data.nbytes for f in seen.frames) == predicted.bytes


def test_every_electron_lies_on_the_map_of_its_specimen(bench, analytic):
    b = bench(analytic(), analytic(), config=MicroscopeConfig())
    b.do(Measure(x_m=0.0, y_m=0.0, dwell_s=0.02))
    b.do(Scan(fov_m=2e-6, width_px=64, height_px=64, dwell_s=1e-6, centre_x_m=1.5e-6))  # partly beside the specimen
    b.do(LoadSample(slot=1))
    total = b.do(Scan(fov_m=1e-7, width_px=8, height_px=8, dwell_s=1e-6)).state.dose_e
    first, second = b.microscope._carousel.maps
    assert second.total_e == pytest.approx(electrons(50e-12, 64e-6), rel=1e-12)
    assert first.outside_e > 0
    assert first.total_e + second.total_e == pytest.approx(total, rel=1e-12)


def test_specimen_is_told_the_fluence_it_received(bench, analytic):
    specimen = analytic()
    b = bench(specimen)
    point = Measure(x_m=0.0, y_m=0.0, dwell_s=0.01)
    b.do(point.replace(x_m=5e-9, y_m=5e-9))
    b.do(point.replace(x_m=5e-9, y_m=5e-9))
    cell = (20e-9) ** 2
    doses = [float(told[2].mean()) for told in specimen.told]
    assert doses == pytest.approx([electrons(50e-12, 0.005) / cell, electrons(50e-12, 0.015) / cell])


def test_defocused_probe_spreads_its_electrons(bench, analytic):
    sharp, wide = bench(analytic()), bench(analytic())
    wide.do(SetOptics(defocus_m=5e-6))
    for b in (sharp, wide):
        b.do(Measure(x_m=5e-9, y_m=5e-9, dwell_s=0.01))
    fluence = [b.microscope.truth()["fluence_e_per_m2"] for b in (sharp, wide)]
    assert np.count_nonzero(fluence[0]) == 1
    assert np.count_nonzero(fluence[1]) == 7
    assert fluence[0].sum() == pytest.approx(fluence[1].sum(), rel=1e-12)


def test_blanked_beam_spares_the_sample_between_exposures(bench):
    b = bench()
    b.do(Wait(duration_s=100.0))
    b.do(MoveStage(x_m=1e-6))
    assert b.microscope.state().dose_e == 0.0
    assert b.microscope.state().blanked


def test_unblanked_beam_exposes_where_the_probe_is_parked_all_the_time(bench):
    b = bench()
    b.do(Measure(x_m=65e-9, y_m=-30e-9, dwell_s=0.01))
    before = b.microscope.state().dose_e
    assert not b.do(Blank(blanked=False)).state.blanked
    b.do(Wait(duration_s=2.0))
    b.clock.wait(1.0)  # time that passes outside acts counts too
    state = b.do(Blank()).state
    assert state.blanked
    assert state.dose_e - before == pytest.approx(electrons(50e-12, 3.0), rel=1e-9)
    fluence = b.microscope.truth()["fluence_e_per_m2"]
    row, column = int((2e-6 - 30e-9) // 20e-9), int((2e-6 + 65e-9) // 20e-9)
    assert fluence[row, column] * (20e-9) ** 2 == pytest.approx(state.dose_e, rel=1e-9)


def test_all_time_unblanked_is_dose_whatever_is_done(bench, analytic):
    b = bench(analytic(), analytic())
    b.do(Blank(blanked=False))
    start_s = b.clock.now_s()
    b.do(MoveStage(x_m=1e-6, y_m=5e-7))
    b.do(Scan(fov_m=1e-7, width_px=16, height_px=16, dwell_s=1e-5))
    b.do(Measure(x_m=0.0, y_m=0.0, dwell_s=0.1))
    b.do(SetOptics(defocus_m=1e-8))
    state = b.do(Wait(duration_s=1.0)).state
    assert state.dose_e == pytest.approx(electrons(50e-12, b.clock.now_s() - start_s), rel=1e-9)
    assert b.microscope._carousel.maps[0].total_e == pytest.approx(state.dose_e, rel=1e-9)
    path = b.microscope.truth()["fluence_e_per_m2"]
    assert np.count_nonzero(path) > 30  # the move left a trail


def test_loading_blanks_the_beam_and_gives_no_dose(bench, analytic):
    b = bench(analytic(), analytic())
    b.do(Blank(blanked=False))
    state = b.do(LoadSample(slot=1)).state
    assert state.blanked
    assert state.dose_e == 0.0
    assert state.sample_slot == 1
