import functools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from autoscope.actions import CORRECTOR_FIELDS
from autoscope.clock import SimClock
from autoscope.records import Scan
from autoscope.testing import Check, Report, Steps, check_instrument
from environments.instruments.replay import ReplayInstrument
from environments.instruments.simulated import SimulatedInstrument
from tests.unit.conformance.bestiary import CAUGHT, Wrong, sound


@functools.cache
def report_on(wrong):
    return check_instrument(wrong())


@pytest.fixture
def replay(tmp_path):
    rng = np.random.default_rng(0)
    spectra = rng.poisson(20.0, (9, 12, 16)).astype(np.float32)
    meta = json.dumps({"px": "2 nm", "axis_unit": "eV", "unit": "counts", "modality": "EELS"})
    path = tmp_path / "map.npz"
    np.savez(path, image=spectra.sum(axis=2), spectra=spectra, axis=np.arange(16.0), meta=meta)
    return ReplayInstrument(ReplayInstrument.Config(path=path), clock=SimClock())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_simulated_microscope_keeps_every_promise(seed):
    report = check_instrument(sound(seed))
    assert report.ok, str(report)
    assert report.count("passed") > 50


def test_stored_data_keep_every_promise_that_applies(replay):
    report = check_instrument(replay)
    assert report.ok, str(report)
    assert report.count("passed") > 20


def test_a_corrector_is_set_and_read_back_and_left_alone_gently():
    options = {"lens": {"corrector": {"hidden_coma_a": "1 um"}}}
    corrected = SimulatedInstrument(
        SimulatedInstrument.Config.model_validate(options), clock=SimClock(), rng=np.random.default_rng(1)
    )
    report = check_instrument(corrected)
    assert report.ok, str(report)
    words = "|".join(CORRECTOR_FIELDS)
    assert len(re.findall(f"({words}) is set and read back", "\n".join(str(c) for c in report.checks))) == 5
    told = [str(c) for c in check_instrument(corrected, gentle=True).checks if re.search(words, c.promise)]
    assert told
    assert all("gentle" in line for line in told)


@pytest.mark.parametrize("wrong", CAUGHT, ids=lambda kind: kind.__name__)
def test_a_wrong_driver_is_caught_and_its_mistake_is_named(wrong):
    report = report_on(wrong)
    assert any(re.search(CAUGHT[wrong], str(check), re.DOTALL) for check in report.failed), str(report)


def test_a_driver_that_passes_everything_on_is_not_accused():
    report = check_instrument(Wrong())
    assert report.ok, str(report)


def test_a_failed_check_tells_what_to_do():
    failed = [check for wrong in CAUGHT for check in report_on(wrong).failed]
    assert [check for check in failed if not check.remedy and "go back" not in check.promise] == []


def test_the_microscope_stands_where_it_stood_and_is_blanked():
    instrument = sound()
    before = instrument.state()
    check_instrument(instrument)
    after = instrument.state()
    assert after.blanked
    assert abs(after.x_m - before.x_m) < 50e-9
    assert (after.defocus_m, after.beam_current_a) == (before.defocus_m, before.beam_current_a)


def test_gently_nothing_out_of_range_is_asked_of_stage_or_optics():
    class Watched(Wrong):
        asked = []

        def execute(self, act):
            self.asked.append(act.action)
            return super().execute(act)

    instrument = Watched()
    report = check_instrument(instrument, gentle=True)
    assert report.ok, str(report)
    ranges = instrument.describe().ranges
    moves = [a for a in Watched.asked if a.kind in ("move_stage", "set_optics")]
    asked = [(k, v) for a in moves for k, v in a.model_dump(exclude={"kind"}, exclude_none=True).items()]
    assert asked
    assert all(v in ranges[k] for k, v in asked)
    assert all(abs(v) <= 1e-6 for k, v in asked if k in ("x_m", "y_m", "z_m"))
    assert not [a for a in Watched.asked if a.kind == "blank" and not a.blanked]


def test_no_more_electrons_are_spent_than_permitted():
    instrument = sound()
    report = check_instrument(instrument, steps=Steps(dose_e=5e6))
    assert instrument.state().dose_e <= 5e6
    assert any("electrons that the checks may spend" in check.detail for check in report.checks)


def test_without_anything_to_recognise_the_axes_are_not_judged():
    class Fog(Wrong):
        rng = np.random.default_rng(5)

        def execute(self, act):
            seen = super().execute(act)
            for frame in seen.frames if isinstance(act.action, Scan) else ():
                frame.data.setflags(write=True)
                frame.data[:] = self.rng.poisson(100.0, frame.data.shape)
                frame.data.setflags(write=False)
            return seen

    report = check_instrument(Fog())
    (axes,) = [check for check in report.checks if check.group == "axes"]
    assert axes.status == "not applicable"
    assert "nothing to recognise" in axes.detail


def test_an_instrument_that_cannot_even_describe_itself_gives_a_report():
    class Dead(Wrong):
        def describe(self):
            raise ConnectionError("no route to the column")

    report = check_instrument(Dead())
    assert not report.ok
    assert "no route to the column" in str(report)


def test_a_report_reads_as_groups_of_lines_with_a_summary():
    checks = (
        Check(group="state", promise="is finite", status="passed"),
        Check(group="axes", promise="the image goes right", status="failed", detail="mirrored", remedy="Turn it"),
    )
    text = str(Report(instrument="scope", serial="7", checks=checks))
    assert text.splitlines() == [
        "state",
        "  ok    is finite",
        "axes",
        "  FAIL  the image goes right: mirrored",
        "        -> Turn it",
        "scope (7): 1 passed, 1 failed, 0 not applicable",
    ]


def test_checks_are_told_as_they_are_made():
    told = []
    report = check_instrument(
        SimulatedInstrument(SimulatedInstrument.Config(), clock=SimClock(), rng=np.random.default_rng(0)),
        on_check=told.append,
    )
    assert tuple(told) == report.checks


def test_the_driver_of_the_documentation_passes_as_it_stands_there():
    page = (Path(__file__).parents[3] / "docs" / "plugins.md").read_text(encoding="utf-8")
    driver, checked = re.findall(r"```python\n(.*?)```", page.split("## Your own driver")[1], re.DOTALL)
    names = {}
    exec(driver, names)  # as a reader would paste it
    exec(checked, names)
    assert names["report"].count("passed") > 5
