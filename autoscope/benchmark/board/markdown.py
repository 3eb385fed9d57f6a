"""The leaderboard as Markdown: one table a comparison, policies that cannot be told apart share a place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from autoscope.benchmark.board import commands, wording
from autoscope.benchmark.board.results import Results
from autoscope.benchmark.board.standings import Standing, best_first, standings

NOTE = (
    "Means over seeds with 95 % bootstrap intervals; in brackets the place: policies that cannot be told apart "
    "(Wilcoxon signed-rank tests paired by seed, corrected by Holm's method, 5 %) are tied and carry `=`. "
    "`≥`: the level was not reached in every seed, which then count with all they spent."
)


def markdown(results: Results) -> str:
    """Return the whole leaderboard as Markdown."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: Results) -> Iterator[str]:
    yield f"# {results.config.name}"
    yield ""
    if results.config.notes:
        yield from (results.config.notes, "")
    yield from (NOTE, "")
    for environment, budget in results.tasks:
        found = standings(results, environment, budget)
        yield from (f"## {environment}, {budget}", "")
        policies = best_first(found, results.policies_of(environment, budget))
        yield from table(found, policies, results.seeds_of(environment, budget))
        if found and not found[0].enough:
            yield from ("", f"With {found[0].seeds} seeds no difference can be told, so there are no places.")
        for policy, count in results.records_of(environment, budget).items():
            yield from ("", wording.of_records(policy, count))
        yield ""
    yield from _controls(results)
    yield from ("## Again", "", f"    {commands.whole(results)}", "")


def table(found: Sequence[Standing], policies: Sequence[str], seeds: Mapping[str, int]) -> Iterator[str]:
    """Yield the lines of one comparison: a row a policy, with how many campaigns it has, and a column a metric."""
    yield "| policy | seeds | " + " | ".join(wording.heading(s) for s in found) + " |"
    yield "|---" * (len(found) + 2) + "|"
    for policy in policies:
        cells = " | ".join(wording.cell(s.entry(policy)) for s in found)
        yield f"| {policy} | {seeds.get(policy, 0)} | {cells} |"


def _controls(results: Results) -> Iterator[str]:
    for heard in results.hearings:
        if heard.caught:
            yield f"**{heard.policy} was caught on {heard.environment}: it decided by what is not in the record.**"
            yield ""
    if not results.findings:
        return
    yield from ("## Negative controls", "")
    yield "| policy | control | best places found | by chance | p | |"
    yield "|---|---|---|---|---|---|"
    for one in results.findings:
        word = "**caught: it knows what cannot be known**" if one.caught else "as chance"
        expected, p = wording.number(one.expected), wording.p_value(one.p)
        yield f"| {one.policy} | {one.environment} | {one.found} | {expected} | {p} | {word} |"
    yield ""
