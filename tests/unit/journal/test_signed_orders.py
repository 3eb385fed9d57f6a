"""What `verify` says of interventions that nobody signed as they stand in the record."""

import pytest

from autoscope.clock import SimClock
from autoscope.identity import load_or_make
from autoscope.interventions import Pause, SetDwell
from autoscope.journal import Journal, verify
from autoscope.records import Intervention
from autoscope.steering.helm import Writer


@pytest.fixture
def order(tmp_path):
    return Writer("run-1", "anna", load_or_make(tmp_path / "home"), SimClock()).write(
        SetDwell(dwell_s=0.5), why="noise"
    )


def verified(folder, intervention):
    with Journal.create(folder, clock=SimClock()) as journal:
        journal.append("run_started", {"run_id": "run-1", "name": "night"})
        journal.append("intervention", intervention)
    return verify(folder)


def test_an_order_as_it_was_signed_verifies(tmp_path, order):
    assert verified(tmp_path / "run", Intervention.of(order, "this computer")).ok


@pytest.mark.parametrize(
    ("altered", "said"),
    [
        (lambda i, o: i.replace(who="bert"), "something else than the order"),
        (lambda i, o: i.replace(arguments={"dwell_s": 5.0}), "something else than the order"),
        (lambda i, o: Intervention.of(o.replace(command=Pause()), ""), "not genuine"),
        (lambda i, o: Intervention.of(o.replace(signature="00" * 64), ""), "not genuine"),
    ],
    ids=["person", "argument", "command", "signature"],
)
def test_a_record_that_says_something_else_than_was_signed_does_not_verify(tmp_path, order, altered, said):
    found = verified(tmp_path / "run", altered(Intervention.of(order, "this computer"), order))
    assert not found.ok
    assert any(said in str(problem) for problem in found.problems)


def test_an_order_that_was_signed_for_another_run_does_not_verify(tmp_path):
    other = Writer("run-2", "anna", load_or_make(tmp_path / "home"), SimClock()).write(Pause())
    assert not verified(tmp_path / "run", Intervention.of(other, "")).ok
