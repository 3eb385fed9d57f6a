"""A made-up night, once for all tests that only read it."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

Night = runpy.run_path(str(Path(__file__).with_name("night.py")))["Night"]


@pytest.fixture
def unbegun(tmp_path):
    """Return a function that makes a small night in a fresh folder, before its first record."""
    made = []

    def make(name: str = "night", **changes):
        small = {"tiles": 2, "tile_px": 48, "scouts": 2, "visits": 1}
        made.append(Night(tmp_path / name, **(small | changes)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def night(unbegun):
    """Return a function that begins a small night in a fresh folder."""
    return lambda name="night", **changes: unbegun(name, **changes).start()


@pytest.fixture(scope="session")
def surveyed(tmp_path_factory) -> Path:
    """Return the folder of a finished night with trouble in it."""
    return Night(tmp_path_factory.mktemp("report") / "night").start().survey().trouble().end()
