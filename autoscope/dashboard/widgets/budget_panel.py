"""What was spent and when it will be all."""

from __future__ import annotations

from textual.content import Content

from autoscope.dashboard.budgets import Budget, budgets
from autoscope.dashboard.panel import TextPanel
from autoscope.dashboard.sight import Sight
from autoscope.dashboard.wording import data_size, duration, electrons


def _count(number: float) -> str:
    return f"{number:.0f}"


_WORDS = {"time": duration, "dose": electrons, "acts": _count, "spectra": _count, "data": data_size}
_NEARLY = 0.9
_LINE = "\N{BOX DRAWINGS HEAVY HORIZONTAL}"


class BudgetPanel(TextPanel):
    """A bar for each budget, with its forecast."""

    TITLE = "budget"

    def show(self, sight: Sight) -> None:
        """Show the budgets at the moment."""
        wide = max(4, self.content_size.width - 40)
        foretold = sight.at is None and sight.model.ended is None
        lines = [self._line(b, min(wide, 30), foretold=foretold) for b in budgets(sight.model, sight.at)]
        self.update(Content("\n").join(lines))

    def _line(self, budget: Budget, wide: int, *, foretold: bool) -> Content:
        tell = _WORDS[budget.name]
        spent = tell(budget.spent)
        if budget.share is None or budget.limit is None:
            return Content.assemble((f"{budget.name:<7}", "bold"), f" {spent}", ("  no limit", "$foreground-muted"))
        filled = round(budget.share * wide)
        style = "$warning" if budget.share > _NEARLY else "$success"
        bar = ((_LINE * filled, style), (_LINE * (wide - filled), "$panel"))
        left = f"  {duration(budget.left_s)} left" if foretold and budget.left_s is not None else ""
        return Content.assemble((f"{budget.name:<7} ", "bold"), *bar, f" {spent} of {tell(budget.limit)}{left}")
