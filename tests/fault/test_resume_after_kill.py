"""A run killed at any call, resumed by the program, and compared with the run that nobody disturbed."""

import os
import signal

import pytest

from autoscope.journal import verify
from tests.fault import killing

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

SMALL = """
name: small
seed: 1
environment:
  name: simulated
  options:
    microscope: {specimens: [{kind: nanoparticles, extent: [300 nm, 300 nm], count: 4}]}
policy:
  name: POLICY
  options:
    {target: plasmon, overview: {fov: 200 nm, width_px: 24, height_px: 24}, dwell: 20 ms, points: 7MORE}
scalarizers: {plasmon: {name: band_integral, options: {band: [1.6 eV, 2.2 eV]}}}
engine: {lookahead: AHEAD}
"""


def text(policy="random", ahead=0, more=""):
    return SMALL.replace("POLICY", policy).replace("AHEAD", str(ahead)).replace("MORE", more)


CASES = {
    "random": text(),
    "random ahead": text(ahead=1),
    "gp": text("gp", more=", initial: 2, refit_every: 2"),
    "gp ahead": text("gp", 1, ", initial: 2, refit_every: 2"),
}


class Laboratory:
    def __init__(self, folder, config):
        self.folder, self.config = folder, folder / "small.yaml"
        self.config.write_text(config)
        killing.warm(self.config)
        self.calls = killing.calls_of(lambda doom: killing.run(self.config, folder / "whole", doom), folder / "calls")
        self.whole = killing.history(folder / "whole")

    def killed(self, at, done_first):
        run = self.folder / f"killed{at}{done_first}"
        doom = killing.Doom(at, done_first=done_first)
        assert killing.in_child(lambda: killing.run(self.config, run, doom)) == signal.SIGKILL, self.calls[at - 1]
        return run

    def resumed(self, run, doom=None):
        return killing.in_child(lambda: killing.resume(run, doom))

    def survives(self, at, done_first):
        run, where = self.killed(at, done_first), (at, self.calls[at - 1], done_first)
        if self.is_over(run):
            return
        if not (run / "config.yaml").is_file():
            return  # nothing was begun, and nothing is there to begin with
        assert self.resumed(run) == 0, where
        self.check(run, where)

    def is_over(self, run):
        verdict = verify(run) if (run / "journal.sqlite").is_file() and not killing.writer.Journal.is_blank(run) else 0
        return bool(verdict) and verdict.ended

    def check(self, run, where):
        assert killing.history(run) == self.whole, where
        verdict = verify(run)
        assert verdict.ok, (where, verdict.summary)
        assert (verdict.orphans, verdict.open_steps, verdict.ended) == ((), 0, True), where


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory):
    known = {}

    def of(case):
        if case not in known:
            known[case] = Laboratory(tmp_path_factory.mktemp(case.replace(" ", "_")), CASES[case])
        return known[case]

    return of


@pytest.mark.parametrize("case", ["random", "random ahead"])
def test_a_run_killed_at_some_calls_ends_as_if_nothing_had_happened(laboratory, case):
    lab = laboratory(case)
    for at in range(3, len(lab.calls) + 1, 17):
        lab.survives(at, done_first=at % 2 == 0)


def test_a_run_killed_again_while_it_is_resumed_ends_as_if_nothing_had_happened(laboratory):
    lab = laboratory("random ahead")
    middle = len(lab.calls) // 2
    run = lab.killed(middle, True)
    for at in (2, 9, 16):
        assert lab.resumed(run, killing.Doom(at, done_first=True)) == signal.SIGKILL
    assert lab.resumed(run) == 0
    lab.check(run, middle)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", list(CASES))
def test_a_run_killed_at_every_fourth_call_ends_as_if_nothing_had_happened(laboratory, case):
    lab = laboratory(case)
    for at in range(1, len(lab.calls) + 1, 4):  # all of them: make figures ONLY=durable
        lab.survives(at, done_first=False)
        lab.survives(at, done_first=True)
