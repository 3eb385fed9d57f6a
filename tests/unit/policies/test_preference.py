"""Pairs are shown, a person prefers one, and what looks like the preferred ones is measured."""

import numpy as np
import pytest

from autoscope.interventions import Prefer, Retract, Undo
from tests.unit.steering.steered import Run, Script
from tests.unit.steering.test_steered_runs import last_order

MORE = "initial: 3, components: 3"


class Taste(Script):
    """A person who always finds the brighter one of a pair more interesting, or the darker one."""

    def __init__(self, brighter=True, times=100):
        super().__init__()
        self.brighter, self.left = brighter, times

    def wait(self, timeout_s):
        if self.left:
            self.left -= 1
            self.held.append(self.said)
            return True
        return super().wait(timeout_s)

    def said(self, script):
        note = [r.body for r in self.journal.records("note") if r.body.get("event") == "awaiting"][-1]
        values = {o["act_id"]: o["values"][0]["value"] for o in self.outcomes() if o["values"]}
        darker, brighter = sorted(note["suggestion"]["pair"], key=values.__getitem__)
        return Prefer(better=brighter, worse=darker) if self.brighter else Prefer(better=darker, worse=brighter)

    def outcomes(self):
        return [r.body for r in self.journal.records("outcome")]


def values(run):
    return [o["values"][0]["value"] for o in run.bodies("outcome") if o["values"]]


def test_what_people_prefer_is_what_is_measured(tmp_path):
    found = {}
    for brighter in (True, False):
        run = Run(tmp_path, Taste(brighter), policy="preference", steps=12, more=MORE).run()
        assert set(run.statuses()) == {"accepted"}
        found[brighter] = np.mean(values(run)[7:])
        assert run.replayed().ok
    assert found[True] > 1.5 * found[False]


def test_a_pair_is_asked_once_for_each_measurement_and_never_twice(tmp_path):
    run = Run(tmp_path, Taste(), policy="preference", steps=9, more=MORE).run()
    awaiting = [n for n in run.bodies("note") if n.get("event") == "awaiting"]
    pairs = [frozenset(n["suggestion"]["pair"]) for n in awaiting]
    assert len(pairs) == len(set(pairs)) == 5  # eight measurements, pairs before the fourth and each after it
    assert "Which is more interesting, pixel" in awaiting[0]["because"]
    assert awaiting[0]["because"].endswith("The pair: acts {} and {}.".format(*awaiting[0]["suggestion"]["pair"]))


def test_nobody_there_means_places_unlike_each_other(tmp_path):
    run = Run(tmp_path, Script(), policy="preference", steps=8, more=MORE).run()
    assert {d["acquisition"] for d in run.decisions()[1:]} == {"diverse"}
    assert "Nobody compared the pair shown within 60 s." in run.decisions()[-1]["reason"]
    assert run.replayed().ok


def test_answers_can_be_given_unasked_and_be_taken_back(tmp_path):
    script = Script({
        4: [Prefer(better="small-000001", worse="small-000002")],
        6: [last_order(lambda order: Undo(order=order))],
    })  # fmt: skip
    run = Run(tmp_path, script, policy="preference", steps=9, more=f"{MORE}, answers: 0").run()
    assert [d["acquisition"] for d in run.decisions()[4:]] == ["upper_confidence_bound"] * 2 + ["diverse"] * 3
    assert run.replayed().ok


def test_a_retracted_measurement_is_not_compared_any_more(tmp_path):
    script = Script({
        4: [Prefer(better="small-000001", worse="small-000002")],
        5: [Retract(act_id="small-000001"), Prefer(better="small-000001", worse="small-000003")],
    })  # fmt: skip
    run = Run(tmp_path, script, policy="preference", steps=7, more=f"{MORE}, answers: 0").run()
    assert run.statuses() == ["accepted", "accepted", "refused"]
    assert run.decisions()[-1]["acquisition"] == "diverse"
    assert run.replayed().ok


@pytest.mark.parametrize(("policy", "told"), [("preference", "no act small-000009"), ("gp", "does not follow it")])
def test_what_cannot_be_compared_is_refused(tmp_path, policy, told):
    script = Script({4: [Prefer(better="small-000001", worse="small-000009")]})
    run = Run(tmp_path, script, policy=policy, steps=5).run()
    assert run.statuses() == ["refused"]
    assert told in script.receipts[0].reason


def test_a_run_with_answers_is_taken_up_where_it_was_cut_off(tmp_path):
    run = Run(tmp_path, Taste(times=3), policy="preference", steps=8, more=MORE, checkpoint_every=3).run()
    records = list(run.journal.records())
    last = max(r.seq for r in records if r.kind == "intervention")
    for cut in (last, last + 2, len(records) - 1):
        again = run.cut(cut)
        assert again.decisions() == run.decisions()
        assert again.replayed().ok


def test_a_person_can_be_advised_by_what_they_prefer(tmp_path):
    more = f"advisor: {{name: preference, options: {{{MORE}}}}}, turns: {{when: every, every: 100}}"
    run = Run(tmp_path, Taste(times=2), policy="human", steps=7, more=more).run()
    assert "upper_confidence_bound" in {d["acquisition"] for d in run.decisions()}
    assert run.replayed().ok
