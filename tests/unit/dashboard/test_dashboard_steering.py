"""Keys become orders: what each asks, what comes of it, and what is said where nothing can."""

from __future__ import annotations

import asyncio

import pytest

from autoscope.dashboard import wheel
from autoscope.dashboard.errands import BY_NAME, ERRANDS
from autoscope.dashboard.steersman import Steersman
from autoscope.engine import boundary
from autoscope.errors import OrderRefused, Unreachable
from autoscope.steering.commands import COMMANDS, Receipt
from tests.unit.dashboard.lab import Lab, finished
from tests.unit.dashboard.looking import pressed, settled, watching, words

ORDER = "0123456789abcdef" * 2


class Helm:
    """Takes orders, and answers as it is told to."""

    def __init__(self, status="accepted"):
        self.status, self.orders, self.answers = status, [], ()

    def post(self, command, *, why="", seen_step=0):
        """Take an order."""
        if isinstance(self.status, Exception):
            raise self.status
        self.orders.append((command.model_dump(exclude_none=True), why, seen_step))
        return Receipt(order=ORDER, status=self.status, command=command.command, who="anna", step=5, reason="because")

    def receipts(self):
        """Return the answers."""
        return self.answers


@pytest.fixture
def lab(tmp_path):
    """Write a run that goes on."""
    lab = Lab(tmp_path / "run").start().overview().measure(6)
    yield lab
    lab.journal.close()


def said(app) -> str:
    """Return what is on the screen and what was notified."""
    return "\n".join([words(app), *(notice.message for notice in app._notifications)])


def steer(lab, *keys, helm=None, then=None, **given):
    """Press keys on a run that goes on; return the orders that came of them and what is on the screen."""
    helm = helm or Helm()

    async def inside():
        async with watching(lab.folder, steersman=Steersman(helm), **given) as (app, pilot):
            for key in keys:
                await pilot.press(key)
                await pilot.pause()
            await asyncio.sleep(0.2)
            await pilot.pause()
            if then is not None:
                await then(app, pilot)
            return helm.orders, said(app)

    return asyncio.run(inside())


def test_plain_keys_order_at_once_and_the_receipt_is_shown(lab):
    orders, text = steer(lab, "p", "t", "T", "exclamation_mark")
    assert [order["command"] for order, _, _ in orders] == ["pause", "take_wheel", "give_wheel", "emergency_stop"]
    assert {seen for _, _, seen in orders} == {6}
    assert "pause took effect before act 5: because" in text


def test_what_cannot_be_taken_back_is_asked_about(lab):
    orders, _ = steer(lab, "s", "escape", "A", "escape")
    assert orders == []
    orders, _ = steer(lab, "s", *"late", "enter")
    assert orders == [({"command": "stop"}, "late", 6)]


def test_the_emergency_key_works_while_somebody_types(lab):
    orders, _ = steer(lab, "N", *"what", "f8")
    assert [order["command"] for order, _, _ in orders] == ["emergency_stop"]


def test_an_exclamation_mark_in_a_text_stops_nothing(lab):
    orders, _ = steer(lab, "N", *"look", "exclamation_mark", "enter")
    assert orders == [({"command": "note", "text": "look!"}, "", 6)]


def test_a_region_is_aimed_at_with_arrow_keys(lab):
    orders, _ = steer(lab, "x", "right", "down", "plus", "plus", "enter")
    ((order, _, _),) = orders
    assert order["command"] == "exclude"
    steps = lab.journal, order["place"]
    assert steps[1]["radius_m"] > 0
    orders, _ = steer(lab, "g", "escape", "m", "enter", "n", "enter")
    assert [(o["command"], o["interesting"]) for o, _, _ in orders] == [("mark", True), ("mark", False)]


def test_forms_make_commands_in_units_people_type(lab):
    orders, _ = steer(lab, "a", "tab", *"0.5", "enter")
    assert orders[0][0] == {"command": "set_acquisition", "wish": {"kappa": 0.5}}
    orders, _ = steer(lab, "d", *"200 ms", "enter")
    assert orders[0][0] == {"command": "set_dwell", "dwell_s": 0.2}
    orders, _ = steer(lab, "b", *"8 h", "tab", "tab", *"900", "enter")
    assert orders[0][0] == {"command": "set_budget", "time_s": 28800.0, "steps": 900}


def test_what_makes_no_sense_is_said_in_the_form_and_can_be_mended(lab):
    orders, text = steer(lab, "d", *"200", "enter")
    assert orders == []
    assert "has no unit" in text
    orders, _ = steer(lab, "d", *"200", "enter", *" ms", "enter")
    assert orders[0][0]["dwell_s"] == 0.2


def test_a_measurement_looked_back_at_is_retracted(lab):
    orders, _ = steer(lab, "left", "left", "r", *"drift", "enter")
    assert orders == [({"command": "retract", "act_id": "particles-0badcafe-000004"}, "drift", 4)]


def test_an_act_that_waits_is_approved_or_vetoed(lab):
    waiting = lab.intend_next()
    lab.journal.append("note", {"event": "awaiting", "act_id": waiting, "because": "the stage moves"}, step=lab.step)
    orders, text = steer(lab, "y")
    assert orders == [({"command": "approve", "act_id": waiting}, "", 7)]
    assert "NEEDS YOU  waiting for you" in text
    assert "the stage moves" in text
    orders, _ = steer(lab, "v", "ctrl+u", *"5 nm", "tab", *"ice", "enter")
    assert orders == [({"command": "veto", "act_id": waiting, "radius_m": 5e-9}, "ice", 7)]


def suggestion(lab, **more):
    """Write down that a suggestion waits for a person's choice, and return the id it would have."""
    measure = {"kind": "measure", "x_m": 4e-8, "y_m": -1e-8, "dwell_s": 0.1, "signals": ["EELS"]}
    other = {"action": measure | {"x_m": 2e-8}, "mean": 3.0, "std": 0.5}
    told = {
        "action": measure,
        "target": "pixel 3,4",
        "predicted_mean": 5.0,
        "predicted_std": 1.0,
        "runners_up": [other],
    }
    body = {"event": "awaiting", "act_id": "next", "because": "a suggestion waits", "suggestion": told | more}
    lab.journal.append("note", body, step=lab.step)
    return "next"


def test_a_suggestion_is_shown_with_what_else_there_is_and_taken_with_one_key(lab):
    waiting = suggestion(lab)
    orders, text = steer(lab, "6", "y")
    assert orders == [({"command": "approve", "act_id": waiting}, "", 6)]
    for told in ("NEEDS YOU", "a suggestion waits", "1. (40, -10) nm from the axis: 5", "2. (20, -10) nm"):
        assert told in text
    orders, _ = steer(lab, "v", "enter")
    assert orders[0][0]["command"] == "veto"


@pytest.mark.parametrize(
    ("key", "better", "worse"), [("left_square_bracket", "a", "b"), ("right_square_bracket", "b", "a")]
)
def test_a_pair_is_answered_with_one_key(lab, key, better, worse):
    suggestion(lab, pair=["a", "b"])
    orders, _ = steer(lab, key)
    assert orders == [({"command": "prefer", "better": better, "worse": worse}, "", 6)]


def test_the_pair_to_compare_and_the_suggestion_are_marked_on_the_map(lab):
    before = steer(lab)[1]
    suggestion(lab, pair=["particles-0badcafe-000002", "particles-0badcafe-000004"])
    text = steer(lab)[1]
    assert [before.count("["), before.count("]")] == [text.count("[") - 1, text.count("]") - 1]


def test_where_no_pair_is_shown_there_is_nothing_to_prefer(lab):
    orders, text = steer(lab, "left_square_bracket")
    assert (orders, "no pair is shown at this moment" in text) == ([], True)


def test_a_suggestion_is_over_as_soon_as_something_is_decided(lab):
    suggestion(lab)
    lab.intend_next()
    orders, text = steer(lab, "y")
    assert (orders, "no act waits for your word" in text) == ([], True)


def test_where_there_is_nothing_to_do_it_to_the_reason_is_said(lab):
    orders, text = steer(lab, "y", "u", "E")
    assert orders == []
    for reason in ("no act waits for your word", "nothing that was ordered can be taken back", "the queue is empty"):
        assert reason in text


def test_refusals_and_broken_lines_are_said_and_nothing_ends(lab):
    assert "pause refused: because" in steer(lab, "p", helm=Helm("refused"))[1]
    assert "nobody hears" in steer(lab, "p", helm=Helm(OrderRefused("nobody hears this run")))[1]
    assert "does not answer" in steer(lab, "p", helm=Helm(Unreachable("the run does not answer")))[1]


def test_an_order_that_waits_is_told_of_when_it_took_effect(lab):
    helm = Helm("waiting")

    async def later(app, pilot):
        helm.answers = (Receipt(order=ORDER, status="accepted", command="pause", who="anna", step=9),)
        await settled(app, pilot)

    _, text = steer(lab, "p", helm=helm, then=later)
    assert "waits for the step boundary" in text
    assert "pause took effect before act 9" in text


def test_a_run_that_is_over_cannot_be_steered(tmp_path):
    async def inside():
        async with watching(finished(tmp_path / "run", 2)) as (app, pilot):
            await pressed(app, pilot, "p")
            return said(app)

    assert "cannot be steered" in asyncio.run(inside())


def test_an_emergency_goes_straight_to_the_bus_server_and_then_to_the_run():
    reasons, helm = [], Helm()
    steersman = Steersman(helm, lambda why: reasons.append(why) or True)
    stop = COMMANDS.validate_python({"command": "emergency_stop"})
    told = steersman.order(stop, "smoke", 3)
    assert told[0].text == "beam blanked by the bus server"
    assert reasons == ["smoke"]
    assert len(helm.orders) == 1

    def silent(why):
        raise Unreachable("the bus server does not answer")

    first, second = Steersman(helm, silent).order(stop, "", 3)
    assert (first.severity, second.severity) == ("error", "information")
    assert first.text.startswith("BEAM MAY BE ON")


def test_every_order_has_a_key_of_its_own_and_is_in_the_palette(lab):
    keys = [errand.key for errand in ERRANDS]
    assert len(set(keys)) == len(keys)
    assert {"1", "2", "3", "4", "5", "6", "l", "q", "w", "f", "slash"}.isdisjoint(keys)
    commands = {arguments["command"]["const"] for arguments in _schemas()}
    asked = {"pause", "resume", "autonomy", "set_acquisition", "set_scalarizer", "set_budget", "set_dwell", "prefer"}
    assert commands - asked <= BY_NAME.keys() | {"dequeue", "enqueue"}

    async def palette(app, pilot):
        titles = {command.title for command in app.get_system_commands(app.screen)}
        assert {errand.title for errand in ERRANDS} <= titles

    steer(lab, then=palette)


def _schemas():
    return [d["properties"] for d in COMMANDS.json_schema()["$defs"].values() if "command" in d.get("properties", {})]


def test_the_wheel_reads_the_notes_the_engine_writes():
    assert (wheel.AWAITING, wheel.WENT_ON) == (boundary.AWAITING, boundary.WENT_ON)
