"""What the figures of steering share: a run in a process of its own, and the person who steers it from here."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoscope.clock import SystemClock
from autoscope.errors import AutoscopeError
from autoscope.identity import load_or_make
from autoscope.journal import JournalReader
from autoscope.steering.helm import SpoolHelm, helm_of

START_S = 120.0
RUN = """
name: steered
clock: system
environment:
  name: simulated
  options: {microscope: {specimens: [{kind: nanoparticles, extent: [300 nm, 300 nm], count: 4}]}}
policy:
  name: random
  options: {target: plasmon, overview: {fov: 200 nm, width_px: 64, height_px: 64}, dwell: 100 ms, signals: [EELS]}
scalarizers: {plasmon: {name: band_integral, options: {band: [1.6 eV, 2.2 eV]}}}
"""


@contextmanager
def steered_run() -> Iterator[tuple[Path, SpoolHelm]]:
    """Run on a real clock in another process, and give its folder and a helm that waits for receipts."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="autoscope-steering-") as name:
        home = Path(name)
        (home / "run.yaml").write_text(RUN)
        program = "import sys; from autoscope.cli import main; sys.argv[0] = 'autoscope'; main()"
        process = subprocess.Popen(
            [sys.executable, "-c", program, "run", "run.yaml", "--quiet", "--no-report"],
            cwd=home,
            env=os.environ | {"AUTOSCOPE_HOME": str(home / "home"), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
        )
        try:
            while not (folder := _begun(home)):
                if process.poll() is not None or clock.now_s() > START_S:
                    raise RuntimeError("the run did not get going")
                clock.wait(0.1)
            yield folder, helm_of(folder, who="anna", identity=load_or_make(home / "anna"), patience_s=30.0)
        finally:
            process.terminate()
            process.wait(60)


def _begun(home: Path) -> Path | None:
    for folder in home.glob("runs/*"):
        try:
            if next(JournalReader.open(folder).records("outcome"), None) is not None:
                return folder
        except AutoscopeError:
            continue
    return None
