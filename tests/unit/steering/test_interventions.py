"""Commands and orders as values: what they refuse, and what a signature covers."""

import numpy as np
import pytest
from pydantic import ValidationError

from autoscope.clock import SimClock
from autoscope.identity import load_or_make
from autoscope.steering.commands import COMMANDS, Disc, Exclude, Order, Pause, Rectangle, SetBudget, Veto, Wishes
from autoscope.steering.helm import Writer


@pytest.fixture
def writer(tmp_path):
    return Writer("run-1", "anna", load_or_make(tmp_path), SimClock(), seat="bench")


def test_an_order_is_read_back_as_it_was_written_and_stays_genuine(writer):
    order = writer.write(Exclude(place=Disc(x_m=1e-8, y_m=-2e-8, radius_m=5e-9)), why="charging", seen_step=12)
    again = Order.model_validate_json(order.model_dump_json())
    assert again == order
    assert again.genuine()


@pytest.mark.parametrize("field", ["id", "run_id", "who", "seat", "seq", "seen_step", "when", "expires", "why"])
def test_a_signature_covers_every_field_of_an_order(writer, field):
    order = writer.write(Pause())
    other = {"id": "0" * 32, "seq": 7, "seen_step": 7}.get(field, "something else")
    assert not order.replace(**{field: other}).genuine()


def test_a_signature_covers_the_command_and_its_arguments(writer):
    order = writer.write(Veto(act_id="run-1-000004"))
    assert not order.replace(command=Veto(act_id="run-1-000005")).genuine()
    assert not order.replace(public_key="00" * 32).genuine()
    assert not order.replace(signature="not hexadecimal").genuine()


def test_orders_of_a_seat_are_counted_and_never_share_an_id(writer):
    first, second = writer.write(Pause()), writer.write(Pause())
    assert (first.seq, second.seq) == (1, 2)
    assert first.id != second.id


def test_a_budget_that_names_nothing_is_refused():
    with pytest.raises(ValidationError, match="name a time"):
        SetBudget()


@pytest.mark.parametrize(
    "text",
    [
        '{"command": "exclude", "place": {"shape": "disc", "x_m": NaN, "y_m": 0}}',
        '{"command": "exclude", "place": {"shape": "blob", "x_m": 0, "y_m": 0}}',
        '{"command": "self_destruct"}',
        '{"command": "pause", "loudly": true}',
        '{"command": "set_dwell", "dwell_s": 0}',
        '{"command": "note", "text": ""}',
    ],
    ids=["nan", "shape", "unknown", "extra", "dwell", "empty"],
)
def test_commands_that_make_no_sense_are_refused(text):
    with pytest.raises(ValidationError):
        COMMANDS.validate_json(text)


def test_regions_contain_their_edge_and_reach_beyond_it_by_the_size_of_a_place():
    x, y = np.array([0.0, 1.0, 1.5, 3.0]), np.zeros(4)
    assert Disc(x_m=0.0, y_m=0.0, radius_m=1.0).contains(x, y).tolist() == [True, True, False, False]
    assert Disc(x_m=0.0, y_m=0.0, radius_m=1.0).contains(x, y, 0.5).tolist() == [True, True, True, False]
    box = Rectangle(x_m=(1.0, 2.0), y_m=(-1.0, 1.0))
    assert box.contains(x, y).tolist() == [False, True, True, False]
    assert box.contains(x, y, 1.0).tolist() == [True, True, True, True]
    with pytest.raises(ValidationError, match="lower bounds first"):
        Rectangle(x_m=(2.0, 1.0), y_m=(0.0, 1.0))


def test_wishes_bar_what_any_excluded_region_holds():
    wishes = Wishes(excluded=(Disc(x_m=0.0, y_m=0.0), Rectangle(x_m=(2.0, 3.0), y_m=(0.0, 1.0))))
    barred = wishes.bars(np.array([0.0, 1.0, 2.5]), np.array([0.0, 0.0, 0.5]))
    assert barred.tolist() == [True, False, True]
    assert wishes.named == {"excluded"}
