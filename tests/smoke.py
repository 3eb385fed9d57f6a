"""Run every file of configs/ for a few acts, check its plan first, and verify its record.

A configuration whose data are not on this machine is reported as skipped, never as passed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml

OWN_MAP = "data/my_map.npz"
"""What configs/replay_npz.yaml names in place of a user's own file."""
ROOT = Path(__file__).resolve().parents[1]
AUTOSCOPE = str(Path(sys.executable).with_name("autoscope"))


def main() -> int:
    """Return the number of configurations that failed."""
    results = [(path, _smoke(path)) for path in sorted((ROOT / "configs").rglob("*.yaml"))]
    for path, verdict in results:
        print(f"{verdict:<30} {path.relative_to(ROOT)}")
    passed, failed, skipped = (sum(v.startswith(w) for _, v in results) for w in ("passed", "FAILED", "skipped"))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return failed


def _smoke(path: Path) -> str:
    data = yaml.safe_load(path.read_text()).get("environment", {}).get("options", {}).get("data", {})
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as own:
        chosen = []
        if data.get("path") == OWN_MAP:
            chosen = ["--set", f"environment.options.data.path={_own_map(Path(own))}"]
        elif data.get("path") and not (ROOT / data["path"]).exists():
            return f"skipped: no {data['path']}"
        run_it = ["run", str(path), "--smoke", "--quiet", "--runs", folder, *chosen]
        for command in (["check", str(path), *chosen], run_it):
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
