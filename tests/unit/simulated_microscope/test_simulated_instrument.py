"""The instrument protocol: refusals, repeats, read-back, chance, records."""

from __future__ import annotations

import numpy as np
import pytest

from autoscope.clock import SimClock
from autoscope.config import Document
from autoscope.errors import ConfigError, InstrumentError, NotReached, OutOfRange, Unsupported
from autoscope.protocols import Instrument, Truthful
from autoscope.records import (
    Act,
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
from environments.instruments.simulated import (
    CorrectorConfig,
    HolderConfig,
    MemoryConfig,
    MicroscopeConfig,
    SimulatedInstrument,
)

SCAN = Scan(fov_m=5e-8, width_px=16, height_px=16, dwell_s=1e-6)
CUBE = SpectrumImage(fov_m=5e-8, width_px=4, height_px=4, dwell_s=1e-4)
POINT = Measure(x_m=0.0, y_m=0.0, dwell_s=1e-3)
BEYOND = (
    MoveStage(x_m=1e-3),
    MoveStage(x_m=0.0, y_m=-1e-3),
    MoveStage(z_m=1e-3),
    MoveStage(alpha_rad=1.0),
    MoveStage(beta_rad=-1.0),
    SetOptics(defocus_m=1e-3),
    SetOptics(stigmator_a_m=1e-3),
    SetOptics(stigmator_b_m=-1e-3),
    SetOptics(beam_current_a=1.0),
    SetOptics(convergence_rad=0.1),
    SCAN.replace(fov_m=1e-3),
    SCAN.replace(width_px=100_000),
    SCAN.replace(height_px=100_000),
    SCAN.replace(dwell_s=1e-9),
    SCAN.replace(centre_x_m=1e-3),
    SCAN.replace(centre_y_m=-1e-3),
    POINT.replace(x_m=1e-3),
    POINT.replace(y_m=-1e-3),
    POINT.replace(dwell_s=1e4),
    CUBE.replace(fov_m=1e-12),
    SetStimulus(temperature_k=5000.0),
    LoadSample(slot=2),
    Wait(duration_s=1e9),
)
UNKNOWN = (
    SCAN.replace(detectors=("HAADF", "SE")),
    POINT.replace(signals=("XPS",)),
    CUBE.replace(signals=("XPS",)),
    CUBE.replace(detectors=("SE",)),
    SetStimulus(bias_v=1.0),
)


@pytest.fixture
def full(bench, analytic):
    """Return a bench with two specimens, a heater and all faults of the default microscope."""
    return bench(analytic(), analytic(), config=MicroscopeConfig(holder=HolderConfig()))


def test_microscope_keeps_both_protocols(full):
    assert isinstance(full.microscope, Instrument)
    assert isinstance(full.microscope, Truthful)


@pytest.mark.parametrize("action", BEYOND, ids=lambda a: a.kind)
def test_out_of_range_is_refused_never_clamped_and_changes_nothing(full, bench, analytic, action):
    full.do(MoveStage(x_m=1e-7))
    before, log = full.microscope.state(), full.microscope.log
    with pytest.raises(OutOfRange) as refusal:
        full.do(action)
    assert refusal.value.where.startswith(action.kind)
    assert full.microscope.state() == before
    assert full.microscope.log == log
    untouched = bench(analytic(), analytic(), config=MicroscopeConfig(holder=HolderConfig()))
    untouched.do(MoveStage(x_m=1e-7))
    assert full.do(SCAN).frames == untouched.do(SCAN).frames  # not even chance was used


@pytest.mark.parametrize("action", UNKNOWN, ids=lambda a: a.kind)
def test_unknown_detectors_signals_and_stimuli_are_unsupported(full, action):
    before = full.microscope.state()
    with pytest.raises(Unsupported):
        full.do(action)
    assert full.microscope.state() == before


def test_without_a_corrector_its_aberrations_are_unsupported_and_not_told(bench):
    b = bench()
    assert b.microscope.state().coma_a_m is None
    with pytest.raises(Unsupported, match="no corrector"):
        b.do(SetOptics(coma_a_m=0.0))


def test_a_corrector_takes_away_what_it_left_hidden_and_is_taken_up_from_a_snapshot(bench, perfect):
    hidden = CorrectorConfig(hidden_coma_a_m=2e-6, hidden_threefold_b_m=-1e-6)
    config = perfect.model_copy(update={"lens": perfect.lens.model_copy(update={"corrector": hidden})})
    b, plain = bench(config=config), bench().microscope.truth()["probe_rms_m"]
    assert b.microscope.truth()["probe_rms_m"] > 1.5 * plain
    with pytest.raises(OutOfRange, match="coma_a_m"):
        b.do(SetOptics(coma_a_m=20e-6))
    state = b.do(SetOptics(coma_a_m=-2e-6, threefold_b_m=1e-6)).state
    assert (state.coma_a_m, state.threefold_b_m, state.spherical_m) == (-2e-6, 1e-6, 0.0)
    assert b.microscope.truth()["probe_rms_m"] == pytest.approx(plain)
    b.do(SetOptics(spherical_m=-1e-6))  # the lens has 1 um of its own
    assert b.microscope.truth()["probe_rms_m"] < plain
    other = bench(config=config).microscope
    other.restore(b.microscope.snapshot())
    assert other.state().coma_a_m == -2e-6
    assert other.truth()["probe_rms_m"] == b.microscope.truth()["probe_rms_m"]


def test_stimuli_are_unsupported_without_a_holder(bench):
    b = bench()
    assert "set_stimulus" not in b.microscope.describe().actions
    assert b.microscope.state().temperature_k is None
    with pytest.raises(Unsupported):
        b.do(SetStimulus(temperature_k=400.0))


def test_spectrum_image_larger_than_memory_is_refused(bench, perfect):
    b = bench(config=perfect.replace(scan=perfect.scan.replace(max_frame_bytes=1000)))
    b.do(CUBE)
    with pytest.raises(OutOfRange, match="larger"):
        b.do(CUBE.replace(width_px=40))


def test_range_ends_are_inside(bench):
    b = bench()
    ranges = b.microscope.describe().ranges
    b.do(MoveStage(x_m=ranges["x_m"].high, y_m=ranges["y_m"].low))
    b.do(SetOptics(defocus_m=ranges["defocus_m"].low))


def test_same_act_again_returns_the_first_observation_and_does_nothing(full):
    act = Act(act_id="once", action=POINT)
    first = full.microscope.execute(act)
    full.do(MoveStage(x_m=2e-7))
    state, log = full.microscope.state(), full.microscope.log
    assert full.microscope.execute(act) is first
    assert full.microscope.state() == state
    assert full.microscope.log == log


def test_answers_are_bounded_in_number_and_old_acts_are_not_done_again(bench, perfect):
    b = bench(config=perfect.replace(memory=MemoryConfig(observations=3)))
    for k in range(4):
        b.microscope.execute(Act(act_id=f"p{k}", action=POINT))
    dose = b.microscope.state().dose_e
    b.microscope.execute(Act(act_id="p1", action=POINT))
    with pytest.raises(InstrumentError, match="not done again"):
        b.microscope.execute(Act(act_id="p0", action=POINT))
    assert b.microscope.state().dose_e == dose


def test_identifiers_of_old_acts_are_bounded_too(bench, perfect):
    b = bench(config=perfect.replace(memory=MemoryConfig(observations=1, records=2)))
    for k in range(5):
        b.microscope.execute(Act(act_id=f"p{k}", action=POINT))
    assert list(b.microscope._memory._forgotten) == ["p2", "p3"]


def test_empty_carousel_is_refused():
    with pytest.raises(ConfigError, match="at least one"):
        SimulatedInstrument.holding([], clock=SimClock(), rng=np.random.default_rng(0))


def test_answers_are_bounded_in_bytes(bench, perfect):
    b = bench(config=perfect.replace(memory=MemoryConfig(observation_bytes=1200)))
    acts = [Act(act_id=f"s{k}", action=SCAN) for k in range(3)]  # 512 bytes each
    for act in acts:
        b.microscope.execute(act)
    b.microscope.execute(acts[1])
    with pytest.raises(InstrumentError):
        b.microscope.execute(acts[0])


def test_move_that_misses_is_an_error_and_so_is_its_repetition(bench, perfect):
    b = bench(config=perfect.replace(stage=perfect.stage.replace(precision_m=1e-6, tolerance_m=1e-12)))
    act = Act(act_id="far", action=MoveStage(x_m=1e-6))
    with pytest.raises(NotReached):
        b.microscope.execute(act)
    state = b.microscope.state()
    assert state.x_m != 0.0
    assert len(b.microscope.log) == 1
    with pytest.raises(NotReached):
        b.microscope.execute(act)
    assert b.microscope.state() == state


def test_state_reads_back_what_was_set(full):
    full.do(SetOptics(defocus_m=-3e-8, stigmator_a_m=1e-9, beam_current_a=2e-11))
    full.do(SetOptics(stigmator_b_m=2e-9, convergence_rad=0.02))
    full.do(MoveStage(x_m=1e-6, z_m=5e-7, beta_rad=0.1))
    seen = full.do(Wait(duration_s=1.0)).state
    assert seen == full.microscope.state()
    assert (seen.defocus_m, seen.stigmator_a_m, seen.stigmator_b_m) == (-3e-8, 1e-9, 2e-9)
    assert (seen.beam_current_a, seen.convergence_rad, seen.voltage_v) == (2e-11, 0.02, 200e3)
    tolerance = full.microscope.describe().tolerances
    assert abs(seen.x_m - 1e-6) <= tolerance["x_m"]
    assert abs(seen.z_m - 5e-7) <= tolerance["z_m"]
    assert seen.beta_rad == pytest.approx(0.1)
    assert seen.time_s == full.clock.now_s()


def test_truth_differs_from_read_back_by_play_and_drift(full):
    full.do(MoveStage(x_m=5e-6))
    full.do(Wait(duration_s=600.0))
    truth, state = full.microscope.truth(), full.microscope.state()
    play = full.microscope._config.stage.backlash_m / 2
    assert truth["true_stage_m"][0] - state.x_m == pytest.approx(-play, abs=1e-10)
    assert truth["view_m"][0] == pytest.approx(truth["true_stage_m"][0] + truth["drift_m"][0])
    assert truth["drift_m"] != (0.0, 0.0)
    assert truth["specimen"] == {"name": "analytic"}
    assert truth["probe_rms_m"] > 0


def test_same_seed_gives_the_same_bits_and_another_seed_does_not(bench, analytic):
    def night(seed):
        b = bench(analytic(), analytic(), config=MicroscopeConfig(), seed=seed)
        acts = (MoveStage(x_m=1e-6), SCAN, POINT, LoadSample(slot=1), CUBE, Wait(duration_s=2000.0), SCAN)
        return [b.do(a) for a in acts]

    first, again, other = night(1), night(1), night(2)
    assert [o.frames for o in first] == [o.frames for o in again]
    assert [o.state for o in first] == [o.state for o in again]
    assert [o.frames for o in first] != [o.frames for o in other]


def test_loading_changes_the_specimen_and_starts_new_drift(bench, analytic, perfect):
    drift = perfect.drift.replace(load_m=30e-9, load_time_s=100.0)
    b = bench(analytic(name="first"), analytic(name="second"), config=perfect.replace(drift=drift))
    b.clock.wait(10_000.0)
    assert np.hypot(*b.microscope.truth()["drift_m"]) < 1e-12
    assert b.do(LoadSample(slot=1)).state.sample_slot == 1
    assert b.microscope.truth()["specimen"] == {"name": "second"}
    assert np.hypot(*b.microscope.truth()["drift_m"]) == pytest.approx(30e-9)


def test_move_leaves_a_lag_that_relaxes(bench, perfect):
    drift = perfect.drift.replace(creep_fraction=0.01, creep_max_m=1e-6, creep_time_s=10.0)
    b = bench(config=perfect.replace(drift=drift))
    b.do(MoveStage(x_m=1e-6))
    lag = -1e-8 * np.exp(-perfect.stage.settle_s / 10.0)
    assert b.microscope.truth()["drift_m"][0] == pytest.approx(lag)
    b.clock.wait(10.0)
    assert b.microscope.truth()["drift_m"][0] == pytest.approx(lag / np.e)


def test_heater_approaches_its_set_point_with_its_time_constant(bench, perfect):
    b = bench(config=perfect.replace(holder=HolderConfig(ambient_k=300.0, time_constant_s=2.0)))
    assert b.do(SetStimulus(temperature_k=500.0)).state.temperature_k == 300.0
    assert b.do(Wait(duration_s=2.0)).state.temperature_k == pytest.approx(500.0 - 200.0 / np.e)
    b.do(SetStimulus(temperature_k=300.0))
    assert b.do(Wait(duration_s=60.0)).state.temperature_k == pytest.approx(300.0)


def test_make_safe_blanks_at_once(full):
    full.do(Blank(blanked=False))
    full.do(Wait(duration_s=1.0))
    full.microscope.make_safe()
    full.microscope.make_safe()
    dose = full.microscope.state().dose_e
    full.clock.wait(10.0)
    assert full.microscope.state().blanked
    assert full.microscope.state().dose_e == dose


def test_log_tells_what_was_physically_done(bench, perfect):
    b = bench(config=perfect.replace(memory=MemoryConfig(records=3)))
    b.do(MoveStage(x_m=1e-6))
    b.do(POINT.replace(x_m=5e-8))
    move, point = b.microscope.log
    assert (move.kind, move.beam_on_s, move.start_s) == ("move_stage", 0.0, 0.0)
    assert move.x_m == pytest.approx(1e-6)
    assert (point.act_id, point.kind) == ("act-1", "measure")
    assert point.beam_on_s == pytest.approx(1e-3)
    assert (point.start_s, point.end_s) == (move.end_s, b.clock.now_s())
    assert point.x_m == pytest.approx(1.05e-6)
    b.microscope.make_safe()
    b.do(SCAN)
    assert [r.kind for r in b.microscope.log] == ["measure", "make_safe", "scan"]


def test_observations_cannot_be_altered_afterwards(full):
    frame = full.do(SCAN).frames[0]
    with pytest.raises(ValueError, match="read-only"):
        frame.data[0, 0] = 1


def test_default_configuration_builds_a_microscope_with_a_specimen():
    config = SimulatedInstrument.Config()
    microscope = SimulatedInstrument(config, clock=SimClock(), rng=np.random.default_rng(0))
    can = microscope.describe()
    assert can.simulated
    assert can.slots == 1
    assert can.voltage_v == 200e3
    assert can.signals
    frame = microscope.execute(Act(act_id="1", action=SCAN.replace(fov_m=5e-7, width_px=64, height_px=64))).frames[0]
    assert frame.data.std() > 0


def test_people_write_the_configuration_with_units():
    text = """
    gun: {voltage: 80 kV, reduced_brightness: 1e8 A/m^2/sr/V, beam_current: 20 pA}
    lens: {convergence: 30 mrad, defocus_range: [-1 um, 1 um]}
    stage: {backlash: 50 nm, tilt_encoder: 0.01 mrad}
    drift: {ramp_x: 1 nm/min}
    detectors: [{name: HAADF, bits: 12}]
    holder: {max: 900 K}
    """
    config = Document(text, "microscope.yaml").validate(MicroscopeConfig)
    assert (config.gun.voltage_v, config.gun.reduced_brightness) == (80e3, 1e8)
    assert config.lens.convergence_rad == pytest.approx(0.03)
    assert config.drift.ramp_x_m_per_s == pytest.approx(1e-9 / 60)
    assert config.holder.max_k == 900.0


@pytest.mark.parametrize(
    "text",
    [
        "stage: {x_range: [1 mm, -1 mm]}",
        "detectors: [{name: BF}, {name: BF}]",
        "gun: {beam_current: 1 A}",
        "holder: {max: 100 K}",
        "stage: {backlash: 50}",
    ],
)
def test_configurations_that_make_no_sense_are_refused(text):
    with pytest.raises(ConfigError):
        Document(text, "microscope.yaml").validate(MicroscopeConfig)


def test_configuration_written_out_reads_back_the_same():
    config = SimulatedInstrument.Config(holder=HolderConfig(), name="other")
    assert SimulatedInstrument.Config.model_validate(config.plain()) == config
