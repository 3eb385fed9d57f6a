"""The time that is left: finds confirmed, what was given up tried once more, and an end that says what is true."""

import numpy as np
import pytest
import yaml

from autoscope.engine.events import RunStatus
from autoscope.records import Result
from policies.survey.catalogue import Catalogue
from policies.survey.config import FinishConfig
from policies.survey.finishing import Finishing, Sum
from policies.survey.spectrum import Reading
from tests.unit.policies.test_survey_run import assembled, run

SMALL = {
    "policy__options__area": {"x": ["-0.65 um", "0.65 um"], "y": ["-0.65 um", "0.65 um"]},
    "environment__options__microscope__specimens": [
        {"kind": "catalyst", "extent": ["4 um", "4 um"], "density": "30 um^-2", "rare": {"fraction": 0.1}}
    ],
    "budget__time": "30 min",
}


def small(**changes):
    return assembled(**(SMALL | changes))


@pytest.fixture(scope="module")
def night():
    job = small(policy__options__finish={"confirm": 3, "snr": 20})
    return job, *run(job)


def values(steps, particle, name="co_k"):
    done = [s for s in steps if s.decision.target == f"particle {particle}" and s.outcome.status == "done"]
    return [v.value for s in done for v in s.outcome.values if v.name == name]


def confirmed(steps):
    return list(dict.fromkeys(s.decision.target for s in steps if s.decision.purpose == "confirm"))


def test_the_best_finds_are_measured_again_until_they_are_sure_and_then_the_night_ends(night):
    _, end, steps, _ = night
    assert end.status is RunStatus.COMPLETED
    assert end.time_s < 15 * 60  # of 30: what is left is not burnt
    assert "the 3 best finds confirmed to a signal to noise of 20" in end.reason
    targets = confirmed(steps)
    assert len(targets) == 3
    first = {s.decision.target: v.value for s in steps if s.decision.purpose == "spectrum" for v in s.outcome.values
             if v.name == "co_k"}  # fmt: skip
    assert set(targets) == set(sorted(first, key=first.get)[-3:])


def test_a_confirmation_stops_at_the_signal_to_noise_wanted_or_at_the_most_spectra(night):
    job, _, steps, _ = night
    finishing, catalogue = job.policy._now.finishing, job.policy._now.catalogue
    for target in confirmed(steps):
        particle = int(target.split()[1])
        known = finishing.sum_of(particle, catalogue)
        assert known.count == len(values(steps, particle))
        assert known.mean == pytest.approx(np.mean(values(steps, particle)))
        assert known.snr >= 20 or known.count == 1 + 8
        assert known.snr < 20 * np.sqrt(known.count / (known.count - 1)) * 1.2  # not one more than needed


def test_each_says_which_find_and_how_sure_it_is_so_far(night):
    _, _, steps, _ = night
    first = next(s.decision for s in steps if s.decision.purpose == "confirm")
    assert "confirms find 1 of 3: co_k" in first.reason
    assert "of 20 wanted" in first.reason
    assert first.predicted_std > 0
    assert first.acquisition == "confirmation"


def test_taken_up_at_any_step_of_it_nothing_is_lost(night):
    _, _, steps, journal = night
    change = {"policy__options__finish": {"confirm": 3, "snr": 20}}
    told = small(**change).policy
    for step in steps:
        told.tell(step.decision, Result(step.outcome, tuple(journal.load_frame(r) for r in step.outcome.frames)))
        if step.decision.purpose == "confirm":
            other = small(**change).policy
            other.restore(yaml.safe_load(yaml.safe_dump(told.state())))
            assert other.state() == told.state()


def test_nothing_to_confirm_and_nothing_to_try_again_ends_at_once():
    end, steps, _ = run(small(policy__options__finish={"confirm": 0, "try_again": False}))
    assert end.reason.startswith("all done: 1 of 1 tiles seen")
    assert not confirmed(steps)


def test_what_was_given_up_is_tried_once_more_and_the_end_says_how_many_are_left():
    hopeless = {"policy__options__presence": {"target": "pt_m", "at_least": 1e6}}
    end, steps, _ = run(small(**hopeless))
    spectra = [s.decision.target for s in steps if s.decision.purpose == "spectrum"]
    tries = {target: spectra.count(target) for target in spectra}
    assert set(tries.values()) == {3}
    assert f"all done but {len(tries)} particles given up after 3 tries each" in end.reason
    again = [s.decision.reason for s in steps if s.decision.acquisition == "once_more"]
    assert len(again) == 1
    assert f"once more what was given up: {len(tries)} particles, 0 tiles" in again[0]
    assert "budget" not in end.reason


def test_without_time_for_them_the_end_says_what_was_left():
    end, _, _ = run(small(budget__time="100 s"))
    assert "budget" in end.reason
    assert "particles not looked at" in end.reason or "does not fit" in end.reason


def test_tiles_beyond_the_share_of_overviews_are_seen_when_nothing_else_is_left():
    two = {"x": ["-1.2 um", "1.2 um"], "y": ["-0.65 um", "0.65 um"]}
    end, steps, _ = run(small(policy__options__area=two, policy__options__overview_share=0.001))
    assert sum(s.decision.purpose == "overview" for s in steps) == 2
    assert any("nothing else is left to do" in s.decision.reason for s in steps)
    assert end.reason.startswith("all done")


def test_a_sum_is_the_mean_with_its_uncertainty():
    rng = np.random.default_rng(1)
    stds = rng.uniform(1, 2, 5)
    many = Sum(1, 4.0, stds[0])
    for value, std in zip((5.0, 6.0, 7.0, 8.0), stds[1:], strict=True):
        many = many.plus(value, std)
    assert (many.count, many.mean) == (5, pytest.approx(6.0))
    assert many.std == pytest.approx(np.sqrt(np.sum(stds**2)) / 5)


def test_a_find_missed_twice_is_left_as_it_is():
    catalogue = Catalogue()
    catalogue._rows = [(0, 0.0, 0.0, 0.0, 0.0, (1.0,))] * 40
    for particle in range(40):
        catalogue.record(particle, 100.0 + particle % 3, 5.0)
    catalogue.record(7, 900.0, 30.0)
    finishing = Finishing(FinishConfig(confirm=5, snr=100))
    assert finishing.unsure(catalogue) == [7]
    finishing.told(7, Reading(hit=False), catalogue)
    assert finishing.unsure(catalogue) == [7]
    finishing.told(7, Reading(hit=False), catalogue)
    assert finishing.unsure(catalogue) == []
