"""The night with scripted experiments: what fails is skipped, what was begun goes on, a person stops it all."""

import pytest

from autoscope.clock import SimClock
from autoscope.engine.events import RunEnd, RunStatus
from autoscope.errors import ConfigError, InstrumentError, QueueError
from autoscope.queue import EntryStatus, QueueRunner, QueueStore


def end(status=RunStatus.COMPLETED, reason="all done"):
    return RunEnd(status=status, reason=reason, steps=1, time_s=1.0, dose_e=0.0, faults=0, safe=True)


class Scripted:
    """Answers for each experiment what it is told to: a `RunEnd` or an exception."""

    def __init__(self, folder, answers=None):
        self.folder, self.answers = folder, answers or {}
        self.calls, self.interrupted, self.on_begin = [], False, lambda name: None

    def folder_of(self, entry):
        return self.folder / entry.name

    def has_begun(self, folder):
        return folder.is_dir()

    def begin(self, entry, folder):
        self.calls.append(("begin", entry.name))
        folder.mkdir()
        self.on_begin(entry.name)
        return self._answer(entry.name)

    def go_on(self, folder):
        self.calls.append(("go on", folder.name))
        return self._answer(folder.name)

    def _answer(self, name):
        answer = self.answers.get(name, end())
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Night:
    """A queue with experiments a, b and c."""

    def __init__(self, folder, answers=None):
        self.clock, self.said = SimClock(), []
        self.store = QueueStore(folder / "queue.sqlite", clock=self.clock)
        self.experiments = Scripted(folder, answers)
        for name in "abc":
            self.store.add(name, f"{name}.yaml", "")

    def run(self):
        return QueueRunner(self.store, self.experiments, self.clock, self.said.append).run()

    def statuses(self):
        return {entry.name: entry.status.value for entry in self.store.entries()}


def test_all_are_done_one_after_the_other(tmp_path):
    night = Night(tmp_path)
    assert night.run().done == (1, 2, 3)
    assert night.experiments.calls == [("begin", "a"), ("begin", "b"), ("begin", "c")]


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (ConfigError("is wrong", where="b.yaml:3"), "ConfigError: b.yaml:3: is wrong"),
        (InstrumentError("broke"), "InstrumentError: broke"),
        (ZeroDivisionError("a bug in a plug-in"), "ZeroDivisionError: a bug in a plug-in"),
        (end(RunStatus.FAILED, "the sample could not be loaded"), "the sample could not be loaded"),
    ],
    ids=["config", "instrument", "bug", "failed"],
)
def test_one_that_fails_is_told_and_skipped_and_the_night_goes_on(tmp_path, trouble, told):
    night = Night(tmp_path, {"b": trouble})
    over = night.run()
    assert (over.done, over.failed, over.stopped) == ((1, 3), (2,), False)
    assert night.statuses() == {"a": "done", "b": "failed", "c": "done"}
    assert night.store.get(2).reason == told
    assert any(told in line for line in night.said)


def test_ctrl_c_stops_the_queue_and_the_next_run_goes_on_with_the_same_experiment(tmp_path):
    night = Night(tmp_path, {"b": end(RunStatus.STOPPED, "stopped by terminal")})
    night.experiments.on_begin = lambda name: setattr(night.experiments, "interrupted", name == "b")
    assert night.run().stopped
    assert night.statuses() == {"a": "done", "b": "stopped", "c": "waiting"}
    night.experiments.interrupted, night.experiments.answers = False, {}
    night.experiments.on_begin = lambda name: None
    assert night.run().done == (2, 3)
    assert night.experiments.calls[2:] == [("go on", "b"), ("begin", "c")]


def test_one_that_somebody_else_stopped_is_over_and_the_night_goes_on(tmp_path):
    night = Night(tmp_path, {"b": end(RunStatus.STOPPED, "stopped by a colleague")})
    assert night.run().done == (1, 2, 3)


def test_ctrl_c_while_nothing_can_be_closed_loses_nothing(tmp_path):
    night = Night(tmp_path, {"b": KeyboardInterrupt()})
    assert night.run().stopped
    assert night.statuses() == {"a": "done", "b": "stopped", "c": "waiting"}


def test_one_whose_process_was_killed_goes_on_where_it_has_a_folder_and_begins_where_not(tmp_path):
    night = Night(tmp_path)
    (tmp_path / "a").mkdir()
    night.store.begin(1, tmp_path / "a")
    night.store.begin(2, tmp_path / "b")
    night.run()
    assert night.experiments.calls == [("go on", "a"), ("begin", "b"), ("begin", "c")]
    assert night.store.get(1).attempts == 2


def test_one_that_cannot_be_taken_up_again_is_skipped_too(tmp_path):
    night = Night(tmp_path, {"a": ConfigError("made by another version")})
    (tmp_path / "a").mkdir()
    night.store.begin(1, tmp_path / "a")
    assert night.run().failed == (1,)


def test_a_pause_holds_the_next_one_until_it_is_over(tmp_path):
    night = Night(tmp_path)
    night.experiments.on_begin = lambda name: night.store.pause(name == "a")
    waited, wait = [], night.clock.wait

    def let_go_after_a_minute(duration_s):
        wait(duration_s)
        waited.append(duration_s)
        if sum(waited) >= 60.0:
            night.store.pause(False)

    night.clock.wait = let_go_after_a_minute
    assert night.run().done == (1, 2, 3)
    assert sum(waited) == 60.0
    assert sum("paused" in line for line in night.said) == 1


def test_experiments_added_moved_and_removed_meanwhile_count(tmp_path):
    night = Night(tmp_path)

    def edit(name):
        if name == "a":
            other = QueueStore(night.store.path, clock=night.clock)
            other.add("d", "d.yaml", "")
            other.move(4, 1)
            other.remove(3)
            other.close()

    night.experiments.on_begin = edit
    night.run()
    assert [name for _, name in night.experiments.calls] == ["a", "d", "b"]


def test_two_runners_of_one_queue_are_refused(tmp_path):
    night = Night(tmp_path)
    refused = []

    def another(name):
        with pytest.raises(QueueError, match="another process runs this queue"):
            Night.run(night)
        refused.append(name)

    night.experiments.on_begin = another
    assert night.run().done == (1, 2, 3)
    assert refused == ["a", "b", "c"]
    assert {entry.status for entry in night.store.entries()} == {EntryStatus.DONE}
