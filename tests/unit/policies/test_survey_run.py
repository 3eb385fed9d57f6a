"""The survey through the real loop on the simulated microscope: short nights with their truth."""

import numpy as np
import pytest
import yaml

from autoscope.config import Document
from autoscope.engine.assemble import assemble, resolve
from autoscope.engine.events import RunStatus
from autoscope.engine.loop import Engine
from autoscope.journal import MemoryJournal
from autoscope.records import Finish, Result

NIGHT = """
name: short night
seed: 5
environment:
  name: simulated
  options:
    microscope:
      gun: {beam_current: 100 pA}
      lens: {convergence: 10 mrad, hidden_defocus: 250 nm}
      specimens: [{kind: catalyst, extent: [8 um, 8 um], density: 40 um^-2, rare: {fraction: 0.05}}]
policy:
  name: survey
  options:
    target: co_k
    presence: {target: pt_m, at_least: 200}
    area: {x: [-1.9 um, 1.9 um], y: [-1.9 um, 1.9 um]}
    tile: {fov: 1.4 um, size_px: 384}
    align: {fov: 1 um, size_px: 256}
    focus: {fov: 0.8 um, size_px: 256}
    dwell: 2 s
    scouts: 3
    visit: 6
    refit_every: 20
scalarizers:
  co_k: {name: band_integral, options: {band: [6.80 keV, 7.06 keV]}}
  pt_m: {name: band_integral, options: {band: [1.85 keV, 2.30 keV]}}
budget: {time: 8 min}
limits: {x: [-3 um, 3 um], y: [-3 um, 3 um]}
"""


def assembled(**changes):
    document = Document(NIGHT, "night.yaml")
    for key, value in changes.items():
        document.override(f"{key.replace('__', '.')}={yaml.safe_dump(value, default_flow_style=True).strip()}")
    return assemble(resolve(document))


def run(job):
    journal = MemoryJournal(clock=job.clock)
    end = Engine(job, journal).run()
    return end, list(journal.steps()), journal


@pytest.fixture(scope="module")
def night():
    job = assembled()
    end, steps, journal = run(job)
    return job, end, steps, journal


def test_the_night_ends_by_itself_in_budget_with_every_tile_seen(night):
    _, end, steps, _ = night
    assert end.status is RunStatus.COMPLETED
    assert end.time_s <= 8 * 60
    assert end.faults == 0
    assert sum(s.decision.purpose == "overview" for s in steps) == 9


def test_most_spectra_hit_a_particle(night):
    _, _, steps, _ = night
    shown = [v.value for s in steps if s.decision.purpose == "spectrum" for v in s.outcome.values if v.name == "pt_m"]
    assert len(shown) > 60
    assert np.mean(np.array(shown) > 200) > 0.8


def test_every_decision_says_why_and_later_ones_what_was_expected(night):
    _, _, steps, _ = night
    assert all(s.decision.reason and s.decision.purpose for s in steps)
    spectra = [s.decision for s in steps if s.decision.purpose == "spectrum"]
    assert spectra[0].predicted_mean is None
    assert spectra[-1].predicted_mean is not None
    assert spectra[-1].predicted_std > 0
    assert spectra[-1].fit.n >= 20
    assert any(d.runners_up for d in spectra)


def test_no_particle_is_measured_twice_successfully(night):
    _, _, steps, _ = night
    hits = [
        s.decision.target
        for s in steps
        if s.decision.purpose == "spectrum" and any(v.name == "pt_m" and v.value >= 200 for v in s.outcome.values)
    ]
    assert len(hits) == len(set(hits))


def test_telling_the_journal_again_gives_the_same_policy(night):
    _, _, steps, journal = night
    twin = assembled().policy
    for step in steps[:-1]:
        frames = tuple(journal.load_frame(ref) for ref in step.outcome.frames)
        twin.tell(step.decision, Result(step.outcome, frames))
    assert twin._now.mode == steps_mode(steps[-1])
    state = twin.state()
    third = assembled().policy
    third.restore(yaml.safe_load(yaml.safe_dump(state)))
    assert third.state() == state


def steps_mode(step):
    return {"spectrum": "measure", "travel": "choose"}.get(step.decision.purpose, step.decision.purpose)


def test_the_same_seed_gives_the_same_night_to_the_bit():
    nights = []
    for _ in range(2):
        _, steps, _ = run(assembled(budget__time="90 s"))
        nights.append([(s.decision.action, s.outcome.values) for s in steps])
    assert nights[0] == nights[1]
    assert len(nights[0]) > 20


def test_in_order_measures_every_particle_of_a_tile_before_the_next():
    _, steps, _ = run(assembled(policy__options__strategy="in_order", budget__time="4 min"))
    numbers = [int(s.decision.target.split()[1]) for s in steps if s.decision.purpose == "spectrum"]
    assert numbers == sorted(numbers)
    assert "align" in {s.decision.purpose for s in steps} or len(numbers) < 20


def test_a_tile_beyond_the_limits_is_left_out_untried_and_the_end_says_so():
    job = assembled(policy__options__area={"x": ["-1 um", "1 um"], "y": ["2.5 um", "4.5 um"]}, budget__time="3 min")
    end, steps, _ = run(job)
    assert {s.outcome.status for s in steps} == {"done"}
    assert {s.decision.target for s in steps if s.decision.purpose == "travel"} == {"tile 0", "tile 1"}
    assert end.status is RunStatus.COMPLETED
    assert "2 tiles are left out: their place is now beyond the limits of the stage" in end.reason


def test_a_budget_too_small_for_anything_finishes_with_a_reason():
    job = assembled(budget__time="1 s")
    end, _, _ = run(job)
    assert end.status is RunStatus.COMPLETED
    assert "budget" in end.reason


def test_the_plan_names_its_stages_and_fits_the_budget():
    job = assembled()
    job.environment.reset(seed=1, options={"bare": True})
    from autoscope.cli.planning import first_view

    stages = job.policy.plan(first_view(job))
    assert [s.name for s in stages] == ["travel", "focus", "overview", "scouts", "spectra"]
    assert sum(s.time_s for s in stages) <= 8 * 60
    assert not isinstance(job.policy.ask(first_view(job)), Finish)


def test_short_looks_see_more_particles_and_every_find_keeps_a_full_spectrum():
    changes = {"policy__options__screen": {"miss": 0.01, "learn": 20}, "policy__options__dwell": "4 s"}
    rich = {"environment__options__microscope__specimens": [
        {"kind": "catalyst", "extent": ["8 um", "8 um"], "density": "40 um^-2", "rare": {"fraction": 0.15}}
    ]}  # fmt: skip
    _, steps, journal = run(assembled(**rich, **changes))
    _, without, _ = run(assembled(**rich, policy__options__dwell="4 s"))
    spectra = [s for s in steps if s.decision.purpose == "spectrum" and s.outcome.status == "done"]
    short = [s for s in spectra if s.decision.action.dwell_s < 4.0]
    assert len(spectra) > 1.3 * sum(s.decision.purpose == "spectrum" for s in without)
    assert short
    for k, step in enumerate(steps[:-1]):
        confirming = "leaves doubt" in steps[k + 1].decision.reason
        if confirming:
            assert steps[k + 1].decision.target == step.decision.target or step.decision.purpose == "align"
            assert steps[k + 1].decision.action.dwell_s == 4.0
    again = assembled(**rich, **changes).policy
    for step in steps:
        again.tell(step.decision, Result(step.outcome, tuple(journal.load_frame(r) for r in step.outcome.frames)))
    third = assembled(**rich, **changes).policy
    third.restore(yaml.safe_load(yaml.safe_dump(again.state())))
    assert third.state() == again.state()


def test_after_a_jump_larger_than_the_field_the_place_is_found_again_and_the_night_goes_on():
    jump = {"kind": "drift_jump", "at": "4 min", "jump": "1.5 um", "direction": "40 deg"}
    end, steps, _ = run(assembled(environment__options__microscope__faults={"events": [jump]}))
    assert end.status is RunStatus.COMPLETED
    assert any(s.decision.purpose == "find" for s in steps)
    late = [s for s in steps if s.decision.purpose == "spectrum" and s.outcome.state.time_s > 280]
    shown = [v.value for s in late for v in s.outcome.values if v.name == "pt_m"]
    assert len(shown) > 20
    assert np.mean(np.array(shown) > 200) > 0.7


def test_tiles_that_a_jump_takes_beyond_the_limits_are_left_out_and_the_rest_is_measured():
    jump = {"kind": "drift_jump", "at": "4 min", "jump": "1.5 um", "direction": "40 deg"}
    tight = {"x": "[-1.8 um, 1.8 um]", "y": "[-1.8 um, 1.8 um]"}
    limits = {axis: yaml.safe_load(bounds) for axis, bounds in tight.items()}
    end, steps, _ = run(assembled(environment__options__microscope__faults={"events": [jump]}, limits=limits))
    assert end.status is RunStatus.COMPLETED
    assert not [s for s in steps if s.outcome.status == "refused"]
    after = [s for s in steps if s.outcome.state.time_s > 280]
    assert any("left out: their place is now beyond the limits of the stage" in s.decision.reason for s in after)
    assert sum(s.decision.purpose == "spectrum" and s.outcome.status == "done" for s in after) > 10
    assert all(max(abs(s.outcome.state.x_m), abs(s.outcome.state.y_m)) <= 1.8e-6 for s in steps)


def noise(step):
    """Return the noise of an image, by its metrics in the record."""
    quality = step.outcome.quality
    return quality["HAADF.mean"] / quality["HAADF.snr_estimate"]


def test_of_a_dim_image_the_next_decision_tells_that_it_is_taken_again_and_why():
    dims = {"events": [{"kind": "dim", "at": f"{at} s", "lasts": "15 s"} for at in range(60, 420, 45)]}
    _, steps, _ = run(assembled(environment__options__microscope__faults=dims))
    told = [k for k, s in enumerate(steps) if "is not learnt from" in s.decision.reason]
    assert 0 < len(told) < 30
    for k in told:
        before, again = steps[k - 1], steps[k]
        assert "dim, with a pedestal): it is taken again" in again.decision.reason
        assert before.outcome.status == "done"
        earlier = [noise(s) for s in steps[:k] if s.decision.purpose == before.decision.purpose]
        assert noise(before) < 0.6 * max(earlier)
        assert again.decision.purpose == before.decision.purpose
