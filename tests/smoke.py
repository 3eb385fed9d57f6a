"""Run every file of configs/ for a few acts, check its plan first, and verify its record.

Files of configs/instrument/ are served for a moment; runs over the bus get a server of their own, with keys where
'autoscope night' runs them. A configuration whose
data are not on this machine is reported as skipped, never as passed.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import yaml

OWN_MAP = "data/my_map.npz"
"""What configs/replay_npz.yaml names in place of a user's own file."""
ROOT = Path(__file__).resolve().parents[1]
NIGHTS = {"overnight_nion": "nion", "nion_spectroscopy": "nion"}
"""Runs for 'autoscope night', and the file of configs/instrument/ each wants."""
PEERS = {"gpax_vidkl": "gpax", "atomai_dkl": "atomai", "gpcam": "gpcam"}
"""Policies that run in an environment of their own ('make peers')."""
INSTRUMENT = ROOT / "configs" / "instrument" / "simulated.yaml"
FIRST_PORT, ROW, ROWS, WORKERS = 20000, 8, 150, 8
"""Ports of tests: rows of eight, some rows for each process that tests beside others."""
_calls = itertools.count()
AUTOSCOPE = str(Path(sys.executable).with_name("autoscope"))


def main() -> int:
    """Return the number of configurations that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="only these configurations (default: all of configs/)")
    chosen = [path.resolve() for path in parser.parse_args().files]
    results = [(path, _smoke(path)) for path in chosen or sorted((ROOT / "configs").rglob("*.yaml"))]
    for path, verdict in results:
        print(f"{verdict:<30} {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}")
    passed, failed, skipped = (sum(v.startswith(w) for _, v in results) for w in ("passed", "FAILED", "skipped"))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return failed


def _smoke(path: Path) -> str:
    document = yaml.safe_load(path.read_text())
    wanted = document.get("instrument", {}).get("name") or NIGHTS.get(path.stem)
    if wanted == "nion" and importlib.util.find_spec("nion") is None:
        return "skipped: no nionswift-usim"
    if path.stem in NIGHTS:
        return _night(path, ROOT / "configs" / "instrument" / f"{NIGHTS[path.stem]}.yaml")
    if document.get("job") == "bench":
        return _bench(path, document)
    if document.get("job") == "queue":
        return _queue(path)
    if document.get("job") == "attention":
        return _checked_attention(path)
    if document.get("job") == "serve":
        return _serve_for_a_moment(path)
    options = document.get("environment", {}).get("options", {})
    if options.get("instrument", {}).get("name") == "bus":
        return _over_the_bus(path)
    return _run(path, options.get("data", {}))


def _checked_attention(path: Path) -> str:
    done = subprocess.run([AUTOSCOPE, "watch", "--check", "--config", str(path)], capture_output=True, timeout=60)
    return "FAILED: watch --check" if done.returncode else "passed"


def _bench(path: Path, document: dict[str, Any]) -> str:
    for task in document["environments"].values():
        needed = task["environment"].get("options", {}).get("data", {}).get("path")
        if needed and not (ROOT / needed).exists():
            return f"skipped: no {needed}"
    for policy in document["policies"].values():
        apart = PEERS.get(policy["name"])
        if apart and not (ROOT / ".venv-peers" / apart).exists():
            return f"skipped: no .venv-peers/{apart}"
    with tempfile.TemporaryDirectory() as folder:
        command = [AUTOSCOPE, "bench", str(path), "--smoke", "--quiet", "--runs", folder]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        if done.returncode or not list(Path(folder).glob("*/results.parquet")):
            print(done.stdout[-2000:], done.stderr[-2000:])
            return "FAILED: bench"
    return "passed"


def _over_the_bus(path: Path) -> str:
    address = f"tcp://127.0.0.1:{free_ports()}"
    with tempfile.TemporaryDirectory() as ledger, served(INSTRUMENT, address, Path(ledger)) as said:
        if not said:
            return "FAILED: serve"
        return _run(path, {}, "--set", f"environment.options.instrument.options.address={address}")


def _queue(path: Path) -> str:
    """Add all experiments of a file to a queue, run it, and verify every run."""
    with tempfile.TemporaryDirectory() as folder:
        queue = ("--queue", str(Path(folder) / "queue.sqlite"))
        for command in (("add", str(path), *queue), ("run", "--smoke", "--quiet", "--runs", folder, *queue)):
            done = subprocess.run([AUTOSCOPE, "queue", *command], cwd=ROOT, capture_output=True, text=True, timeout=300)
            if done.returncode:
                print(done.stdout[-2000:], done.stderr[-2000:])
                return f"FAILED: queue {command[0]}"
        runs = [run.parent for run in Path(folder).glob("*/journal.sqlite")]
        verified = [subprocess.run([AUTOSCOPE, "verify", str(run)], capture_output=True, timeout=300) for run in runs]
        wanted = len(yaml.safe_load(path.read_text())["experiments"])
        if (
            len(runs) != wanted
            or any(v.returncode for v in verified)
            or not (Path(folder) / "queue_report.html").is_file()
        ):
            return "FAILED: verify"
    return "passed"


def _night(path: Path, instrument: Path) -> str:
    with tempfile.TemporaryDirectory() as ledger:
        return _run(path, {}, first=("night", str(path), str(instrument), "--ledger", ledger), checked=False)


ELSEWHERE = {"instamatic": "a server of instamatic", "autoscript": "AutoScript"}
"""Drivers whose other end nothing on this machine can stand in for."""


def _serve_for_a_moment(path: Path) -> str:
    instrument = yaml.safe_load(path.read_text())["instrument"]
    if needed := ELSEWHERE.get(instrument["name"]):
        return f"skipped: needs {needed}"
    with ExitStack() as stack:
        if instrument["name"] == "temscript":
            stack.enter_context(_null_microscope(int(instrument["options"]["port"])))
        return _served_for_a_moment(path)


@contextmanager
def _null_microscope(port: int) -> Iterator[None]:
    """Run temscript's server with no microscope behind it."""
    start = f"from temscript.server import run_server; run_server(['--null', '--host', '127.0.0.1', '-p', '{port}'])"
    process = subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                break
        yield
    finally:
        process.terminate()
        process.wait(10)


def _served_for_a_moment(path: Path) -> str:
    address = f"tcp://127.0.0.1:{free_ports()}"
    with tempfile.TemporaryDirectory() as ledger, served(path, address, Path(ledger)) as said:
        if not said:
            return "FAILED: serve"
        shown = subprocess.run([AUTOSCOPE, "bus", "--address", address], capture_output=True, text=True, timeout=60)
    return "FAILED: bus" if shown.returncode else "passed"


@contextmanager
def served(config: Path, address: str, ledger: Path) -> Iterator[list[str]]:
    """Serve an instrument without keys; yields what the server has said, nothing where it does not get ready."""
    command = [AUTOSCOPE, "serve", "--config", str(config), "--address", address, "--insecure-loopback"]
    process = subprocess.Popen([*command, "--ledger", str(ledger)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        said = list[str]()
        for line in process.stdout or ():
            said.append(line)
            if line.startswith("ready"):
                break
        else:
            print(*said)
            said = []
        yield said
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def free_ports(count: int = 5) -> int:
    """Return the first of some ports in a row that nobody listens on; another row at each call.

    Test processes that run side by side look in different places, or one could take what the other has just found.
    """
    worker = int("0" + os.environ.get("PYTEST_XDIST_WORKER", "")[2:]) % WORKERS
    for _ in range(ROWS):
        first = FIRST_PORT + ROW * (worker * ROWS + (os.getpid() + next(_calls)) % ROWS)
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise RuntimeError("no free ports")


def _run(path: Path, data: dict[str, str], *overrides: str, first: tuple[str, ...] = (), checked: bool = True) -> str:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as own:
        chosen = list(overrides)
        if data.get("path") == OWN_MAP:
            chosen += ["--set", f"environment.options.data.path={_own_map(Path(own))}"]
        elif data.get("path") and not (ROOT / data["path"]).exists():
            return f"skipped: no {data['path']}"
        run_it = [*(first or ("run", str(path))), "--smoke", "--quiet", "--runs", folder, *chosen]
        for command in (["check", str(path), *chosen], run_it) if checked else (run_it,):
            done = subprocess.run([AUTOSCOPE, *command], cwd=ROOT, capture_output=True, text=True, timeout=300)
            if done.returncode:
                print(done.stdout[-2000:], done.stderr[-2000:])
                return f"FAILED: {command[0]}"
        (run,) = Path(folder).iterdir()
        verified = subprocess.run([AUTOSCOPE, "verify", str(run)], capture_output=True, text=True, timeout=300)
        if verified.returncode or not (run / "report" / "index.html").is_file():
            print(verified.stdout)
            return "FAILED: verify"
    return "passed"


def _own_map(folder: Path) -> Path:
    """Return a small spectrum image in the layout a user's own file has."""
    rng = np.random.default_rng(0)
    image = rng.random((24, 20)).astype(np.float32)
    spectra = rng.poisson(5.0 + 20.0 * image[..., None], (24, 20, 16)).astype(np.float32)
    np.savez(folder / "map.npz", image=image, spectra=spectra, axis=np.arange(16.0), meta='{"px": "2 nm"}')
    return folder / "map.npz"


if __name__ == "__main__":
    sys.exit(main())
