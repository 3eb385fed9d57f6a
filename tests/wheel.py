"""Build the wheel, install it into a clean environment, and run it from a folder that holds decoys.

The decoys are folders named ``policies`` and ``environments`` whose import would raise: whoever starts autoscope
beside folders of those names must still get ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.stranger import build_wheel, check_results, write_bench

ROOT = Path(__file__).resolve().parents[1]
DECOY = "raise SystemExit('a folder of the working directory was imported instead of the installed package')\n"


def main() -> None:
    """Raise where anything fails; print one closing line otherwise."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _call(sys.executable, "-m", "build", "--wheel", "--outdir", str(folder / "dist"), str(ROOT))
        (wheel,) = (folder / "dist").glob("*.whl")
        _check_whole(wheel)
        python = _environment(folder / "clean", wheel)
        elsewhere = _decoys(folder / "elsewhere")
        autoscope = str(python.with_name("autoscope"))
        for plugins in ("policies", "environments", "instruments", "scalarizers"):
            _call(autoscope, "list", plugins, cwd=elsewhere)
        config = str(ROOT / "configs" / "overnight_survey.yaml")
        _call(autoscope, "run", config, "--smoke", "--quiet", cwd=elsewhere)
        (run,) = (elsewhere / "runs").iterdir()
        _call(autoscope, "verify", str(run), cwd=elsewhere)
        _call(str(python), "-I", "-c", _TYPED, cwd=elsewhere)
        _benchmark_a_strangers_policy(python, folder, elsewhere)
    print("1 passed, 0 failed")


def _check_whole(wheel: Path) -> None:
    """Raise where a file of the packages, a page's template say, is not in the wheel."""
    packages = ("autoscope", "policies", "environments")
    ours = {
        path.relative_to(ROOT).as_posix()
        for package in packages
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        missing = sorted(ours - set(archive.namelist()))
    if missing:
        raise SystemExit(f"not in the wheel, see package-data in pyproject.toml: {', '.join(missing)}")


def _benchmark_a_strangers_policy(python: Path, folder: Path, elsewhere: Path) -> None:
    """Install a policy from a wheel of its own and have the arena compare it."""
    _call(str(python), "-m", "pip", "install", "--quiet", "--no-deps", str(build_wheel(folder)))
    bench = str(write_bench(folder))
    _call(str(python.with_name("autoscope")), "bench", bench, "--workers", "1", "--quiet", cwd=elsewhere)
    check_results(elsewhere / "runs" / "bench" / "wander" / "results.parquet")


_TYPED = "import autoscope, pathlib; assert (pathlib.Path(autoscope.__file__).parent / 'py.typed').is_file()"


def _environment(folder: Path, wheel: Path) -> Path:
    _call(sys.executable, "-m", "venv", str(folder))
    python = next(p for p in (folder / "bin" / "python", folder / "Scripts" / "python.exe") if p.exists())
    _call(str(python), "-m", "pip", "install", "--quiet", "torch==2.13.0")
    _call(str(python), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), str(wheel))
    return python


def _decoys(folder: Path) -> Path:
    for package in ("policies", "environments"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(DECOY)
    return folder


def _call(*command: str, cwd: Path = ROOT) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


if __name__ == "__main__":
    main()
