"""Upkeep of the instrument in a survey: when it is due, what it finds, and that it never disturbs a site."""

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from autoscope.cli.planning import first_view
from autoscope.errors import ConfigError, Unsupported
from autoscope.records import Measure, Result, SetOptics
from policies.survey import SurveyPolicy
from tests.unit.policies.test_survey_run import assembled, run

WANDERING = {"hidden_offset": "0.6 eV", "ramp_per_hour": "2 eV", "walk_per_hour": "0.2 eV"}


def kept_up(spectrometer=WANDERING, tolerance="50 meV", **changes):
    eds = {"name": "band_integral", "options": {"signal": "EDS", "band": ["6.80 keV", "7.06 keV"]}}
    metal = {"name": "band_integral", "options": {"signal": "EDS", "band": ["1.85 keV", "2.30 keV"]}}
    return assembled(
        environment__options__microscope__spectrometer=spectrometer,
        policy__options__upkeep=[{"kind": "zero_loss", "every": "2 min", "tolerance": tolerance}],
        scalarizers={"co_k": eds, "pt_m": metal},
        **changes,
    )


@pytest.fixture(scope="module")
def night():
    job = kept_up()
    end, steps, journal = run(job)
    return job, end, steps, journal


def upkeep(steps):
    return [k for k, s in enumerate(steps) if s.decision.purpose == "zero_loss"]


def test_the_peak_is_looked_at_every_so_often_and_its_place_and_correction_are_in_the_record(night):
    _, end, steps, _ = night
    looks = [steps[k] for k in upkeep(steps) if isinstance(steps[k].decision.action, Measure)]
    times = [s.outcome.state_before.time_s for s in looks]
    assert times[0] < 1.0
    assert 3 <= len(looks) <= 4
    assert (np.diff(times) >= 120.0).all()
    settings = [steps[k].decision for k in upkeep(steps) if isinstance(steps[k].decision.action, SetOptics)]
    assert "zero loss found at +0.60" in settings[0].reason
    assert settings[0].action.energy_offset_ev == pytest.approx(-0.6, abs=0.01)
    assert end.time_s <= 8 * 60


def test_after_each_correction_losses_lie_where_they_belong(night):
    job, _, steps, _ = night
    last = max(k for k in upkeep(steps) if isinstance(steps[k].decision.action, SetOptics))
    since_s = steps[-1].outcome.state.time_s - steps[last].outcome.state.time_s
    shift_ev = job.environment.truth()["loss_shift_ev"]
    assert abs(shift_ev) < 0.02 + 3.0 * since_s / 3600  # what it drifted since, and not the 0.9 eV of the night


def test_no_site_is_interrupted(night):
    _, _, steps, _ = night
    for k in upkeep(steps):
        before = [s.decision.purpose for s in steps[:k] if s.decision.purpose != "zero_loss"]
        after = [s.decision.purpose for s in steps[k:] if s.decision.purpose != "zero_loss"]
        assert after[0] == "travel"
        assert not before or before[-1] in ("spectrum", "overview", "align")


def test_the_probe_is_put_where_no_particle_is(night):
    _, _, steps, _ = night
    looks = [steps[k] for k in upkeep(steps) if isinstance(steps[k].decision.action, Measure)]
    spectra = [s for s in steps if s.decision.purpose == "spectrum"]
    for look in looks[1:]:
        x_m = look.outcome.state.x_m + look.decision.action.x_m
        y_m = look.outcome.state.y_m + look.decision.action.y_m
        for s in spectra:
            at = s.outcome.state.x_m + s.decision.action.x_m, s.outcome.state.y_m + s.decision.action.y_m
            assert np.hypot(x_m - at[0], y_m - at[1]) > 20e-9


def test_what_it_records_is_no_measurement_of_the_sample(night):
    _, _, steps, _ = night
    assert all(steps[k].outcome.values == () and steps[k].outcome.status == "done" for k in upkeep(steps))


def test_within_the_tolerance_nothing_is_set_and_the_next_decision_says_so():
    _, steps, _ = run(kept_up(tolerance="5 eV", budget__time="60 s"))
    (only,) = upkeep(steps)
    assert "zero loss found at +0.60" in steps[only + 1].decision.reason
    assert "within 5 eV, left as it is" in steps[only + 1].decision.reason
    assert "zero loss" not in steps[only + 2].decision.reason


def test_a_peak_beyond_the_axis_is_given_up_after_two_tries_until_it_is_due_again():
    lost = WANDERING | {"hidden_offset": "-30 eV"}
    _, steps, _ = run(kept_up(spectrometer=lost, budget__time="150 s"))
    looks = upkeep(steps)
    assert looks[:2] == [0, 1]
    assert "left until it is due again" in steps[2].decision.reason
    assert all(steps[k].outcome.state_before.time_s >= 120.0 for k in looks[2:])


def test_taken_up_at_any_step_it_decides_the_same(night):
    _, _, steps, journal = night
    told = kept_up().policy
    for k, step in enumerate(steps[:-1]):
        if step.decision.purpose == "zero_loss" or steps[k - 1].decision.purpose == "zero_loss":
            other = kept_up().policy
            other.restore(yaml.safe_load(yaml.safe_dump(told.state())))
            assert other.state() == told.state()
        told.tell(step.decision, Result(step.outcome, tuple(journal.load_frame(r) for r in step.outcome.frames)))


def test_every_so_many_tiles():
    changes = {"policy__options__upkeep": [{"kind": "zero_loss", "every_tiles": 3}], "budget__time": "90 s"}
    job = assembled(environment__options__microscope__spectrometer=WANDERING, **changes)
    _, steps, _ = run(job)
    targets = [s.decision.target for s in steps if s.decision.purpose in ("travel", "zero_loss")]
    gone_to, counts = [], []
    for target in targets:
        if target.startswith("tile"):
            gone_to += [target] if gone_to[-1:] != [target] else []  # to find a place again is not another tile
        elif not counts or len(gone_to) > counts[-1]:
            counts.append(len(gone_to))
    assert counts == [0, 3, 6]


def test_the_plan_counts_it_and_says_what_the_instrument_cannot():
    job = kept_up()
    job.environment.reset(seed=1, options={"bare": True})
    stages = {s.name: s for s in job.policy.plan(first_view(job))}
    assert stages["zero loss"].acts == 2 * (1 + 4)
    assert stages["zero loss"].dose_e > 0
    steady = kept_up(spectrometer=None)
    steady.environment.reset(seed=1, options={"bare": True})
    for ask in (steady.policy.plan, steady.policy.ask):
        with pytest.raises(Unsupported, match="cannot set the energy offset"):
            ask(first_view(steady))


def test_a_task_says_how_often():
    with pytest.raises(ValidationError, match="how often"):
        SurveyPolicy.Config.model_validate({"target": "co_k", "upkeep": [{"kind": "zero_loss"}]})


# --- dark references --------------------------------------------------------------------------------

DARK = [{"kind": "dark_reference", "every": "1 min", "frames": 4}]


def darkened(**changes):
    return assembled(policy__options__upkeep=DARK, **changes)


def test_dark_references_are_of_the_dwells_in_use_come_first_and_touch_no_site():
    _, steps, _ = run(darkened(policy__options__screen={"from": "0.5 s"}, budget__time="150 s"))
    dark = [s for s in steps if s.decision.purpose == "dark_reference"]
    assert [s.decision.action.dwell_s for s in dark[:3]] == [0.5, 2.0, 2e-6]
    assert steps[:3] == dark[:3]
    assert all(s.outcome.status == "done" and s.outcome.dose_e == 0.0 for s in dark)
    assert len(dark) == 6
    assert "EDS" in dark[0].decision.reason
    assert "without beam" in dark[0].decision.reason
    assert "from now on subtracted: EDS" in steps[3].decision.reason
    spectra = [s.outcome for s in steps if s.decision.purpose == "spectrum"]
    assert spectra
    assert all("EDS" in outcome.dark for outcome in spectra)


def test_between_the_acts_of_a_dark_reference_it_can_be_taken_up():
    told, (_, steps, journal) = darkened().policy, run(darkened(budget__steps=5))
    for step in steps[:3]:
        told.tell(step.decision, Result(step.outcome, tuple(journal.load_frame(r) for r in step.outcome.frames)))
        other = darkened().policy
        other.restore(yaml.safe_load(yaml.safe_dump(told.state())))
        assert other.state() == told.state()


def test_a_dark_reference_in_vain_is_left_until_it_is_due_again_and_the_survey_goes_on():
    stuck = {"events": [{"kind": "blanker", "at": "0 s", "lasts": "1 h"}]}
    _, steps, _ = run(darkened(environment__options__microscope__faults=stuck, budget__time="50 s"))
    dark = [s for s in steps if s.decision.purpose == "dark_reference"]
    assert [s.outcome.status for s in dark] == ["rejected"] * 2
    assert "left until it is due again" in steps[2].decision.reason
    assert "electrons reached the sample" in steps[2].decision.reason
    assert any(s.decision.purpose == "overview" for s in steps)


def test_the_plan_counts_dark_references_without_electrons_and_refuses_what_cannot_be_had():
    job = darkened()
    job.environment.reset(seed=1, options={"bare": True})
    view = first_view(job)
    (stage,) = [s for s in job.policy.plan(view) if s.name == "dark reference"]
    assert (stage.acts, stage.dose_e) == (2 * (1 + 8), 0.0)
    assert stage.time_s == pytest.approx(9 * 4 * (2.0 + 0.02 + 0.1 + 64 * 64 * 2e-6 + 64 * 1e-4))
    lit = view.replace(capabilities=view.capabilities.replace(dark=False))
    for ask in (job.policy.plan, job.policy.ask):
        with pytest.raises(Unsupported, match="cannot keep the beam away"):
            ask(lit)
    other = assembled(policy__options__upkeep=[DARK[0] | {"detectors": ["ADF"]}])
    with pytest.raises(Unsupported, match="no such signal or detector"):
        other.policy.plan(view)


INSIDE = {
    "name": "imaging",
    "options": {
        "overview": {"fov": "24 nm", "width_px": 16, "height_px": 16, "dwell": "200 us"},
        "dwells": ["0.1 s", "8 s"],
        "binnings": [1, 2],
        "scalarizer": {"name": "band_integral", "options": {"signal": "EDS", "band": ["6.80 keV", "7.06 keV"]}},
    },
}


def dark_dwells(**changes):
    job = darkened(policy__options__in_depth={"policy": INSIDE, "finds": 1, "time": "30 s"}, **changes)
    job.environment.reset(seed=1, options={"bare": True})
    (stage,) = [s for s in job.policy.plan(first_view(job)) if s.name == "dark reference"]
    return [act.dwell_s for act in stage.examples]


def test_dark_references_reach_from_the_shortest_to_the_longest_dwell_of_campaigns_inside_finds_too():
    assert dark_dwells() == pytest.approx([0.1 / 4, 8.0, 2e-6, 2e-4])


@pytest.mark.parametrize(
    ("named", "missing"),
    [
        ({"dwells": ["0.1 s", "2 s", "8 s"]}, "0.025 s"),
        ({"dwells": ["25 ms", "2 s"]}, "8 s"),
        ({"image_dwells": ["2 us"]}, "0.0002 s"),
    ],
)
def test_dwells_that_leave_out_one_in_use_are_refused_before_the_night(named, missing):
    with pytest.raises(ConfigError, match=f"all frames of it would be refused.*got '{missing}'"):
        assembled(
            policy__options__upkeep=[DARK[0] | named],
            policy__options__in_depth={"policy": INSIDE, "finds": 1, "time": "30 s"},
        )


def test_dwells_that_enclose_all_in_use_are_taken_as_named():
    task = [DARK[0] | {"dwells": ["10 ms", "10 s"], "image_dwells": ["1 us", "1 ms"]}]
    job = assembled(policy__options__upkeep=task)
    job.environment.reset(seed=1, options={"bare": True})
    (stage,) = [s for s in job.policy.plan(first_view(job)) if s.name == "dark reference"]
    assert [act.dwell_s for act in stage.examples] == [0.01, 10.0, 1e-6, 1e-3]


def test_dwells_of_a_signal_that_only_the_zero_loss_task_records_are_not_held_against_those_of_the_survey():
    look = {"kind": "zero_loss", "every": "2 min", "signal": "EELS", "dwell": "50 ms"}
    dark = DARK[0] | {"signals": ["EELS"], "detectors": [], "dwells": ["50 ms"]}
    wandering = {"environment__options__microscope__spectrometer": WANDERING}
    job = assembled(policy__options__upkeep=[dark, look], policy__options__signals=["EDS"], **wandering)
    job.environment.reset(seed=1, options={"bare": True})
    (stage,) = [s for s in job.policy.plan(first_view(job)) if s.name == "dark reference"]
    assert [act.dwell_s for act in stage.examples] == [0.05]


def test_a_dark_reference_is_of_something():
    task = {"kind": "dark_reference", "every_tiles": 3, "signals": [], "detectors": []}
    with pytest.raises(ValidationError, match="signals or detectors"):
        SurveyPolicy.Config.model_validate({"target": "co_k", "upkeep": [task]})


def test_a_pedestal_that_falls_far_between_two_references_is_measured_anew_at_once_and_no_particle_is_lost():
    falls = [{"name": "EDS", "pedestal": 500, "ramp_per_hour": -350, "readout": 1}]
    task = [{"kind": "dark_reference", "every": "1 h", "frames": 4, "detectors": []}]
    changes = {"environment__options__microscope__dark_signals": falls, "policy__options__upkeep": task}
    _, steps, _ = run(assembled(**changes, budget__time="240 s"))
    stale = [k for k, s in enumerate(steps) if s.outcome.fault and s.outcome.fault.error == "DarkStale"]
    assert len(stale) >= 2
    for k in stale:
        assert steps[k].decision.purpose == "spectrum"
        assert steps[k + 1].decision.purpose == "dark_reference"
        again = next(s for s in steps[k + 1 :] if s.decision.purpose == "spectrum")
        assert again.decision.target == steps[k].decision.target  # the same particle, less the new reference
        assert again.outcome.status == "done"


def test_a_frame_that_does_not_fit_a_fresh_reference_is_an_ordinary_failure():
    upkeep = darkened().policy._now.upkeep
    upkeep._done[0] = (100.0, 0)
    assert not upkeep.stale(130.0)
    assert not upkeep.urgent
    assert upkeep.stale(161.0)
    assert upkeep.urgent
