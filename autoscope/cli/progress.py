"""Live progress in the terminal: how far, what it just did and why, the best so far, faults."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from autoscope.config import RunConfig
from autoscope.engine.events import StepEvent
from autoscope.engine.watching import Acquiring
from autoscope.records import Decision

PLAIN_EVERY = 500
"""Steps between lines where the output is no terminal."""


class LiveProgress:
    """A listener that draws a small live panel, or prints a line now and then where there is no terminal."""

    def __init__(self, config: RunConfig, console: Console) -> None:
        self._config, self._console = config, console
        self._bars = Progress(TextColumn("{task.description:>6}"), BarColumn(40), TextColumn("{task.fields[text]}"))
        self._tasks = {name: self._bars.add_task(name, total=total, text="") for name, total in self._budgets()}
        self._best: dict[str, tuple[float, str]] = {}
        self._counts: dict[str, int] = {}
        self._faults = 0
        self._last = Text("waiting for the first decision")
        self._acquiring = ""
        """What is under way: an acquisition, or the wait for a person."""
        self._live = Live(console=console, refresh_per_second=8, get_renderable=self._draw, transient=False)

    def _budgets(self) -> list[tuple[str, float]]:
        budget = self._config.budget
        given = (("time", budget.time_s), ("dose", budget.dose_e), ("acts", budget.steps), ("data", budget.data_bytes))
        return [(name, total) for name, total in given if total is not None]

    def __enter__(self) -> Self:
        self._console.print(f"[bold]{self._config.name}[/] seed {self._config.seed}", highlight=False)
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def on_step(self, event: StepEvent) -> None:
        """Take a step into the picture, and print a line now and then where there is no terminal."""
        self.recount(event)
        if not self._console.is_terminal and event.step and event.step % PLAIN_EVERY == 0:
            self._console.print(self._line(event), highlight=False, markup=False, soft_wrap=True)

    def on_acquiring(self, now: Acquiring) -> None:
        """Show how far the acquisition under way is, until its step is over."""
        share = now.points_done / max(now.points_total, 1)
        self._acquiring = f"acquiring {now.signal}: {now.points_done} of {now.points_total} points ({share:.0%})"

    def on_waiting(self, decision: Decision, because: str) -> None:
        """Show, and where there is no terminal print, that a person's word is waited for, until the step is over."""
        what = f"{decision.action.kind} {decision.target}".strip()
        said = (
            f"waits for a person ({because}): {what}; answer in 'autoscope dashboard', or 'autoscope steer ... approve'"
        )
        self._acquiring = said
        if not self._console.is_terminal:
            self._console.print(said, highlight=False, markup=False, soft_wrap=True)

    def recount(self, event: StepEvent) -> None:
        """Take a step into the picture."""
        self._acquiring = ""
        told = event.spent
        spent = {"time": told.time_s, "dose": told.dose_e, "acts": told.steps, "data": told.bytes}
        for name, task in self._tasks.items():
            amount = float(spent[name] or 0.0)
            self._bars.update(task, completed=amount, text=_amount(name, amount))
        purpose = event.decision.purpose
        self._counts[purpose] = self._counts.get(purpose, 0) + 1
        self._faults += event.outcome.status != "done"
        for scalar in event.outcome.values:
            if scalar.name not in self._best or scalar.value > self._best[scalar.name][0]:
                self._best[scalar.name] = (scalar.value, event.decision.target or f"step {event.step}")
        self._last = Text(
            f"{event.step} {purpose} {event.decision.target}: {event.decision.reason}", overflow="ellipsis"
        )

    def _line(self, event: StepEvent) -> str:
        best = ", ".join(f"best {n} {v:.4g} ({w})" for n, (v, w) in self._best.items())
        hours = (event.spent.time_s or 0.0) / 3600
        return f"{hours:6.2f} h  {self._summary()}  {best}"

    def _summary(self) -> str:
        acts = ", ".join(f"{n} {name}" for name, n in sorted(self._counts.items()))
        return f"{sum(self._counts.values())} acts: {acts}; {self._faults} in vain"

    def _draw(self) -> Group:
        found = Table.grid(padding=(0, 2))
        for name, (value, where) in self._best.items():
            found.add_row(f"best {name}", f"{value:.4g}", where)
        return Group(self._bars, Text(self._summary()), found, self._last, Text(self._acquiring))


def _amount(name: str, value: float) -> str:
    shown = {"time": f"{value / 3600:.2f} h", "dose": f"{value:.3g} e", "data": f"{value / 1e9:.2f} GB"}
    return shown.get(name, f"{value:.0f}")
