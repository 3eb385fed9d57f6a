"""The exact command that computes a number of a leaderboard again, and where its seeds are kept."""

from __future__ import annotations

import shlex

from autoscope.benchmark.board.results import Results


def whole(results: Results) -> str:
    """Return the command that computes the whole benchmark, or what is missing of it."""
    return f"autoscope bench {shlex.quote(str(results.folder / 'bench.yaml'))}"


def again(results: Results, environment: str, policy: str) -> str:
    """Return the command that computes one policy on one environment anew, from nothing, in a folder of its own."""
    seeds = len({run.repetition for run in results.runs if (run.environment, run.policy) == (environment, policy)})
    control = next((run.control for run in results.runs if run.environment == environment), "")
    source = environment.removesuffix(f" [{control}]") if control else environment
    chosen = f"--environment {shlex.quote(source)} --policy {shlex.quote(policy)}"
    return f"{whole(results)} {chosen} --seeds {seeds} --runs runs/again"
