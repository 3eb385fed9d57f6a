"""Run every file of configs/ for a few acts, check its plan first, and verify its record.

A configuration whose data are not on this machine is reported as skipped, never as passed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

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
    if data.get("path") and not (ROOT / data["path"]).exists():
        return f"skipped: no {data['path']}"
    with tempfile.TemporaryDirectory() as folder:
        for command in (["check", str(path)], ["run", str(path), "--smoke", "--quiet", "--runs", folder]):
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


if __name__ == "__main__":
    sys.exit(main())
