"""The real app on recorded runs: pictures at three sizes, and what each screen says."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.dashboard.lab import Lab, finished
from tests.unit.dashboard.looking import pressed, same_picture, settled, watching, words

SIZES = {"80x24": (80, 24), "120x40": (120, 40), "200x60": (200, 60)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the folder of a run of 41 acts."""
    return finished(tmp_path_factory.mktemp("runs") / "particles", 40)


def on(folder, act, size=(120, 40)):
    """Run an async test in the app."""

    async def inside():
        async with watching(folder, size) as (app, pilot):
            return await act(app, pilot)

    return asyncio.run(inside())


@pytest.mark.parametrize("size", SIZES)
def test_the_overview_looks_as_it_was_found_good_at_every_size(run, size):
    async def act(app, pilot):
        return same_picture(app, f"overview-{size}")

    assert on(run, act, SIZES[size]) == ""


def test_every_other_screen_looks_as_it_was_found_good(run):
    async def act(app, pilot):
        differing = []
        for key, name in enumerate(("model", "decision", "data", "log", "instrument"), start=2):
            await pressed(app, pilot, str(key))
            differing.append(same_picture(app, name))
        return "".join(differing)

    assert on(run, act) == ""


def test_the_light_theme_draws_the_same_words_on_a_light_ground(run):
    async def act(app, pilot):
        dark, ground = words(app), app.screen.styles.background
        await pressed(app, pilot, "l")
        return dark == words(app), ground.brightness < 0.2, app.screen.styles.background.brightness > 0.8

    assert on(run, act) == (True, True, True)


def test_arrow_keys_look_back_and_the_end_key_returns(run):
    async def act(app, pilot):
        shown = []
        for keys in (("left", "left"), ("right",), ("pageup",), ("home",), ("end",)):
            await pressed(app, pilot, *keys)
            shown.append((app.sight.step, "looking back" in words(app)))
        return shown

    assert on(run, act) == [(38, True), (39, True), (29, True), (0, True), (40, False)]


def test_looking_back_shows_nothing_of_what_came_later(run):
    async def act(app, pilot):
        app.look_back(10)
        await pressed(app, pilot)
        text = words(app)
        return "decision 10" in text, "completed: " not in text.split("events")[1], "pixel 10,10" in text

    assert on(run, act) == (True, True, True)


def test_the_inspector_says_why_here_and_what_else_was_considered(run):
    async def act(app, pilot):
        await pressed(app, pilot, "3")
        return words(app)

    text = on(run, act)
    for said in (
        "Best upper confidence bound of 4096",
        "kappa 2",
        "90% of 90 % intervals held",
        "below the best",
        "gp of 40",
    ):
        assert said in text


def test_search_and_filter_narrow_the_log_down(tmp_path):
    lab = Lab(tmp_path / "run").start().overview().measure(10).fail("cable out").say("note", why="tea").measure(5)
    lab.end()

    async def act(app, pilot):
        await pressed(app, pilot, "5", "f")
        people = words(app)
        await pressed(app, pilot, "f")
        faults = words(app)
        await pressed(app, pilot, "escape", "slash", *"note", "enter")
        searched = words(app)
        return people, faults, searched

    people, faults, searched = on(tmp_path / "run", act)
    assert "log: people, 1 entries" in people
    assert "log: faults, 1 entries" in faults
    assert "log: everything, 1 entries" in searched
    assert "anna: note (tea)" in searched


def test_enter_on_an_act_of_the_log_goes_there(run):
    async def act(app, pilot):
        await pressed(app, pilot, "5", "down", "down", "down", "enter")
        return app.sight.step

    assert on(run, act) == 38


def test_a_run_is_followed_while_it_is_written(tmp_path):
    lab = Lab(tmp_path / "run").start().overview().measure(3)

    async def act(app, pilot):
        before = (app.sight.step, app.sight.verdict.doing)
        lab.measure(4)
        await settled(app, pilot)
        after = app.sight.step
        lab.end()
        await settled(app, pilot)
        return before, after, app.sight.verdict.doing

    assert on(tmp_path / "run", act) == ((3, "running"), 7, "completed")


def test_the_glance_is_ok_asks_for_you_or_cries_trouble_in_words_and_colour(tmp_path):
    good = finished(tmp_path / "good", 3)
    bad = Lab(tmp_path / "bad").start().overview().measure(2).fail().end("failed", "the column is gone", safe=False)
    held = Lab(tmp_path / "held").start().overview().measure(2).say("pause")

    async def act(app, pilot):
        return words(app).splitlines()[:2]

    assert "OK  completed" in on(good, act)[0]
    said = on(bad, act)
    assert "TROUBLE  failed" in said[0]
    assert "the column is gone" in said[1]
    assert "beam not known to be blanked" in said[1]
    said = on(tmp_path / "held", act)
    assert "NEEDS YOU  paused" in said[0]
    assert "paused by anna" in said[1]
    held.journal.close()


def test_a_damaged_record_is_shown_up_to_the_damage(tmp_path):
    import sqlite3

    folder = finished(tmp_path / "run", 20)
    with sqlite3.connect(folder / "journal.sqlite") as connection:
        connection.execute("UPDATE records SET body = '{}' WHERE seq = 22")

    async def act(app, pilot):
        return words(app).splitlines()[:2], app.sight.model.steps.concluded(), app.sight.model.records

    (first, second), concluded, records = on(folder, act)
    assert "TROUBLE" in first
    assert "record 22" in second
    assert (concluded, records) == (10, 21)


def test_a_run_that_has_not_begun_is_shown_as_such(tmp_path):
    lab = Lab(tmp_path / "run")

    async def act(app, pilot):
        for key in "261":
            await pressed(app, pilot, key)
        return words(app)

    assert "no act yet" in on(tmp_path / "run", act)
    lab.journal.close()
