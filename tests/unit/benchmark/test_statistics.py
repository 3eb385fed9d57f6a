"""Statistics against oracles, and by simulation: claims are false as rarely as promised."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from autoscope.benchmark.ranking import (
    critical_difference,
    friedman_p,
    performance_profile,
    places,
    rank,
    tied_groups,
)
from autoscope.benchmark.statistics import (
    Comparison,
    Interval,
    compare,
    holm,
    mean_interval,
    paired_difference,
    signed_rank_p,
)
from autoscope.benchmark.stopping import StoppingPlan, judge, spent
from autoscope.errors import DataError


def by_seed(values):
    return dict(enumerate(float(v) for v in values))


def test_holm_agrees_with_its_definition_by_closed_testing():
    rng = np.random.default_rng(0)
    for _ in range(20):
        p = rng.uniform(size=4) ** 3
        closed = [
            max(
                min(1.0, len(group) * min(p[j] for j in group))
                for size in range(1, 5)
                for group in itertools.combinations(range(4), size)
                if k in group
            )
            for k in range(4)
        ]
        assert holm(p) == pytest.approx(closed)


def test_signed_rank_test_agrees_with_all_signs_tried_by_hand():
    gaps = np.array([0.3, -0.1, 0.7, 0.5, 0.9, -0.2, 1.1])
    ranks = stats.rankdata(np.abs(gaps))
    observed = abs((np.sign(gaps) * ranks).sum())
    all_signs = [abs((np.array(s) * ranks).sum()) for s in itertools.product((-1, 1), repeat=7)]
    expected = np.mean([v >= observed - 1e-9 for v in all_signs])
    assert signed_rank_p(gaps, np.zeros(7)) == pytest.approx(expected)


def test_signed_rank_test_of_tied_values_agrees_with_all_signs_tried_by_scipy():
    rng = np.random.default_rng(11)
    for n in (6, 8):
        for _ in range(3):
            gaps = rng.integers(-2, 4, n).astype(float)
            expected = stats.wilcoxon(gaps, zero_method="pratt", method=stats.PermutationMethod()).pvalue
            assert signed_rank_p(gaps, np.zeros(n)) == pytest.approx(expected)


def test_levels_never_reached_rank_beyond_all_that_were():
    a = np.array([3.0, 4.0, math.inf, 6.0, 2.0, 5.0, 7.0, math.inf])
    b = np.array([10.0, 12.0, math.inf, 15.0, 9.0, math.inf, 11.0, 13.0])
    gaps = np.array([-7.0, -8.0, 0.0, -9.0, -7.0, -100.0, -4.0, 100.0])
    assert signed_rank_p(a, b) == pytest.approx(signed_rank_p(gaps, np.zeros(8)))
    assert signed_rank_p(a, a) == 1.0


def test_the_interval_of_a_difference_is_paired():
    rng = np.random.default_rng(1)
    common = rng.normal(0.0, 10.0, 30)
    a, b = by_seed(common + 1.0 + rng.normal(0.0, 0.1, 30)), by_seed(common)
    found = paired_difference(a, b)
    assert found.value == pytest.approx(1.0, abs=0.1)
    assert found.high - found.low < 0.2
    assert paired_difference(a, {99: 0.0}) is None


def test_paired_interval_covers_the_true_difference_about_as_often_as_it_says():
    rng, hits, rounds = np.random.default_rng(2), 0, 120
    for k in range(rounds):
        gaps = rng.gamma(2.0, 1.0, 20) - 2.0
        found = paired_difference(by_seed(gaps), by_seed(np.zeros(20)), seed=k)
        hits += found.low <= 0.0 <= found.high
    assert stats.binomtest(hits, rounds, 0.95).pvalue > 1e-4
    assert hits / rounds > 0.85


def test_an_interval_of_equal_values_is_that_value_and_of_none_an_error():
    assert mean_interval([2.0, 2.0, 2.0]) == Interval(2.0, 2.0, 2.0, 3)
    assert mean_interval([2.0]) == Interval(2.0, 2.0, 2.0, 1)
    with pytest.raises(DataError, match="finite"):
        mean_interval([])
    with pytest.raises(DataError, match="finite"):
        mean_interval([1.0, math.inf])


def test_false_claims_among_policies_that_are_the_same_stay_below_alpha():
    rng, false, rounds = np.random.default_rng(3), 0, 300
    for _ in range(rounds):
        values = {f"p{k}": rng.normal(size=12) for k in range(4)}
        p = holm([signed_rank_p(values[a], values[b]) for a, b in itertools.combinations(values, 2)])
        false += bool((p < 0.05).any())
    assert stats.binomtest(false, rounds, 0.05, alternative="greater").pvalue > 0.01


def test_false_claims_stay_below_alpha_however_often_is_looked():
    rng, plan = np.random.default_rng(4), StoppingPlan((6, 9, 12, 15, 18))
    rounds, false, careless = 300, 0, 0
    for _ in range(rounds):
        values = {name: by_seed(rng.normal(size=18)) for name in "abc"}
        false += bool(judge(values, plan).higher)
        looks = [{p: list(v.values())[:n] for p, v in values.items()} for n in plan.looks]
        careless += any(stats.wilcoxon(np.subtract(v["a"], v["b"])).pvalue < 0.05 for v in looks)
    assert stats.binomtest(false, rounds, 0.05, alternative="greater").pvalue > 0.01
    assert careless / rounds > 0.08  # what looking without a plan does, so the law above is not empty


def test_a_clear_difference_is_decided_early_and_stays_decided():
    rng, plan = np.random.default_rng(5), StoppingPlan((10, 20, 40))
    values = {"good": by_seed(3 + rng.normal(size=40)), "bad": by_seed(rng.normal(size=40))}
    first_20 = {p: {s: v[s] for s in range(20)} for p, v in values.items()}
    early, late = judge(first_20, plan), judge(values, plan)
    assert early.decided
    assert early.higher == late.higher == {("good", "bad"): 20}


def test_policies_alike_are_decided_as_equal_only_within_a_margin():
    rng = np.random.default_rng(6)
    common = rng.normal(size=20)
    values = {"a": by_seed(common), "b": by_seed(common + rng.normal(0.0, 0.01, 20))}
    assert judge(values, StoppingPlan((10, 20))).undecided == (("a", "b"),)
    assert judge(values, StoppingPlan((10, 20), margin=0.1)).equal == {("a", "b"): 10}
    assert judge({}, StoppingPlan((10, 20))).decided


def test_the_parts_of_all_looks_add_up_to_alpha():
    plan = StoppingPlan((5, 10, 15, 20), alpha=0.1)
    assert sum(plan.part(k) for k in range(4)) == pytest.approx(0.1)
    assert spent(1e-6) < 1e-12


def test_average_ranks_and_friedman_agree_with_scipy():
    rng = np.random.default_rng(7)
    values = {"a": rng.normal(size=15), "b": rng.normal(0.5, 1.0, 15), "c": rng.normal(3.0, 1.0, 15)}
    found = rank(values, "higher")
    assert found.policies[0] == "c"
    table = np.array(list(values.values())).T
    expected = stats.rankdata(-table, axis=1).mean(axis=0)
    assert sorted(found.ranks) == pytest.approx(sorted(expected))
    assert found.friedman_p == pytest.approx(stats.friedmanchisquare(*values.values()).pvalue)
    assert friedman_p(np.ones((5, 3))) == 1.0


def test_critical_difference_agrees_with_the_published_table():
    q = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 10: 3.164}  # Demšar (2006), table 5a
    for k, value in q.items():
        assert critical_difference(k, 14) == pytest.approx(value * math.sqrt(k * (k + 1) / (6 * 14)), abs=2e-3)


def test_policies_that_cannot_be_told_apart_are_tied():
    rng = np.random.default_rng(8)
    common = rng.normal(size=25)
    scores = {
        "a": by_seed(5 + common + rng.normal(0.0, 0.5, 25)),
        "b": by_seed(5 + common + rng.normal(0.0, 0.5, 25)),
        "c": by_seed(common),
    }
    found = places(compare(scores), list(scores), "higher")
    assert [(p.label, p.tied) for p in found] == [("1=", ("b",)), ("1=", ("a",)), ("3", ())]
    assert [p.place for p in places(compare(scores), list(scores), "lower")] == [2, 2, 1]


def test_with_few_seeds_everybody_is_tied():
    scores = {"a": by_seed([9.0, 9.1, 9.2]), "b": by_seed([1.0, 1.1, 1.2])}
    (only,) = compare(scores)
    assert isinstance(only, Comparison)
    assert not only.distinguishable
    assert [p.label for p in places([only], ["a", "b"], "higher")] == ["1=", "1="]


def test_a_policy_with_few_seeds_does_not_make_the_others_harder_to_tell_apart():
    rng = np.random.default_rng(9)
    scores = {"a": by_seed(rng.normal(1.0, 1.0, 12)), "b": by_seed(rng.normal(size=12))}
    alone = compare(scores)[0]
    slow = {f"slow{k}": by_seed(rng.normal(size=3)) for k in range(4)}
    among = next(c for c in compare(scores | slow) if (c.a, c.b) == ("a", "b"))
    assert among.p_holm == alone.p_holm == alone.p
    assert not any(c.distinguishable for c in compare(scores | slow) if "slow" in c.b)


def test_groups_are_maximal():
    apart = np.ones((4, 4), dtype=bool)
    for i, j in [(0, 1), (1, 2), (0, 2), (2, 3)]:
        apart[i, j] = apart[j, i] = False
    np.fill_diagonal(apart, False)
    assert tied_groups(apart) == ((0, 2), (2, 3))


def test_performance_profile_counts_problems_within_a_multiple_of_the_best():
    at, shares = performance_profile({"a": [1.0, 2.0, math.inf], "b": [2.0, 1.0, 4.0], "c": [math.inf] * 3})
    assert at.tolist() == [1.0, 2.0]
    assert shares["a"] == pytest.approx([1 / 3, 2 / 3])
    assert shares["b"] == pytest.approx([2 / 3, 1.0])
    assert not shares["c"].any()


def test_a_ranking_of_nothing_is_refused():
    with pytest.raises(DataError, match="every policy"):
        rank({}, "higher")
