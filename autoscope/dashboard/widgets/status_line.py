"""Two lines that say whether all is well, in words and in colour."""

from __future__ import annotations

import numpy as np
from textual.content import Content

from autoscope.dashboard.budgets import budgets, end_in_s
from autoscope.dashboard.columns import IN_VAIN
from autoscope.dashboard.model import RunModel
from autoscope.dashboard.panel import TextPanel
from autoscope.dashboard.sight import Sight
from autoscope.dashboard.verdict import Level
from autoscope.dashboard.wording import duration

_SIGNS = {
    Level.OK: "\N{BLACK CIRCLE}",
    Level.NEEDS_YOU: "\N{BLACK UP-POINTING TRIANGLE}",
    Level.TROUBLE: "\N{BLACK SQUARE}",
}
_STYLES = {
    Level.OK: "bold $background on $success",
    Level.NEEDS_YOU: "bold $background on $warning",
    Level.TROUBLE: "bold $background on $error",
}


class StatusLine(TextPanel):
    """The verdict, how far the run is, who steers; below it the reason for the verdict, or what is done and why."""

    def show(self, sight: Sight) -> None:
        """Show how the run fares."""
        verdict = sight.verdict
        sign = (f" {_SIGNS[verdict.level]} {verdict.level} ", _STYLES[verdict.level])
        facts = "  ".join(part for part in self._facts(sight) if part)
        why = (verdict.why, "bold") if verdict.why else (_doing_now(sight), "")
        self.update(Content.assemble(sign, (f" {verdict.doing} ", "bold"), f" {facts}\n", " ", why))

    def _facts(self, sight: Sight) -> list[str]:
        model, past = sight.model, sight.at is not None
        if not model.whole:
            return [model.name, f"{model.records} records read"]
        spent = budgets(model, sight.at)
        limit = next((b.limit for b in spent if b.name == "acts"), None)
        acts = f"act {sight.step + 1}" + (f"/{limit:.0f}" if limit else "")
        back = f"\N{BLACK LEFT-POINTING TRIANGLE} looking back, {len(model.steps) - sight.step - 1} later"
        return [
            back if past else "",
            acts,
            duration(spent[0].spent),
            f"wheel: {model.wheel.holder}" if model.wheel.holder else "",
            _faults(model),
            "" if past or model.ended else _forecast(model),
            "" if model.wheel.autonomy == "autonomous" else model.wheel.autonomy.replace("_", " "),
            str(model.header.get("name") or model.name),
        ]


def _faults(model: RunModel) -> str:
    count = int((model.steps.status >= IN_VAIN).sum())
    return f"{count} in vain" if count else ""


def _forecast(model: RunModel) -> str:
    end = end_in_s(budgets(model))
    return f"ends in {duration(end[0])} ({end[1]})" if end and np.isfinite(end[0]) else ""


def _doing_now(sight: Sight) -> str:
    detail, ended = sight.detail, sight.model.ended
    if ended is not None and sight.at is None:
        return str(ended.get("reason", ""))
    if detail is None:
        return "no act yet"
    decision = detail.decision
    return f"{decision.purpose} {decision.target}: {decision.reason}"
