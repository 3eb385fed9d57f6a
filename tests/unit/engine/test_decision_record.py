"""What the journal keeps of every question, decision and act."""

import pytest

from autoscope.clock import SimClock
from autoscope.engine.asking import Asked, Evidence
from autoscope.errors import OutcomeUnknown, OutOfRange
from autoscope.protocols import Remembering, Reproducible
from autoscope.records import Act, Blank, Wait
from environments.base import InstrumentEnvironment
from environments.simulated import SimulatedEnvironment
from environments.task import TaskConfig
from tests.unit.engine.scripted import SCOPE, Trial, spot


@pytest.mark.parametrize("lookahead", [0, 1])
def test_every_question_can_be_asked_again_as_it_was(lookahead):
    trial = Trial([spot(0), spot(1), spot(2)], engine={"lookahead": lookahead}, budget={"steps": 9}).run()
    intents = trial.bodies("intent")
    actions = {body["act_id"]: spot(k) for k, body in enumerate(intents)}
    again = [Asked.read(body["asked"]).again(SCOPE, actions) for body in intents]
    assert again == [view for view in trial.policy.views if view.step < 3][: len(again)]
    assert [body["asked"]["told"] for body in intents] == ([0, 0, 1] if lookahead else [0, 1, 2])


def test_a_question_whose_answer_came_to_nothing_is_written_down():
    trial = Trial([spot(0), Wait(duration_s=1.0), spot(1)]).run()  # a wait is not decided ahead
    asked = trial.bodies("question")
    assert [one["view"]["pending"] for one in asked] == [["test-000000"], ["test-000001"]]  # the last: finish


def test_evidence_digests_agree_as_far_as_two_runs_told_the_same():
    one, two = (Trial([spot(0), spot(k), spot(2), spot(3)]).run() for k in (1, 7))
    digests = [[b["asked"]["evidence_sha256"] for b in t.bodies("intent")] for t in (one, two)]
    same = [a == b for a, b in zip(*digests, strict=True)]
    assert same == [True, True, True, False]  # with lookahead act 1 is told before the last question only
    assert digests[0][0] == Evidence().sha256 == ""


def test_an_act_carries_the_run_id_and_its_outcome_when_it_was_done():
    trial = Trial([spot(0, dwell_s=2.0)], engine={"decision_time_s": 0.5}).run()
    (outcome,) = trial.bodies("outcome")
    assert outcome["act_id"] == "test-000000"
    assert trial.bodies("run_started")[0]["run_id"] == "test"
    assert (outcome["begun_s"], outcome["ended_s"]) == (0.5, 2.5)


def test_an_act_that_was_never_sent_has_no_times():
    trial = Trial([spot(0), spot(10**9)], engine={"lookahead": 0}).run()
    refused = trial.bodies("outcome")[1]
    assert refused["status"] == "refused"
    assert "begun_s" not in refused


def test_a_run_tells_which_code_made_it_and_how_the_instrument_stood():
    (started,) = Trial([]).run().bodies("run_started")
    assert len(started["made_by"]["code_sha256"]["autoscope"]) == 64
    assert started["made_by"]["libraries"]["numpy"]
    assert started["state"]["time_s"] == 0.0


@pytest.fixture
def microscope():
    config = {"specimens": [{"kind": "catalyst", "extent_m": [2e-6, 2e-6], "density_per_m2": 4e13}]}
    environment = SimulatedEnvironment(
        SimulatedEnvironment.Config.model_validate({"microscope": config}), clock=SimClock(), seed=1
    )
    environment.reset(options={"bare": True})
    return environment


def test_an_environment_recalls_what_its_instrument_remembers(microscope):
    act = Act(act_id="run-000000", action=Wait(duration_s=1.0))
    assert isinstance(microscope, Remembering)
    assert isinstance(microscope, Reproducible)
    assert microscope.reproducible
    assert microscope.recall(act.act_id) is None
    done = microscope.step(act)[-1]["observation"]
    now = microscope.read_state()
    assert microscope.recall(act.act_id) == done
    assert microscope.read_state() == now


def test_an_act_refused_by_the_instrument_was_never_begun(microscope):
    act = Act(act_id="run-000000", action=spot(10**9))
    with pytest.raises(OutOfRange):
        microscope.step(act)
    assert microscope.recall(act.act_id) is None


def test_of_an_instrument_without_memory_the_outcome_is_unknown():
    class Forgetful:
        def describe(self):
            return SCOPE

    environment = InstrumentEnvironment(lambda clock, rng: Forgetful(), TaskConfig(), seed=1)
    assert not environment.reproducible
    environment.reset(options={"bare": True})
    assert not environment.reproducible
    with pytest.raises(OutcomeUnknown, match=r"run-000003.*not sent again"):
        environment.recall("run-000003")


def test_blanking_is_recalled_too(microscope):
    microscope.step(Act(act_id="run-000001", action=Blank()))
    assert microscope.recall("run-000001").act_id == "run-000001"
