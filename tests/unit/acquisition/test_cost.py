"""Costs of candidates against the prediction of single actions, and worth per cost."""

import numpy as np
import pytest

from autoscope.acquisition.choice import choose
from autoscope.acquisition.cost import CostConfig, Costs, measurement_costs, per_cost
from autoscope.acquisition.functions import log_expected_improvement
from autoscope.acquisition.rule import AcquisitionRule
from autoscope.errors import ModelError
from autoscope.exposure import predict
from autoscope.records import Capabilities, Measure, MicroscopeState, MoveStage, Timing
from autoscope.surrogates.gp import GaussianProcess

SCOPE = Capabilities(
    instrument="x",
    serial="1",
    simulated=True,
    voltage_v=2e5,
    actions=("measure", "move_stage"),
    detectors=(),
    timing=Timing(stage_speed_m_per_s=2e-6, stage_settle_s=0.7, point_overhead_s=0.03),
)
STATE = MicroscopeState(time_s=0.0, x_m=3e-6, y_m=-1e-6, beam_current_a=5e-11)


def test_costs_of_many_candidates_are_those_predicted_for_each_action():
    rng = np.random.default_rng(0)
    x_m, y_m, dwell_s = rng.normal(size=30) * 1e-6, rng.normal(size=30) * 1e-6, rng.uniform(0.01, 1.0, 30)
    near = measurement_costs(x_m, y_m, dwell_s, STATE, SCOPE)
    far = measurement_costs(x_m, y_m, dwell_s, STATE, SCOPE, decision_s=0.2, reach_m=8e-7)
    moved = 0
    for k in range(30):
        measure = predict(Measure(x_m=x_m[k], y_m=y_m[k], dwell_s=dwell_s[k]), STATE, SCOPE)
        assert near.time_s[k] == pytest.approx(measure.time_s)
        assert near.dose_e[k] == pytest.approx(measure.dose_e)
        move = predict(MoveStage(x_m=STATE.x_m + x_m[k], y_m=STATE.y_m + y_m[k]), STATE, SCOPE)
        moves = np.hypot(x_m[k], y_m[k]) > 8e-7
        moved += moves
        assert far.time_s[k] == pytest.approx(measure.time_s + 0.2 + moves * move.time_s)
    assert 0 < moved < 30


def test_one_dwell_serves_all_candidates():
    costs = measurement_costs(np.zeros(3), np.zeros(3), 0.1, STATE, SCOPE)
    np.testing.assert_allclose(costs.time_s, 0.13)
    assert costs.dose_e.shape == (3,)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"per": "none"}, None),
        ({"per": "second"}, [2.0, 8.0]),
        ({"per": "electron"}, [100.0, 400.0]),
        ({"per": "both", "time_share": 1.0}, [2.0, 8.0]),
        ({"per": "both", "time_share": 0.25}, [2**0.25 * 100**0.75, 8**0.25 * 400**0.75]),
    ],
)
def test_cost_is_counted_as_configured(config, expected):
    weighed = CostConfig(**config).weigh(Costs(time_s=np.array([2.0, 8.0]), dose_e=np.array([100.0, 400.0])))
    assert weighed is None if expected is None else np.allclose(weighed, expected)


def test_the_log_of_a_gain_per_cost_is_the_log_of_gain_over_cost():
    mean, std, cost = np.array([0.0, 1.0]), np.ones(2), np.array([0.5, 7.0])
    logs = log_expected_improvement(mean, std, 0.3)
    np.testing.assert_allclose(np.exp(per_cost(logs, cost, "log")), np.exp(logs) / cost)


def test_at_equal_gain_the_cheaper_wins_and_at_equal_cost_the_better_on_both_sides_of_the_reference():
    values = np.array([5.0, 5.0, 1.0, 1.0, 0.0])
    worth = per_cost(values, np.array([1.0, 2.0, 1.0, 2.0, 1.0]), "gain", reference=2.0)
    assert worth[0] > worth[1] > 0.0 > worth[2]
    assert worth[2] > worth[3]
    assert worth[2] > worth[4]


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan])
def test_a_candidate_that_costs_nothing_is_refused(bad):
    with pytest.raises(ModelError, match="costs nothing"):
        per_cost(np.zeros(2), np.array([1.0, bad]), "gain")


@pytest.mark.parametrize(
    "name",
    [
        "upper_confidence_bound",
        "expected_improvement",
        "probability_of_improvement",
        "max_value_entropy",
        "max_variance",
        "thompson",
        "straddle",
        "novelty",
    ],
)
@pytest.mark.parametrize("goal", ["maximise", "minimise"])
def test_every_rule_prefers_the_cheaper_of_two_alike_whatever_the_unit(name, goal):
    x = np.array([[0.0], [1.0], [2.0]])
    pool = np.array([[0.5], [0.5], [1.4]])
    rule = AcquisitionRule(name=name, goal=goal, level=None if name != "straddle" else 0.4)
    for a, b in ((1.0, 0.0), (1e4, -5.0)):
        model = GaussianProcess(groups=((0,),))
        model.attach(pool)
        y = a * np.array([0.0, 1.0, 0.2]) + b
        model.fit(x, y, np.full(3, 0.01 * a))
        level = {"level": a * 0.4 + b} if name == "straddle" else {}
        mean, std = model.pool_posterior()
        here, _ = model.predict(x)
        told = {"measured_mean": here, "seen": y, "model": model}
        cost = np.array([3.0, 1.0, 3.0])
        values = rule.replace(**level).evaluate(mean, std, **told, rng=np.random.default_rng(0), cost=cost)
        assert choose(values[:2], np.random.default_rng(0), np.zeros(2, dtype=bool)) == 1
        equal = rule.replace(**level).evaluate(mean, std, **told, rng=np.random.default_rng(0), cost=np.full(3, 2.0))
        plain = rule.replace(**level).evaluate(mean, std, **told, rng=np.random.default_rng(0))
        assert (equal[2] > equal[0]) == (plain[2] > plain[0])
