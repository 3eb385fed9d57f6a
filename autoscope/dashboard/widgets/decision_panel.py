"""Why here, in a few lines."""

from __future__ import annotations

from textual.content import Content

from autoscope.dashboard.details import StepDetail
from autoscope.dashboard.panel import TextPanel, pair
from autoscope.dashboard.sight import Sight
from autoscope.dashboard.wording import estimate

_STYLES = {"done": "$success", "open": "$accent", "refused": "$warning", "rejected": "$warning", "failed": "$error"}


class DecisionPanel(TextPanel):
    """The act, the reason, what was expected and what came of it."""

    TITLE = "decision"

    def show(self, sight: Sight) -> None:
        """Show the decision looked at."""
        detail = sight.detail
        self.border_title = f"decision {detail.step}" if detail else "decision"
        self.update(told(detail, sight.model.target) if detail else Content("nothing decided yet"))


def told(detail: StepDetail, target: str) -> Content:
    """Return a decision in words."""
    decision, outcome = detail.decision, detail.outcome
    status = outcome.status if outcome else "open"
    lines = [
        Content.assemble((f"{decision.purpose} ", "bold"), decision.target, "  ", (status, _STYLES[status])),
        Content(decision.reason),
    ]
    if decision.predicted_mean is not None:
        came = next((v for v in outcome.values if v.name == target), None) if outcome else None
        lines.append(pair("expected", estimate(decision.predicted_mean, decision.predicted_std), 9))
        lines += [pair("measured", estimate(came.value, came.std, came.unit), 9)] if came else []
    elif outcome:
        lines += [pair(f"{v.name} ", estimate(v.value, v.std, v.unit), 9) for v in outcome.values]
    if outcome and outcome.fault:
        lines.append(Content.assemble((f"{outcome.fault.error}: ", "$error"), outcome.fault.message))
    return Content("\n").join(lines)
