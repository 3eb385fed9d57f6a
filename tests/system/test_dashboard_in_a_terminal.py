"""The dashboard in a real terminal, attached to a run in another process: watch, steer, leave, come back."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from autoscope.errors import JournalError
from autoscope.journal import JournalReader
from autoscope.journal.index import RUNNING, runs
from tests.smoke import free_ports
from tests.terminal import Terminal

pytestmark = [pytest.mark.skipif(sys.platform == "win32", reason="terminals of another kind"), pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
AUTOSCOPE = str(Path(sys.executable).with_name("autoscope"))
SMALL = ("policy.options.overview.width_px=48", "policy.options.overview.height_px=48", "policy.options.points=2200")


@contextmanager
def going(folder: Path, *more: str):
    """Run an experiment in real time, in a process of its own; yields its run folder."""
    settings = [word for part in (*SMALL, "clock=system", "policy.options.dwell=300 ms") for word in ("--set", part)]
    command = [AUTOSCOPE, "run", "configs/nanoparticles.yaml", "--runs", str(folder), "--quiet", "--no-report"]
    process = subprocess.Popen([*command, *settings, *more], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        yield _begun(folder, process), process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)


def _begun(folder: Path, process) -> Path:
    for _ in range(1200):
        assert process.poll() is None, "the run has ended"
        begun = [path.parent for path in folder.glob("*/journal.sqlite")]
        with suppress(JournalError):  # its first bytes may be on their way
            if begun and any(JournalReader.open(begun[0]).records("outcome")):
                return begun[0]
        time.sleep(0.05)  # noqa: TID251 - another process begins
    raise AssertionError("the run has not begun")


def orders(run: Path) -> list[tuple[str, str]]:
    """Return who ordered what, by the record."""
    return [(r.body["who"], r.body["command"]) for r in JournalReader.open(run).records("intervention")]


def watching(run: Path, who: str, **given) -> Terminal:
    """Open a dashboard in a terminal."""
    return Terminal([AUTOSCOPE, "dashboard", str(run), "--who", who], cwd=ROOT, **given)


def test_a_person_steers_a_live_run_leaves_and_another_takes_over(tmp_path):
    with going(tmp_path) as (run, process):
        with watching(run, "anna") as anna:
            anna.wait_for("OK  running", "decision", "learning: plasmon")
            anna.press("t")
            anna.wait_for("wheel: anna")
            anna.press("o")
            anna.wait_for("autonomy: which acts")
            anna.press(*"each_step", "enter")
            anna.wait_for("an act waits for your word")
            anna.press("v")
            anna.wait_for("veto spectrum")
            anna.press("enter")
            anna.wait_for("anna: veto")
            anna.press("o")
            anna.wait_for("autonomy: which acts")
            anna.press(*"autonomous", "enter")
            anna.wait_for("OK  running")
            anna.press("p")
            anna.wait_for("paused by anna")
            anna.press("g")
            anna.wait_for("measure next")
            anna.press("right", "down", "enter")
            anna.press("a")
            anna.wait_for("acquisition (empty")
            anna.press(*"expected_improvement", "enter")
            anna.press("p")
            anna.wait_for("  running  act")
            anna.press("q")
            assert anna.ended() == 0
        assert process.poll() is None, "leaving has ended the run"
        with watching(run, "ben", size=(80, 24)) as ben:
            ben.wait_for("  running  act", "wheel: anna")
            ben.press("t")
            ben.wait_for("anna has the wheel. Take it over?")
            ben.press("enter")
            ben.wait_for("A reason is needed")
            ben.press(*"shift change", "enter")
            ben.wait_for("wheel: ben")
            ben.hang_up()
        assert process.poll() is None, "a lost line has ended the run"
        with watching(run, "ben") as again:
            again.wait_for("  running  act", "wheel: ben")
            again.press("!")
            again.wait_for("stopped", seconds=30)
        assert process.wait(60) == 0
    told = orders(run)
    wanted = [("anna", "take_wheel"), ("anna", "autonomy"), ("anna", "veto"), ("anna", "autonomy"), ("anna", "pause"),
              ("anna", "send_to"), ("anna", "set_acquisition"), ("anna", "resume"), ("ben", "take_wheel"),
              ("ben", "emergency_stop")]  # fmt: skip
    assert told == wanted
    for command in ("verify", "replay"):
        done = subprocess.run([AUTOSCOPE, command, str(run)], capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_run_on_another_computer_is_watched_and_steered_over_the_network(tmp_path):
    address = f"tcp://127.0.0.1:{free_ports()}"
    command = [AUTOSCOPE, "dashboard", address, "--who", "eva"]
    with (
        going(tmp_path, "--steer", address, "--insecure-loopback") as (run, process),
        Terminal(command, cwd=ROOT) as eva,
    ):
        eva.wait_for("OK  running", "decision", "learning: plasmon", "EELS of act")
        eva.press("p")
        eva.wait_for("paused by eva")
        eva.press("p")
        eva.wait_for("OK  running")
        eva.press("s")
        eva.wait_for("Stop the run?")
        eva.press("enter")
        eva.look(1.0)
        assert process.wait(60) == 0
        # with the run its door closes: its last record is seen before, or it is behind the door
        eva.wait_for(("OK  stopped", "no answer"))
    assert orders(run) == [("eva", "pause"), ("eva", "resume"), ("eva", "stop")]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux here")
def test_the_dashboard_lives_in_tmux(tmp_path):
    tmux = ["tmux", "-L", f"autoscope-{tmp_path.name}", "-f", "/dev/null"]

    def shown() -> str:
        return subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, text=True, timeout=20).stdout

    with going(tmp_path / "runs") as (run, _):
        start = f"{AUTOSCOPE} dashboard {run} --who anna"
        subprocess.run([*tmux, "new-session", "-d", "-x", "120", "-y", "40", start], check=True, timeout=20)
        try:
            for keys, words in (("", "OK  running"), ("p", "paused by anna"), ("p", "OK  running"), ("2", "expected")):
                if keys:
                    subprocess.run([*tmux, "send-keys", keys], check=True, timeout=20)
                for _ in range(600):
                    if words in shown():
                        break
                    time.sleep(0.1)  # noqa: TID251 - another program draws
                assert words in shown()
        finally:
            subprocess.run([*tmux, "kill-server"], timeout=20)
        assert [r.status for r in runs(run.parent)] == [RUNNING]
    assert orders(run)[:2] == [("anna", "pause"), ("anna", "resume")]
