"""A run in trouble, the real command line, and notices that arrive."""

from __future__ import annotations

import hashlib
import hmac
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.attention.servers import mail_server, of_body, web_server
from tests.unit.dashboard.lab import Lab

AUTOSCOPE = str(Path(sys.executable).with_name("autoscope"))
REHEARSAL = Path(__file__).parents[2] / "configs" / "fault_rehearsal.yaml"
BEAM_IS_LOST = (
    "environment.options.microscope.faults.events=[{kind: beam_loss, at: 20 s, lasts: 10 h, remaining: 0.0}]",
    "engine.suspenders={conditions: [{reads: beam_current, below: 20 pA}], longest: 2 min}",
)


@pytest.mark.timeout(300)
def test_people_are_told_that_a_run_lost_its_beam_and_failed(tmp_path):
    with web_server() as (url, received), mail_server() as (port, mailbox):
        file = tmp_path / "attention.yaml"
        file.write_text(
            "channels:\n"
            f"- {{kind: webhook, url: '{url}', severity: notice, secret_env: HOOK_SECRET}}\n"
            f"- {{kind: email, from: a@b.org, to: [c@d.org], host: 127.0.0.1, port: {port}, security: none}}\n"
        )
        changes = [word for change in BEAM_IS_LOST for word in ("--set", change)]
        run = subprocess.run(
            [AUTOSCOPE, "run", str(REHEARSAL), *changes, "--runs", "runs", "--quiet", "--no-report",
             "--attention", str(file)],
            cwd=tmp_path, env={**os.environ, "HOOK_SECRET": "s3cret"}, capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        (headers, body, _), *_ = posts = received.wait_for(1, 60.0)
        (folder,) = (tmp_path / "runs").iterdir()
        log = until_said(folder / "attention.log", "email: told")
        before = len(received.wait_for(1, 60.0))
        resumed = subprocess.run(
            [AUTOSCOPE, "resume", str(folder), "--quiet", "--no-report", "--attention", str(file)],
            env={**os.environ, "HOOK_SECRET": "s3cret"}, capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        again = of_body(received.wait_for(before + 1, 60.0)[before])
    assert resumed.returncode == 1, resumed.stdout + resumed.stderr
    assert (again["event"], again["key"], again["run"]) == ("raised", "failed", folder.name)
    assert run.returncode == 1, run.stdout + run.stderr
    assert headers["X-Autoscope-Signature"] == "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    told = of_body(posts[0])
    assert (told["event"], told["key"], told["severity"], told["run"]) == ("raised", "failed", "trouble", folder.name)
    assert b"Subject: [autoscope] TROUBLE" in mailbox.mails[0][2]
    assert "s3cret" not in log
    verified = subprocess.run([AUTOSCOPE, "verify", str(folder)], capture_output=True, timeout=100)
    assert verified.returncode == 0, "the log of the watch spoils the record"


@pytest.mark.timeout(200)
def test_a_live_run_is_followed_through_trouble_and_back_and_to_the_death_of_its_process(tmp_path):
    lab = Lab(tmp_path / "run").start().overview().measure(30)
    with web_server() as (url, received):
        file = tmp_path / "attention.yaml"
        file.write_text(f"min_interval: 0 s\nchannels: [{{kind: webhook, url: '{url}'}}]\n")
        watch = subprocess.Popen(
            [AUTOSCOPE, "watch", str(tmp_path / "run"), "--config", str(file)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert watch.stdout.readline().endswith("watching run\n")
            for _ in range(4):
                lab.fail()
            assert said_last(received, 1) == ("raised", "in_vain", "trouble")
            lab.measure(1)
            assert said_last(received, 2) == ("resolved", "in_vain", "trouble")
            lab.journal.close()
            assert said_last(received, 3) == ("raised", "silent", "trouble")
            watch.send_signal(signal.SIGINT)
            said, _ = watch.communicate(timeout=60)
        finally:
            watch.kill()
            watch.wait()
    assert watch.returncode == 0
    assert "trouble: no process writes to it and it has no end: autoscope resume" in said
    assert "watching no more" in said


def said_last(received, count):
    """Return what the last of so many notices says."""
    told = of_body(received.wait_for(count, 60.0)[-1])
    return told["event"], told["key"], told["severity"]


def until_said(file, words, tries=600):
    """Return what a file holds once it has some words."""
    for _ in range(tries):
        if words in (said := file.read_text()):
            return said
        subprocess.run([sys.executable, "-S", "-c", "import time; time.sleep(0.1)"], check=True)
    raise AssertionError(said)
