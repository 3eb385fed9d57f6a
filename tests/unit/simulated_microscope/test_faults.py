"""Faults on purpose: each shows in what the instrument reads back or records, at its time, and in nothing else."""

import numpy as np
import pytest

from autoscope.errors import InstrumentError
from autoscope.exposure import electrons
from autoscope.records import Measure, Scan, Wait
from environments.instruments.simulated import FaultConfig, FaultsConfig
from environments.instruments.simulated.config import RandomFaultsConfig
from environments.instruments.simulated.faults import Faults

IMAGE = Scan(fov_m=100e-9, width_px=16, height_px=16, dwell_s=1e-4)


def broken(perfect, *faults):
    return perfect.replace(faults=FaultsConfig(events=tuple(FaultConfig(**f) for f in faults)))


def test_a_lost_beam_is_read_back_and_neither_seen_nor_counted(bench, perfect):
    there = bench(config=broken(perfect, {"kind": "beam_loss", "at_s": 10.0, "lasts_s": 50.0, "remaining": 0.0}))
    bright = there.do(IMAGE)
    there.do(Wait(duration_s=15.0))
    assert there.microscope.state().beam_current_a == 0.0
    dark = there.do(IMAGE)
    assert dark.frames[0].data.max() == 0
    assert dark.dose_e == 0.0
    there.do(Wait(duration_s=60.0))
    assert there.microscope.state().beam_current_a == bright.state.beam_current_a
    assert there.do(IMAGE).frames[0].data.mean() == pytest.approx(bright.frames[0].data.mean(), rel=0.1)


def test_a_beam_lost_within_an_exposure_counts_only_the_electrons_that_came(bench, perfect):
    there = bench(config=broken(perfect, {"kind": "beam_loss", "at_s": 5.0, "lasts_s": 50.0, "remaining": 0.0}))
    seen = there.do(Measure(x_m=0.0, y_m=0.0, dwell_s=10.0))
    assert seen.dose_e == pytest.approx(electrons(50e-12, 5.0), rel=0.05)


def test_the_gauge_shows_a_leak_and_its_end_and_exists_only_where_configured(bench, perfect):
    there = bench(config=broken(perfect, {"kind": "vacuum", "at_s": 1.0, "lasts_s": 5.0, "pressure_pa": 0.02}))
    readings = []
    for _ in range(3):
        readings.append(there.microscope.state().vacuum_pa)
        there.do(Wait(duration_s=4.0))
    assert readings == [2e-5, 0.02, 2e-5]
    assert bench().microscope.state().vacuum_pa is None


def test_a_jump_moves_the_sample_at_once_and_for_ever(bench, perfect):
    there = bench(
        config=broken(perfect, {"kind": "drift_jump", "at_s": 5.0, "jump_m": 3e-6, "direction_rad": np.pi / 2})
    )
    assert there.microscope.truth()["drift_m"] == (0.0, 0.0)
    there.do(Wait(duration_s=5.0))
    assert there.microscope.truth()["drift_m"] == pytest.approx((0.0, 3e-6))
    there.do(Wait(duration_s=5000.0))
    assert there.microscope.truth()["drift_m"] == pytest.approx((0.0, 3e-6))


@pytest.mark.parametrize(("kind", "low", "high"), [("dim", 0.05, 0.15), ("saturated", 10.0, 1e9)])
def test_a_detector_dims_or_saturates_for_a_while(bench, perfect, kind, low, high):
    there = bench(config=broken(perfect, {"kind": kind, "at_s": 1.0, "lasts_s": 5.0}))
    before = there.do(IMAGE).frames[0].data.mean()
    there.do(Wait(duration_s=2.0))
    assert low < there.do(IMAGE).frames[0].data.mean() / before < high
    there.do(Wait(duration_s=5.0))
    assert there.do(IMAGE).frames[0].data.mean() == pytest.approx(before, rel=0.1)


def test_a_driver_that_hangs_ends_the_act_undone_and_says_so_again(bench, perfect):
    there = bench(config=broken(perfect, {"kind": "hang", "at_s": 1.0, "lasts_s": 30.0}))
    there.do(Wait(duration_s=2.0))
    with pytest.raises(InstrumentError, match="did not answer"):
        there.do(IMAGE)
    assert there.clock.now_s() == pytest.approx(31.0)
    assert there.microscope.state().dose_e == 0.0
    with pytest.raises(InstrumentError, match="did not answer"):
        there.microscope.recall("act-1")
    assert there.do(IMAGE).dose_e > 0.0


def test_faults_drawn_at_random_follow_the_seed_and_take_turns_in_kind():
    config = FaultsConfig(random=RandomFaultsConfig(count=12, within_s=3600.0))
    one, two, other = (Faults(config, np.random.default_rng(seed)).planned for seed in (1, 1, 2))
    assert one == two != other
    assert all(0.0 <= fault.at_s <= 3600.0 for fault in one)
    kinds = [fault.kind for fault in one]
    assert {kinds.count(kind) for kind in set(kinds)} == {2}
