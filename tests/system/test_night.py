"""One command, two processes: an instrument served with keys made for the night, and the experiment on it."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autoscope.clock import SystemClock
from autoscope.errors import ConfigError, JournalError
from autoscope.journal import JournalReader, verify
from tests.system.test_command_line import AUTOSCOPE, ROOT

CONFIGS = ROOT / "configs"
DRIFT_M_PER_S = (60e-12, -40e-12)
"""Of configs/instrument/nion.yaml."""
NIGHT = """
name: small
seed: 1
environment:
  name: microscope
  options: {instrument: {name: bus}}
policy:
  name: random
  options:
    {target: pt, overview: {fov: 1 um, width_px: 64, height_px: 64}, dwell: 20 ms, signals: [EDS], points: POINTS}
scalarizers: {pt: {name: band_integral, options: {band: [1.85 keV, 2.30 keV]}}}
"""


needs_usim = pytest.mark.skipif(
    importlib.util.find_spec("nion") is None, reason="nionswift-usim is not installed (pip install 'autoscope[nion]')"
)


def night(folder, points, *more, config=NIGHT, instrument=CONFIGS / "instrument" / "simulated.yaml"):
    (folder / "small.yaml").write_text(config.replace("POINTS", str(points)))
    command = [AUTOSCOPE, "night", "small.yaml", str(instrument), "--quiet", *map(str, more)]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def servers_of(process):
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(child) for child in children if "cli.night" in Path(f"/proc/{child}/cmdline").read_text()]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_run_that_does_not_use_the_bus_is_refused_before_anything_starts(tmp_path):
    from autoscope.cli.night import run_night

    plain = tmp_path / "plain.yaml"
    plain.write_text((CONFIGS / "focus.yaml").read_text())
    with pytest.raises(ConfigError, match=r"not the bus.*autoscope run"):
        run_night(
            plain, CONFIGS / "instrument" / "simulated.yaml", [], tmp_path / "runs", tmp_path / "ledger",
            smoke=True, quiet=True, with_report=False,
        )  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plain.yaml"]


def test_a_wrong_file_of_the_instrument_is_told_before_anything_starts(tmp_path):
    (tmp_path / "bad.yaml").write_text(
        "job: serve\nname: it\ninstrument: {name: simulated, options: {gun: {colour: red}}}\n"
    )
    done = night(tmp_path, 3, instrument=tmp_path / "bad.yaml")
    said, _ = done.communicate(timeout=60)
    assert done.returncode == 2
    assert "bad.yaml:3: instrument.options.gun.colour" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_night_runs_over_the_bus_with_keys_and_leaves_neither_server_nor_keys(tmp_path):
    process = night(tmp_path, 6)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "with keys for this night" in said
    (run,) = (tmp_path / "runs").iterdir()
    assert verify(run).ok
    kept = (run / "config.yaml").read_text()
    key = Path(re.search(r"key: (\S+night_agent\.key)", kept).group(1))
    assert key.is_relative_to(tmp_path / "ledgers")
    assert not key.parent.exists()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes under /proc")
def test_a_server_ends_by_itself_when_the_agent_is_killed(tmp_path):
    process = night(tmp_path, 100_000)
    while not list(tmp_path.glob("runs/*/journal.sqlite")):
        assert process.poll() is None, process.stdout.read()
    (server,) = servers_of(process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    clock = SystemClock()
    while is_alive(server):
        assert clock.now_s() < 40.0, "the server outlives its agent"
    process.stdout.close()


def decided(run):
    """Return what a run decided and measured."""
    steps = [step for step in JournalReader.open(run).steps() if step.outcome]
    return [
        (s.decision.action, s.outcome.status, s.outcome.values, [f.sha256 for f in s.outcome.frames]) for s in steps
    ]


def acts_of(folder):
    journals = list(folder.glob("runs/*/journal.sqlite"))
    try:
        return sum(1 for _ in JournalReader.open(journals[0].parent).records("outcome")) if journals else 0
    except JournalError:
        return 0  # just being made


def until_acts(process, folder, count):
    clock = SystemClock()
    while acts_of(folder) < count:
        assert process.poll() is None, process.stdout.read()
        assert clock.now_s() < 90.0, "the night did not get going"
        clock.wait(0.02)


POINTS = 40


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    night(folder, POINTS).communicate(timeout=120)
    (run,) = (folder / "runs").iterdir()
    return decided(run)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_night_that_was_killed_is_resumed_by_one_command_and_ends_as_if_nothing_had_happened(tmp_path, undisturbed):
    process = night(tmp_path, POINTS)
    until_acts(process, tmp_path, 12)
    process.kill()
    process.communicate(timeout=30)
    (run,) = (tmp_path / "runs").iterdir()
    (kept,) = (tmp_path / "ledgers" / "simulated" / "nights").iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    assert all(key.stat().st_mode & 0o077 == 0 for key in kept.glob("*.key"))
    done = subprocess.run([AUTOSCOPE, "resume", run, "-q"], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "serves the instrument of the night" in done.stdout
    assert decided(run) == undisturbed
    assert verify(run).ok
    assert not kept.exists()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes under /proc")
def test_a_server_that_dies_in_the_night_is_started_again_and_the_night_goes_on(tmp_path, undisturbed):
    process = night(tmp_path, POINTS)
    until_acts(process, tmp_path, 12)
    (server,) = servers_of(process)
    os.kill(server, signal.SIGKILL)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert "it is started again" in said
    (run,) = (tmp_path / "runs").iterdir()
    assert decided(run) == undisturbed


@pytest.mark.slow
@needs_usim
def test_a_survey_over_the_bus_finds_focus_and_nickel_on_a_drifting_sample_in_a_column_of_another_team(tmp_path):
    from nion.usim_device.SampleSimulator import RectangleFlakeSample

    config = (CONFIGS / "overnight_nion.yaml").read_text()
    process = night(tmp_path, 0, config=config, instrument=CONFIGS / "instrument" / "nion.yaml")
    said, _ = process.communicate(timeout=110)
    assert process.returncode == 0, said
    (run,) = (tmp_path / "runs").iterdir()
    assert verify(run).ok
    steps = [step for step in JournalReader(run).steps() if step.outcome and step.outcome.status == "done"]
    assert steps[-1].outcome.state.defocus_m == pytest.approx(180e-9, abs=20e-9)  # which nobody had told it
    flakes = RectangleFlakeSample(1000).features
    right = wrong = nickel = 0
    for step in steps:
        if step.decision.purpose == "spectrum":
            (frame,) = step.outcome.frames
            value = next(v for v in step.outcome.values if v.name == "ni_l")
            x_m, y_m = (at - v * frame.meta.time_s for at, v in zip((frame.meta.x_m, frame.meta.y_m), DRIFT_M_PER_S))
            truth = sum(
                any(edge == 855 for edge, _ in flake.edges)
                for flake in flakes
                if abs(x_m - flake.position_m.x) < flake.size_m.width / 2
                and abs(y_m - flake.position_m.y) < flake.size_m.height / 2
            )
            nickel += bool(truth)
            agrees = (value.value > 5 * value.std) == bool(truth)
            right, wrong = right + agrees, wrong + (not agrees)
    assert right + wrong >= 60
    assert nickel >= 20
    assert wrong <= 0.05 * (right + wrong)
    assert np.isfinite(steps[-1].outcome.dose_e)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "clock"),
    [
        ("simulated", "simulated"),
        pytest.param(
            "nion",
            "system",
            marks=needs_usim,
        ),
    ],
)
def test_an_instrument_keeps_its_promises_over_the_bus_with_keys(tmp_path, name, clock):
    from autoscope.cli.night import served

    with served(CONFIGS / "instrument" / f"{name}.yaml", tmp_path / "ledger") as server:
        (tmp_path / "bus.yaml").write_text(f'address: "{server.address}"\nkey: {server.key}\n')
        command = [AUTOSCOPE, "doctor", "-i", "bus", "-c", "bus.yaml", "--clock", clock]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout
    assert " 0 failed" in done.stdout.splitlines()[-1]
