"""The program as its user meets it: real processes, real folders, real signals."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from autoscope.errors import JournalError
from autoscope.journal import JournalReader
from tests.tampering import tamper

ROOT = Path(__file__).resolve().parents[2]
AUTOSCOPE = str(Path(sys.executable).with_name("autoscope"))
SMALL = """
name: small
seed: 1
environment:
  name: simulated
  options: {microscope: {specimens: [{kind: catalyst, extent: [4 um, 4 um], density: 40 um^-2}]}}
policy:
  name: random
  options:
    {target: pt, overview: {fov: 1 um, width_px: 64, height_px: 64}, dwell: 20 ms, signals: [EDS], points: POINTS}
scalarizers: {pt: {name: band_integral, options: {band: [1.85 keV, 2.30 keV]}}}
"""


def call(*arguments, cwd, **more):
    return subprocess.run(
        [AUTOSCOPE, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=100, **more
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    (folder / "small.yaml").write_text(SMALL.replace("POINTS", "15"))
    done = call("run", "small.yaml", cwd=folder)
    (run,) = (folder / "runs").iterdir()
    return folder, done, run


def test_a_run_ends_with_its_folder_and_its_report(finished):
    folder, done, run = finished
    assert done.returncode == 0, done.stderr
    assert "completed" in done.stdout
    assert str(run.relative_to(folder)) in done.stdout
    assert (run / "report" / "index.html").stat().st_size > 10_000
    assert (run / "config.yaml").is_file()
    assert len([ref for step in JournalReader.open(run).steps() for ref in step.outcome.frames]) == 16


def test_the_written_configuration_runs_again_and_decides_the_same(finished):
    folder, _, run = finished
    again = call("run", run / "config.yaml", "--runs", "again", "--quiet", "--no-report", cwd=folder)
    assert again.returncode == 0, again.stderr
    (second,) = (folder / "again").iterdir()
    first, repeated = (decisions(r) for r in (run, second))
    assert first == repeated
    assert len(first) == 16


def decisions(run):
    return [(s.decision.action, s.outcome.values) for s in JournalReader.open(run).steps()]


def test_verify_proves_a_run_and_names_a_changed_frame(finished, tmp_path):
    folder, _, run = finished
    assert call("verify", run, cwd=folder).returncode == 0
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    tamper(copy, "UPDATE frames SET content = CAST(content || x'00' AS BLOB) WHERE name LIKE '000003%'")
    verdict = call("verify", copy, cwd=folder)
    assert verdict.returncode == 1
    assert "000003-00-EDS.npy" in verdict.stdout.replace("\n", "")


def test_the_report_can_be_written_again(finished):
    folder, _, run = finished
    (run / "report" / "index.html").unlink()
    done = call("report", run, cwd=folder)
    assert done.returncode == 0
    assert (run / "report" / "index.html").is_file()


@pytest.mark.parametrize("command", ["report", "verify"])
def test_what_is_no_run_folder_is_refused(command, tmp_path):
    done = call(command, tmp_path, cwd=tmp_path)
    assert done.returncode != 0
    assert "not a run folder" in done.stderr
    assert "Traceback" not in done.stderr


def outcomes(run):
    with suppress(JournalError):  # it is only being made
        yield from JournalReader.open(run).records("outcome")


def start_long_run(folder):
    (folder / "long.yaml").write_text(SMALL.replace("POINTS", "4000"))
    return subprocess.Popen(
        [AUTOSCOPE, "run", "long.yaml", "--quiet"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_frames(folder, process, count):
    clock = os.times
    begin = clock().elapsed
    while sum(1 for run in folder.glob("runs/*/journal.sqlite") for _ in outcomes(run.parent)) < count:
        assert process.poll() is None, process.communicate()
        assert clock().elapsed - begin < 90, "the run did not get going"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupt_stops_cleanly_with_a_partial_report(tmp_path, number):
    process = start_long_run(tmp_path)
    wait_for_frames(tmp_path, process, 5)
    process.send_signal(number)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    assert "stopped" in out
    assert "beam blanked" in out
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "report" / "index.html").is_file()
    assert call("verify", run, cwd=tmp_path).returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_killed_run_keeps_every_step_it_recorded(tmp_path):
    process = start_long_run(tmp_path)
    wait_for_frames(tmp_path, process, 8)
    process.kill()
    process.communicate(timeout=30)
    (run,) = (tmp_path / "runs").iterdir()
    verdict = call("verify", run, cwd=tmp_path)
    assert len(decisions_done(run)) >= 7, verdict.stdout
    assert call("report", run, cwd=tmp_path).returncode == 0


def decisions_done(run):
    from autoscope.journal import JournalReader

    return [s for s in JournalReader.open(run).steps() if s.outcome is not None]


def test_help_and_version_import_nothing_heavy():
    probe = (
        "import sys; sys.argv = ['autoscope', '--help']\n"
        "from autoscope.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'scipy', 'pydantic', 'gymnasium', 'matplotlib', 'pint'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "overnight_survey.yaml" in done.stdout


@pytest.mark.parametrize("command", ["run", "check", "report", "verify", "list", "schema"])
def test_every_command_teaches_itself(command, tmp_path):
    done = call(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert len(done.stdout) > 300


@pytest.mark.parametrize("kind", ["policies", "environments", "instruments", "scalarizers", "metrics"])
def test_lists_show_what_is_installed(kind, tmp_path):
    done = call("list", kind, cwd=tmp_path)
    assert done.returncode == 0
    expected = {"policies": "deep_kernel", "environments": "replay", "instruments": "simulated"}
    assert expected.get(kind, "") in done.stdout


def test_the_schema_accepts_every_example_and_refuses_a_misspelt_one(tmp_path):
    import jsonschema
    import yaml

    done = call("schema", "-o", "schema.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    schema = json.loads((tmp_path / "schema.json").read_text())
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        document = yaml.safe_load(path.read_text())
        if document.get("job", "run") == "run":
            jsonschema.validate(document, schema)
    wrong = yaml.safe_load((ROOT / "configs" / "overnight_survey.yaml").read_text())
    wrong["policy"]["options"]["visitt"] = 3
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


def test_smoke_ends_after_twenty_acts(tmp_path):
    (tmp_path / "long.yaml").write_text(SMALL.replace("POINTS", "4000"))
    done = call("run", "long.yaml", "--smoke", "--quiet", cwd=tmp_path)
    assert done.returncode == 0
    assert "20 acts" in done.stdout
