"""What the run cost, by purpose and over the night, and what went wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscope.report.story import Act, RunStory

BETWEEN = "between acts"
"""Time in no act: deciding, writing the record, pauses."""
OTHER = "other"
ROUND_BINS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
MOST_BINS = 72


@dataclass(frozen=True)
class Expense:
    """What the acts of one purpose took in total."""

    purpose: str
    acts: int
    time_s: float
    dose_e: float
    frames: int
    bytes: int


@dataclass(frozen=True)
class Timeline:
    """Shares of time by purpose: ``edges_s`` (n + 1,), and for each purpose its ``shares`` (n,) of each bin's width.

    All bins are ``bin_s`` wide, but the last one ends with the run.
    """

    bin_s: float
    edges_s: NDArray[np.float64]
    shares: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Trouble:
    """Acts that came to nothing in the same way."""

    status: str
    error: str
    purposes: tuple[str, ...]
    count: int
    first_s: float
    last_s: float
    last_step: int
    message: str


def expenses(story: RunStory) -> list[Expense]:
    """Return what each purpose cost, the longest first; the time between acts is a line of its own.

    The times add up to the time from the first record to the last.
    """
    groups: dict[str, list[Act]] = {}
    for act in story.acts:
        groups.setdefault(act.purpose, []).append(act)
    lines = [
        Expense(
            purpose=purpose,
            acts=len(acts),
            time_s=sum(_duration_s(a, story.last_s) for a in acts),
            dose_e=sum(a.dose_e for a in acts),
            frames=sum(a.frames for a in acts),
            bytes=sum(a.bytes for a in acts),
        )
        for purpose, acts in groups.items()
    ]
    lines.sort(key=lambda line: -line.time_s)
    rest_s = story.last_s - story.first_s - sum(line.time_s for line in lines)
    return [*lines, Expense(BETWEEN, 0, max(0.0, rest_s), 0.0, 0, 0)] if lines else []


def _duration_s(act: Act, last_s: float) -> float:
    return (last_s if act.ended_s is None else act.ended_s) - act.begun_s


def timeline(story: RunStory, purposes: Sequence[str]) -> Timeline | None:
    """Return how each part of the run was spent on the given purposes; all others are one: ``other``.

    An act that spans several bins is shared out exactly. None for a run without duration.
    """
    length_s = story.last_s - story.first_s
    if length_s <= 0 or not story.acts:
        return None
    width_s = next((b for b in ROUND_BINS_S if length_s / b <= MOST_BINS), length_s / MOST_BINS)
    edges = story.first_s + np.arange(math.ceil(length_s / width_s - 1e-9) + 1, dtype=np.float64) * width_s
    edges[-1] = story.last_s
    begun = np.array([a.begun_s for a in story.acts])
    lasted = np.array([_duration_s(a, story.last_s) for a in story.acts])
    group = np.array([a.purpose if a.purpose in purposes else OTHER for a in story.acts])
    shares = {}
    for name in (*purposes, OTHER):
        mine = group == name
        if mine.any():
            shares[name] = np.diff(_spent_by(edges, begun[mine], lasted[mine])) / np.diff(edges)
    return Timeline(float(width_s), edges, shares)


def _spent_by(
    edges_s: NDArray[np.float64], begun_s: NDArray[np.float64], lasted_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.array([np.clip(edge - begun_s, 0.0, lasted_s).sum() for edge in edges_s])


def troubles(story: RunStory) -> list[Trouble]:
    """Return the acts that were refused, rejected or failed, grouped by what happened and why, most frequent first."""
    groups: dict[tuple[str, str], list[Act]] = {}
    for act in story.acts:
        if act.status not in ("done", "open"):
            groups.setdefault((act.status, act.error), []).append(act)
    lines = [
        Trouble(
            status=status,
            error=error,
            purposes=tuple(dict.fromkeys(a.purpose for a in acts)),
            count=len(acts),
            first_s=acts[0].begun_s,
            last_s=acts[-1].begun_s,
            last_step=acts[-1].step,
            message=acts[-1].message,
        )
        for (status, error), acts in groups.items()
    ]
    return sorted(lines, key=lambda line: -line.count)
