from pathlib import Path

import pytest

from autoscope.bus.roles import PERMITTED, Role, Verb, may, require, table
from autoscope.errors import Refused

ROOT = Path(__file__).parents[3]
LIVENESS = {"hello", "ping", "state", "holder", "subscribe"}
CHANGING = {"execute", "abort", "acquire", "renew", "release", "take_over", "clear_emergency"}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("verb", Verb)
def test_every_verb_is_said_by_exactly_the_roles_of_the_table(role, verb):
    if verb in PERMITTED[role]:
        require(role, verb, who="someone")
        assert may(role, verb)
    else:
        assert not may(role, verb)
        with pytest.raises(Refused, match=f"{role.value} may not say {verb.value}"):
            require(role, verb, who="someone")


def test_every_verb_has_a_role_that_may_say_it_and_the_operator_may_say_all():
    assert frozenset().union(*PERMITTED.values()) == frozenset(Verb) == PERMITTED[Role.OPERATOR]


def test_an_observer_changes_nothing():
    assert not PERMITTED[Role.OBSERVER] & (CHANGING | {"emergency_stop", "make_safe", "stop"})


def test_an_emergency_key_stops_and_sees_that_it_worked_and_nothing_else():
    assert set(PERMITTED[Role.EMERGENCY]) >= LIVENESS | {"emergency_stop"}
    assert not PERMITTED[Role.EMERGENCY] & CHANGING
    assert not PERMITTED[Role.EMERGENCY] & {"recall", "fetch"}


def test_an_agent_takes_nothing_over_and_clears_no_emergency():
    assert not PERMITTED[Role.AGENT] & {"take_over", "clear_emergency"}


def test_everyone_but_an_observer_can_stop():
    assert {role for role in Role if may(role, Verb.EMERGENCY_STOP)} == set(Role) - {Role.OBSERVER}


def test_the_documented_matrix_is_the_table():
    assert table() in (ROOT / "docs" / "bus_security.md").read_text(encoding="utf-8")
