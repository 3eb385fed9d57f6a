"""The night in order: what went wrong, who intervened, and what was done about it."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autoscope.report import wording
from autoscope.report.story import Act, Remark, RunStory

SAME_S = 900.0
"""Acts that come to nothing in the same way within this time of each other are one event."""
HELD, GOES_ON = "suspended", "released"
BOOKKEEPING = frozenset({"checkpoint", GOES_ON})
"""Notes that tell a person nothing."""
UNFIT = "unfit"
"""Remarks on images that were not as usual; those within `SAME_S` of each other are one event."""
TOLD = frozenset({"fault", "resumed", "upkeep", "moved", UNFIT})
"""Remarks that are a kind of event of their own; ``moved``: the sample did while an image was written."""


@dataclass(frozen=True)
class Event:
    """Something out of the ordinary. ``done``: what was done about it, in words."""

    begun_s: float
    ended_s: float
    kind: str
    """``in vain``, ``held``, ``person``, ``note``, ``end``, or one of `TOLD`."""
    what: str
    done: str
    step: int | None = None


def chronicle(story: RunStory) -> list[Event]:
    """Return everything out of the ordinary in the order it happened, with what was done about it."""
    events = [*_in_vain(story), *_remarked(story), *_end(story)]
    return sorted(events, key=lambda event: (event.begun_s, event.kind == "end"))


# --- acts that came to nothing ----------------------------------------------------------------------


def _in_vain(story: RunStory) -> Iterator[Event]:
    acts = sorted(story.acts, key=lambda act: act.begun_s)
    starts = [act.begun_s for act in acts]
    groups: dict[tuple[str, str, str], list[Act]] = {}
    for act in acts:
        if act.status in ("done", "open"):
            continue
        key = act.status, act.error, act.purpose
        if key in groups and act.begun_s - groups[key][-1].begun_s > SAME_S:
            yield _event(groups.pop(key), acts, starts, story)
        groups.setdefault(key, []).append(act)
    for group in groups.values():
        yield _event(group, acts, starts, story)


def _event(group: Sequence[Act], acts: Sequence[Act], starts: Sequence[float], story: RunStory) -> Event:
    first, last = group[0], group[-1]
    many = f"{wording.plural(len(group), 'act')} {first.status}"
    what = f"{many} ({first.purpose}{' ' + first.target if len(group) == 1 and first.target else ''})"
    cause = last.message or last.error or "no cause given"
    ended_s = last.begun_s if last.ended_s is None else last.ended_s
    later = acts[bisect.bisect_right(starts, last.begun_s) :]
    return Event(first.begun_s, ended_s, "in vain", f"{what}: {cause}", _done_about(group, later), last.step)


def _done_about(group: Sequence[Act], later: Sequence[Act]) -> str:
    wanted = {(act.kind, act.target): act for act in group}
    again = {(act.kind, act.target): act for act in reversed(later) if (act.kind, act.target) in wanted}
    made_good = [again[key] for key in wanted if key in again and again[key].status == "done"]
    if not later:
        return "nothing followed"
    if len(made_good) == len(wanted):
        wait = wording.duration(max(0.0, made_good[-1].begun_s - group[-1].begun_s))
        return f"tried again {wait} later: done" if len(wanted) == 1 else f"all tried again: done, after {wait}"
    went_on = f"went on with {later[0].purpose}{' ' + later[0].target if later[0].target else ''}"
    if made_good:
        return f"{len(made_good)} of {len(wanted)} tried again: done; the others left out; {went_on}"
    return f"{'left out' if len(wanted) == 1 else 'all left out'}; {went_on}"


# --- what people and the engine wrote ---------------------------------------------------------------


def _remarked(story: RunStory) -> Iterator[Event]:
    releases = [r for r in story.remarks if r.kind == GOES_ON]
    yield from _unfit([r for r in story.remarks if r.kind == UNFIT])
    for remark in story.remarks:
        if remark.kind in {"annotation", UNFIT} or remark.kind in BOOKKEEPING:
            continue
        if remark.kind == HELD:
            yield _held(remark, releases, story)
        else:
            yield _said(remark)


def _unfit(remarks: Sequence[Remark]) -> Iterator[Event]:
    group: list[Remark] = []
    for remark in (*remarks, None):
        if group and (remark is None or remark.time_s - group[-1].time_s > SAME_S):
            first, last = group[0], group[-1]
            many = f"{wording.plural(len(group), 'time')} an image was not as usual; last: {last.what}"
            yield Event(first.time_s, last.time_s, UNFIT, many if len(group) > 1 else last.what, "", last.step)
            group = []
        if remark is not None:
            group.append(remark)


def _held(remark: Remark, releases: Sequence[Remark], story: RunStory) -> Event:
    until = next((r.time_s for r in releases if r.time_s >= remark.time_s), None)
    waited = wording.duration((story.last_s if until is None else until) - remark.time_s)
    went = "went on" if until is not None else "did not go on"
    done = f"beam blanked, waited {waited}, {went}"
    return Event(remark.time_s, until or story.last_s, "held", remark.what, done, remark.step)


def _said(remark: Remark) -> Event:
    kind = {"intervention": "person"}.get(remark.kind, remark.kind if remark.kind in TOLD else "note")
    what = f"{remark.who}: {remark.what}" if kind == "person" and remark.who else remark.what
    return Event(remark.time_s, remark.time_s, kind, what or remark.kind, remark.why, remark.step)


def _end(story: RunStory) -> Iterator[Event]:
    if story.ending is not None:
        safe = "beam blanked" if story.ending.safe else "the beam was NOT read back as blanked"
        what = f"{story.ending.status}: {story.ending.reason}".rstrip(": ")
        yield Event(story.last_s, story.last_s, "end", what, safe)
