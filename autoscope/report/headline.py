"""The first lines: how the run ended and what it found, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoscope.report import wording
from autoscope.report.finds import STANDS_OUT, Find, Usual, ranked
from autoscope.report.story import RunStory

GOING_ON = "not ended"
"""Status of a run without a last record: it goes on, or was cut off."""


@dataclass(frozen=True)
class Headline:
    """What a person reads first."""

    name: str
    status: str
    sample: str
    found: str
    ended: str
    warnings: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]
    """What and how much, in a row."""


def headline(story: RunStory, best: Sequence[Find]) -> Headline:
    """Return the first lines of the report; ``best``: finds of the first target, highest first."""
    return Headline(
        name=str(story.header.get("name") or story.folder),
        status=story.ending.status if story.ending else GOING_ON,
        sample=_about(story),
        found=_found(story, best),
        ended=_ended(story),
        warnings=tuple(_warnings(story)),
        figures=tuple(_figures(story)),
    )


def _about(story: RunStory) -> str:
    capabilities: Any = story.header.get("capabilities")
    capabilities = capabilities if isinstance(capabilities, Mapping) else {}
    instrument = capabilities.get("instrument", "")
    simulated = " (simulated)" if capabilities.get("simulated") and "simulated" not in str(instrument) else ""
    policy = story.setting("policy", "name")
    begun, ended = story.clock.at(story.first_s), story.clock.at(story.last_s)
    parts = (
        story.header.get("sample"),
        f"{instrument}{simulated}",
        f"policy {policy}" if policy else "",
        story.header.get("operator"),
        f"{story.clock.date(story.first_s)}, {begun} to {ended} {story.clock.zone_name}" if story.records else "",
    )
    return " · ".join(str(part) for part in parts if part)


def _found(story: RunStory, best: Sequence[Find]) -> str:
    if not best:
        seen = f", {wording.plural(len(story.pictures), 'image')} taken" if story.pictures else ""
        acts = wording.plural(len(story.acts), "act")
        return f"Nothing was measured{seen} ({acts})." if story.acts else "No act is recorded yet."
    target, unit = best[0].reading.name, best[0].reading.unit
    _, values, _ = story.measured(target)
    usual = Usual.of(values)
    many = f"{wording.plural(len(values), 'measurement')} of {target}"
    first, *others = (_named(find) for find in best[:3] if find is best[0] or find.stands_out)
    highest = f"{first[0]}{_unit(unit)} at {first[1]}"
    then = f"; then {' and '.join(f'{value} at {name}' for value, name in others)}" if others else ""
    outstanding = sum(usual.above(r) > STANDS_OUT for _, r, _ in ranked(story, target, len(values)))
    if outstanding:
        verb = "stands" if outstanding == 1 else "stand"
        normal = f"the usual {wording.with_std(usual.value, usual.spread)}{_unit(unit)}"
        return f"{many}, of which {wording.count(outstanding)} {verb} out from {normal}: {highest}{then}."
    return f"{many}, half of them above {wording.plain(usual.value)}{_unit(unit)}. The highest is {highest}{then}."


def _named(find: Find) -> tuple[str, str]:
    m = find.measurement
    where = wording.place(m.x_m, m.y_m)
    return wording.with_std(find.reading.value, find.reading.std), f"{m.target} ({where})" if m.target else where


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""


def _ended(story: RunStory) -> str:
    if story.ending is None:
        return "The run has no last record: it is still going, or it was cut off. This is the state of its last record."
    reason = story.ending.reason.strip().rstrip(".")
    return f"{story.ending.status.capitalize()}: {reason}." if reason else f"{story.ending.status.capitalize()}."


def _warnings(story: RunStory) -> list[str]:
    found = []
    if story.ending is not None and not story.ending.safe:
        found.append("The beam was not read back as blanked when the run ended: check the instrument.")
    if story.damage:
        found.append(f"The record cannot be trusted to its end; what follows is the part before. {story.damage}")
    return found


def _figures(story: RunStory) -> list[tuple[str, str]]:
    in_vain = sum(a.status not in ("done", "open") for a in story.acts) + sum(r.kind == "fault" for r in story.remarks)
    return [
        ("run time", wording.duration(story.last_s - story.first_s)),
        ("measured", wording.count(len(story.measurements))),
        ("images", wording.count(len(story.pictures))),
        ("electrons", wording.plain(sum(a.dose_e for a in story.acts))),
        ("acts", wording.count(len(story.acts))),
        ("acts in vain", wording.count(in_vain)),
    ]
