"""The runner of a queue is killed with SIGKILL between and within experiments, and the queue goes on."""

import shutil
import signal

import pytest

from autoscope.cli import queueing
from autoscope.clock import SystemClock
from autoscope.journal import verify
from autoscope.queue import EntryStatus, QueueStore
from tests.fault.killing import CASES, Doom, _patch, calls_of, history, in_child, warm

PLACES = 10
"""Kill points of the default tests, spread over all calls."""


def text(seed):
    return CASES["random"].replace("seed: 1", f"seed: {seed}").replace("points: 7", "points: 2")


def comparable(records):
    """Return what a run did, less leaving the instrument in order, which is done again where it was cut short."""
    *acts, (kind, step, _, body) = (record for record in records if record[0] != "closing")
    return [*acts, (kind, step, {k: v for k, v in body.items() if k != "time_s"})]


class Laboratory:
    """A queue of two experiments, done by nobody disturbed, and as often as wanted by somebody who is killed."""

    def __init__(self, folder):
        self.folder = folder
        self.configs = []
        for seed in (1, 2):
            config = folder / f"small{seed}.yaml"
            config.write_text(text(seed))
            self.configs.append(config)
        warm(self.configs[0])
        self.calls = calls_of(lambda doom: self.run(self.filled("counted"), doom), folder / "calls")
        whole = self.filled("whole")
        assert in_child(lambda: self.run(whole)) == 0
        self.whole = self.runs_of(whole)

    def filled(self, name):
        queue = self.folder / name / "queue.sqlite"
        for config in self.configs:
            queueing.add_experiments(queue, config, None, [], checked=False)
        return queue

    def run(self, queue, doom=None):
        """Only ever called in a forked child."""
        _patch(doom)
        if doom is not None:
            for name in ("begin", "finish"):
                setattr(QueueStore, name, doom.around(f"queue.{name}", getattr(QueueStore, name)))
        queueing.run_queue(queue, queue.parent, smoke=False, quiet=True, with_report=False)

    def runs_of(self, queue):
        store = QueueStore(queue, clock=SystemClock())
        entries = store.entries()
        store.close()
        assert [e.status for e in entries] == [EntryStatus.DONE] * 2
        assert {e.folder for e in entries} == {str(p.parent) for p in queue.parent.glob("*/config.yaml")}
        for entry in entries:
            verdict = verify(queueing.Path(entry.folder))
            assert verdict.ok, verdict.summary
        return [comparable(history(queueing.Path(e.folder))) for e in entries]

    def survives(self, at, done_first):
        name = f"killed-{at}-{done_first}"
        shutil.rmtree(self.folder / name, ignore_errors=True)  # another test was here
        queue = self.filled(name)
        where = (at, self.calls[at - 1], done_first)
        assert in_child(lambda: self.run(queue, Doom(at, done_first=done_first))) == signal.SIGKILL, where
        assert in_child(lambda: self.run(queue)) == 0, where
        assert self.runs_of(queue) == self.whole, where


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The queue and its calls."""
    return Laboratory(tmp_path_factory.mktemp("queue"))


def spread(calls, count):
    """Return some numbers of calls: all of the queue itself, those at which a run folder is made, and others evenly."""
    own = [k for k, name in enumerate(calls, start=1) if name.startswith("queue.")]
    making = [k + more for k in own if calls[k - 1] == "queue.begin" for more in (1, 2, 3)]
    return sorted({*own, *making, *range(1, len(calls) + 1, max(1, len(calls) // count))})


@pytest.mark.parametrize("done_first", [False, True])
def test_whatever_the_runner_was_doing_the_queue_goes_on_and_ends_as_if_nothing_had_been(lab, done_first):
    for at in spread(lab.calls, PLACES):
        lab.survives(at, done_first)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_at_every_fourth_call(lab, part):
    for at in range(1 + part, len(lab.calls) + 1, 8):
        lab.survives(at, done_first=bool(part % 2))
