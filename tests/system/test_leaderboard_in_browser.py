"""The leaderboard in a real browser: no error, no network, pictures drawn, readable by day and night."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autoscope.benchmark.board.page import write_board
from autoscope.benchmark.farm import Here
from tests.browser import NEEDED, Browser, requests
from tests.unit.benchmark.worlds import arena, plain

pytestmark = NEEDED


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("leaderboard")


@pytest.fixture(scope="module")
def browser(folder):
    made = Browser(folder / "profile")
    yield made
    made.close()


@pytest.fixture(scope="module")
def pages(folder) -> list[Path]:
    task = plain(folder)["environments"]["hill"] | {"controls": ["shuffled_labels"]}
    made = arena(folder, environments={"hill": task}, budgets=[{"measurements": 12}], seeds={"count": 3})
    made.run(Here())
    return [path for path in write_board(folder / "bench") if path.suffix == ".html"]


def test_pages_open_without_console_message_and_ask_the_network_for_nothing(browser, pages):
    for page in pages:
        browser.log("browser"), browser.log("performance")
        browser.open(page)
        assert browser.log("browser") == []
        assert requests(browser) == [page.as_uri()]
        keep_picture(browser, page.stem)


def test_drawings_have_size_and_their_pictures_are_decoded(browser, pages):
    browser.open(pages[1])
    sizes = browser.run(
        "return [...document.querySelectorAll('svg.chart')].map((s) => s.getBoundingClientRect().height)"
    )
    assert len(sizes) == 2
    assert min(sizes) > 100
    widths = browser.run(
        "return Promise.all([...document.querySelectorAll('svg image')].map((i) => { const image = new Image();"
        " image.src = i.getAttribute('href') || i.getAttribute('xlink:href');"
        " return image.decode().then(() => image.naturalWidth); }))"
    )
    assert len(widths) >= 2
    assert min(widths) >= 12


def test_the_overview_leads_to_every_comparison_and_back(browser, pages):
    browser.open(pages[0])
    assert browser.text("h1") == "small"
    browser.run("document.querySelector('main h2 a').click()")
    assert "hill" in browser.text("h1")
    browser.run("document.querySelector('header a').click()")
    assert browser.text("h1") == "small"


def test_text_of_drawings_is_light_in_a_dark_room(browser, pages):
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}})
    try:
        browser.open(pages[1])
        shades = browser.run(
            "return [...document.querySelectorAll('svg.chart text')].map((t) =>"
            " getComputedStyle(t).fill.match(/\\d+/g).slice(0, 3).map(Number).reduce((a, b) => a + b) / 765)"
        )
        keep_picture(browser, "dark")
    finally:
        browser.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {"features": []}})
    assert len(shades) > 10
    assert min(shades) > 0.8


def test_nothing_is_wider_than_a_laptop_window(browser, pages):
    for page in pages:
        browser.open(page)
        wide, window = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
        assert wide <= window


def keep_picture(browser: Browser, name: str) -> None:
    """Save a screenshot where somebody wants to look at it."""
    if wanted := os.environ.get("AUTOSCOPE_PICTURES"):
        browser.picture(Path(wanted) / f"leaderboard-{name}.png")
