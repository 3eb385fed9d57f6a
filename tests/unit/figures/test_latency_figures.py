"""Latency figures time what they say, count what is really moved, and go on where one of them fails."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from autoscope.records import Measure
from autoscope.surrogates.pool import PoolPosterior
from autoscope.surrogates.prior import default_prior
from tests.figures import __main__ as entry
from tests.figures import latency, latency_peers
from tests.figures.figure import Figure
from tests.figures.latency_case import Timed, run_case
from tests.figures.latency_floor import Machine, Work, incremental_work, kernel_work, refit_work
from tests.figures.latency_world import synthetic

SMALL = {"initial": 5, "refit_every": 4, "refit_growth": 0.0, "patch_px": 5}


@pytest.fixture
def timed():
    return Timed("gp", synthetic(16, 16), SMALL)


def test_the_same_seed_draws_the_same_field_and_another_seed_another():
    one, same, other = synthetic(20, 20), synthetic(20, 20), synthetic(20, 20, seed=2)
    assert np.array_equal(one.image, same.image)
    assert np.array_equal(one.target, same.target)
    assert not np.array_equal(one.image, other.image)


def test_the_image_tells_something_of_the_target_but_not_all():
    field = synthetic(100, 100)
    assert 0.3 < np.corrcoef(field.image.ravel(), field.target.ravel())[0, 1] < 0.99


def test_a_decision_counts_as_a_refit_just_where_the_model_was_fitted_to_more(timed):
    timed.decide(16)
    assert [row["n"] for row in timed.rows] == [0, *range(15)]
    assert [row["n"] for row in timed.rows if row["refit"]] == [5, 10, 14]
    assert all(row["cpu_s"] > 0.0 for row in timed.rows[1:])


def test_deciding_ahead_never_asks_for_the_pixel_under_way_and_counts_only_what_is_known(timed):
    seen = []
    told = timed.policy.tell
    timed.policy.tell = lambda decision, result: (seen.append(decision.action), told(decision, result))
    timed.decide(8)
    timed.decide_ahead(6)
    places = [(a.x_m, a.y_m) for a in seen if isinstance(a, Measure)]
    assert len(set(places)) == len(places) == 14
    assert [row["n"] for row in timed.rows if row["ahead"]] == list(range(8, 14))


def test_a_case_answers_from_a_process_of_its_own_whose_memory_is_not_ours():
    ballast = np.ones(100_000_000)  # 800 MB of ours, which the case must not count
    answer = run_case(
        "given_then_decide", policy="gp", height=16, width=16, given=6, decisions=3, patch_px=5, refit_every=5
    )
    assert 50.0 < answer["peak_mb"] < 700.0 < ballast.nbytes / 1e6
    assert [row["refit"] for row in answer["rows"]] == [False, True, False, False]
    assert answer["members"].keys() == {"gp", "coordinates"}


def test_a_case_that_fails_says_why():
    with pytest.raises(RuntimeError, match="no_such_policy"):
        run_case("whole_run", policy="no_such_policy", side=8, last=5)


def test_bytes_counted_of_an_update_are_those_of_the_arrays_it_reads_and_writes():
    prior = default_prior("matern52", ((0, 1), (2,)))
    points = np.random.default_rng(0).random((500, 3), dtype=np.float32)
    pool = PoolPosterior(points, prior, 21)
    pool.build(points[:20].astype(np.float64), np.eye(20), np.zeros(20))
    sides = 4 * 500 * sum(len(g) + 2 for g in prior.groups)
    moments = 2 * (pool.mean.nbytes + pool.variance.nbytes)
    row = 4 * 500
    judged = pool.mean.nbytes + pool.variance.nbytes
    counted = incremental_work(500, 20, [[2, 1]]).bytes
    assert counted == pool.store[:20].nbytes + row + moments + sides + judged


def test_exponentials_counted_are_one_for_each_covariance_of_each_group_but_place_which_is_looked_up():
    assert kernel_work(7, 100, [3, 4, 2]).exps == 7 * 100 * 2
    assert refit_work(100, 7, [[3, 4, 2]], []).exps == 7 * 100 * 2
    assert refit_work(100, 7, [], [[3, 2]]).exps == 0


def test_a_member_more_costs_more_and_one_that_is_not_asked_costs_no_pool():
    one, two = incremental_work(1000, 200, [[16, 2]]), incremental_work(1000, 200, [[16, 2], [2]])
    assert two.bytes > one.bytes
    assert refit_work(1000, 200, [[2]], []).single_flops > refit_work(1000, 200, [], [[2]]).single_flops
    assert refit_work(1000, 200, [[2]], []).double_flops == refit_work(1000, 200, [], [[2]]).double_flops


def test_the_floor_is_the_larger_of_memory_and_arithmetic_time():
    machine = Machine(bytes=10.0, single_flops=100.0, double_flops=50.0, exps=5.0)
    assert machine.floor_s(Work(bytes=1000.0, single_flops=100.0)) == 100.0
    assert machine.floor_s(Work(bytes=10.0, single_flops=100.0, double_flops=100.0, exps=10.0)) == 1.0 + 2.0 + 2.0


def test_the_mean_over_a_run_of_a_cost_linear_in_n_is_the_cost_in_the_middle():
    assert latency_peers.mean_over_run({n: 0.1 * n + 2.0 for n in (10, 50, 100, 200)}) == pytest.approx(0.1 * 105 + 2.0)


def test_a_peer_that_is_not_installed_is_neither_beaten_nor_lost_to(monkeypatch):
    monkeypatch.setattr(latency_peers, "installed", lambda method: False)
    figure = latency._against("gp", "vidkl", 10, 1e-3, 200.0, "")
    assert figure.ok is None
    assert "make peers" in figure.how


@pytest.mark.parametrize(("mean_s", "ok"), [(0.02, True), (0.0199, True), (0.021, False)])
def test_a_peer_is_beaten_from_the_goal_on(monkeypatch, mean_s, ok):
    monkeypatch.setattr(latency_peers, "installed", lambda method: True)
    monkeypatch.setattr(latency, "_peer", lambda method, side: latency_peers.PeerCost({10: 1.0, 200: 1.0}))
    assert latency._against("gp", "gpytorch_dkl", 10, mean_s, 50.0, "").ok is ok


def test_the_median_is_held_against_the_goal_and_the_longest_is_told():
    rows = [{"cpu_s": c, "wall_s": 2 * c, "n": 200} for c in (0.004, 0.005, 0.5)]
    figure = latency._timed("name", rows, "cpu_s", 5.0, "")
    assert (figure.value, figure.ok, figure.n) == (5.0, True, 3)
    assert "longest 500.0 ms" in figure.how
    assert latency._timed("name", rows, "wall_s", 5.0, "").ok is False


def test_a_figure_that_cannot_be_measured_says_so_and_the_next_is_measured(monkeypatch, capsys):
    def broken(slow):
        yield Figure("first", 1, "", "", None, 1, "")
        raise RuntimeError("planted")

    good = Figure("second", 2, "", "", True, 1, "")
    monkeypatch.setattr(entry, "PARTS", dict.fromkeys(entry.PARTS, broken) | {"quality": lambda slow: iter([good])})
    monkeypatch.setattr(sys, "argv", ["figures", "imaging", "quality"])
    assert entry.main() == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(f["name"], f["ok"]) for f in told] == [("first", None), ("imaging", False), ("second", True)]
    assert "planted" in told[1]["how"]


def test_one_latency_figure_that_fails_does_not_hide_the_others():
    def broken():
        yield Figure("first", 1, "", "", True, 1, "")
        raise ValueError("planted")

    first, second = latency.guarded("name", broken)
    assert first.ok
    assert (second.name, second.ok, second.value) == ("name", False, None)


def test_decision_measures_latency_duty_imaging_focus_quality_and_schedule_and_each_can_be_had_alone():
    assert entry.chosen(["decision"]) == ["latency", "duty", "imaging", "focus", "quality", "schedule"]
    assert [entry.chosen([name]) for name in entry.DECISION] == [[name] for name in entry.DECISION]
    assert entry.chosen([]) == [part for parts in entry.GROUPS.values() for part in parts]
