"""Decisions made again from a record."""

import pytest

from autoscope.chance import stream
from autoscope.clock import SimClock
from autoscope.config import Document
from autoscope.engine.assemble import assemble, resolve
from autoscope.engine.comparing import compare
from autoscope.engine.history import read_history
from autoscope.engine.loop import Engine
from autoscope.engine.rebuilding import Stored
from autoscope.engine.replaying import Rescored, replay
from autoscope.engine.stand_in import RUNNER_UP
from autoscope.errors import JournalError, PluginError
from autoscope.journal import MemoryJournal
from autoscope.perception.scalarizers import BandIntegral
from autoscope.quantities import FROM_FILE
from autoscope.records import Candidate, Decision, Measure

SILVER = """
environment:
  name: simulated
  options: {microscope: {specimens: [{kind: nanoparticles, extent: [300 nm, 300 nm], count: 4}]}}
scalarizers: {plasmon: {name: band_integral, options: {band: [1.6 eV, 2.2 eV]}}}
"""
FIELD = "target: plasmon, overview: {fov: 200 nm, width_px: 24, height_px: 24}, dwell: 20 ms, signals: [EELS]"
CASES = {
    "random": f"policy: {{name: random, options: {{{FIELD}}}}}",
    "gp": f"policy: {{name: gp, options: {{{FIELD}, initial: 2, refit_every: 2}}}}",
    "gp ahead": f"policy: {{name: gp, options: {{{FIELD}, initial: 2, refit_every: 2}}}}\nengine: {{lookahead: 1}}",
    "focus": "policy: {name: focus, options: {images: 5}}",
}


def resolved(case, seed=3, steps=9):
    return resolve(Document(f"name: trial\nseed: {seed}\nbudget: {{steps: {steps}}}\n{SILVER}{CASES[case]}", "test"))


def recorded(case, **more):
    job = assemble(resolved(case, **more))
    journal = MemoryJournal(clock=job.clock)
    Engine(job, journal, stopwatch=lambda: 0.0).run()
    return journal


def fresh_policy(case, **more):
    config = resolved(case, **more)
    return config.policy.plugin(config.policy.options, rng=stream(config.config.seed, "policy"))


def changed(journal, change):
    """Return the same run with records changed by ``change(kind, step, body)``, chained anew, as a forger would."""
    copy = MemoryJournal(clock=SimClock())
    copy._frames = journal._frames
    for record in journal.records():
        change(record.kind, record.step, record.body)
        copy.append(record.kind, record.body, step=record.step)
    return copy


@pytest.mark.parametrize("case", list(CASES))
def test_every_decision_is_made_again_to_the_last_bit(case):
    journal = recorded(case)
    found = replay(read_history(journal), fresh_policy(case), Stored(journal))
    assert found.ok
    assert found.decisions >= 8
    assert found.summary == f"{found.decisions} of {found.decisions} decisions identical"


def test_a_decision_that_was_altered_is_named_with_what_is_altered():
    def forge(kind, step, body):
        if kind == "intent" and step == 5:
            body["decision"]["action"]["x_m"] += 1e-9

    journal = changed(recorded("gp"), forge)
    found = replay(read_history(journal), fresh_policy("gp"), Stored(journal))
    first = found.divergences[0]
    assert first.step == 5
    assert [d.field for d in first.differences] == ["action.x_m"]
    assert "decides otherwise on the same evidence" in first.cause


def test_altered_data_are_told_from_altered_decisions():
    def forge(kind, step, body):
        if kind == "outcome" and step == 3:
            body["values"][0]["value"] *= 2.0

    journal = changed(recorded("gp"), forge)
    found = replay(read_history(journal), fresh_policy("gp"), Stored(journal))
    assert found.divergences[0].step == 4
    assert found.divergences[0].cause.startswith("data:")


def test_another_version_is_named_as_the_cause():
    journal = recorded("random")
    policy = fresh_policy("random", seed=4)
    made = ["libraries torch: 2.6.0 then, 2.13.0 now"]
    found = replay(read_history(journal), policy, Stored(journal), made_differently=made)
    assert found.divergences[0].cause.startswith("version: ")
    assert "2.13.0" in found.divergences[0].cause


def test_numbers_within_the_tolerance_count_as_the_same_and_the_largest_is_told():
    def forge(kind, step, body):
        if kind == "intent" and body["decision"]["predicted_mean"] is not None:
            body["decision"]["predicted_mean"] *= 1.0 + 1e-9

    journal = changed(recorded("gp"), forge)
    exact, near = (replay(read_history(journal), fresh_policy("gp"), Stored(journal), tolerance=t) for t in (0.0, 1e-6))
    assert not exact.ok
    assert exact.divergences[0].cause.startswith("numerics:")
    assert near.ok
    assert near.largest == pytest.approx(1e-9, rel=0.01)


def test_another_policy_is_asked_what_it_would_have_chosen_on_the_same_evidence():
    journal = recorded("random")
    found = replay(read_history(journal), fresh_policy("gp"), Stored(journal), others=True)
    assert found.decisions == 9
    assert 1 <= found.same_action < 9  # the overview is the same
    assert isinstance(found.divergences[0].now, Decision)


def test_a_policy_that_cannot_follow_the_evidence_says_so():
    class Stubborn:
        def ask(self, view):
            raise ValueError("no such particle")

    journal = recorded("random")
    with pytest.raises(PluginError, match="no such particle"):
        replay(read_history(journal), Stubborn(), Stored(journal), others=True)


def test_other_scalarizers_compute_targets_from_the_stored_frames_and_the_policy_sees_them():
    journal = recorded("gp")
    same = BandIntegral(BandIntegral.Config.model_validate({"band": ("1.6 eV", "2.2 eV")}, context=FROM_FILE))
    other = BandIntegral(BandIntegral.Config.model_validate({"band": ("2.2 eV", "3.0 eV")}, context=FROM_FILE))
    unchanged, changed_ = (
        replay(read_history(journal), fresh_policy("gp"), Rescored(Stored(journal), {"plasmon": s}), others=True)
        for s in (same, other)
    )
    assert (unchanged.values_changed, unchanged.same_action) == (0, 9)
    assert changed_.values_changed >= 7


def test_a_run_that_kept_no_questions_is_refused_with_a_sentence():
    def strip(kind, step, body):
        body.pop("asked", None)

    with pytest.raises(JournalError, match="did not keep the questions"):
        read_history(changed(recorded("random"), strip))


def test_what_a_runner_up_decided_must_follow_from_the_decisions_before():
    """As a deadline on a real clock leaves it: the last decision is the first open runner-up of the one before."""
    places = [Measure(x_m=k * 1e-9, y_m=0.0, dwell_s=0.02, signals=("EELS",)) for k in range(2)]

    def journal_with(taken):
        journal = recorded("random", steps=2)

        def stand_in(kind, step, body):
            if kind == "run_started":
                body["config"]["engine"]["decision_deadline"] = "0.5 s"
                body["config"]["engine"]["lookahead"] = 1
            if kind == "intent" and step == 0:
                body["decision"]["runners_up"] = [Candidate(action=p).model_dump(mode="json") for p in places]
            if kind == "intent" and step == 1:
                del body["asked"]
                body["decision"] = Decision(
                    action=places[taken],
                    purpose="overview",
                    reason="The policy had not decided 0.5 s after the last act, so runner-up 1 of step 0, the best "
                    "that is not taken yet, stands in.",
                    candidates=2,
                    decided_by=RUNNER_UP,
                ).model_dump(mode="json")

        return changed(journal, stand_in)

    for taken in (0, 1):
        journal = journal_with(taken)
        found = replay(read_history(journal), fresh_policy("random"), Stored(journal))
        assert found.stand_ins == 1
        steps = [d.step for d in found.divergences if "runner-up" in d.cause]
        assert steps == ([] if taken == 0 else [1])


def test_a_difference_of_kind_is_told_without_a_magnitude():
    decision = Decision(action=Measure(x_m=0.0, y_m=0.0, dwell_s=1.0), purpose="spectrum", reason="a")
    (difference,) = compare(decision, decision.replace(purpose="other"))
    assert (difference.field, difference.relative) == ("purpose", None)
