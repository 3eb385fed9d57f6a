"""Driving the real app in a test, and taking its picture as text with colours (``cat FILE.ans`` shows it)."""

from __future__ import annotations

import io
import os
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console

from autoscope.dashboard.app import Dashboard
from autoscope.dashboard.sight import Onlooker
from autoscope.dashboard.source import FolderSource

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "dashboard"


@asynccontextmanager
async def watching(folder, size=(120, 40), **given):
    """Open the app on a run; it looks only when told to."""
    app = Dashboard(Onlooker(FolderSource(folder), lambda: 0.0), period_s=None, **given)
    async with app.run_test(size=size, notifications=True) as pilot:
        await settled(app, pilot)
        yield app, pilot


async def settled(app, pilot):
    """Look until everything is read and drawn."""
    for _ in range(30):
        await app.look()
        if app.sight.model.whole:
            break
    for _ in range(3):
        await app.look()
        await pilot.pause()


async def pressed(app, pilot, *keys):
    """Press keys, and wait for what comes of them."""
    for key in keys:
        await pilot.press(key)
        await pilot.pause()
    await app.workers.wait_for_complete()
    await pilot.pause()


def words(app) -> str:
    """Return what is on the screen without colours."""
    return _exported(app, styles=False)


def picture(app) -> str:
    """Return what is on the screen with colours."""
    return _exported(app, styles=True)


def _exported(app, *, styles):
    width, height = app.size
    console = Console(
        width=width, height=height, file=io.StringIO(), force_terminal=True, color_system="truecolor", record=True,
        legacy_windows=False, safe_box=False,
    )  # fmt: skip
    console.print(app.screen._compositor.render_update(full=True))
    text = console.export_text(styles=styles)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def same_picture(app, name: str) -> str:
    """Return how the screen differs from the stored picture, nothing where it does not; AUTOSCOPE_DRAW=1 stores it."""
    path, now = GOLDEN / f"{name}.ans", picture(app)
    if os.environ.get("AUTOSCOPE_DRAW"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(now)
    stored = path.read_text()
    changed = [k for k, (a, b) in enumerate(zip(stored.splitlines(), now.splitlines(), strict=False)) if a != b]
    return "" if stored == now else f"{name}: lines {changed} differ\n{words(app)}"
