"""Where? A place or a region on the map."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from autoscope.dashboard.sight import Sight
from autoscope.dashboard.widgets.aiming_map import AimingMap
from autoscope.wishes import Disc

_MOVES = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
_FAST = 8


class AimScreen(ModalScreen[Disc | None]):
    """Returns the region aimed at, or None where somebody thought better of it.

    Parameters
    ----------
    title : str
        What it is for.
    sight : Sight
        The moment whose map is shown.
    x_m, y_m : float
        Where to begin.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"move({x}, {y})", key, show=False) for key, (x, y) in _MOVES.items()),
        *(Binding(f"shift+{key}", f"move({_FAST * x}, {_FAST * y})", show=False) for key, (x, y) in _MOVES.items()),
        Binding("plus,equals_sign", "widen(1)", "wider", key_display="+"),
        Binding("minus", "widen(-1)", "narrower", key_display="-"),
        Binding("enter", "take", "here", priority=True),
        Binding("escape", "leave", "leave it"),
    ]

    def __init__(self, title: str, sight: Sight, x_m: float, y_m: float) -> None:
        super().__init__()
        self._title, self._sight, self._start = title, sight, (x_m, y_m)

    def compose(self) -> ComposeResult:
        """The map below what it is for."""
        yield Static(f"{self._title}: arrow keys aim (with Shift faster), + and - size the region", markup=False)
        yield AimingMap(*self._start)
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Show the map."""
        self.query_one(AimingMap).show(self._sight)
        self._tell()

    def action_move(self, right: int, down: int) -> None:
        """Move the cross hair."""
        self.query_one(AimingMap).move(right, down)
        self._tell()

    def action_widen(self, pixels: int) -> None:
        """Size the region."""
        self.query_one(AimingMap).widen(pixels)
        self._tell()

    def action_take(self) -> None:
        """Take what is aimed at."""
        self.dismiss(self.query_one(AimingMap).aimed_at)

    def action_leave(self) -> None:
        """Leave it."""
        self.dismiss(None)

    def _tell(self) -> None:
        aimed = self.query_one(AimingMap)
        aimed.border_title = aimed.aimed_at.words()
