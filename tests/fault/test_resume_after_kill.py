"""A run killed at any call, resumed by the program, and compared with the run that nobody disturbed."""

import os
import signal

import pytest

from tests.fault import killing
from tests.fault.killing import CASES, Laboratory

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory):
    known = {}

    def of(case):
        if case not in known:
            known[case] = Laboratory(tmp_path_factory.mktemp(case.replace(" ", "_")), CASES[case])
        return known[case]

    return of


@pytest.mark.parametrize("case", ["random", "random ahead"])
def test_a_run_killed_at_some_calls_ends_as_if_nothing_had_happened(laboratory, case):
    lab = laboratory(case)
    for at in range(3, len(lab.calls) + 1, 17):
        lab.survives(at, done_first=at % 2 == 0)


def test_a_run_killed_again_while_it_is_resumed_ends_as_if_nothing_had_happened(laboratory):
    lab = laboratory("random ahead")
    middle = len(lab.calls) // 2
    run = lab.killed(middle, True)
    for at in (2, 9, 16):
        assert lab.resumed(run, killing.Doom(at, done_first=True)) == signal.SIGKILL
    assert lab.resumed(run) == 0
    lab.check(run, middle)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", list(CASES))
def test_a_run_killed_at_every_fourth_call_ends_as_if_nothing_had_happened(laboratory, case):
    lab = laboratory(case)
    for at in range(1, len(lab.calls) + 1, 4):  # all of them: make figures ONLY=durable
        lab.survives(at, done_first=False)
        lab.survives(at, done_first=True)
