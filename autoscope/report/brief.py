"""The report in short, as values: what Markdown and PDF say in common."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import yaml

from autoscope.records import Frame, FrameRef
from autoscope.report import wording
from autoscope.report.accounts import Expense, expenses
from autoscope.report.chronicle import Event, chronicle
from autoscope.report.finds import Find, finds
from autoscope.report.follow_up import follow_up
from autoscope.report.foresight import Foresight, Suggestion, foresight, suggestions
from autoscope.report.headline import Headline, headline
from autoscope.report.mosaic import Bounds, Mosaic, bounds, busiest_slot, mosaic, overviews
from autoscope.report.pictures import Archive
from autoscope.report.plates import find_plate, map_plate
from autoscope.report.story import RunStory

MOST_FINDS = 12
MOST_EVENTS = 60


@dataclass(frozen=True)
class Ranked:
    """One of the best places: what is said of it, and its picture as PNG."""

    find: Find
    title: str
    value: str
    expected: str
    place: str
    when: str
    reason: str
    plate: bytes | None


@dataclass(frozen=True)
class Brief:
    """Everything a short report says, in its order."""

    head: Headline
    target: str
    finds: tuple[Ranked, ...]
    map_plate: bytes | None
    costs: tuple[Expense, ...]
    events: tuple[Event, ...]
    events_left_out: int
    foresight: Foresight | None
    next: tuple[Suggestion, ...]
    follow_up: str
    config: str
    folder: str
    head_hash: str


def brief(story: RunStory, load: Callable[[FrameRef], Frame]) -> Brief:
    """Return a run in short.

    Parameters
    ----------
    story : RunStory
        The run.
    load : callable
        Returns a frame of the run, or raises `JournalCorrupt`.
    """
    archive = Archive(load)
    target = next(iter(story.targets()), "")
    best = finds(story, target, MOST_FINDS, archive) if target else []
    events, found = chronicle(story), suggestions(story)
    return Brief(
        head=headline(story, best),
        target=target,
        finds=tuple(_ranked(story, find) for find in best),
        map_plate=_map(story, best, archive),
        costs=tuple(expenses(story)),
        events=tuple(events[:MOST_EVENTS]),
        events_left_out=max(0, len(events) - MOST_EVENTS),
        foresight=foresight(story, target) if target else None,
        next=tuple(found),
        follow_up=follow_up(story, found),
        config=yaml.safe_dump(dict(story.config), sort_keys=False, allow_unicode=True) if story.config else "",
        folder=story.folder,
        head_hash=story.head,
    )


def _ranked(story: RunStory, find: Find) -> Ranked:
    m, r = find.measurement, find.reading
    told = m.predicted_mean is not None and r.name == story.predicted()
    return Ranked(
        find=find,
        title=m.target or f"step {m.step}",
        value=f"{wording.with_std(r.value, r.std)} {r.unit}".strip(),
        expected=wording.with_std(m.predicted_mean or 0.0, m.predicted_std or 0.0) if told else "",
        place=wording.place(m.x_m, m.y_m),
        when=f"step {m.step}, {story.clock.at(m.time_s)}",
        reason=m.reason,
        plate=find_plate(find) if find.crop or find.spectrum else None,
    )


def _map(story: RunStory, best: list[Find], archive: Archive) -> bytes | None:
    slot = busiest_slot(story)
    points = [m for m in story.measurements if m.slot == slot]
    places = np.array([(m.x_m, m.y_m) for m in points], dtype=np.float64).reshape(-1, 2)
    tiles = overviews(story, slot)
    around: Bounds | None = bounds(tiles, places)
    if around is None:
        return None
    picture: Mosaic | None = mosaic(tiles, archive, around) if tiles else None
    return map_plate(picture, around, places, [f for f in best if f.measurement.slot == slot])


def png_size(data: bytes) -> tuple[int, int]:
    """Return width and height of a PNG in pixels."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        return picture.size
