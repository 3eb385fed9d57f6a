"""Numbers and names as people read them, the same on the page and in the Markdown table."""

from __future__ import annotations

import math
import re

from autoscope.benchmark.board.standings import Entry, Standing, is_ranked
from autoscope.benchmark.statistics import Comparison, Interval, can_be_told_apart

MINUS = "\u2212"
ABSENT = "–"


def of_records(policy: str, count: int) -> str:
    """Return what can be said of a policy whose choices are those of recorded runs.

    Examples
    --------
    >>> of_records("anna", 1)
    'anna: choices recorded in 1 run and played again. So few campaigns say little of the next, and give no place.'
    """
    runs = f"{count} run" + "s" * (count != 1)
    if not can_be_told_apart([count])[0]:
        judged = "So few campaigns say little of the next, and give no place."
    else:
        judged = "They are compared over the seeds they share with the others."
    return f"{policy}: choices recorded in {runs} and played again. {judged}"


def number(value: float, digits: int = 3) -> str:
    """Return a number in a few significant digits.

    Examples
    --------
    >>> number(0.12345), number(1234.5), number(-0.5), number(2.5e9), number(float("inf"))
    ('0.123', '1230', '−0.5', '2.5e9', 'never')
    """
    if math.isinf(value):
        return "never"
    if math.isnan(value):
        return ABSENT
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        whole = 1e-4 <= abs(value) < 1e6
        text = f"{float(text):.0f}" if whole and abs(value) >= 1 else f"{mantissa}e{int(exponent)}"
    return text.replace("-", MINUS)


def interval(found: Interval | None) -> str:
    """Return a mean with its interval.

    Examples
    --------
    >>> interval(Interval(0.5, 0.4, 0.61, 20))
    '0.5 [0.4, 0.61]'
    """
    if found is None:
        return ABSENT
    if found.n < 2:
        return number(found.value)
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"


def cell(entry: Entry | None) -> str:
    """Return an entry with its place: ``0.91 [0.88, 0.93] (1=)``."""
    if entry is None or entry.interval is None:
        return ABSENT
    bound = "≥ " if entry.missed else ""
    place = f" ({entry.place.label})" if entry.place else ""
    return f"{bound}{interval(entry.interval)}{place}"


def heading(standing: Standing) -> str:
    """Return the name of a metric with its unit and which way is better."""
    unit = f", {standing.metric.unit}" if standing.metric.unit else ""
    arrow = "" if not is_ranked(standing.metric) else " ↑" if standing.metric.better == "higher" else " ↓"
    return f"{standing.label.replace('_', ' ')}{unit}{arrow}"


def p_value(p: float) -> str:
    """Return a p-value.

    Examples
    --------
    >>> p_value(0.0321), p_value(1e-9)
    ('0.032', '< 0.001')
    """
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def verdict(comparison: Comparison) -> str:
    """Return whether a pair was told apart."""
    return "told apart" if comparison.distinguishable else "tied"


def slug(*parts: str) -> str:
    """Return a name for a file.

    Examples
    --------
    >>> slug("jeol [shuffled_labels]", "100 measurements")
    'jeol-shuffled-labels-100-measurements'
    """
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")
