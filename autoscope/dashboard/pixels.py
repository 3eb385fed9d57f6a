"""Images in pixels, where the terminal has Kitty's or Sixel graphics and the extra ``terminal-images`` is there."""

from __future__ import annotations

import re
import sys
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from autoscope.dashboard.colour import IMAGE, OUTLIERS, coloured, limits
from autoscope.errors import PluginError

Images = Literal["auto", "kitty", "sixel", "blocks"]
"""How images are drawn: as the terminal can, by one of the two protocols whatever it says, or in half blocks."""

PLACEHOLDERS = {"kitty": (0, 28), "ghostty": (1, 0)}
"""From which version terminals keep a Kitty image in its place among text (by Unicode placeholders); others that answer
to the protocol, Konsole and WezTerm among them, show boxes in its stead."""
NAME_AND_VERSION = re.compile(r"(?P<name>[A-Za-z]+)[( ](?P<major>\d+)\.(?P<minor>\d+)")


def pixel_widget(images: Images = "auto") -> type[Any] | None:
    """Return the widget that shows a PIL image in pixels, or None where half blocks are all there is.

    Asks the terminal, so it must be called before the app takes the terminal over.

    Raises
    ------
    PluginError
        A protocol is wanted and the extra is not installed.
    """
    if images == "blocks":
        return None
    try:
        from textual_image import renderable, widget
    except ZeroDivisionError:
        return None  # a terminal without a size, of which the library wants to know that of a character
    except ImportError as error:
        if images == "auto":
            return None
        remedy = "pip install 'autoscope[terminal-images]'"
        raise PluginError("textual-image is not installed", where="--images", value=images, remedy=remedy) from error
    widgets: dict[str, type[Any]] = {"sixel": widget.SixelImage, "kitty": widget.TGPImage}
    return widgets.get(_by_itself(renderable) if images == "auto" else images)


def _by_itself(renderable: Any) -> str:
    """Return what the terminal can."""
    if renderable.Image is renderable.SixelImage:
        return "sixel"
    return "kitty" if renderable.Image is renderable.TGPImage and keeps_images_in_place(_terminal()) else "blocks"


def keeps_images_in_place(terminal: str) -> bool:
    """Return whether a terminal of that name and version is known to place Kitty images among text.

    Examples
    --------
    >>> keeps_images_in_place("kitty(0.26.5)"), keeps_images_in_place("kitty(0.35.2)"), keeps_images_in_place("")
    (False, True, False)
    """
    found = NAME_AND_VERSION.search(terminal)
    if found is None:
        return False
    since = PLACEHOLDERS.get(found["name"].lower())
    return since is not None and (int(found["major"]), int(found["minor"])) >= since


def _terminal() -> str:
    """Return what the terminal calls itself (XTVERSION), or nothing where it does not say."""
    from textual_image._terminal import TerminalError, capture_terminal_response

    try:
        with capture_terminal_response("\x1bP>|", "\x1b\\", 0.3) as answer:
            sys.stdout.write("\x1b[>q")
            sys.stdout.flush()
    except (TerminalError, TimeoutError, OSError):
        return ""
    return str(answer.sequence)


def pil_image(data: NDArray[Any]) -> Any:
    """Return an image as a PIL image in grey, outliers cut as in half blocks."""
    from PIL import Image

    values = data.astype(np.float64)
    low, high = limits(values, OUTLIERS)
    return Image.fromarray(coloured(values, IMAGE, low, high, (0, 0, 0)), "RGB")
