"""The server keeps the dose of every place, over sessions, restarts and acts of which nobody knows the end."""

import pytest

from autoscope.errors import DoseExceeded, GuardViolation, OutcomeUnknown
from autoscope.records import Act, Measure, MoveStage
from tests.unit.bus.column import Link

CELL_M = 1e-3
# the column counts one electron for each second of dwell, and is expected to put 6.2e6 on the sample
LIMIT = 2.5 * 6.3e6 / CELL_M**2


@pytest.fixture
def link(tmp_path):
    """One column behind a server that limits the dose per area."""
    settings = {"dose": {"max_area_e_per_m2": LIMIT, "area_cell_m": CELL_M}}
    link = Link(tmp_path, settings=settings)
    yield link
    link.close()


def measure(client, number, dwell_s=1.0):
    return client.execute(Act(act_id=f"act-{number}", action=Measure(x_m=0.0, y_m=0.0, dwell_s=dwell_s)))


def test_the_server_refuses_whatever_the_agent_believes(link):
    client = link.client()
    with pytest.raises(GuardViolation):
        measure(client, 1, dwell_s=3.0)
    assert link.column.times("act-1") == 0
    assert isinstance(_refused(client, 2, 3.0), DoseExceeded)


def _refused(client, number, dwell_s):
    with pytest.raises(GuardViolation) as told:
        measure(client, number, dwell_s)
    return told.value


def test_what_a_place_received_is_remembered_when_the_server_is_started_again(link):
    client = link.client()
    link.column.trouble = None
    link.column.crash = "after"  # the act is done and its server dies: what it cost is not known
    with pytest.raises(Exception):  # noqa: B017 - whatever the agent is told
        measure(client, 1, dwell_s=2.0)
    link.kill()
    link.start()
    again = link.client()
    assert isinstance(_refused(again, 2, 1.0), DoseExceeded)
    again.execute(Act(act_id="act-3", action=MoveStage(x_m=5e-3)))
    measure(again, 4, dwell_s=2.0)
    assert link.column.times("act-4") == 1


def test_another_sample_has_a_map_of_its_own_and_the_first_keeps_its_own(link):
    link.column.crash = "after"
    with pytest.raises((OutcomeUnknown, Exception)):
        measure(link.client(), 1, dwell_s=2.0)
    for sample, refused in (("other", False), ("C-1", True)):
        link.kill()
        link.settings["dose"] |= {"sample": sample}
        link.start()
        client = link.client()
        if refused:
            assert isinstance(_refused(client, f"{sample}-2", 1.0), DoseExceeded)
        else:
            measure(client, f"{sample}-1", dwell_s=0.1)
