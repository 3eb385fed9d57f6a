"""Real runs, handed on by the program: the documentation's own examples, a killed run, a night in bounded memory."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from autoscope.exports import export
from autoscope.journal import JournalReader, verify
from tests.system.test_command_line import ROOT, SMALL, call, start_long_run, wait_for_frames

DOCS = ROOT / "docs" / "exports.md"
WITH_EXPORTS = SMALL.replace("POINTS", "12") + "exports: [nexus, parquet, prov, zarr, csv, rocrate]\n"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Return a folder with ``runs/RUN``, a run whose configuration asks for every export."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "small.yaml").write_text(WITH_EXPORTS)
    done = call("run", "small.yaml", "--no-report", "--quiet", cwd=folder)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "runs").iterdir()
    run.rename(folder / "runs" / "RUN")
    return folder, done


def test_a_configuration_asks_for_exports_at_the_end_of_a_run(lab):
    folder, done = lab
    run = folder / "runs" / "RUN"
    names = ("run.nxs", "decisions.parquet", "prov.json", "run.zarr", "decisions.csv", "ro-crate-metadata.json")
    assert all((run / name).exists() for name in names)
    assert "run.nxs (13 acts" in done.stdout
    assert verify(run).ok


def test_an_export_that_fails_does_not_fail_the_run(tmp_path, capsys):
    from autoscope.cli import export_commands

    export_commands.write_exports(tmp_path, ["csv"])
    assert "csv: not written" in capsys.readouterr().out


def snippets():
    text = DOCS.read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_every_example_of_the_documentation_runs(lab, monkeypatch):
    monkeypatch.chdir(lab[0])
    assert call("export", "runs/RUN", "--format", "rocrate", "--output", "share.zip", cwd=lab[0]).returncode == 0
    said = {}
    assert len(snippets()) == 7
    for snippet in snippets():
        exec(compile(snippet, str(DOCS), "exec"), said)
    assert said["energy_ev"].shape == (1024,)
    assert said["spectra"].data.shape == (12, 1024)
    assert said["images"].axes_manager.signal_axes[0].units == "nm"
    assert said["why"]
    assert len(said["files"]) == 13
    assert said["reason"]
    assert len(said["rows"]) == 13
    assert said["done"].path.is_file()


def test_the_program_exports_and_says_what_it_wrote(lab, tmp_path):
    folder, _ = lab
    done = call("export", "runs/RUN", "--format", "csv", "--output", tmp_path / "t.csv", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "(13 acts" in done.stdout
    again = call("export", "runs/RUN", "--format", "csv", "--output", tmp_path / "t.csv", cwd=folder)
    assert again.returncode == 1
    assert "--force" in again.stderr
    assert "Traceback" not in again.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["runs/RUN", "--format", "hdf"], "nexus"),
        (["runs/RUN"], "--format"),
        (["runs/RUN", "--format", "nexus", "--orcid", "12", "--output", "x.nxs"], "--orcid"),
        (["runs", "--format", "csv"], "it has no journal.sqlite"),
    ],
)
def test_what_cannot_be_exported_is_told_plainly(lab, arguments, told):
    done = call("export", *arguments, cwd=lab[0])
    assert done.returncode in (1, 2)
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_help_of_export_loads_nothing_heavy():
    probe = (
        "import sys; from typer.testing import CliRunner; from autoscope.cli.app import app;"
        "assert CliRunner().invoke(app, ['export', '--help']).exit_code == 0;"
        "print([m for m in ('numpy', 'h5py', 'pyarrow', 'prov', 'rocrate', 'zarr') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_killed_run_is_exported_as_far_as_it_got(tmp_path):
    import h5py

    process = start_long_run(tmp_path)
    wait_for_frames(tmp_path, process, 8)
    live = call("export", next((tmp_path / "runs").iterdir()), "--format", "nexus", "-o", "live.nxs", cwd=tmp_path)
    process.kill()
    process.communicate(timeout=30)
    (run,) = (tmp_path / "runs").iterdir()
    assert live.returncode == 0, live.stderr
    assert "had not ended" in live.stdout
    done = export(run, "nexus", tmp_path / "killed.nxs")
    files = [ref.file for step in JournalReader.open(run).steps() if step.outcome for ref in step.outcome.frames]
    for path, least in ((tmp_path / "live.nxs", 8), (done.path, len(files))):
        with h5py.File(path) as file:
            held = [name for g in ("HAADF_64x64_1um", "EDS_1024") for name in file[f"entry/{g}/file"].asstr()[()]]
            assert held == files[: len(held)]
            assert len(held) >= least
            assert "not ended" in file["entry/journal/state"].asstr()[()]


def test_a_resumed_run_is_exported_anew_with_all_its_acts(tmp_path):
    import h5py
    import pyarrow.parquet as pq

    text = SMALL.replace("POINTS", "9") + "exports: [parquet, nexus]\n"
    (tmp_path / "small.yaml").write_text(text)
    first = call("run", "small.yaml", "--no-report", "--quiet", "--set", "budget.steps=4", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert pq.read_table(run / "decisions.parquet").num_rows == 4
    again = call("resume", run, "--no-report", "--quiet", "--set", "budget.steps=10", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    table = pq.read_table(run / "decisions.parquet")
    assert table.column("step").to_pylist() == list(range(10))
    assert table.schema.metadata[b"state"] == b"completed"
    with h5py.File(run / "run.nxs") as file:
        assert file["entry/EDS_1024/data"].shape == (9, 1024)


NIGHT = """
import re, sys
from pathlib import Path
from tests.unit.exports.lab import Lab
from autoscope.exports import export
def peak_mb():  # its own: ru_maxrss would begin with what the tests' process held
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
folder, steps = Path(sys.argv[1]), int(sys.argv[2])
export(folder, sys.argv[3], folder.parent / f"out-{steps}.nxs", force=True)
print(peak_mb())
"""


def measured_mb(folder, steps, name):
    done = subprocess.run(
        [sys.executable, "-c", NIGHT, str(folder), str(steps), name],
        capture_output=True, text=True, timeout=110, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts memory the Linux way")
def test_memory_of_a_nexus_export_does_not_grow_with_the_run(tmp_path):
    from tests.unit.exports.lab import Lab

    peaks = []
    for steps in (2000, 8000):  # below, chunks and caches still fill
        lab = Lab(tmp_path / str(steps), channels=2048).overview()
        for _ in range(steps // 500):
            lab.measure(500)
            lab.frames.clear()
        peaks.append(measured_mb(lab.end(), steps, "nexus"))
    frames_mb = 6000 * 2048 * 4 / 1e6
    assert peaks[1] - peaks[0] < frames_mb / 2, peaks
