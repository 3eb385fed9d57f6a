import os
import stat

import pytest

from autoscope.bus.keyring import Entry, Keyring, new_entry, parse, read_entries, write_entries
from autoscope.bus.keys import KeyPair, fingerprint, load_public, save_public
from autoscope.bus.roles import Peer, Role
from autoscope.errors import ConfigError


def entry(name="night_agent", role=Role.AGENT, pair=None):
    return Entry(role=role, name=name, public=(pair or KeyPair.generate("any")).public, made="2026-01-01")


def test_a_key_comes_back_from_its_file_and_nobody_else_can_read_it(tmp_path):
    pair = KeyPair.generate("night_agent", server=KeyPair.generate("server").public)
    pair.save(tmp_path / "new" / "night_agent.key")
    assert KeyPair.load(tmp_path / "new" / "night_agent.key") == pair
    assert stat.S_IMODE((tmp_path / "new" / "night_agent.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_a_secret_is_never_shown():
    pair = KeyPair.generate("a")
    for shown in (repr(pair), str(pair), pair.model_dump_json()):
        assert pair.secret.get_secret_value() not in shown


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o666, 0o644, 0o601])
def test_a_secret_that_others_can_read_or_write_is_refused(tmp_path, mode):
    path = tmp_path / "a.key"
    KeyPair.generate("a").save(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"{mode:04o}.*0600"):
        KeyPair.load(path)


def test_a_key_is_never_overwritten_nor_written_through_a_link(tmp_path):
    (tmp_path / "a.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="never overwritten"):
        KeyPair.generate("a").save(tmp_path / "a.key")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace('name = "a"', 'name = "A b"'),
        lambda text: text + 'colour = "green"\n',
        lambda text: text.replace("secret = ", "secret = 5 #"),
        lambda text: "\n".join(line for line in text.splitlines() if not line.startswith("public")),
        lambda text: text.replace('public = "', 'public = "x'),
        lambda text: text[:-20],
        lambda text: "",
        lambda text: "\u00e9" + text,
        lambda text: text.replace(text.splitlines()[2], f'public = "{KeyPair.generate("b").public}"'),
    ],
)
def test_a_file_that_is_not_exactly_a_key_is_refused_without_showing_it(tmp_path, spoil):
    path, pair = tmp_path / "a.key", KeyPair.generate("a")
    path.write_text(spoil(pair.text()), encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        KeyPair.load(path)
    assert str(path) in str(caught.value)
    assert pair.secret.get_secret_value() not in str(caught.value)


def test_an_absent_key_or_a_folder_in_its_place_is_refused(tmp_path):
    for path in (tmp_path / "none.key", tmp_path):
        with pytest.raises(ConfigError, match=str(path)):
            KeyPair.load(path)


def test_the_public_half_comes_back_alone(tmp_path):
    pair = KeyPair.generate("server")
    save_public(pair, tmp_path / "server.pub")
    assert load_public(tmp_path / "server.pub") == pair.public
    assert pair.secret.get_secret_value() not in (tmp_path / "server.pub").read_text()


def test_a_fingerprint_tells_keys_apart():
    assert len({fingerprint(KeyPair.generate("a").public) for _ in range(20)}) == 20


def test_entries_come_back_from_the_file_in_their_order(tmp_path):
    entries = [entry("b"), entry("a", Role.EMERGENCY), entry("c.d-e_f", Role.OBSERVER)]
    write_entries(tmp_path / "authorized_keys", entries)
    assert read_entries(tmp_path / "authorized_keys") == entries


GOOD = entry("good")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("agent x", "4 fields"),
        (GOOD.line().replace("agent", "admin").replace("good", "x"), "no such role: 'admin'"),
        (GOOD.line().replace("good", "Gut"), "name"),
        (GOOD.line().replace("2026-01-01", "yesterday").replace("good", "x"), "made"),
        (f"agent x {GOOD.public[:-1]} 2026-01-01", "public"),
        (f"agent x {GOOD.public} 2026-01-01", "earlier line"),
        (GOOD.line(), "earlier line"),
        (GOOD.line().replace("\n", " extra\n").replace("good", "x"), "5"),
    ],
    ids=["too short", "no role", "bad name", "bad date", "cut key", "known key", "known name", "too long"],
)
def test_a_wrong_line_refuses_the_whole_file_and_is_named(tmp_path, line, message):
    path = tmp_path / "authorized_keys"
    path.write_text(f"# people\n\n{GOOD.line()}{line}\n")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match=f"line 4: .*{message}"):
        Keyring(path)


def test_a_file_others_can_write_is_refused(tmp_path):
    path = tmp_path / "authorized_keys"
    write_entries(path, [GOOD])
    path.chmod(0o664)
    with pytest.raises(ConfigError, match="written by others"):
        Keyring(path)


def test_a_key_with_a_hash_sign_in_it_is_no_comment():
    public = next(p for p in (KeyPair.generate("a").public for _ in range(1000)) if "#" in p)
    entries, errors = parse(new_entry("a", "agent", public, "2026-01-01").line(), "file")
    assert not errors
    assert entries[0].public == public


def test_a_running_keyring_sees_a_line_added_and_a_line_removed(tmp_path):
    path, a, b = tmp_path / "authorized_keys", entry("a"), entry("b")
    write_entries(path, [a])
    ring = Keyring(path)
    write_entries(path, [a, b])
    assert ring.by_public(b.public) == b
    assert ring.generation == 0
    write_entries(path, [b])
    assert ring.by_user_id(a.user_id) is None
    assert ring.generation == 1


def test_a_new_key_of_an_old_name_is_somebody_else(tmp_path):
    path, old, new = tmp_path / "authorized_keys", entry("a"), entry("a")
    write_entries(path, [old])
    ring = Keyring(path)
    write_entries(path, [new])
    assert ring.by_user_id(old.user_id) is None
    assert ring.by_user_id(new.user_id) == Peer(new.name, new.role, fingerprint(new.public))


@pytest.mark.parametrize("trouble", ["wrong line", "absent", "open to others", "not text"])
def test_a_file_spoiled_under_a_running_server_admits_nobody_new(tmp_path, trouble):
    path, a, b, c = tmp_path / "authorized_keys", entry("a"), entry("b"), entry("c")
    write_entries(path, [a, b])
    ring = Keyring(path)
    write_entries(path, [a, c])
    if trouble == "wrong line":
        path.write_text(path.read_text() + "agent oops\n")
    elif trouble == "absent":
        path.unlink()
    elif trouble == "open to others":
        path.chmod(0o666)
    else:
        path.write_bytes(b"\xff\xfe")
    os.utime(path, ns=(1, 1)) if path.exists() else None
    assert ring.by_public(c.public) is None
    assert ring.by_public(b.public) is None
    assert (ring.by_public(a.public) is not None) == (trouble == "wrong line")
    assert ring.fault is not None
    write_entries(path, [a, b])
    assert ring.entries() == [a, b]
    assert ring.fault is None
