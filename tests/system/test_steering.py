"""A run that people steer from other processes, as its user meets it; whoever steers may die at any moment."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autoscope.cli.app import app
from autoscope.clock import SystemClock
from autoscope.errors import AutoscopeError, ConfigError
from autoscope.identity import load_or_make
from autoscope.interventions import Note
from autoscope.journal import JournalReader
from autoscope.records import Intervention
from autoscope.steering.helm import helm_of
from tests.smoke import free_ports

AUTOSCOPE = str(Path(sys.executable).with_name("autoscope"))
SMALL = """
name: small
clock: system
environment:
  name: simulated
  options: {microscope: {specimens: [{kind: nanoparticles, extent: [300 nm, 300 nm], count: 4}]}}
policy:
  name: random
  options: {target: plasmon, overview: {fov: 200 nm, width_px: 32, height_px: 32}, dwell: 50 ms, signals: [EELS]}
scalarizers: {plasmon: {name: band_integral, options: {band: [1.6 eV, 2.2 eV]}}}
"""
POSTS = """
import sys
from pathlib import Path
from autoscope.errors import AutoscopeError, ConfigError
from autoscope.identity import load_or_make
from autoscope.interventions import Note
from autoscope.steering.helm import helm_of
helm = helm_of(Path(sys.argv[1]), who="bert", identity=load_or_make(Path(sys.argv[2])))
for number in range(10**6):
    helm.post(Note(text=str(number)))
    print(number, flush=True)
"""


def call(*arguments):
    """Return exit status and all that was said; in this process, which has everything loaded."""
    said = CliRunner().invoke(app, [str(argument) for argument in arguments])
    error = said.exception if isinstance(said.exception, AutoscopeError) else None
    return (2 if isinstance(error, ConfigError) else said.exit_code), said.output + str(error or "")


@pytest.fixture
def lab(tmp_path_factory):
    """Return a folder with a run that goes on at a door, its address, and its process."""
    if sys.platform == "win32":
        pytest.skip("POSIX signals")
    folder = tmp_path_factory.mktemp("lab")
    (folder / "small.yaml").write_text(SMALL)
    address, clock = f"tcp://127.0.0.1:{free_ports()}", SystemClock()
    command = [AUTOSCOPE, "run", "small.yaml", "--quiet", "--no-report", "--steer", address, "--insecure-loopback"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    while not (runs := [r for r in folder.glob("runs/*") if acts(r) > 2]):
        assert process.poll() is None
        assert clock.now_s() < 90, "the run did not get going"
        clock.wait(0.05)
    yield folder, runs[0], address
    process.kill()
    process.wait(30)


def acts(run):
    try:
        return sum(1 for _ in JournalReader.open(run).records("outcome"))
    except Exception:
        return 0  # just being made


@pytest.mark.slow
def test_whoever_steers_may_be_killed_in_the_middle_of_an_order_and_the_run_goes_on(lab, tmp_path):
    _, run, _ = lab
    helm = helm_of(run, who="anna", identity=load_or_make(tmp_path / "anna"), patience_s=30.0)
    for number in range(4):
        command = [sys.executable, "-c", POSTS, str(run), str(tmp_path / "bert")]
        killed = subprocess.Popen(command, stdout=subprocess.PIPE)
        for _ in range(2 + 3 * number):
            killed.stdout.readline()
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(30)
        killed.stdout.close()
        before = acts(run)
        assert helm.post(Note(text=f"still there {number}")).status == "accepted"
        assert acts(run) >= before
    notes = [r.body for r in JournalReader.open(run).records("intervention") if r.body["who"] == "bert"]
    assert len({body["order"]["id"] for body in notes}) == len(notes)
    assert next(JournalReader.open(run).records("run_ended"), None) is None


def test_people_steer_from_the_command_line_and_from_afar_to_the_end_and_all_of_it_verifies(lab):
    folder, run, address = lab
    status, said = call("steer", run, "--why", "vacuum", "pause")
    assert (status, said.startswith("accepted: pause before step ")) == (0, True), said
    status, said = call("status", run)
    assert (status, "state: paused" in said, "vacuum" in said) == (3, True, True)
    status, said = call("steer", "anywhere", "--address", address, "--as", "bert", "take-wheel")
    assert status == 0, said
    status, said = call("steer", run, "dwell", "20 ms")
    assert (status, "bert has the wheel" in said) == (1, True)
    assert call("steer", run, "--as", "bert", "resume")[0] == 0
    status, said = call("steer", run, "exclude", "--x", "12", "--y", "3 nm")
    assert (status, "unit" in said) == (2, True)
    shown = json.loads(call("what-if", run, "--policy-options", "dwell=20 ms", "--count", "2", "--json")[1])
    assert [len(side) for side in shown.values()] == [2, 2]
    assert shown["as_it_is"][0]["action"]["dwell_s"] == 0.05
    assert shown["otherwise"][0]["action"]["dwell_s"] == 0.02

    assert call("steer", "--why", "enough", run, "stop")[0] == 0
    clock = SystemClock()
    while "over (stopped)" not in (answer := call("status", run))[1]:
        assert clock.now_s() < 60, answer
    assert answer[0] == 0
    assert call("verify", run)[0] == 0
    assert call("replay", run, "--quiet")[0] == 0
    status, said = call("steer", run, "pause")
    assert (status, "nobody hears this run" in said) == (1, True)
    assert call("status", folder / "nothing")[0] == 2

    bodies = [r.body for r in JournalReader.open(run).records("intervention")]
    said = [Intervention.model_validate_json(json.dumps(body)) for body in bodies]
    assert said
    assert all(one.order.genuine() and one.parsed() for one in said)
    assert {one.through.split()[0] for one in said} == {"this", "bus"}
    assert {"pause", "resume", "take_wheel", "stop"} <= {one.command for one in said}
