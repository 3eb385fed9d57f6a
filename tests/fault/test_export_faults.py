"""Disks that fail in earnest while an export is written: the system itself refuses the bytes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.exports.lab import full_run

ROOT = Path(__file__).resolve().parents[2]
EXPORTING = """
import resource, signal, sys
from pathlib import Path
import h5py, prov.model, pyarrow.parquet, rocrate.rocrate, zarr
from autoscope.errors import ExportError
from autoscope.exports import export
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in map(int, sys.argv[3:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for name in ("nexus", "prov", "zarr", "csv", "parquet", "rocrate"):
        try:
            export(Path(sys.argv[1]), name, Path(sys.argv[2], name))
            print(limit, name, "written")
        except ExportError as error:
            print(limit, name, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are POSIX")
def test_a_disk_that_takes_no_more_leaves_nothing_half_and_one_plain_error(tmp_path):
    run = full_run(tmp_path / "run").folder
    (tmp_path / "out").mkdir()
    limits = ["1000", "5000"]  # bytes a file may have
    done = subprocess.run(
        [sys.executable, "-c", EXPORTING, str(run), str(tmp_path / "out"), *limits],
        capture_output=True, text=True, timeout=110, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert len(told) == 12
    assert all("the run itself is untouched" in line for line in told), told
    assert done.stderr == ""
    assert list((tmp_path / "out").iterdir()) == []
