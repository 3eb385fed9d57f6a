"""What check says of a plan: costs, what the budget does not cover, what would fit."""

import pytest

from autoscope.cli.planning import _shortages, check, check_config, summed
from autoscope.records import Budget, Stage

PLAN = (
    Stage(name="overview", acts=10, time_s=100.0, dose_e=1e9, bytes=1_000_000),
    Stage(name="spectra", acts=30, time_s=300.0, dose_e=3e9, bytes=3_000_000),
)
TEXT = """
name: small
environment:
  name: simulated
  options: {microscope: {specimens: [{kind: nanoparticles, extent: [300 nm, 300 nm], count: 4}]}}
policy:
  name: random
  options: {target: plasmon, overview: {fov: 200 nm, width_px: 24, height_px: 24}, signals: [EELS], points: 20}
scalarizers: {plasmon: {name: band_integral, options: {band: [1.6 eV, 2.2 eV]}}}
"""


def said(**budget):
    return list(_shortages(PLAN, summed("together", PLAN), Budget(**budget)))


def test_a_budget_that_covers_the_plan_gives_no_warning():
    assert said(time_s=400.0, dose_e=4e9, steps=40, bytes=4_000_000) == said() == []


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ({"time_s": 200.0}, "the time budget covers 50% of the whole plan"),
        ({"dose_e": 1e9}, "the dose budget covers 25% of the whole plan"),
        ({"bytes": 2_000_000}, "the data budget covers 50% of the whole plan"),
        ({"steps": 10}, "the acts budget covers 25% of the whole plan"),
    ],
    ids=["time", "dose", "data", "acts"],
)
def test_whatever_is_short_is_told(budget, told):
    (warning,) = said(**budget)
    assert warning.startswith(told)


def test_what_would_fit_is_told_stage_by_stage():
    (warning,) = said(time_s=200.0)
    assert "what fits: 10 of 10 acts of overview, 10 of 30 acts of spectra" in warning


def test_an_area_that_is_not_covered_is_told_with_what_it_would_take():
    stages = (PLAN[0].replace(whole=4.0, note="10 of 40 tiles"),)
    (warning,) = _shortages(stages, summed("together", stages), Budget(time_s=100.0))
    assert "covers 25% of the area: overview, 10 of 40 tiles" in warning
    assert "about 0.111 h" in warning


@pytest.fixture
def config(tmp_path):
    """A small configuration."""
    path = tmp_path / "small.yaml"
    path.write_text(TEXT)
    return path


def test_a_policy_for_one_field_has_a_plan_with_the_time_of_deciding(config):
    plan = check_config(config, ["engine.decision_time=1 s"])
    without = check_config(config, ["engine.decision_time=0 s"])
    assert [stage.acts for stage in plan.stages] == [1, 20]
    assert plan.total.time_s == pytest.approx(without.total.time_s + 21.0)
    assert plan.total.bytes > 0


def test_strict_fails_where_the_budget_does_not_cover_the_plan(config, capsys):
    assert check(config, [], strict=True) == 0
    assert check(config, ["budget.steps=5"], strict=False) == 0
    assert check(config, ["budget.steps=5"], strict=True) == 3
    assert "the acts budget covers" in capsys.readouterr().out


def test_finish_by_is_part_of_the_budget_of_time(config):
    assert not check_config(config, ["budget.finish_by='20:01'", "policy.options.dwell=10 s"]).covered
    assert check_config(config, ["budget.finish_by='23:00'", "policy.options.dwell=10 s"]).covered


def test_the_file_of_a_queue_is_checked_experiment_by_experiment_and_summed(config, capsys):
    night = config.with_name("night.yaml")
    night.write_text("job: queue\nexperiments:\n  - {config: small.yaml}\n  - {config: small.yaml, name: other}\n")
    assert check(night, [], strict=True) == 0
    shown = capsys.readouterr().out
    assert shown.count("is valid") == 2
    assert "the night 42" in " ".join(shown.split())
