"""How long a decision takes on one core: with an update, with a refit, over a whole run, with many candidates."""

from __future__ import annotations

import functools
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from autoscope.registry import load
from tests.figures import latency_peers
from tests.figures.figure import Figure
from tests.figures.latency_case import Row, run_case
from tests.figures.latency_world import DESCRIPTION

SIDE, QUICK_SIDE = 200, 100
"""Of the overview: 40,000 candidates; of the run that peers are compared with, unless slow, 10,000."""
MEASURED = 200
AROUND = range(180, 221)
"""Decisions with so many measurements stand for those with 200."""
INITIAL = 10
INCREMENTAL_MS, MEMORY_MB = 5.0, 600.0
REFIT_MS = {"gp": 100.0, "deep_kernel": 200.0}
FASTER = {"gpytorch_dkl": 50.0, "vidkl": 200.0}
MILLION_MS, MANY_MS = 150.0, 1000.0
OFTEN = {"refit_every": 5, "refit_growth": 0.0}
"""So that there are enough refits near 200 measurements; each still learns from five new ones."""

run = functools.cache(run_case)


def figures(slow: bool) -> Iterator[Figure]:
    """Yield every latency figure; with ``slow`` peers on 40,000 candidates."""
    for policy in REFIT_MS:
        yield from guarded(f"latency_{policy}", functools.partial(_table, policy, "cpu"))
        if policy == "deep_kernel":
            yield from guarded("latency_deep_kernel_alone", _deep_kernel_alone)
        yield from guarded(f"amortised_{policy}", functools.partial(_amortised, policy, SIDE if slow else QUICK_SIDE))
    yield from guarded("latency_1000000_candidates", _million)
    yield from guarded("latency_5000_measured", functools.partial(_many, "cpu"))
    yield from guarded("latency_deep_kernel_2000_measured", _deep_and_many)
    yield from guarded("latency_cuda", _cuda)


def guarded(name: str, measure: Callable[[], Iterator[Figure]]) -> Iterator[Figure]:
    """Yield what is measured; where that fails, a figure that says so, and go on."""
    try:
        yield from measure()
    except Exception as error:  # whatever it is, the other figures are wanted all the same
        yield Figure(name, None, "", "can be measured", False, 0, f"{type(error).__name__}: {str(error)[-600:]}")


# --- 40,000 candidates, 200 measured ----------------------------------------------------------------


def _table(policy: str, device: str) -> Iterator[Figure]:
    options, clock, tail = _on(device)
    whole = run("whole_run", policy=policy, side=SIDE, last=max(AROUND), ahead=20, **options)
    often = run("whole_run", policy=policy, side=SIDE, last=max(AROUND), **options, **OFTEN)
    updates = _near([row for row in whole["rows"] if not row["refit"] and not row["ahead"]])
    yield _timed(f"latency_incremental_{policy}{tail}", updates, clock, INCREMENTAL_MS, _conditions(whole, policy))
    refits, how = _rebuilt(_near([row for row in often["rows"] if row["refit"]]), clock)
    how = f"refits every 5 measurements, warm, all members of the committee; {how}; {_conditions(often, policy)}"
    yield _timed(f"latency_refit_{policy}{tail}", refits, clock, REFIT_MS[policy], how)
    ahead = [row for row in whole["rows"] if row["ahead"] and not row["refit"]]
    how = f"as the overlapped engine asks, with one measurement under way; {_conditions(whole, policy)}"
    yield _timed(f"latency_ahead_{policy}{tail}", ahead, clock, None, how)
    peak = whole["peak_mb"]
    how = f"resident memory of a process of its own at its highest, imports and features counted; {_size(SIDE, SIDE)}"
    yield Figure(f"peak_memory_{policy}{tail}", round(peak), "MB", f"< {MEMORY_MB:g}", peak < MEMORY_MB, 1, how)
    if device == "cpu":
        yield from _floors(policy, whole, updates, refits)


def _deep_kernel_alone() -> Iterator[Figure]:
    """Yield the same without the rivals, which may be believed instead."""
    answer = run("whole_run", policy="deep_kernel", side=SIDE, last=max(AROUND), alone=True, **OFTEN)
    how = f"the deep kernel without rivals; {_conditions(answer, 'deep_kernel')}"
    for kind, goal, refit in (("incremental", INCREMENTAL_MS, False), ("refit", REFIT_MS["deep_kernel"], True)):
        rows, more = _near([row for row in answer["rows"] if row["refit"] is refit]), how
        if refit:
            rows, share = _rebuilt(rows, "cpu_s")
            more = f"{share}; {how}"
        yield _timed(f"latency_{kind}_deep_kernel_alone", rows, "cpu_s", goal, more)


def _rebuilt(refits: list[Row], clock: str) -> tuple[list[Row], str]:
    """Return the refits after which a posterior was built anew, the dear ones, and how many they are of all."""
    rebuilt = [row for row in refits if row["rebuilt"]] or refits
    share = f"the {len(rebuilt)} of {len(refits)} that build a posterior anew, as the others gain under 1 nat"
    return rebuilt, f"{share} (median of all {_median_ms(refits, clock):.1f} ms)"


def _floors(policy: str, whole: dict[str, Any], updates: Sequence[Row], refits: Sequence[Row]) -> Iterator[Figure]:
    for kind, rows in (("incremental", updates), ("refit", refits)):
        floor_ms = whole["floor_s"][kind] * 1e3
        measured_ms = _median_ms(rows, "cpu_s")
        how = (
            f"counted bytes, flops and exponentials of the algorithm in use, each operand moved once, the larger of "
            f"memory and arithmetic time; {whole['machine']}; measured {measured_ms:.1f} ms"
        )
        yield Figure(f"floor_{kind}_{policy}", round(floor_ms, 2), "ms", "", None, len(rows), how)
        ratio = measured_ms / floor_ms
        yield Figure(f"over_floor_{kind}_{policy}", round(ratio, 2), "x", "", None, len(rows), how)


def _on(device: str) -> tuple[dict[str, Any], str, str]:
    """Return options, the clock that counts and the end of a figure's name for a device."""
    return ({}, "cpu_s", "") if device == "cpu" else ({"device": device}, "wall_s", f"_{device}")


def _near(rows: Sequence[Row]) -> list[Row]:
    """Return the decisions made with about 200 measurements."""
    return [row for row in rows if row["n"] in AROUND]


def _median_ms(rows: Sequence[Row], clock: str) -> float:
    return statistics.median(row[clock] for row in rows) * 1e3


def _timed(name: str, rows: Sequence[Row], clock: str, goal_ms: float | None, how: str) -> Figure:
    value, goal = _median_ms(rows, clock), "" if goal_ms is None else f"<= {goal_ms:g}"
    longest = max(row[clock] for row in rows) * 1e3
    other = "wall_s" if clock == "cpu_s" else "cpu_s"
    words = {"cpu_s": "CPU", "wall_s": "wall"}
    spread = f"median {words[clock]} of tell + ask; longest {longest:.1f} ms"
    how = f"{spread}; median {words[other]} {_median_ms(rows, other):.1f} ms; {how}"
    ok = None if goal_ms is None else value <= goal_ms
    return Figure(name, round(value, 2), f"ms {words[clock]}", goal, ok, len(rows), how)


def _conditions(answer: dict[str, Any], policy: str) -> str:
    asked = f"members asked: {', '.join(answer['asked'])} of {', '.join(answer['members'])}"
    return f"{policy}, {_size(SIDE, SIDE)}, {AROUND[0]} to {AROUND[-1]} measured, one thread, {asked}; {_load(answer)}"


def _load(answer: dict[str, Any]) -> str:
    """Return how busy the machine was: neighbours slow memory down, in CPU seconds too."""
    return f"load {answer['load']:.1f} on {os.cpu_count()} cores"


def _size(height: int, width: int) -> str:
    return f"{height * width:,} candidates, {DESCRIPTION}"


# --- a whole run, against peers ---------------------------------------------------------------------


def _amortised(policy: str, side: int) -> Iterator[Figure]:
    whole = run("whole_run", policy=policy, side=side, last=MEASURED)
    decided = [row for row in whole["rows"] if row["n"] >= INITIAL]
    mean_s = sum(row["cpu_s"] for row in decided) / len(decided)
    before = sum(row["cpu_s"] for row in whole["rows"] if row["n"] < INITIAL)
    refits = sum(row["refit"] for row in decided)
    where = f"{policy}, {_size(side, side)}, from {INITIAL} to {MEASURED} measured, one thread"
    how = (
        f"mean of tell + ask over all decisions of the default schedule, {refits} refits included; {where}; "
        f"all before that, features and starting points included: {before * 1e3:.0f} ms; {_load(whole)}"
    )
    yield Figure(f"amortised_{policy}", round(mean_s * 1e3, 2), "ms CPU", "", None, len(decided), how)
    for method, goal in FASTER.items():
        yield _against(policy, method, side, mean_s, goal, where)


def _against(policy: str, method: str, side: int, mean_s: float, goal: float, where: str) -> Figure:
    name = f"amortised_{method}_over_{policy}"
    if not latency_peers.installed(method):
        return Figure(name, None, "x", f">= {goal:g}", None, 0, f"{method} is not installed: make peers")
    cost = _peer(method, side)
    how = (
        f"{method} retrained at each step with its documented settings: {cost.words()} (CPU, one decision each "
        f"after a warm-up, random points), mean {cost.mean_s:.2f} s by the trapezoidal rule; ours "
        f"{mean_s * 1e3:.1f} ms; {where}"
    )
    ratio = cost.mean_s / mean_s
    return Figure(name, round(ratio, 1), "x", f">= {goal:g}", ratio >= goal, len(cost.seconds), how)


@functools.cache
def _peer(method: str, side: int) -> latency_peers.PeerCost:
    return latency_peers.measure(method, side)


# --- many candidates, many measurements -------------------------------------------------------------


def _million() -> Iterator[Figure]:
    answer = run("given_then_decide", policy="gp", height=1000, width=1000, given=190, decisions=16, refit_every=1000)
    rows = [row for row in answer["rows"] if not row["refit"] and row["n"] > 190]
    asked = f"members asked: {', '.join(answer['asked'])}"
    asked = f"{asked}; peak {answer['peak_mb']:.0f} MB; {_load(answer)}"
    how = f"gp, {_size(1000, 1000)}, 190 given at random, then decided; {asked}"
    yield _timed("latency_incremental_1000000_candidates", rows, "cpu_s", MILLION_MS, how)
    first = [row for row in answer["rows"] if row["refit"]]
    yield _timed("latency_first_fit_1000000_candidates", first, "cpu_s", None, how)
    built = answer["features"]
    how = f"{built['columns']} columns; peak memory {built['peak_mb']:.0f} MB, {built['before_mb']:.0f} MB before"
    yield Figure("features_1000000_pixels", round(built["cpu_s"], 2), "s CPU", "", None, 1, how)


def _many(device: str) -> Iterator[Figure]:
    grows = "measured_limit" in load("policies", "gp").Config.model_fields
    options, clock, tail = _on(device)
    size: dict[str, Any] = {"height": 250, "width": 400, "given": 5000}
    if grows:
        answer = run("given_then_decide", policy="gp", decisions=26, **size, **OFTEN, **options)
        what = "gp, tell + ask"
    else:
        answer = run("through_inducing", decisions=15, **size, **options)
        what = "the surrogate with inducing points alone: fit or condition, pool posterior, confidence bound"
    later = [row for row in answer["rows"] if row["n"] > 5000]
    where = f"{what}; 5,000 measured, {_size(250, 400)}, one thread; peak {answer['peak_mb']:.0f} MB; {_load(answer)}"
    for kind, refit in (("incremental", False), ("refit", True)):
        rows = [row for row in later if row["refit"] is refit]
        yield _timed(f"latency_{kind}_5000_measured{tail}", rows, clock, MANY_MS, where)


def _deep_and_many() -> Iterator[Figure]:
    """Yield what the deep kernel takes on both sides of the change to inducing points."""
    for given in (450, 2000):
        answer = run(
            "given_then_decide", policy="deep_kernel", height=SIDE, width=SIDE, given=given, decisions=16, **OFTEN
        )
        where = f"deep_kernel, {given:,} measured, {_size(SIDE, SIDE)}, one thread; {_load(answer)}"
        for kind, refit in (("incremental", False), ("refit", True)):
            rows = [row for row in answer["rows"] if row["n"] > given and row["refit"] is refit]
            yield _timed(f"latency_{kind}_deep_kernel_{given}_measured", rows, "cpu_s", None, where)


def _cuda() -> Iterator[Figure]:
    import torch

    if not torch.cuda.is_available():
        yield Figure(
            "latency_cuda", None, "", "", None, 0, "no CUDA device at hand: the same table is not measured there"
        )
        return
    for policy in REFIT_MS:
        if "device" in load("policies", policy).Config.model_fields:
            yield from guarded(f"latency_{policy}_cuda", functools.partial(_table, policy, "cuda"))
        else:
            yield Figure(f"latency_{policy}_cuda", None, "", "", None, 0, "this policy computes on the CPU alone")
    yield from guarded("latency_5000_measured_cuda", functools.partial(_many, "cuda"))
