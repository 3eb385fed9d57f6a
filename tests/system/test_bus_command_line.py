"""The bus as people use it: keys, an instrument served, an experiment over the wire, a server that dies at night."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from autoscope.journal import JournalReader
from tests.fault.invariants import assert_hold
from tests.fault.served import observed, until
from tests.smoke import AUTOSCOPE, INSTRUMENT, ROOT, free_ports, served

ENV = os.environ | {"OMP_NUM_THREADS": "1"}


def autoscope(*arguments, timeout=120):
    return subprocess.run([AUTOSCOPE, *arguments], cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=timeout)


@pytest.fixture
def keys(tmp_path):
    folder = tmp_path / "keys"
    assert autoscope("keys", "new", "--server", "--keys", str(folder)).returncode == 0
    for name, role in (("night_agent", "agent"), ("red_button", "emergency"), ("anna", "operator")):
        assert autoscope("keys", "new", name, "--role", role, "--keys", str(folder)).returncode == 0
    return folder


def test_limits_that_were_changed_since_they_were_sealed_are_not_served(tmp_path):
    file, home = tmp_path / "scope.yaml", {"AUTOSCOPE_HOME": str(tmp_path / "home")}
    plain = {"job": "serve", "name": "s", "instrument": {"name": "simulated"}, "limits": {"max_beam_current": "100 pA"}}
    file.write_text(yaml.safe_dump(plain))
    sealing = subprocess.run(
        [AUTOSCOPE, "seal", str(file), "--who", "Anna"], env=ENV | home, capture_output=True, text=True, timeout=60
    )
    assert sealing.returncode == 0, sealing.stderr
    assert "max_beam_current" in sealing.stdout
    command = [AUTOSCOPE, "serve", "--config", str(file), "--insecure-loopback", "--ledger", str(tmp_path / "ledger")]
    command += ["--address", f"tcp://127.0.0.1:{free_ports()}"]
    wider = subprocess.run(
        [*command, "--set", "limits.max_beam_current=2 nA"], env=ENV | home, capture_output=True, text=True, timeout=60
    )
    assert wider.returncode == 2
    assert "Anna sealed" in wider.stderr
    assert "1e-10 A" in wider.stderr.replace("\n", " ")
    server = subprocess.Popen(command, env=ENV | home, stdout=subprocess.PIPE, text=True)
    try:
        assert any("sealed" in line and "by Anna" in line for line in said_until_ready(server))
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
    Path(f"{file}.seal").unlink()
    gone = subprocess.run(command, env=ENV | home, capture_output=True, text=True, timeout=60)
    assert gone.returncode == 2
    assert "now there is no seal" in gone.stderr.replace("\n", " ")


def key_of(folder, name):
    return next(str(path) for path in folder.iterdir() if path.name.startswith(name))


@pytest.mark.slow
def test_with_keys_the_right_ones_enter_and_do_what_their_role_may(keys, tmp_path):
    address = f"tcp://127.0.0.1:{free_ports()}"
    command = [AUTOSCOPE, "serve", "--config", str(INSTRUMENT), "--address", address, "--keys", str(keys)]
    server = subprocess.Popen(
        [*command, "--ledger", str(tmp_path / "ledger")], cwd=ROOT, env=ENV, stdout=subprocess.PIPE, text=True
    )
    said = said_until_ready(server)
    try:
        assert any("strangers stay out" in line for line in said)
        assert any("night_agent (agent)" in line for line in said)
        at = ("--address", address)
        assert autoscope("bus", *at, "--key", key_of(keys, "night_agent")).returncode == 0
        assert "does not answer" in autoscope("bus", *at).stderr
        assert "may not say" in autoscope("bus", *at, "--key", key_of(keys, "red_button")).stderr
        assert "confirmed" in autoscope("emergency", *at, "--key", key_of(keys, "red_button")).stdout
        run = ("run", str(ROOT / "configs" / "overnight_bus.yaml"), "--smoke", "--quiet", "--no-report")
        bus = "environment.options.instrument.options"
        over = ("--set", f"{bus}.address={address}", "--set", f"{bus}.key={key_of(keys, 'night_agent')}")
        stopped = autoscope(*run, *over, "--runs", str(tmp_path / "runs"))
        assert "emergency stop holds" in stopped.stdout
        assert "may not say" in autoscope("emergency", "--clear", *at, "--key", key_of(keys, "night_agent")).stderr
        assert autoscope("emergency", "--clear", *at, "--key", key_of(keys, "anna")).returncode == 0
        done = autoscope(*run, *over, "--runs", str(tmp_path / "runs"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "0 faults, beam blanked" in done.stdout
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
        server.stdout.close()


def said_until_ready(server):
    said = []
    for line in iter(server.stdout.readline, ""):
        said.append(line)
        if line.startswith("ready"):
            return said
    raise AssertionError("".join(said))


@pytest.mark.slow
def test_a_night_whose_server_is_killed_again_and_again_completes_with_every_act_once(tmp_path):
    address, ledger = f"tcp://127.0.0.1:{free_ports()}", tmp_path / "ledger"
    bus = "environment.options.instrument.options"
    config = str(ROOT / "configs" / "overnight_bus.yaml")
    run = [AUTOSCOPE, "run", config, "--quiet", "--no-report", "--runs", str(tmp_path / "runs")]
    run += ["--set", f"{bus}.address={address}", "--set", f"{bus}.resend=0.5 s", "--set", "budget.steps=60"]
    night, said = None, ""
    program = "import sys; from autoscope.cli import main; sys.argv[0] = 'autoscope'; main()"
    serve = [sys.executable, "-c", program, "serve", "--config", str(INSTRUMENT), "--address", address]
    serve += ["--insecure-loopback", "--ledger", str(ledger)]
    kills = 0
    for life in range(20):
        server = subprocess.Popen(serve, cwd=ROOT, env=ENV, stdout=subprocess.PIPE, text=True)
        try:
            said_until_ready(server)
            night = night or subprocess.Popen(run, cwd=ROOT, env=ENV, stdout=subprocess.PIPE, text=True)
            if life < 3:
                before = acts(tmp_path)
                until(lambda b=before, n=night: acts(tmp_path) >= b + 8 or n.poll() is not None, 90.0)
                if night.poll() is None:
                    kills += 1
                    continue
            said, _ = night.communicate(timeout=120)
            break
        finally:
            server.kill()
            server.wait(30)
            server.stdout.close()
    assert kills >= 2
    assert "60 acts" in said
    assert "0 faults" in said
    (folder,) = (tmp_path / "runs").iterdir()
    assert autoscope("verify", str(folder)).returncode == 0
    steps = list(JournalReader.open(folder).steps())
    assert len({step.act_id for step in steps}) == len(steps) == 60
    assert all(step.outcome.status == "done" for step in steps)
    observed("F3, I1", "faults in a night whose server was killed", 0, "faults", kills)


@pytest.mark.slow
def test_a_killed_agent_is_resumed_on_the_same_instrument_and_repeats_nothing(tmp_path):
    address = f"tcp://127.0.0.1:{free_ports()}"
    bus, runs = "environment.options.instrument.options", tmp_path / "runs"
    run = [AUTOSCOPE, "run", str(ROOT / "configs" / "overnight_bus.yaml"), "--quiet", "--no-report"]
    run += ["--runs", str(runs), "--set", f"{bus}.address={address}", "--set", "budget.steps=40"]
    with served(INSTRUMENT, address, tmp_path / "ledger"):
        night = subprocess.Popen(run, cwd=ROOT, env=ENV, stdout=subprocess.DEVNULL)
        until(lambda: acts(tmp_path) >= 10, 90.0)
        night.kill()
        night.wait(30)
        done = acts(tmp_path)
        (folder,) = runs.iterdir()
        resumed = autoscope("resume", str(folder), "--quiet")
        assert "40 acts" in resumed.stdout, resumed.stdout + resumed.stderr
        assert "0 faults" in resumed.stdout
        shown = autoscope("bus", "--address", address)
    assert "40 done" in shown.stdout
    assert autoscope("verify", str(folder)).returncode == 0
    assert_hold(folder)
    observed("F1, I1, I2, I3, I4, I6", "acts done twice over kill -9 of the agent and resume", 0, "acts", done)


def acts(folder):
    runs = list((folder / "runs").glob("*/journal.sqlite"))
    try:
        return sum(1 for step in JournalReader.open(runs[0].parent).steps() if step.outcome) if runs else 0
    except Exception:  # the journal has only just been made
        return 0


def test_a_file_that_serves_another_instrument_is_refused_with_its_line(tmp_path):
    refused = autoscope("serve", "--config", str(INSTRUMENT), "--instrument", "nion", "--insecure-loopback")
    assert refused.returncode == 2
    assert "simulated.yaml:10: instrument.name" in refused.stderr
    broken = tmp_path / "broken.yaml"
    broken.write_text(yaml.safe_dump(yaml.safe_load(INSTRUMENT.read_text()) | {"limits": {"x": [0, 1]}}))
    unitless = autoscope("serve", "--config", str(broken), "--insecure-loopback")
    assert unitless.returncode == 2
    assert "unit" in unitless.stderr


def test_without_keys_nobody_else_may_be_able_to_reach_it(tmp_path):
    address = f"tcp://*:{free_ports()}"
    refused = autoscope(
        "serve", "--config", str(INSTRUMENT), "--insecure-loopback", "--address", address, "--ledger", str(tmp_path)
    )
    assert refused.returncode == 2
    assert "this computer only" in refused.stderr


def test_a_run_on_the_wrong_clock_is_told_so_before_any_beam(tmp_path):
    address = f"tcp://127.0.0.1:{free_ports()}"
    bus = "environment.options.instrument.options.address"
    with served(INSTRUMENT, address, tmp_path / "ledger"):
        run = (
            "check",
            str(Path("configs") / "overnight_bus.yaml"),
            "--set",
            f"{bus}={address}",
            "--set",
            "clock=system",
        )
        refused = autoscope(*run)
    assert refused.returncode == 2
    assert "clock: simulated" in refused.stderr
