"""The leaderboard of a real, small benchmark: what it tells is what the statistics say."""

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from autoscope.benchmark.board import commands
from autoscope.benchmark.board.page import write_board
from autoscope.benchmark.board.results import read_results
from autoscope.benchmark.board.standings import best_first, overall, plan_of, profile, standings
from autoscope.benchmark.board.wording import number
from autoscope.benchmark.config import SeedsConfig
from autoscope.benchmark.farm import Here
from autoscope.cli.app import app
from autoscope.errors import DataError
from tests.unit.benchmark.worlds import arena, plain

SEEDS = 8
POLICIES = {"random": {"name": "random"}, "gp": {"name": "gp"}, "twin": {"name": "random"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("board")
    task = plain(place)["environments"]["hill"] | {"controls": ["shuffled_labels"]}
    made = arena(
        place,
        environments={"hill": task},
        policies=POLICIES,
        seeds={"count": SEEDS, "of": {"twin": 3}},
        budgets=[{"measurements": 14}],
        maps_at=[14],
        opening=4,
    )
    made.run(Here())
    return place / "bench"


@pytest.fixture(scope="module")
def results(folder):
    return read_results(folder)


@pytest.fixture(scope="module")
def pages(folder):
    return {path.name: path.read_text(encoding="utf-8") for path in write_board(folder)}


def test_results_read_back_have_every_campaign_and_metric(results):
    assert len(results.runs) == 2 * (2 * SEEDS + 3)
    assert results.tasks == [("hill", "14 measurements")]
    assert results.seeds_of(*results.tasks[0]) == {"random": SEEDS, "gp": SEEDS, "twin": 3}
    assert set(results.runs[0].values) == set(results.metrics)


def test_seeds_of_a_policy_share_their_opening_with_every_other(results):
    first = {(r.policy, r.repetition): r.trace.chosen[:4].tolist() for r in results.runs if not r.control}
    for (_, repetition), opening in first.items():
        assert opening == first["random", repetition]


def test_the_better_policy_is_first_and_a_twin_with_few_seeds_has_no_place(results):
    area = next(s for s in standings(results, *results.tasks[0]) if s.label == "top_found")
    gp, random, twin = (area.entry(policy) for policy in ("gp", "random", "twin"))
    assert gp.interval.value > random.interval.value
    assert (gp.place.label, random.place.label) == ("1", "2")
    assert twin.place is None
    pair = next(c for c in area.comparisons if {c.a, c.b} == {"random", "twin"})
    assert (pair.difference.n, pair.difference.value) == (3, 0.0)


def test_a_level_never_reached_is_a_bound_in_means_and_last_in_ranks(results):
    levels = next(s for s in standings(results, *results.tasks[0]) if s.label == "to_level")
    missed = [r for r in results.runs if not r.control and r.policy == "random" and np.isinf(r.values["to_level"])]
    assert levels.entry("random").missed == len(missed) > 0
    assert all(run.bounded["to_level"] == 14 for run in missed)


def test_coverage_and_sharpness_are_told_and_nobody_is_ranked_by_them(results):
    by_label = {s.label: s for s in standings(results, *results.tasks[0])}
    for label in ("interval_coverage", "sharpness"):
        assert by_label[label].comparisons == ()
        assert by_label[label].entry("gp").place is None


def test_ranking_and_profile_leave_out_who_has_few_seeds(results):
    ranking = overall(results, "best_so_far_area")
    assert ranking.blocks == SEEDS
    at, shares = profile(results, "to_level")
    assert at[0] == 1.0
    assert set(shares) == {"random", "gp"}  # the twin has too few seeds to stand in every block
    assert profile(results, "best_so_far_area") is None
    assert best_first(standings(results, *results.tasks[0]), ["random", "gp", "nobody"])[-1] == "nobody"


def test_early_stopping_judges_by_its_own_looks():
    seeds = SeedsConfig(count=14, at_least=6, batch=4, stop="decided")
    assert plan_of(seeds).looks == (6, 10, 14)
    assert plan_of(SeedsConfig()) is None


def test_pages_ask_for_nothing_and_run_nothing(pages):
    names = {
        "leaderboard.html",
        "leaderboard.md",
        "hill-14-measurements.html",
        "hill-shuffled-labels-14-measurements.html",
    }
    assert set(pages) == names
    for name in names - {"leaderboard.md"}:
        assert "default-src 'none'" in pages[name]
        assert "<script" not in pages[name]
        assert not re.findall(r'(?:src|href)="(?!data:|#|[a-z0-9-]+\.html")[^"]*"', pages[name])


def test_the_same_results_give_the_same_pages(folder, pages):
    again = {path.name: path.read_text(encoding="utf-8") for path in write_board(folder)}
    assert again == pages


def test_the_table_says_what_the_statistics_say(results, pages):
    gp = next(s for s in standings(results, *results.tasks[0]) if s.label == "top_found").entry("gp")
    row = next(line for line in pages["leaderboard.md"].splitlines() if line.startswith("| gp |"))
    assert f"{number(gp.interval.value)} [{number(gp.interval.low)}, {number(gp.interval.high)}] (1" in row
    assert "| hill [shuffled_labels] |" in pages["leaderboard.md"]
    assert "as chance" in pages["leaderboard.html"]


def test_who_was_caught_is_told_first(folder, pages):
    told = [{"policy": "<b>spy</b>", "environment": "hill", "decisions": 9, "same": 2, "first": "", "opened": []}]
    (folder / "hearings.json").write_text(json.dumps(told))
    try:
        page = write_board(folder)[0].read_text(encoding="utf-8")
    finally:
        (folder / "hearings.json").unlink()
    assert page.index("&lt;b&gt;spy&lt;/b&gt;") < page.index("<main>")
    assert "2 of 9 decisions came out the same" in page


def test_each_row_has_the_command_that_computes_it_again(results, folder, pages, tmp_path):
    command = commands.again(results, "hill", "gp")
    assert command in pages["hill-14-measurements.html"].replace("&#39;", "'")
    words = command.split()[1:]
    words[words.index("--seeds") + 1] = "1"
    done = CliRunner().invoke(app, [*words[:-1], str(tmp_path), "--workers", "0", "--quiet"])
    assert done.exit_code == 0, done.output
    fresh = read_results(tmp_path / "small")
    (run,) = [run for run in fresh.runs if not run.control]
    kept = next(r for r in results.runs if (r.policy, r.control, r.repetition) == ("gp", "", 0))
    assert run.trace.chosen.tolist() == kept.trace.chosen.tolist()
    assert (tmp_path / "small" / "leaderboard.html").exists()


def test_report_of_no_benchmark_says_what_to_do(tmp_path, folder):
    with pytest.raises(DataError, match="autoscope bench CONFIG"):
        write_board(tmp_path)
    (folder / "hearings.json").write_text("[1]")
    try:
        with pytest.raises(DataError, match="hearings"):
            read_results(folder)
    finally:
        (folder / "hearings.json").unlink()


def test_a_label_that_is_not_in_the_file_is_refused(folder, tmp_path):
    words = ["bench", str(folder / "bench.yaml"), "--policy", "nobody", "--runs", str(tmp_path), "--workers", "0"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code != 0
    assert "nobody" in str(done.exception)
