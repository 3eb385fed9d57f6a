"""The leaderboard as pages of HTML that need nothing else: one overview, and one page a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from autoscope.benchmark.board import charts, commands, wording
from autoscope.benchmark.board.markdown import markdown
from autoscope.benchmark.board.results import Results, read_results
from autoscope.benchmark.board.standings import Standing, best_first, is_effort, is_ranked, overall, profile, standings
from autoscope.benchmark.ranking import Ranking
from autoscope.benchmark.store import write_whole

INDEX, TABLE = "leaderboard.html", "leaderboard.md"
MOST_RANKINGS = 4
MOST_METRICS = 6
"""So many are on the overview; the pages of the comparisons have them all."""


def write_board(folder: Path) -> list[Path]:
    """Write the leaderboard of a benchmark's folder into it and return its files, the overview first.

    Raises
    ------
    DataError
        The folder holds no results.
    """
    results = read_results(folder)
    pages = {INDEX: render_index(results), TABLE: markdown(results)}
    pages |= {page_name(*task): render_task(results, *task) for task in _all_tasks(results)}
    for name, text in pages.items():
        write_whole(folder / name, text.encode())
    return [folder / name for name in pages]


def page_name(environment: str, budget: str) -> str:
    """Return the file of a comparison."""
    return f"{wording.slug(environment, budget)}.html"


def render_index(results: Results) -> str:
    """Return the overview: who is ahead, where it cannot be told, and whether somebody knew too much."""
    tasks = []
    for environment, budget in results.tasks:
        every = [s for s in standings(results, environment, budget) if not is_effort(s.label, s.metric)]
        found = [s for s in every if is_ranked(s.metric)][:MOST_METRICS] or every
        told: dict[str, Any] = {"environment": environment, "budget": budget, "page": page_name(environment, budget)}
        present = best_first(found, results.policies_of(environment, budget))
        told["seeds"] = results.seeds_of(environment, budget)
        told["records"] = _records(results, environment, budget)
        tasks.append(told | {"standings": found, "truth": results.truth_of(environment, budget), "policies": present})
    return _render("board.html.j2", results, tasks=tasks, rankings=_rankings(results), profiles=_profiles(results))


def render_task(results: Results, environment: str, budget: str) -> str:
    """Return the page of one comparison: curves, every metric, every pair, paths, and the commands."""
    runs, found = results.of(environment, budget), standings(results, environment, budget)
    present = results.policies_of(environment, budget)
    return _render(
        "board_task.html.j2",
        results,
        environment=environment,
        budget=budget,
        control=runs[0].control,
        truth=results.truth_of(environment, budget),
        policies=present,
        curves=_markup(charts.learning_curves(runs, results.truths, present)),
        paths=_markup(charts.trajectories(runs, results.truths, present)),
        groups=_groups(found),
        ordered=best_first(found, present),
        pairs=[s for s in found if not is_effort(s.label, s.metric)],
        again={policy: commands.again(results, environment, policy) for policy in present},
        seeds=results.seeds_of(environment, budget),
        records=_records(results, environment, budget),
        failed=[run for run in runs if run.failed],
    )


def _records(results: Results, environment: str, budget: str) -> list[str]:
    return [wording.of_records(policy, n) for policy, n in results.records_of(environment, budget).items()]


def _all_tasks(results: Results) -> list[tuple[str, str]]:
    return list(dict.fromkeys((run.environment, run.budget) for run in results.runs))


def _groups(found: Sequence[Standing]) -> list[tuple[str, list[Standing]]]:
    success = [s for s in found if not is_effort(s.label, s.metric)]
    effort = [s for s in found if is_effort(s.label, s.metric)]
    return [(title, group) for title, group in (("What was found", success), ("What it cost", effort)) if group]


def _rankings(results: Results) -> list[tuple[str, Ranking, Markup]]:
    """Return the first few metrics of success in which all policies stand, each with its diagram."""
    shown = standings(results, *results.tasks[0]) if results.tasks else []
    labels = [s.label for s in shown if not is_effort(s.label, s.metric) and is_ranked(s.metric)]
    found = ((label, overall(results, label)) for label in labels)
    kept = [(label, ranking) for label, ranking in found if ranking is not None][:MOST_RANKINGS]
    return [(label, ranking, _markup(charts.critical_difference_diagram(ranking))) for label, ranking in kept]


def _profiles(results: Results) -> list[tuple[str, Markup]]:
    found = ((label, profile(results, label)) for label in results.metrics)
    kept = [(label, told) for label, told in found if told is not None]
    return [(label, _markup(charts.profile_chart(*told, results.policies))) for label, told in kept]


def _render(template: str, results: Results, **told: Any) -> str:
    environment = Environment(
        loader=FunctionLoader(_part), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"cell": wording.cell, "interval": wording.interval, "number": wording.number}
    environment.filters |= {"heading": wording.heading, "p": wording.p_value, "verdict": wording.verdict}
    return environment.get_template(template).render(
        css=_markup(_part("board.css")),
        results=results,
        index=INDEX,
        page_name=page_name,
        whole=commands.whole(results),
        **told,
    )


def _markup(text: str) -> Markup:
    """Return text of our own making as it is."""
    return Markup(text)  # noqa: S704  (drawings and files of this package; names in drawings are escaped by matplotlib)


def _part(name: str) -> str:
    return resources.files("autoscope.benchmark.board").joinpath(name).read_text(encoding="utf-8")
