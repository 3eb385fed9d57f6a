"""Small simulated runs that a script steers: what it says when, by the number of acts that are over."""

import copy
import itertools
from collections import deque

from autoscope.chance import stream
from autoscope.clock import SimClock
from autoscope.config import Document
from autoscope.engine.assemble import assemble, resolve
from autoscope.engine.history import read_history
from autoscope.engine.loop import Engine
from autoscope.engine.rebuilding import Stored
from autoscope.engine.replaying import replay
from autoscope.engine.steering import Posted
from autoscope.identity import load_or_make
from autoscope.interventions import Order
from autoscope.journal import MemoryJournal
from autoscope.steering.helm import Writer

SMALL = """
name: small
seed: 1
environment:
  name: simulated
  options: {{microscope: {{specimens: [{{kind: nanoparticles, extent: [300 nm, 300 nm], count: 4}}]}}}}
policy:
  name: {policy}
  options:
    {{target: plasmon, overview: {{fov: 200 nm, width_px: 24, height_px: 24}}, dwell: 20 ms, signals: [EELS] {more}}}
scalarizers: {{plasmon: {{name: band_integral, options: {{band: [1.6 eV, 2.2 eV]}}}}}}
budget: {{steps: {steps}}}
engine: {{lookahead: {lookahead}, checkpoint_every: {checkpoint_every}}}
"""


def ids(letter):
    """Return a function that returns ids of orders that are the same in every run."""
    numbers = itertools.count(1)
    return lambda: f"{letter * 24}{next(numbers):08x}"


class Script:
    """An inbox whose orders come when so many acts are over; ``while_waiting`` come one by one where one waits.

    Parameters
    ----------
    at : dict of int to list
        Commands, or functions of the script that make them, by the number of outcomes in the journal.
    while_waiting : list
        The same, given out when the run waits for somebody; none left: nobody is there, and time passes.
    """

    def __init__(self, at=None, while_waiting=()):
        self.at, self.later = {k: list(v) for k, v in (at or {}).items()}, deque(while_waiting)
        self.clock, self.receipts, self.held = SimClock(), [], []
        self.journal = self.writers = None

    def order(self, item):
        who, command, *why = item if isinstance(item, tuple) else ("anna", item)
        command = command(self) if callable(command) else command
        if isinstance(command, Order):
            return command
        return self.writers[who].write(command, why=why[0] if why else "because")

    def take(self):
        over = sum(1 for _ in self.journal.records("outcome"))
        items, self.held = self.held, []
        for count in sorted(k for k in self.at if k <= over):
            items += self.at.pop(count)
        return [Posted(self.order(item), answer=self.receipts.append) for item in items]

    def wait(self, timeout_s):
        if self.later:
            self.held.append(self.later.popleft())
            return True
        if timeout_s is not None:
            self.clock.wait(timeout_s)
        return False

    def on_urgent(self, act):
        self.act_at_once = act


class Run:
    """One run, with everything one may want to look at."""

    def __init__(self, tmp_path, script=None, policy="random", steps=12, lookahead=0, more="", checkpoint_every=0):
        text = SMALL.format(
            policy=policy,
            steps=steps,
            lookahead=lookahead,
            more=f", {more}" if more else "",
            checkpoint_every=checkpoint_every,
        )
        self.tmp_path, self.resolved = tmp_path, resolve(Document(text, "small.yaml"))
        self.journal, self.script = None, script or Script()
        identity = load_or_make(tmp_path / "anna")
        other = load_or_make(tmp_path / "bert")
        self.script.writers = {
            "anna": Writer("small", "anna", identity, self.script.clock, seat="a", new_id=ids("a")),
            "bert": Writer("small", "bert", other, self.script.clock, seat="b", new_id=ids("b")),
        }

    def run(self):
        self.job = assemble(self.resolved)
        self.journal = self.script.journal = MemoryJournal(clock=self.job.clock)
        self.engine = Engine(self.job, self.journal, inbox=self.script)
        self.end = self.engine.run()
        return self

    def cut(self, records):
        """Return the same run, cut off after so many records and taken up to its end, with nobody there any more."""
        again = Run.__new__(Run)
        again.tmp_path, again.resolved = self.tmp_path, self.resolved
        again.script = Script(while_waiting=list(self.script.later))
        again.script.writers = self.script.writers
        again.job = assemble(self.resolved, SimClock())
        again.journal = again.script.journal = MemoryJournal(clock=again.job.clock)
        again.journal._rows = self.journal._rows[:records]
        names = {f["file"] for body in again.bodies("outcome") for f in body["frames"]}
        again.journal._names, frames = names, self.journal._frames
        again.journal._frames = {name: frames[name] for name in names}
        again.engine = Engine(again.job, again.journal, inbox=again.script)
        again.engine.take_up(read_history(again.journal), again.journal)
        again.end = again.engine.go_on()
        return again

    def replayed(self):
        plugin, options = self.resolved.policy.plugin, self.resolved.policy.options
        policy = plugin(options, rng=stream(self.resolved.config.seed, "policy"))
        return replay(read_history(self.journal), policy, Stored(self.journal))

    def bodies(self, kind):
        return [record.body for record in self.journal.records(kind)]

    def decisions(self):
        return [body["decision"] for body in self.bodies("intent")]

    def points(self):
        return [d["action"] for d in self.decisions() if d["action"]["kind"] == "measure"]

    def statuses(self):
        return [receipt.status for receipt in self.script.receipts]


def facts(journal):
    """Return the records without what only says when they were resumed, and how long deciding took in real time."""
    bodies = [(r.kind, r.step, copy.deepcopy(r.body)) for r in journal.records() if r.kind != "run_resumed"]
    for _, _, body in bodies:
        body.pop("latency_s", None)
    return bodies
