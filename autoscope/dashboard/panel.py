"""What all widgets of the dashboard share: they are shown a sight, and draw themselves when it changes."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual.content import Content
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static

from autoscope.dashboard.sight import Sight

MUTED = "$foreground-muted"
"""Style of what only names something."""


class Viewer:
    """Mixed into a widget that is shown what is seen."""

    def show(self, sight: Sight) -> None:
        """Show a moment of the run; one that shows nothing of it takes no notice."""


class TextPanel(Static, Viewer):
    """A panel of text with a title in its border."""

    TITLE: ClassVar[str] = ""

    def __init__(self, *, id: str | None = None, classes: str = "panel") -> None:  # noqa: A002 - textual's name
        super().__init__("", id=id, classes=classes, markup=False)
        self.border_title = self.TITLE


class DrawnPanel(Viewer, Widget):
    """A panel that is drawn line by line in the space it has; drawn again when the sight or the space changes."""

    TITLE: ClassVar[str] = ""

    def __init__(self, *, id: str | None = None, classes: str = "panel") -> None:  # noqa: A002 - textual's name
        super().__init__(id=id, classes=classes)
        self.border_title = self.TITLE
        self.sight: Sight | None = None
        self._lines: list[Strip] = []
        self._drawn: Size | None = None

    def show(self, sight: Sight) -> None:
        """Show a moment of the run."""
        self.sight = sight
        self.redraw()

    def redraw(self) -> None:
        """Draw again at the next refresh."""
        self._drawn = None
        self.refresh()

    def draw(self, columns: int, lines: int) -> list[Strip]:
        """Return the picture of the sight in so much space, or fewer lines; empty where nothing is drawn."""
        return []

    def render_line(self, y: int) -> Strip:
        """Return one line of the panel."""
        size = self.content_size
        if self._drawn != size:
            self._lines = self.draw(size.width, size.height) if self.sight and size.width and size.height else []
            self._drawn = size
        ground = Style(bgcolor="rgb({},{},{})".format(*self.ground))
        strip = self._lines[y] if y < len(self._lines) else Strip.blank(size.width)
        return strip.adjust_cell_length(size.width).apply_style(ground)

    def notify_style_update(self) -> None:
        """Draw again in the colours of another theme."""
        self._drawn = None
        super().notify_style_update()

    # --- colours of the theme -----------------------------------------------------------------------

    def tint(self, name: str) -> str:
        """Return a colour of the theme as ``#rrggbb``."""
        return self.app.theme_variables[name][:7]

    @property
    def ground(self) -> tuple[int, int, int]:
        """The background as red, green and blue."""
        colour = self.background_colors[1]
        return colour.r, colour.g, colour.b


def pair(name: str, text: str | tuple[str, str], width: int = 13) -> Content:
    """Return a line that names something, and what it is."""
    return Content.assemble((f"{name:<{width}}", MUTED), text)
