"""Real processes: a server around a column that is a file, agents beside it, and what was worst of what was seen."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import yaml

from autoscope.bus.client import BusInstrument
from autoscope.clock import SystemClock
from tests.fault.hardware import Column
from tests.smoke import free_ports

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = {"METADATA": "Metadata-Version: 2.1\nName: hardware-that-is-a-file\nVersion: 1\n",
          "entry_points.txt": "[autoscope.instruments]\nhardware = tests.fault.hardware:Hardware\n"}  # fmt: skip
CLOCK = SystemClock()
"""Only its ``wait`` and differences of its ``now_s`` are used."""


class Served:
    """One server, which can be killed, frozen and started again."""

    def __init__(self, folder, *arguments, options=None, **settings):
        self.folder, self.arguments = Path(folder), arguments
        self.column = Column(self.folder / "column.jsonl")
        plugins = self.folder / "plugins" / "hardware_that_is_a_file-1.dist-info"
        plugins.mkdir(parents=True, exist_ok=True)
        for name, text in PLUGIN.items():
            (plugins / name).write_text(text)
        self.env = os.environ | {"PYTHONPATH": f"{ROOT}:{plugins.parent}", "OMP_NUM_THREADS": "1"}
        self.address = f"tcp://127.0.0.1:{free_ports()}"
        self.config = self.folder / "serve.yaml"
        instrument = {"name": "hardware", "options": {"file": str(self.column.path)} | (options or {})}
        base = {"job": "serve", "name": "hardware", "instrument": instrument}
        self.config.write_text(yaml.safe_dump(base | settings))
        self.process = None

    def start(self):
        program = "import sys; from autoscope.cli import main; sys.argv[0] = 'autoscope'; main()"
        command = [sys.executable, "-c", program, "serve", "--config", str(self.config), "--address", self.address]
        keys = [] if "--keys" in self.arguments else ["--insecure-loopback"]
        command += ["--ledger", str(self.folder / "ledger"), *keys, *self.arguments]
        self.process = subprocess.Popen(command, env=self.env, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.said = []
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith("ready"):
                return self
        raise AssertionError("".join(self.said))

    def kill(self, number=signal.SIGKILL):
        os.kill(self.process.pid, number)
        if number in {signal.SIGKILL, signal.SIGINT, signal.SIGTERM}:
            self.process.wait(30)
            self.process.stdout.close()

    def watchdog(self):
        """Return the process number of the watchdog, or None."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    status = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                    command = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if int(status[1]) == self.process.pid and b"autoscope.bus.watchdog" in command:
                    return int(entry.name)
        return None

    def client(self, **options):
        config = BusInstrument.Config.model_validate({"address": self.address, "resend": "0.5 s"} | options)
        return BusInstrument(config, clock=SystemClock())

    def agent(self, code):
        """Start an agent in a process of its own; ``bus`` is its instrument, ``do(name, action)`` executes."""
        program = AGENT.format(address=self.address) + code
        command = [sys.executable, "-c", program]
        return subprocess.Popen(
            command, env=self.env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def close(self):
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGCONT)
            self.kill(signal.SIGTERM)


AGENT = """
import sys, time
from autoscope.bus.client import BusInstrument
from autoscope.clock import SystemClock
from autoscope.records import *
bus = BusInstrument(BusInstrument.Config(address="{address}", resend_s=0.5, patience_s=20.0), clock=SystemClock())
def do(name, action): return bus.execute(Act(act_id=name, action=action))
def tell(word): print(word, flush=True)
"""


@contextmanager
def serving(folder, *arguments, **settings):
    """Serve a column that is a file."""
    server = Served(folder, *arguments, **settings)
    try:
        yield server.start()
    finally:
        server.close()


def until(condition, timeout_s=20.0):
    """Return how long it took until a condition held."""
    start_s = CLOCK.now_s()
    while not condition():
        assert CLOCK.now_s() - start_s < timeout_s, "waited in vain"
        CLOCK.wait(0.01)
    return CLOCK.now_s() - start_s


def observed(fault, what, worst, unit, times=1):
    """Write down what was seen of a fault, where the table of faults is being made."""
    if target := os.environ.get("AUTOSCOPE_FAULTS"):
        line = {"fault": fault, "what": what, "worst": worst, "unit": unit, "times": times}
        with Path(target).open("a") as file:
            file.write(json.dumps(line) + "\n")
