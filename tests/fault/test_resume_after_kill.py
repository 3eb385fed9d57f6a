"""A run killed at any call, resumed by the program, and compared with the run that nobody disturbed."""

import os
import signal

import pytest

from autoscope.journal import JournalReader, verify
from autoscope.testing.disk import FaultyDisk
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


def test_a_run_killed_before_its_configuration_is_there_can_be_begun_in_its_folder(laboratory):
    lab, ends = laboratory("random"), []
    for at in range(1, 5):
        ends += [lab.survives(at, False), lab.survives(at, True)]
    assert ends.index("begun") < ends.index("resumed"), ends


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


def test_a_run_ended_by_a_full_disk_goes_on_when_there_is_space_again(laboratory):
    lab = laboratory("random")
    actions = [body["decision"]["action"] for kind, _, _, body in lab.whole if kind == "intent"]
    calls = [name for name in lab.calls if not name.startswith("environment.")]
    begun = 1 + max(k for k, name in enumerate(calls) if name == "fsync_folder")  # a journal is there: records follow
    failed = 0
    for at in range(begun + 2, len(calls), 3):
        run = lab.folder / f"full{at}"
        killing.in_child(lambda run=run, at=at: killing.run_on(lab.config, run, FaultyDisk(at, "full", for_ever=True)))
        assert verify(run).ok
        if JournalReader.open(run).ended()["status"] == "failed":  # else the space of the reserve was enough
            failed += 1
            assert lab.resumed(run) == 0, at
        resumed = killing.history(run)
        assert [body["decision"]["action"] for kind, _, _, body in resumed if kind == "intent"] == actions, at
        assert sum(kind == "outcome" for kind, *_ in resumed) == len(actions)
        assert resumed[-1][3]["status"] == "completed"
        assert verify(run).ok
    assert failed >= 2


@pytest.mark.parametrize("ahead", [0, 1])
def test_on_a_real_clock_a_killed_run_goes_on_with_the_same_acts(tmp_path, ahead):
    lab = Laboratory(tmp_path, "clock: system\n" + killing.text(ahead=ahead))
    run = lab.killed(len(lab.calls) * 2 // 3, True)
    assert lab.resumed(run) == 0
    acts, whole = (
        [(body["act_id"], body["decision"]["action"]) for kind, _, _, body in records if kind == "intent"]
        for records in (killing.history(run), lab.whole)
    )
    assert acts == whole
    verdict = verify(run)
    assert (verdict.ok, verdict.open_steps, verdict.ended) == (True, 0, True), verdict.summary
