"""A few lines to fill in; what makes no sense is said below them, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

Made = TypeVar("Made")


@dataclass(frozen=True)
class Field:
    """One line of a form."""

    name: str
    label: str
    value: str = ""
    hint: str = ""


class FormScreen(ModalScreen["tuple[Made, str] | None"], Generic[Made]):
    """Returns what was made of the lines, and why; None where somebody thought better of it.

    Parameters
    ----------
    title : str
        What it is for.
    fields : sequence of Field
        The lines.
    make : callable
        Makes something of the texts by name; raises ValueError with what is wrong.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave it"), Binding("ctrl+s", "send", "do it")]

    def __init__(self, title: str, fields: Sequence[Field], make: Callable[[dict[str, str]], Made]) -> None:
        super().__init__()
        self._title, self._fields, self._make = title, [*fields, Field("why", "why", hint="for the record")], make

    def compose(self) -> ComposeResult:
        """The lines, and room for what is wrong."""
        with Vertical(classes="dialog"):
            yield Static(self._title, classes="title", markup=False)
            for field in self._fields:
                with Horizontal(classes="field"):
                    yield Label(field.label)
                    yield Input(field.value, placeholder=field.hint, id=f"field-{field.name}", compact=True)
            yield Static("", id="wrong", markup=False)
            yield Static("Tab: next line    Enter: do it    Escape: leave it", classes="hint")

    def on_mount(self) -> None:
        """Let the first line be typed in before anything is drawn: keys may be on their way."""
        self.query(Input).first().focus()

    def on_input_submitted(self) -> None:
        """Make something of the lines."""
        self.action_send()

    def action_send(self) -> None:
        """Make something of the lines, or say what is wrong."""
        texts = {f.name: self.query_one(f"#field-{f.name}", Input).value.strip() for f in self._fields}
        why = texts.pop("why")
        try:
            made = self._make(texts)
        except ValueError as error:
            self.query_one("#wrong", Static).update(_first_line(error))
            return
        self.dismiss((made, why))

    def action_leave(self) -> None:
        """Leave it."""
        self.dismiss(None)


def _first_line(error: ValueError) -> str:
    """Return what is wrong in a line; pydantic tells the place in its own way."""
    details = getattr(error, "errors", None)
    if callable(details):
        first = details()[0]
        where = ".".join(str(part) for part in first["loc"] if part)
        return f"{where}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")
    return str(error).splitlines()[0]
