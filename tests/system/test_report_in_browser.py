"""The report in a real browser: no error, no network, and it answers to the hand."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import yaml

from autoscope.records import Wait
from autoscope.report import write
from tests.browser import NEEDED, Browser, requests

Night = runpy.run_path(str(Path(__file__).parents[1] / "unit" / "report" / "night.py"))["Night"]

pytestmark = NEEDED


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def browser(folder):
    made = Browser(folder / "profile")
    yield made
    made.close()


@pytest.fixture(scope="module")
def night(folder) -> Path:
    return write(Night(folder / "night").start().survey().trouble().end())


@pytest.fixture(scope="module")
def points(night) -> dict:
    text = night.read_text(encoding="utf-8")
    return json.loads(text.split('id="map-data">')[1].split("</script>")[0])


PLACE = """
const chart = document.getElementById("chart");
chart.scrollIntoView({block: "center"});
const at = new DOMPoint(arguments[0], arguments[1]).matrixTransform(chart.getScreenCTM());
return [at.x, at.y];
"""


FOLLOW = """
return new Promise((done) => {
  addEventListener("hashchange", () => setTimeout(done), {once: true});
  location.hash = "#point-" + arguments[0];
});
"""


def test_page_opens_without_console_message_and_asks_the_network_for_nothing(browser, night):
    browser.log("browser"), browser.log("performance")
    browser.open(night)
    assert browser.text("h1") == "night"
    assert browser.log("browser") == []
    assert requests(browser) == [night.as_uri()]


def test_all_images_of_the_page_are_decoded_by_the_browser(browser, night):
    browser.open(night)
    sizes = browser.run(
        "return Promise.all([...document.querySelectorAll('svg image')].map((i) => {"
        " const image = new Image(); image.src = i.getAttribute('href');"
        " return image.decode().then(() => image.naturalWidth); }))"
    )
    assert len(sizes) > 10
    assert min(sizes) >= 24


def test_clicking_a_point_shows_its_data(browser, night, points):
    browser.open(night)
    i = points["rank"].index(0)
    browser.point(*browser.run(PLACE, points["x"][i], points["y"][i]), click=True)
    assert browser.run("return document.getElementById('panel').dataset.step") == str(points["step"][i])
    shown = browser.text("#panel")
    assert points["name"][i] in shown
    assert points["reason"][i] in shown
    assert points["time"][i] in shown


def test_clicking_one_of_the_best_finds_also_shows_its_image_and_spectrum(browser, night, points):
    browser.open(night)
    i = points["rank"].index(1)
    browser.point(*browser.run(PLACE, points["x"][i], points["y"][i]), click=True)
    assert browser.text("#panel .rank") == "1"
    assert browser.run("return document.querySelectorAll('#panel svg.crop, #panel svg.spectrum').length") == 2


def test_pointing_at_a_place_names_it_and_empty_ground_does_not(browser, night, points):
    browser.open(night)
    i = points["rank"].index(1)
    x, y = browser.run(PLACE, points["x"][i], points["y"][i])
    browser.point(x, y, click=False)
    assert points["name"][i] in browser.text("#tip")
    left, top = browser.run(
        "const b = document.getElementById('chart').getBoundingClientRect(); return [b.left, b.top]"
    )
    browser.point(left + 60, top + 3, click=False)
    assert browser.run("return document.getElementById('tip').hidden") is True


def test_a_link_to_a_point_selects_it_on_opening(browser, night, points):
    step = points["step"][-1]
    browser.open(night, f"#point-{step}")
    assert browser.run("return document.getElementById('panel').dataset.step") == str(step)


def test_keys_zoom_move_and_reset_the_map(browser, night):
    browser.open(night)
    view = "return document.getElementById('chart').getAttribute('viewBox').split(' ').map(Number)"
    browser.run("document.getElementById('chart').focus()")
    whole = browser.run(view)
    browser.key("+", "+")
    near = browser.run(view)
    assert near[2] == pytest.approx(0.49 * whole[2], rel=1e-6)
    browser.key("\ue014")  # arrow right
    moved = browser.run(view)
    assert moved[0] > near[0]
    assert moved[1] == pytest.approx(near[1])
    browser.key("0")
    assert browser.run(view) == pytest.approx(whole)


def test_colouring_by_another_value_changes_the_key(browser, night, points):
    browser.open(night)
    before = browser.text("#high")
    browser.run("const by = document.getElementById('by'); by.value = '1'; by.dispatchEvent(new Event('change'))")
    assert points["targets"][1]["name"] == "C"
    assert browser.text("#high") != before
    drawn = browser.run(
        "return [...document.querySelectorAll('#points path[stroke]')].map((p) => p.getAttribute('d')).join('')"
    )
    assert drawn.count("M") == sum(v is not None for v in points["targets"][1]["value"])


def test_numbers_of_the_panel_are_rounded_as_those_of_the_cards(browser, night, points):
    browser.open(night)
    for rank in (1, 2, 3):
        browser.run(FOLLOW, points["step"][points["rank"].index(rank)])
        card = browser.run("return document.querySelectorAll('.card .value b')[arguments[0]].textContent", rank - 1)
        panel = browser.run("return document.querySelector('#panel dd').textContent")
        assert panel.startswith(card)
        place = "return [...document.querySelectorAll(arguments[0])].find((d) => d.textContent === 'at').nextSibling"
        shown = [browser.run(f"{place}.textContent", f"{where} dt") for where in ("#panel", f".card:nth-child({rank})")]
        assert shown[0] == shown[1]


def test_copy_selects_the_positions_even_where_the_clipboard_is_closed(browser, night):
    browser.open(night)
    browser.run("document.getElementById('copy').click()")
    copied = browser.run("return getSelection().toString()")
    assert yaml.safe_load(copied)["policy"]["options"]["positions"]


def test_a_malicious_sample_name_stays_text(browser, folder):
    evil = "</title><script>window.broken = 1</script><img src=x onerror='window.broken = 2'>"
    made = Night(folder / "evil", tiles=1, scouts=2, visits=0, sample=evil).start(name=evil, operator=evil)
    made.go(0)
    made.overview(0)
    made.spectrum(0, known=True)
    made.catalogue[1] = (0, 1e-8, 2e-8, 1.0)
    for field in ("</script><script>window.broken = 3</script>", "\u2028<!--<script>"):
        made.act(Wait(duration_s=1.0), field, field, reason=field)
    page = write(made.end("failed", evil))
    browser.log("browser")
    browser.open(page)
    assert browser.run("return window.broken") is None
    assert browser.log("browser") == []
    assert browser.text("h1") == evil


def test_page_is_readable_in_a_dark_room(browser, night):
    browser.call(
        "POST",
        "/goog/cdp/execute",
        {
            "cmd": "Emulation.setEmulatedMedia",
            "params": {"features": [{"name": "prefers-color-scheme", "value": "dark"}]},
        },
    )
    try:
        browser.open(night)
        paper, ink = browser.run(
            "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color].map((c) =>"
            " c.match(/\\d+/g).slice(0, 3).map(Number).reduce((a, b) => a + b) / 765)"
        )
    finally:
        browser.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {"features": []}})
    assert paper < 0.2
    assert ink > 0.8


def test_nothing_is_wider_than_a_laptop_window(browser, night):
    browser.open(night)
    wide, window = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= window


def test_a_run_without_any_act_opens_without_console_message(browser, folder):
    page = write(Night(folder / "empty").start().close())
    browser.log("browser")
    browser.open(page)
    assert browser.log("browser") == []
    assert "No act is recorded yet" in browser.text("header")
