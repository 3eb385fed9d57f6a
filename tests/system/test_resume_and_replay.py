"""A run that is killed, resumed and replayed, as its user meets it."""

import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from autoscope.cli import main
from autoscope.clock import SimClock, SystemClock
from autoscope.journal import Journal, JournalReader

AUTOSCOPE = str(Path(sys.executable).with_name("autoscope"))
SMALL = """
name: small
seed: 1
environment:
  name: simulated
  options: {microscope: {specimens: [{kind: nanoparticles, extent: [300 nm, 300 nm], count: 4}]}}
policy:
  name: random
  options:
    {target: plasmon, overview: {fov: 200 nm, width_px: 32, height_px: 32}, dwell: 20 ms, signals: [EELS]}
scalarizers: {plasmon: {name: band_integral, options: {band: [1.6 eV, 2.2 eV]}}}
budget: {steps: 400}
"""


def call(*arguments, cwd):
    return subprocess.run([AUTOSCOPE, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=100)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Return the folder of a run that a real SIGKILL met somewhere."""
    if sys.platform == "win32":
        pytest.skip("POSIX signals")
    folder = tmp_path_factory.mktemp("lab")
    (folder / "small.yaml").write_text(SMALL)
    process = subprocess.Popen([AUTOSCOPE, "run", "small.yaml", "--quiet"], cwd=folder, stdout=subprocess.DEVNULL)
    clock = SystemClock()
    while count(folder) < 12:
        assert process.poll() is None
        assert clock.now_s() < 90, "the run did not get going"
        clock.wait(0.01)
    process.kill()
    process.wait(30)
    (run,) = (folder / "runs").iterdir()
    return folder, run


def count(folder):
    runs = list(folder.glob("runs/*/journal.sqlite"))
    try:
        return sum(1 for _ in JournalReader.open(runs[0].parent).records()) if runs else 0
    except Exception:
        return 0  # just being made


def copy_of(run, tmp_path):
    return Path(shutil.copytree(run, tmp_path / "copy"))


def test_a_killed_run_is_resumed_to_its_end_and_then_refused(killed, tmp_path):
    folder, run = killed
    run = copy_of(run, tmp_path)
    done = call("resume", run, "--set", "budget.steps=30", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "resumed (it was cut off)" in done.stdout
    assert "decisions made again as recorded" in done.stdout
    assert (run / "report" / "index.html").is_file()
    assert call("verify", run, cwd=folder).returncode == 0
    steps = list(JournalReader.open(run).steps())
    assert [s.index for s in steps] == list(range(30))
    assert len({s.act_id for s in steps}) == 30
    again = call("resume", run, cwd=folder)
    assert again.returncode == 1
    assert "the run is complete" in again.stderr
    assert "--set" in again.stderr
    more = call("resume", run, "--set", "budget.steps=33", "--no-report", cwd=folder)
    assert "it had ended: completed" in more.stdout, more.stderr
    assert len(list(JournalReader.open(run).steps())) == 33
    same = call("replay", run, cwd=folder)
    assert (same.returncode, same.stdout.strip()) == (0, "33 of 33 decisions identical")


def test_a_run_that_another_process_holds_is_not_resumed(killed, tmp_path):
    folder, run = killed
    run = copy_of(run, tmp_path)
    with Journal.reopen(run, clock=SimClock()):
        held = call("resume", run, cwd=folder)
    assert held.returncode == 1
    assert "another process is writing to this run" in held.stderr
    assert str(os.getpid()) in held.stderr


def test_only_budget_and_limits_can_be_changed(killed, tmp_path):
    folder, run = killed
    refused = call("resume", copy_of(run, tmp_path), "--set", "policy.name=grid", cwd=folder)
    assert refused.returncode == 2
    assert "it would be another run" in refused.stderr


@pytest.mark.parametrize("command", ["resume", "replay"])
def test_what_is_no_run_is_refused_without_a_traceback(tmp_path, command):
    done = call(command, tmp_path, cwd=tmp_path)
    assert done.returncode != 0
    assert "not a run folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_policy_and_another_scalarizer_are_tried_on_the_same_evidence(killed, tmp_path):
    folder, run = killed
    (tmp_path / "other.yaml").write_text(SMALL.replace("name: random", "name: grid"))
    other = call("replay", run, "--policy", tmp_path / "other.yaml", cwd=folder)
    assert other.returncode == 0, other.stderr
    assert "grid would choose" in other.stdout
    assert "what grid would have chosen at each step" in other.stdout.replace("\n", " ")
    (tmp_path / "band.yaml").write_text("plasmon: {name: band_integral, options: {band: [2.2 eV, 3 eV]}}")
    band = call("replay", run, "--scalarizer", tmp_path / "band.yaml", cwd=folder)
    assert band.returncode == 0, band.stderr
    assert "values of targets differ" in band.stdout


def test_a_decision_altered_in_the_file_does_not_pass_for_replayed(killed, tmp_path):
    folder, run = killed
    run = copy_of(run, tmp_path)
    with sqlite3.connect(run / "journal.sqlite") as database:
        seq = next(r.seq for r in JournalReader.open(run).records("intent") if r.step == 4)
        body = json.dumps({"act_id": "x"})
        database.execute("UPDATE records SET body = ? WHERE seq = ?", (body, seq))
    done = call("replay", run, cwd=folder)
    assert done.returncode == 1
    assert f"record {seq}" in done.stderr


READING = [("replay",), ("report",), ("verify",), ("export", "--format", "csv")]
LEFT = [(None, "Nothing is lost: start the run again"), ("name: small", "before its first record")]


@pytest.mark.parametrize(
    ("command", "config", "said"), [(c, *left) for c in READING for left in LEFT] + [(("resume",), *LEFT[0])]
)
def test_a_run_killed_before_anything_was_recorded_is_no_damaged_one(tmp_path, monkeypatch, command, config, said):
    run = tmp_path / "run"
    (run / "frames").mkdir(parents=True)
    (run / "journal.sqlite").touch()
    if config:
        (run / "config.yaml").write_text(config)
    monkeypatch.setattr(sys, "argv", ["autoscope", command[0], str(run), *command[1:]])
    with pytest.raises(SystemExit) as ended, redirect_stderr(io.StringIO()) as told:
        main()
    assert ended.value.code == 2
    assert "nothing is recorded here" in told.getvalue()
    assert said in told.getvalue()
