"""A bus server killed at calls of its ledger, its instrument and its sockets while a run goes over it."""

import os

import pytest

from tests.fault.doomed_server import ServerBench

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def first(bench, name):
    """Return the number of a call in the middle of the run."""
    found = [number for number, call in enumerate(bench.calls, start=1) if call == name]
    return found[len(found) // 2]


@pytest.fixture
def simulated(tmp_path):
    return ServerBench(tmp_path, outlives=False, lookahead=1)


@pytest.fixture
def column(tmp_path):
    return ServerBench(tmp_path, outlives=True)


def test_a_server_killed_with_its_simulated_instrument_leaves_a_history_equal_to_the_undisturbed_one(simulated):
    assert simulated.survives(first(simulated, "ledger.COMMIT"), done_first=False)
    assert simulated.survives(first(simulated, "instrument.execute"), done_first=True, agent_too=True)


def test_an_act_during_which_the_server_died_is_unknown_and_never_done_again(column):
    assert column.survives(first(column, "instrument.execute"), done_first=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("lookahead", [0, 1])
def test_a_server_killed_at_many_calls_leaves_an_equal_history(tmp_path, lookahead):
    bench = ServerBench(tmp_path, outlives=False, lookahead=lookahead)
    for number, at in enumerate(range(3, len(bench.calls), 53)):  # all of them: make figures ONLY=durable SLOW=1
        bench.survives(at, done_first=number % 2 == 0, agent_too=number % 4 < 2)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_server_killed_again_after_it_was_started_again_leaves_an_equal_history(simulated):
    assert simulated.survives(150, done_first=True, again_at=40)
    assert simulated.survives(151, done_first=False, again_at=41, agent_too=True)
