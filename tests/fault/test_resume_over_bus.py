"""Agents and servers killed with SIGKILL while a run goes over the bus: nothing is done twice, the run goes on."""

import os
import threading

import pytest

from autoscope.journal import JournalReader, verify
from tests.fault import killing
from tests.fault.served import CLOCK, serving

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

CONFIG = """
name: over the bus
seed: 1
clock: system
environment:
  name: microscope
  options: {instrument: {name: bus, options: {address: "ADDRESS", resend: 0.5 s}}}
policy: {name: random, options: {target: t, overview: {fov: 200 nm, width_px: 16, height_px: 16}, dwell: 10 ms}}
scalarizers: {t: {name: band_integral, options: {}}}
budget: {steps: 8}
engine: {lookahead: AHEAD, max_consecutive_faults: 20}
"""
"""The column has no image: its first two acts are refused by the guard, six spectra follow, some with negative counts,
which are rejected."""


class Bench:
    """A served column, and runs on it."""

    def __init__(self, server, folder, lookahead=0):
        self.server, self.folder, self.config = server, folder, folder / "run.yaml"
        text = CONFIG.replace("ADDRESS", server.address).replace("AHEAD", str(lookahead))
        self.config.write_text(text)
        killing.warm(self.config, reset=False)  # a connection does not survive a fork
        self.calls = killing.calls_of(lambda doom: self._run("whole0000", doom), folder / "calls")
        self.whole = self.history("whole0000")
        assert len(self.whole) == 8

    def _run(self, name, doom=None):
        killing.run(self.config, self.folder / name, doom, run_id=name)

    def killed(self, name, doom):
        return killing.in_child(lambda: self._run(name, doom))

    def resumed(self, name):
        return killing.in_child(lambda: killing.resume(self.folder / name, run_id=name))

    def history(self, name):
        """Return decisions and what came of them; the hash of a spectrum tells which act and which place."""
        steps = JournalReader.open(self.folder / name).steps()
        return [
            (s.decision.action, s.outcome.status, s.outcome.values, [f.sha256 for f in s.outcome.frames]) for s in steps
        ]

    def difference(self, name):
        """Return the statuses of the acts and, where they are the same, which acts differ."""
        ours, whole = self.history(name), self.whole
        told = " ".join(str(act[1]) for act in ours)
        return f"{told}; acts {[k for k, (a, b) in enumerate(zip(ours, whole, strict=False)) if a != b]} of {len(ours)}"

    def assert_once(self, name):
        for step in JournalReader.open(self.folder / name).steps():
            assert self.server.column.times(step.act_id) == (step.outcome.status != "refused"), step.act_id
        verdict = verify(self.folder / name)
        assert verdict.ok, verdict.summary
        assert verdict.ended


@pytest.fixture
def bench(tmp_path):
    with serving(tmp_path, watch={"lease": "1 s", "grace": "5 s"}) as server:
        yield Bench(server, tmp_path)


def survive(bench, at, done_first):
    """Kill the agent at a call, resume the run, and compare."""
    name = f"kill{at:03d}{'ab'[done_first]}x"
    assert bench.killed(name, killing.Doom(at, done_first=done_first)) == 9
    if killing.is_over(bench.folder / name) or not (bench.folder / name / "config.yaml").is_file():
        return
    assert bench.resumed(name) == 0, (at, bench.calls[at - 1])
    assert bench.history(name) == bench.whole, (at, bench.calls[at - 1])
    bench.assert_once(name)


def test_an_agent_killed_around_an_act_asks_the_server_what_came_of_it(bench):
    steps = [k for k, name in enumerate(bench.calls, start=1) if name == "environment.step"]
    survive(bench, steps[3], done_first=False)  # intended, not sent
    survive(bench, steps[3], done_first=True)  # done, not written down


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("lookahead", [0, 1])
def test_an_agent_killed_at_many_calls_repeats_nothing(tmp_path, lookahead):
    with serving(tmp_path, watch={"lease": "1 s", "grace": "5 s"}) as server:
        bench = Bench(server, tmp_path, lookahead)
        for at in range(2, len(bench.calls) + 1, 6):
            survive(bench, at, done_first=at % 4 == 0)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("agent_too", [False, True])
def test_a_server_killed_during_a_run_is_gone_on_with_when_it_is_back(bench, agent_too):
    steps = [k for k, name in enumerate(bench.calls, start=1) if name == "environment.step"]
    survive_server(bench, steps[2], done_first=False, agent_too=agent_too)
    survive_server(bench, steps[4], done_first=True, agent_too=agent_too)


def survive_server(bench, at, done_first, agent_too):
    """Kill the server at a call of the agent, the agent too if asked, start it again, and compare."""
    name = f"{'both' if agent_too else 'serv'}{at:03d}{'ab'[done_first]}x"
    victims = (bench.server.process.pid, *((0,) if agent_too else ()))
    starter = threading.Thread(target=start_again, args=(bench.server,))
    starter.start()
    killed = bench.killed(name, killing.Doom(at, done_first=done_first, victims=victims))
    starter.join()
    assert killed == (9 if agent_too else 0), f"the agent ended with {killed}"
    if agent_too and not killing.is_over(bench.folder / name):
        assert bench.resumed(name) == 0, "not resumed"
    assert bench.history(name) == bench.whole, bench.difference(name)
    bench.assert_once(name)


def start_again(server):
    server.process.wait(60)
    server.process.stdout.close()
    CLOCK.wait(0.2)
    server.start()
