"""The arena: what is kept, what is computed again, and that the order of the work changes nothing."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from autoscope.benchmark import store as files
from autoscope.benchmark.farm import Here
from autoscope.benchmark.store import Store, decode
from autoscope.errors import ConfigError, DataError
from tests.unit.benchmark.worlds import arena, plain


class Counting(Here):
    """Computes here and counts; may be interrupted after so many cells."""

    def __init__(self, until=None):
        self.done, self._until = [], until

    def compute(self, cells):
        for finished in super().compute(cells):
            if self._until is not None and len(self.done) == self._until:
                raise KeyboardInterrupt
            self.done.append(finished.key)
            yield finished


def results(folder):
    return pq.read_table(folder / "bench" / "results.parquet")


def test_every_cell_becomes_a_row_with_its_trace_and_truth(tmp_path):
    tally = arena(tmp_path).run(Here())
    assert (tally.computed, tally.kept, tally.failures) == (4, 0, [])
    table = results(tmp_path)
    assert table.select(["policy", "repetition"]).to_pylist() == [
        {"policy": p, "repetition": r} for r in (0, 1) for p in ("random", "grid")
    ]
    store = Store(tmp_path / "bench")
    for row in table.to_pylist():
        trace, truth = decode(store.row(row["key"])), store.truth(row["truth"])
        assert len(trace) == 8
        assert len(set(trace.chosen)) == 8
        assert np.array_equal(trace.value, truth.values[trace.chosen])  # this map has no noise
        assert (np.diff(trace.time_s) > 0).all()
        assert (np.diff(trace.travel_m) > 0).all()


def test_a_second_call_computes_nothing_and_tells_the_same(tmp_path):
    arena(tmp_path).run(Here())
    before = results(tmp_path)
    tally = arena(tmp_path).run(counting := Counting())
    assert (counting.done, tally.kept) == ([], 4)
    assert files.digest(results(tmp_path)) == files.digest(before)
    assert results(tmp_path).column("seconds").equals(before.column("seconds"))


def test_more_seeds_and_policies_compute_only_what_is_new(tmp_path):
    arena(tmp_path).run(Here())
    more = {"policies": {"chance": {"name": "random"}, "sobol": {"name": "sobol"}}, "seeds": {"count": 3}}
    tally = arena(tmp_path, **more).run(counting := Counting())
    assert (len(counting.done), tally.kept) == (1 + 3, 2)
    assert results(tmp_path).column("policy").to_pylist() == ["chance", "sobol"] * 3


def test_the_order_of_the_work_changes_no_result(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
    data = plain(tmp_path)["environments"]
    arena(one, environments=data).run(Here())
    arena(other, environments=data).run(Here(), arrange=lambda cells: cells[::-1])
    assert files.digest(results(one)) == files.digest(results(other))


def test_an_interrupt_keeps_what_is_finished_and_the_next_call_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        arena(tmp_path).run(Counting(until=3))
    assert results(tmp_path).num_rows == 3
    tally = arena(tmp_path).run(Here())
    assert (tally.computed, tally.kept) == (1, 3)


def test_what_cannot_begin_is_told_and_tried_again_next_time(tmp_path):
    broken = plain(tmp_path)
    broken["environments"]["hill"]["dwell"] = "20 ms"  # the replay answers 50 ms only
    broken["environments"]["hill"]["scalarizers"] = {"signal": {"name": "band_integral", "options": {"band": [90, 91]}}}
    made = arena(tmp_path, environments=broken["environments"])
    tally = made.run(Here())
    assert tally.computed == 0
    assert {type(error) for _, error in tally.failures} == {str}
    assert results(tmp_path).num_rows == 0


def test_a_policy_that_breaks_down_is_a_failed_campaign_that_is_kept_until_it_is_asked_again(tmp_path):
    broken = plain(tmp_path)
    broken["environments"]["hill"]["dwell"] = "20 ms"  # every measurement is refused
    made = arena(tmp_path, environments=broken["environments"])
    assert made.run(Here()).failures == []
    assert set(results(tmp_path).column("status").to_pylist()) == {"failed"}
    assert made.run(counting := Counting()).kept == 4
    assert counting.done == []
    assert made.forget_failed() == 4


def test_the_opening_is_the_same_for_every_policy_of_a_seed_and_another_for_each_seed(tmp_path):
    arena(tmp_path, opening=4).run(Here())
    first = {(r["policy"], r["repetition"]): r["chosen"][:4] for r in results(tmp_path).to_pylist()}
    assert first["random", 0] == first["grid", 0] != first["random", 1] == first["grid", 1]


def test_seeds_stop_when_the_comparison_is_decided_and_not_before_enough_of_them(tmp_path):
    asked = []

    def decide(scores):
        asked.append(len(scores.rows))
        return len(asked) == 2

    seeds = {"count": 9, "at_least": 2, "batch": 3, "stop": "decided"}
    tally = arena(tmp_path, seeds=seeds).run(Here(), decide=decide)
    assert asked == [2 * 2, 2 * 5]
    assert (tally.decided_after, tally.computed) == (5, 10)


def test_beliefs_are_kept_at_the_checkpoints_and_at_the_end(tmp_path):
    gp = {"gp": {"name": "gp", "options": {"initial": 3}}}
    arena(tmp_path, policies=gp, seeds={"count": 1}).run(Here())
    store = Store(tmp_path / "bench")
    trace = decode(store.row(results(tmp_path).to_pylist()[0]["key"]))
    assert list(trace.maps) == [6, 8]
    assert trace.maps[8][0].shape == (144,)
    assert np.isfinite(trace.mean[3:]).any()


def test_a_cell_file_that_was_cut_is_refused_by_name(tmp_path):
    arena(tmp_path).run(Here())
    store = Store(tmp_path / "bench")
    key = next(store.keys())
    file = tmp_path / "bench" / "cells" / f"{key}.parquet"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match=key):
        store.row(key)


def test_policies_far_apart_are_decided_before_all_seeds_and_alike_ones_never(tmp_path):
    seeds = {"count": 24, "at_least": 12, "batch": 6, "stop": "decided", "metric": "travel"}
    far = arena(tmp_path, seeds=seeds)  # lines of a grid against random places
    assert far.run(Here()).decided_after in (12, 18)
    alike = {"random": {"name": "random"}, "again": {"name": "random"}}
    tally = arena(tmp_path, seeds=seeds | {"count": 14}, policies=alike).run(Here())
    assert tally.decided_after is None


def test_an_unknown_deciding_metric_is_refused_by_name(tmp_path):
    seeds = {"count": 4, "at_least": 2, "batch": 2, "stop": "decided", "metric": "no_such"}
    with pytest.raises(ConfigError, match="no_such"):
        arena(tmp_path, seeds=seeds).run(Here())


@pytest.mark.parametrize(
    ("budget", "spent", "limit"),
    [({"time": "1 s"}, "time_s", 1.0), ({"dose": "1e9 e"}, "dose_e", 1e9)],
    ids=["time", "dose"],
)
def test_a_budget_of_time_or_dose_ends_a_campaign_before_it_is_passed(tmp_path, budget, spent, limit):
    arena(tmp_path, budgets=[budget], seeds={"count": 1}).run(Here())
    for row in results(tmp_path).to_pylist():
        assert row["status"] == "completed"
        assert 1 < len(row["chosen"]) < 144
        assert row[spent][-1] <= limit
