"""Sealed limits: whatever was changed since is told and refused, whoever changed it and however."""

import json

import pytest

from autoscope.bus.ledger import Ledger
from autoscope.bus.sealing import (
    protection,
    read_seal,
    require_sealed,
    require_still_sealed,
    seal_path,
    sealed,
    write_seal,
)
from autoscope.bus.serving import ServeConfig
from autoscope.clock import SimClock
from autoscope.errors import ConfigError
from autoscope.identity import load_or_make
from autoscope.quantities import FROM_FILE

PLAIN = {
    "job": "serve",
    "name": "column",
    "instrument": {"name": "simulated"},
    "serial": "C-1",
    "limits": {"x": ["-12 um", "12 um"], "max_beam_current": "200 pA"},
    "dose": {"sample": "Pt 7", "max_dose": "1e14 e"},
    "watch": {"lease": "5 s"},
}


def config(**changes):
    return ServeConfig.model_validate(PLAIN | changes, context=FROM_FILE)


@pytest.fixture
def identity(tmp_path):
    return load_or_make(tmp_path / "home")


@pytest.fixture
def seal(tmp_path, identity):
    path = seal_path(tmp_path / "scope.yaml")
    assert read_seal(path) is None
    write_seal(path, sealed(config(), identity, "Anna", "2026-11-27T02:00:00.000+00:00"))
    return read_seal(path)


def test_what_was_sealed_is_served_whatever_the_sample_is_called(seal, identity):
    require_sealed(config(), seal, identity, "scope.yaml")
    require_sealed(config(dose=PLAIN["dose"] | {"sample": "Pt 8"}), seal, identity, "scope.yaml")
    require_sealed(config(seed=3, clock="simulated"), seal, identity, "scope.yaml")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"limits": PLAIN["limits"] | {"max_beam_current": "2 nA"}},
            'limits.max_beam_current_a: "2e-10 A" -> "2e-09 A"',
        ),
        ({"limits": PLAIN["limits"] | {"x": ["-13 um", "12 um"]}}, "limits.x_m"),
        ({"limits": {"x": ["-12 um", "12 um"]}}, 'limits.max_beam_current_a: "2e-10 A" -> null'),
        ({"dose": PLAIN["dose"] | {"max_dose": "1e15 e"}}, "dose.max_dose_e"),
        ({"watch": {"lease": "500 s"}}, 'watch.lease_s: "5.0 s" -> "500.0 s"'),
        ({"serial": None}, 'serial: "C-1" -> null'),
    ],
    ids=["current", "range", "dropped", "dose", "lease", "serial"],
)
def test_changed_limits_are_refused_and_told_with_who_sealed_the_others(seal, identity, changes, told):
    with pytest.raises(ConfigError, match="not those that Anna sealed on 2026-11-27") as refused:
        require_sealed(config(**changes), seal, identity, "scope.yaml")
    assert told in str(refused.value.value)


def test_a_seal_that_was_written_to_fit_does_not_hold(seal, identity):
    wider = config(watch={"lease": "500 s"})
    forged = seal.replace(protection=protection(wider))
    with pytest.raises(ConfigError, match="does not hold"):
        require_sealed(wider, forged, identity, "scope.yaml")
    with pytest.raises(ConfigError, match="does not hold"):
        require_sealed(config(), seal.replace(who="Bert"), identity, "scope.yaml")


def test_a_seal_of_somebody_else_is_none(seal, tmp_path):
    with pytest.raises(ConfigError, match="another installation"):
        require_sealed(config(), seal, load_or_make(tmp_path / "elsewhere"), "scope.yaml")
    with pytest.raises(ConfigError, match="another installation"):
        require_sealed(config(), seal, None, "scope.yaml")


def test_what_is_no_seal_is_told_with_its_file(tmp_path, seal):
    path = seal_path(tmp_path / "scope.yaml")
    for text in ("", "{}", json.dumps(seal.model_dump() | {"signature": "00"})):
        path.write_text(text)
        with pytest.raises(ConfigError, match="is not a seal"):
            read_seal(path)


def test_a_seal_that_is_taken_away_is_missed_at_the_next_start(tmp_path, seal):
    ledger = Ledger(tmp_path / "ledger", clock=SimClock(), durable=False)
    require_still_sealed(ledger, "")
    require_still_sealed(ledger, "")
    require_still_sealed(ledger, seal.public_key)
    require_still_sealed(ledger, "ab" * 32)  # sealed anew, by another installation that was let in
    with pytest.raises(ConfigError, match="now there is no seal"):
        require_still_sealed(ledger, "")
    ledger.close()
