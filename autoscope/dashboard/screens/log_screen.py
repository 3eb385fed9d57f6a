"""The event log, with search and filter."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from autoscope.dashboard.log import FILTERS, Entry, entries
from autoscope.dashboard.screens.run_screen import RunScreen
from autoscope.dashboard.sight import Sight

_STYLES = {"intervention": "$accent", "fault": "$error", "in vain": "$warning", "act": "$foreground-muted"}


class LogScreen(RunScreen):
    """What happened, newest first: words narrow it down, a key goes through the kinds, Enter goes to the act."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "search"),
        Binding("f", "filter", "filter"),
        Binding("escape", "clear", "all again", show=False),
    ]

    AUTO_FOCUS = "#log"

    def __init__(self) -> None:
        super().__init__()
        self._filter, self._shown = 0, tuple[Entry, ...]()

    def panels(self) -> ComposeResult:
        """The search above the list."""
        yield Input(placeholder="search: words that must all be there", id="search", compact=True)
        yield OptionList(id="log", classes="panel", markup=False, compact=True)

    def show(self, sight: Sight) -> None:
        """Show the log up to the moment."""
        super().show(sight)
        words = self.query_one(Input).value.split()
        found = tuple(entries(sight, FILTERS[self._filter], words))
        listed = self.query_one(OptionList)
        listed.border_title = f"log: {FILTERS[self._filter]}, {len(found)} entries, newest first"
        if found != self._shown:
            self._shown = found
            at = listed.highlighted
            listed.set_options([Option(_line(entry)) for entry in found])
            listed.highlighted = at if at is not None and at < len(found) else (0 if found else None)

    def on_input_changed(self) -> None:
        """Narrow the list down while somebody types."""
        self._again()

    def on_input_submitted(self) -> None:
        """Go to the list."""
        self.query_one(OptionList).focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Look back at the act of an entry."""
        entry = self._shown[event.option_index]
        if entry.step is not None:
            self.dashboard.look_back(entry.step)

    def action_search(self) -> None:
        """Go to the search."""
        self.query_one(Input).focus()

    def action_filter(self) -> None:
        """Show the next kind of entry."""
        self._filter = (self._filter + 1) % len(FILTERS)
        self._again()

    def action_clear(self) -> None:
        """Show everything again."""
        self._filter, self.query_one(Input).value = 0, ""
        self.query_one(OptionList).focus()
        self._again()

    def _again(self) -> None:
        if (sight := self.dashboard.sight) is not None:
            self.show(sight)


def _line(entry: Entry) -> Content:
    step = "" if entry.step is None else f"{entry.step}"
    return Content.assemble(
        (f"{entry.when:>9} {step:>6} ", "$foreground-muted"),
        (f"{entry.kind:<13}", _STYLES.get(entry.kind, "$secondary")),
        entry.text.replace("\n", " "),
    )
