"""Images in pixels, where the terminal has Kitty's or Sixel graphics and the extra ``terminal-images`` is there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.dashboard.colour import IMAGE, OUTLIERS, coloured, limits


def pixel_widget() -> type[Any] | None:
    """Return the widget that shows a PIL image in pixels, or None where half blocks are all there is.

    Asks the terminal, so it must be called before the app takes the terminal over.
    """
    try:
        from textual_image.renderable import Image, SixelImage, TGPImage
        from textual_image.widget import Image as Widget
    except ImportError:
        return None
    return Widget if Image in (SixelImage, TGPImage) else None


def pil_image(data: NDArray[Any]) -> Any:
    """Return an image as a PIL image in grey, outliers cut as in half blocks."""
    from PIL import Image

    values = data.astype(np.float64)
    low, high = limits(values, OUTLIERS)
    return Image.fromarray(coloured(values, IMAGE, low, high, (0, 0, 0)), "RGB")
