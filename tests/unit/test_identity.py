import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from autoscope.errors import IdentityError
from autoscope.identity import PRIVATE, PUBLIC, home, load, load_or_make, read_public_key

needs_posix = pytest.mark.skipif(os.name == "nt", reason="rights of POSIX")


def test_key_is_made_once_and_stays(tmp_path):
    assert load(tmp_path / "home") is None
    made = load_or_make(tmp_path / "home")
    assert load_or_make(tmp_path / "home").public_key == load(tmp_path / "home").public_key == made.public_key
    assert load_or_make(tmp_path / "other").public_key != made.public_key


@needs_posix
def test_private_key_is_readable_by_nobody_else(tmp_path):
    made = load_or_make(tmp_path / "home")
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.path.parent.stat().st_mode) & 0o022 == 0
    assert sorted(path.name for path in made.path.parent.iterdir()) == sorted([PRIVATE, PUBLIC])


@needs_posix
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666])
def test_private_key_that_others_can_read_is_refused(tmp_path, mode):
    made = load_or_make(tmp_path)
    made.path.chmod(mode)
    with pytest.raises(IdentityError, match=r"others can read.*chmod 600"):
        load_or_make(tmp_path)


def test_signature_is_that_of_the_public_key_shown(tmp_path):
    made = load_or_make(tmp_path)
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(made.public_key)).verify(made.sign(b"head"), b"head")
    assert made.public_key in repr(made)
    assert "PRIVATE" not in repr(made)


def test_public_key_is_taken_as_digits_and_as_a_file(tmp_path):
    made = load_or_make(tmp_path)
    assert read_public_key(made.public_key.upper()) == made.public_key
    assert read_public_key(str(tmp_path / PUBLIC)) == made.public_key
    for wrong in ("abc", str(tmp_path / "absent"), str(made.path)):
        with pytest.raises(IdentityError, match="no public key"):
            read_public_key(wrong)


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_file_that_is_no_key_is_never_replaced(tmp_path, content):
    (tmp_path / PRIVATE).write_bytes(content)
    (tmp_path / PRIVATE).chmod(0o600)
    with pytest.raises(IdentityError, match="move it away"):
        load_or_make(tmp_path)
    assert (tmp_path / PRIVATE).read_bytes() == content


def test_key_of_another_kind_is_refused(tmp_path):
    pem = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / PRIVATE).write_bytes(pem)
    (tmp_path / PRIVATE).chmod(0o600)
    with pytest.raises(IdentityError, match="no Ed25519 key"):
        load_or_make(tmp_path)


def test_folder_that_cannot_be_written_to_is_named_with_the_way_out(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(IdentityError, match="AUTOSCOPE_HOME"):
        load_or_make(tmp_path / "file" / "home")


def test_many_at_once_end_up_with_one_key(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: load_or_make(tmp_path / "home").public_key, range(8)))
    assert len(set(made)) == 1


def test_folder_is_the_users_own_or_the_one_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTOSCOPE_HOME", str(tmp_path))
    assert home() == tmp_path
    monkeypatch.delenv("AUTOSCOPE_HOME")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CONFIG_HOME", "/somewhere")
        assert str(home()) == "/somewhere/autoscope"
        monkeypatch.delenv("XDG_CONFIG_HOME")
        assert home().parts[-2:] == (".config", "autoscope")


def test_identity_command_shows_the_public_key_and_never_the_private_one(tmp_path):
    command = [str(Path(sys.executable).with_name("autoscope")), "identity", "--json"]
    environment = os.environ | {"AUTOSCOPE_HOME": str(tmp_path)}
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert json.loads(shown)["public_key"] == load(tmp_path).public_key
    secret = (tmp_path / PRIVATE).read_text().split("\n")[1]
    assert secret not in shown
