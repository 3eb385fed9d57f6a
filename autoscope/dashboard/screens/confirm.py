"""Are you sure? Asked before what cannot be taken back."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static


class ConfirmScreen(ModalScreen[str | None]):
    """Returns why, which may be empty, or None where somebody thought better of it.

    Parameters
    ----------
    question : str
        What will happen.
    hazardous : bool
        Whether it is framed as a danger.
    reasoned : bool
        Whether a reason must be given.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "no")]

    def __init__(self, question: str, *, hazardous: bool = True, reasoned: bool = False) -> None:
        super().__init__(classes="hazard" if hazardous else "")
        self._question, self._reasoned = question, reasoned

    def compose(self) -> ComposeResult:
        """The question above a line for the reason."""
        with Vertical(classes="dialog"):
            yield Static(self._question, markup=False)
            yield Input(placeholder="why (for the record)", id="why", compact=True)
            yield Static("Enter: do it    Escape: leave it", classes="hint")

    def on_mount(self) -> None:
        """Let the reason be typed in before anything is drawn: keys may be on their way."""
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Say yes."""
        if self._reasoned and not event.value.strip():
            self.query_one(".hint", Static).update("A reason is needed; Escape leaves it")
            return
        self.dismiss(event.value.strip())

    def action_leave(self) -> None:
        """Say no."""
        self.dismiss(None)
