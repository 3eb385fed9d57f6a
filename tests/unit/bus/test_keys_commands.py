import stat

import pytest
from typer.testing import CliRunner

from autoscope.bus.keyring import read_entries
from autoscope.bus.keys import KeyPair, fingerprint
from autoscope.cli.app import app
from autoscope.errors import ConfigError


def keys(folder, *words):
    """Say ``autoscope keys ...``; return what it printed, or raise what it raised."""
    result = CliRunner().invoke(app, ["keys", *words, "--keys", str(folder)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output if result.exit_code == 0 else None


def test_a_server_admits_lists_and_revokes(tmp_path):
    server = keys(tmp_path, "new", "--server")
    made = keys(tmp_path, "new", "night_agent", "--role", "agent")
    pair, own = KeyPair.load(tmp_path / "night_agent.key"), KeyPair.load(tmp_path / "server.key")
    assert own.public in server
    assert fingerprint(pair.public) in made
    assert pair.server == own.public
    assert stat.S_IMODE((tmp_path / "night_agent.key").stat().st_mode) == 0o600
    listed = keys(tmp_path, "list")
    assert all(word in listed for word in ("night_agent", "agent", fingerprint(pair.public)))
    assert "night_agent" in keys(tmp_path, "revoke", "night_agent")
    assert read_entries(tmp_path / "authorized_keys") == []
    assert "nobody may enter" in keys(tmp_path, "list")


def test_a_secret_is_never_printed(tmp_path):
    said = keys(tmp_path, "new", "--server") + keys(tmp_path, "new", "a", "--role", "observer") + keys(tmp_path, "list")
    for name in ("server", "a"):
        assert KeyPair.load(tmp_path / f"{name}.key").secret.get_secret_value() not in said


def test_a_key_made_elsewhere_is_admitted_by_its_public_half(tmp_path):
    server, agent = tmp_path / "server", tmp_path / "agent"
    keys(server, "new", "--server")
    public = KeyPair.load(server / "server.key").public
    said = keys(agent, "new", "remote", "--role", "agent", "--pin", public)
    pair = KeyPair.load(agent / "remote.key")
    assert pair.server == public
    assert f"--public '{pair.public}'" in said
    keys(server, "admit", "remote", "--role", "agent", "--public", pair.public)
    assert [(e.name, e.public) for e in read_entries(server / "authorized_keys")] == [("remote", pair.public)]


@pytest.mark.parametrize(
    "words",
    [
        ("new", "taken", "--role", "agent"),
        ("new", "server", "--role", "agent"),
        ("new", "Bad Name", "--role", "agent"),
        ("new", "--server"),
        ("admit", "x", "--role", "agent", "--public", "short"),
        ("revoke", "nobody"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(tmp_path, words):
    keys(tmp_path, "new", "--server")
    keys(tmp_path, "new", "taken", "--role", "observer")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError):
        keys(tmp_path, *words)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "words", [("new",), ("new", "a"), ("new", "a", "--role", "king"), ("new", "--server", "--role", "agent")]
)
def test_a_command_that_says_too_little_or_too_much_explains_itself(tmp_path, words):
    assert keys(tmp_path, *words) is None
    assert not list(tmp_path.iterdir())
