"""``python -m tests.figures [decision ...] [--slow]``: measure and print; exit status 1 where a goal is missed."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence

from tests.figures import (
    arena_bench,
    bus_arrays,
    bus_latency,
    bus_live,
    bus_once,
    dashboard_follow,
    durable_exports,
    durable_resume,
    durable_server,
    durable_store,
    duty,
    focus,
    imaging,
    latency,
    main_job,
    preferences,
    quality,
    schedule,
    steering_latency,
    steering_marks,
    survey_keep,
    survey_plan,
    survey_queue,
    survey_regions,
)
from tests.figures.figure import Figure

Group = Callable[[bool], Iterator[Figure]]

DECISION: dict[str, Group] = {
    "latency": latency.figures,
    "duty": duty.figures,
    "imaging": imaging.figures,
    "focus": focus.figures,
    "quality": quality.figures,
    "schedule": schedule.figures,
}
"""What is measured of the decision engine."""
BUS: dict[str, Group] = {
    "bus_latency": bus_latency.figures,
    "bus_arrays": bus_arrays.figures,
    "bus_live": bus_live.figures,
    "bus_once": bus_once.figures,
}
"""What is measured of the microscope bus."""
DURABLE: dict[str, Group] = {
    "durable_exports": durable_exports.figures,
    "durable_resume": durable_resume.figures,
    "durable_server": durable_server.figures,
    "durable_store": durable_store.figures,
}
"""What is measured of the record."""
ARENA: dict[str, Group] = {"arena_bench": arena_bench.figures}
"""What is measured of the offline benchmark."""
SURVEY: dict[str, Group] = {
    "survey_keep": survey_keep.figures,
    "survey_plan": survey_plan.figures,
    "survey_queue": survey_queue.figures,
    "survey_regions": survey_regions.figures,
}
"""What is measured of the overnight survey."""
DASHBOARD: dict[str, Group] = {
    "dashboard_follow": dashboard_follow.figures,
    "steering_latency": steering_latency.figures,
    "steering_marks": steering_marks.figures,
    "preferences": preferences.figures,
}
"""What is measured of people who steer and watch."""
GROUPS: dict[str, tuple[str, ...]] = {
    "main_job": ("main_job",),
    "decision": tuple(DECISION),
    "bus": tuple(BUS),
    "durable": tuple(DURABLE),
    "arena": tuple(ARENA),
    "survey": tuple(SURVEY),
    "dashboard": tuple(DASHBOARD),
}
"""Measured by default."""
PARTS: dict[str, Group] = {"main_job": main_job.figures} | DECISION | BUS | DURABLE | ARENA | SURVEY | DASHBOARD


def chosen(only: Sequence[str]) -> list[str]:
    """Return the parts of the groups named, each once, in their order; of all groups where none is named.

    Examples
    --------
    >>> chosen(["focus", "decision"])
    ['focus', 'latency', 'duty', 'imaging', 'quality', 'schedule']
    """
    wanted = [part for name in only or GROUPS for part in GROUPS.get(name, (name,))]
    return list(dict.fromkeys(wanted))


def measured(part: str, slow: bool) -> Iterator[Figure]:
    """Yield the figures of one part; where it fails, one that says so."""
    try:
        yield from PARTS[part](slow)
    except Exception as error:  # whatever it is, the other parts are wanted all the same
        traceback.print_exc()
        yield Figure(part, None, "", "can be measured", False, 0, f"{type(error).__name__}: {error}")


def main() -> int:
    """Print every figure of the chosen groups as it is measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures")
    names = dict.fromkeys([*GROUPS, *PARTS])
    parser.add_argument("only", nargs="*", choices=[[], *names], help="what to measure (default: all)")
    parser.add_argument("--slow", action="store_true", help="also those that take longer than a few minutes")
    given = parser.parse_args()
    missed = 0
    for part in chosen(given.only):
        for figure in measured(part, given.slow):
            print(figure.line(), flush=True)
            missed += figure.ok is False
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main())
