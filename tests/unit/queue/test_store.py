"""The queue's file: order, status, and what may be done to an experiment when."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscope.clock import SimClock
from autoscope.engine.events import RunEnd, RunStatus
from autoscope.errors import QueueError
from autoscope.queue import EntryStatus, QueueStore

END = RunEnd(status=RunStatus.COMPLETED, reason="done", steps=3, time_s=1.0, dose_e=2.0, faults=0, safe=True)


@pytest.fixture
def store(tmp_path):
    """An empty queue."""
    store = QueueStore(tmp_path / "queue.sqlite", clock=SimClock())
    yield store
    store.close()


def fill(store, count=3):
    return [store.add(f"e{k}", "x.yaml", "name: x\n").number for k in range(count)]


def names(store):
    return [entry.name for entry in store.entries()]


def test_experiments_are_done_in_the_order_in_which_they_were_added(store):
    fill(store)
    assert names(store) == ["e0", "e1", "e2"]
    assert store.next().name == "e0"


@settings(max_examples=40, deadline=None)
@given(moves=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9)), max_size=12))
def test_moving_gives_the_order_that_a_list_would_have(tmp_path_factory, moves):
    store = QueueStore(tmp_path_factory.mktemp("q") / "queue.sqlite", clock=SimClock())
    numbers = fill(store, 5)
    expected = list(numbers)
    for which, position in moves:
        store.move(numbers[which], position)
        expected.remove(numbers[which])
        expected.insert(position - 1, numbers[which])
    assert [entry.number for entry in store.entries()] == expected
    store.close()


def test_what_is_removed_is_neither_shown_nor_done_and_its_number_never_comes_again(store):
    first, second, _ = fill(store)
    store.remove(first)
    assert names(store) == ["e1", "e2"]
    assert store.next().number == second
    assert store.add("new", "x", "").number == 4


def test_what_was_cut_off_or_stopped_comes_before_what_waits(store, tmp_path):
    first, second, _ = fill(store)
    store.begin(second, tmp_path / "run")
    assert store.next().number == second
    store.finish(second, EntryStatus.STOPPED, "by a person")
    assert store.next().number == second
    store.finish(second, EntryStatus.DONE, "done", END)
    assert store.next().number == first


def test_a_queue_is_found_again_as_it_was_left(store, tmp_path):
    first, second, _ = fill(store)
    store.begin(first, tmp_path / "run")
    store.finish(first, EntryStatus.DONE, "done", END)
    store.pause(True)
    before = store.entries()
    store.close()
    again = QueueStore(store.path, clock=SimClock())
    assert (again.entries(), again.paused, again.next().number) == (before, True, second)
    assert again.get(first).end == END


def test_what_runs_can_neither_be_moved_nor_removed(store, tmp_path):
    first, *_ = fill(store)
    store.begin(first, tmp_path / "run")
    with pytest.raises(QueueError, match=r"experiment 1: .*got 'running', limit waiting"):
        store.move(first, 2)
    with pytest.raises(QueueError, match="is running"):
        store.remove(first)


def test_only_what_failed_can_be_tried_again_and_then_waits_at_the_end(store, tmp_path):
    first, *_ = fill(store)
    with pytest.raises(QueueError, match="got 'waiting', limit failed"):
        store.retry(first)
    store.begin(first, tmp_path / "run")
    store.finish(first, EntryStatus.FAILED, "broken")
    store.retry(first)
    assert names(store) == ["e1", "e2", "e0"]
    assert store.get(first).folder == ""


def test_a_number_that_is_not_there_is_told(store):
    with pytest.raises(QueueError, match=r"no such experiment \(got 7\)"):
        store.get(7)


def test_a_file_that_is_no_queue_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "queue.sqlite"
    path.write_bytes(b"something else " * 100)
    with pytest.raises(QueueError, match="cannot be opened"):
        QueueStore(path, clock=SimClock())
    assert path.read_bytes().startswith(b"something else")


def test_a_change_that_cannot_be_written_leaves_the_queue_as_it_was(store):
    fill(store)
    store._db.execute("PRAGMA query_only = ON")
    with pytest.raises(QueueError, match="cannot be written"):
        store.add("new", "x", "")
    store._db.execute("PRAGMA query_only = OFF")
    assert names(store) == ["e0", "e1", "e2"]
