"""A policy nobody here knows: built into a wheel of its own, installed beside autoscope, and benchmarked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stranger import build_wheel, check_results, code, write_bench


def test_the_policy_of_the_documentation_is_short():
    assert len(code("python", "class Wander").splitlines()) <= 45  # 30 lines of code


@pytest.mark.slow
def test_a_policy_from_a_wheel_of_its_own_is_benchmarked_without_touching_the_core(tmp_path):
    wheel = build_wheel(tmp_path)
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True, timeout=120)
    environment = os.environ | {"PYTHONPATH": str(site)}
    autoscope = str(Path(sys.executable).with_name("autoscope"))
    listed = subprocess.run(
        [autoscope, "list", "policies"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert "wander" in listed.stdout
    command = [autoscope, "bench", str(write_bench(tmp_path)), "--workers", "1", "--quiet", "--runs", str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    check_results(tmp_path / "wander" / "results.parquet")
