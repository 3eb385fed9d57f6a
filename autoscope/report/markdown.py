"""The report in short as Markdown, with its pictures beside it: for a wiki, an electronic notebook, an e-mail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autoscope.report import wording
from autoscope.report.brief import Brief, Ranked
from autoscope.report.story import RunClock

PICTURES = "pictures"
"""Folder beside the text."""


def markdown(told: Brief, clock: RunClock) -> tuple[str, dict[str, bytes]]:
    """Return the text and its pictures by their path beside it."""
    pictures = {f"{PICTURES}/find_{r.find.rank:02d}.png": r.plate for r in told.finds if r.plate is not None}
    if told.map_plate is not None:
        pictures[f"{PICTURES}/map.png"] = told.map_plate
    parts = [*_head(told), *_finds(told), *_map(told), *_night(told, clock), *_cost(told), *_model(told), *_next(told)]
    parts += [
        f"Run `{_plain(told.folder)}`, last record `{told.head_hash or 'none'}`; `autoscope verify` proves it.",
        "",
    ]
    return "\n".join(parts), pictures


def _plain(text: str) -> str:
    """Return a text that is nothing but itself in Markdown and in a table of it."""
    one_line = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|~!" else c for c in one_line)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def _head(told: Brief) -> Iterator[str]:
    yield f"# {_plain(told.head.name)}: morning report"
    yield ""
    yield _plain(told.head.sample)
    yield ""
    for warning in told.head.warnings:
        yield from (f"> **{_plain(warning)}**", "")
    yield from (f"**{_plain(told.head.found)}** {_plain(told.head.ended)}", "")
    yield from _table([_plain(n) for n, _ in told.head.figures], [[_plain(v) for _, v in told.head.figures]])


def _finds(told: Brief) -> Iterator[str]:
    if not told.finds:
        return
    yield from (f"## Finds, by {_plain(told.target)}", "")
    for ranked in told.finds:
        yield from _find(ranked)


def _find(ranked: Ranked) -> Iterator[str]:
    find = ranked.find
    usual = "" if find.stands_out else ", not beyond what is usual"
    yield from (f"### {find.rank}. {_plain(ranked.title)}: {_plain(ranked.value)}{usual}", "")
    if ranked.plate is not None:
        yield from (f"![Image and spectrum of {_plain(ranked.title)}]({PICTURES}/find_{find.rank:02d}.png)", "")
    expected = f"; expected {_plain(ranked.expected)}" if ranked.expected else ""
    beside = f"; meanwhile {_plain(wording.beside(find.beside))}" if find.beside else ""
    yield from (f"At {_plain(ranked.place)}, {_plain(ranked.when)}{expected}{beside}. {_plain(ranked.reason)}", "")


def _map(told: Brief) -> Iterator[str]:
    if told.map_plate is not None:
        yield from ("## Map", "", f"![Overviews, measured places and ranks]({PICTURES}/map.png)", "")


def _night(told: Brief, clock: RunClock) -> Iterator[str]:
    yield from ("## The night in order", "")
    rows = [[clock.at(e.begun_s), _plain(e.what), _plain(e.done)] for e in told.events]
    yield from (
        _table(["When", "What happened", "What was done about it"], rows) if rows else ["Nothing went wrong.", ""]
    )
    if told.events_left_out:
        yield from (f"{told.events_left_out} later events are in the record only.", "")


def _cost(told: Brief) -> Iterator[str]:
    yield from ("## Cost", "")
    rows = [
        [_plain(c.purpose), str(c.acts), wording.duration(c.time_s), wording.plain(c.dose_e), wording.size(c.bytes)]
        for c in told.costs
    ]
    yield from _table(["Purpose", "Acts", "Time", "Electrons", "Data"], rows)


def _model(told: Brief) -> Iterator[str]:
    if told.foresight is None:
        return
    figures = told.foresight.figures
    held = ", ".join(
        f"{wording.percent(level)} held {wording.percent(share)}" for level, share in told.foresight.covered
    )
    yield from ("## How the model did", "")
    yield f"{figures.n} predictions; intervals: {held}; errors in standard deviations: mean {figures.mean_z:.2f}, std"
    yield from (f"{figures.std_z:.2f}; rank correlation {told.foresight.correlation:.2f}.", "")


def _next(told: Brief) -> Iterator[str]:
    if not told.next:
        return
    yield from ("## What to look at next", "")
    rows = [[s.what, _plain(wording.place(s.x_m, s.y_m)), _plain(s.expected), _plain(s.label)] for s in told.next]
    yield from _table(["Do", "At", "Why", "From"], rows)
    yield from ("`follow_up.yaml` visits these places: `autoscope check follow_up.yaml` tells its time and dose.", "")
