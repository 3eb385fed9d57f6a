"""The page: every part of the story in the order a person asks for it in the morning."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from autoscope.records import Frame, FrameRef
from autoscope.report import figures, wording
from autoscope.report.accounts import BETWEEN, OTHER, Expense, expenses, timeline, troubles
from autoscope.report.charts import legend
from autoscope.report.chronicle import Event, chronicle
from autoscope.report.finds import Find, Usual, finds
from autoscope.report.follow_up import follow_up
from autoscope.report.foresight import foresight, suggestions
from autoscope.report.headline import headline
from autoscope.report.pictures import Archive
from autoscope.report.story import RunStory
from autoscope.report.survey_map import survey_map

MOST_FINDS = 24
MOST_OTHER_FINDS = 12
MOST_TARGETS = 4
MOST_REMARKS = 200
COLOURED_PURPOSES = 7
OLD_S = 900.0
"""An image taken longer before a measurement may show the place beside its middle."""


def render(story: RunStory, load: Callable[[FrameRef], Frame]) -> str:
    """Return the report as one HTML text that needs nothing else.

    Parameters
    ----------
    story : RunStory
        The run.
    load : callable
        Returns a frame of the run, or raises `JournalCorrupt`.
    """
    archive = Archive(load)
    targets = story.targets()
    best = {
        target: finds(story, target, MOST_OTHER_FINDS if k else MOST_FINDS, archive)
        for k, target in enumerate(targets[:MOST_TARGETS])
    }
    first = best[targets[0]] if targets else []
    script, events = _part("map.js"), chronicle(story)
    return (
        _templates()
        .get_template("page.html.j2")
        .render(
            style=Markup(_part("report.css")),  # noqa: S704  (our own file)
            script=Markup(script),  # noqa: S704  (our own file)
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            story=story,
            head=headline(story, first),
            cards={target: [_card(story, find) for find in found] for target, found in best.items()},
            usual=_usual(story, targets),
            some_stand_out=any(find.stands_out for find in first),
            targets_left_out=targets[MOST_TARGETS:],
            map=survey_map(story, {f.measurement.step: f.rank for f in first}, archive),
            cost=_cost(story, events),
            trouble=_trouble(story, archive, events),
            model=_model(story),
            next=_next(story),
            origin=_origin(story),
        )
    )


def _templates() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_part), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "grouped": wording.count,
        "duration": wording.duration,
        "size": wording.size,
        "plain": wording.plain,
        "percent": wording.percent,
        "metres": wording.length,
    }
    return environment


def _part(name: str) -> str:
    return resources.files("autoscope.report").joinpath(name).read_text(encoding="utf-8")


def _card(story: RunStory, find: Find) -> dict[str, Any]:
    m, r = find.measurement, find.reading
    title = m.target or f"step {m.step}"
    expected = None
    if m.predicted_mean is not None and r.name == story.predicted():  # a policy predicts only what it is after
        expected = wording.with_std(m.predicted_mean, m.predicted_std or 0.0)
    crop = find.crop
    return {
        "find": find,
        "title": title,
        "value": wording.with_std(r.value, r.std),
        "unit": r.unit,
        "expected": expected,
        "place": wording.place(m.x_m, m.y_m),
        "time": story.clock.at(m.time_s),
        "crop": figures.crop_figure(crop, f"Image around {title}, {wording.length(crop.side_m)} wide")
        if crop
        else None,
        "crop_note": _crop_note(story, find) if crop else "",
        "spectrum": figures.spectrum_figure(find.spectrum) if find.spectrum else None,
        "beside": wording.beside(find.beside),
        "others": [figures.spectrum_figure(other) for other in find.others],
    }


def _usual(story: RunStory, targets: Sequence[str]) -> str:
    if not targets:
        return ""
    measured, values, _ = story.measured(targets[0])
    usual = Usual.of(values)
    unit = next((r.unit for m in measured if (r := m.reading(targets[0]))), "")
    return f"{wording.with_std(usual.value, usual.spread)} {unit}".strip()


def _crop_note(story: RunStory, find: Find) -> str:
    if find.crop is None:
        return ""
    picture = find.crop.picture
    old = find.measurement.time_s - picture.time_s > OLD_S and find.crop.drift_m is None
    drift = "; long before, the sample may have drifted since" if old else ""
    if find.crop.drift_m is not None:
        drift = f"; {wording.length(find.crop.drift_m)} of drift since then taken out"
    return (
        f"{picture.ref.meta.signal} {picture.purpose} of {story.clock.at(picture.time_s)} (step {picture.step}), "
        f"{wording.length(find.crop.side_m)} wide{drift}"
    )


def _styles(lines: Sequence[Expense]) -> list[tuple[str, str]]:
    """Return a style for each purpose, the same in table, legend and timeline."""
    purposes = [line.purpose for line in lines if line.purpose != BETWEEN]
    return [(p, f"p{k}") for k, p in enumerate(purposes[:COLOURED_PURPOSES])]


def _cost(story: RunStory, events: Sequence[Event]) -> dict[str, Any]:
    lines = expenses(story)
    styles = _styles(lines)
    over_time = timeline(story, [purpose for purpose, _ in styles])
    all_styles = [*styles, (OTHER, "p7")]
    total = {
        name: sum(getattr(line, name) for line in lines) for name in ("acts", "time_s", "dose_e", "frames", "bytes")
    }
    figure = figures.timeline_figure(over_time, all_styles, story.clock, events) if over_time else None
    shown = [(style, purpose) for purpose, style in all_styles if over_time and purpose in over_time.shares]
    return {
        "lines": lines,
        "total": total,
        "style": dict(all_styles) | {BETWEEN: "gap"},
        "timeline": figure,
        "bin": wording.duration(over_time.bin_s) if over_time else "",
        "legend": legend(shown),
    }


def _trouble(story: RunStory, archive: Archive, events: Sequence[Event]) -> dict[str, Any]:
    return {
        "events": events[:MOST_REMARKS],
        "events_left_out": max(0, len(events) - MOST_REMARKS),
        "groups": troubles(story),
        "open": [a for a in story.acts if a.status == "open"],
        "interventions": [r for r in story.remarks if r.kind == "intervention"][:MOST_REMARKS],
        "unreadable": list(archive.unreadable.values()),
    }


def _model(story: RunStory) -> dict[str, Any]:
    target = next(iter(story.targets()), "")
    measured, values, _ = story.measured(target)
    unit = next((r.unit for m in measured if (r := m.reading(target))), "")
    told = foresight(story, target)
    timed = [(a.step, a.latency_s) for a in story.acts if a.latency_s is not None]
    steps, latency_s = np.array(timed, dtype=np.float64).reshape(-1, 2).T
    return {
        "target": target,
        "unit": unit,
        "learning": figures.learning_figure(values, unit, target) if len(values) else None,
        "foresight": told,
        "errors": figures.error_figure(told) if told else None,
        "predictions": figures.prediction_figure(told, unit, target) if told else None,
        "latency": figures.latency_figure(steps, latency_s) if len(steps) else None,
        "latency_s": dict(zip(("median", "p95", "most"), np.percentile(latency_s, (50, 95, 100)).tolist(), strict=True))
        if len(steps)
        else None,
        "rungs": sorted(story.rungs.items(), key=lambda item: -item[1]),
        "last_fit": story.fits[-1] if story.fits else None,
        "refits": len({(f.model, f.n) for f in story.fits}),
    }


def _next(story: RunStory) -> dict[str, Any]:
    found = suggestions(story)
    return {"found": [(s, wording.place(s.x_m, s.y_m)) for s in found], "yaml": follow_up(story, found)}


def _origin(story: RunStory) -> dict[str, Any]:
    capabilities = story.header.get("capabilities")
    capabilities = capabilities if isinstance(capabilities, Mapping) else {}
    scalarizers = story.header.get("scalarizers")
    config = yaml.safe_dump(dict(story.config), sort_keys=False, allow_unicode=True, width=100) if story.config else ""
    return {
        "config": config,
        "capabilities": capabilities,
        "scalarizers": scalarizers if isinstance(scalarizers, Mapping) else {},
        "seed": story.setting("seed"),
        "policy": story.setting("policy", "name"),
        "environment": story.setting("environment", "name"),
    }
