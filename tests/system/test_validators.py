"""Exports judged by the validators of their formats, in an environment of their own (``make validators``)."""

import json
import subprocess
from pathlib import Path

import pytest
import rocrate

from autoscope.exports import export
from autoscope.exports.options import Options
from tests.unit.exports.lab import Lab, full_run

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-validators" / "bin" / "python"
CONTEXT = Path(rocrate.__file__).with_name("data") / "ro-crate.jsonld"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.is_file(), reason="no .venv-validators: 'make validators' sets it up"),
]


def judged(crate):
    done = subprocess.run(
        [PYTHON, ROOT / "tests" / "crate_validation.py", crate, CONTEXT], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_signed_crate_satisfies_the_process_run_profile(tmp_path):
    run = full_run(tmp_path / "full").folder
    signed = Options(author="Ada B", orcid="0000-0002-1825-0097", affiliation="Uni X", licence="CC-BY-4.0",
                     affiliation_id="https://ror.org/012345678")  # fmt: skip
    for output in (None, tmp_path / "share.zip"):
        verdict = judged(export(run, "rocrate", output, options=signed).path if output else _inside(run, signed))
        assert verdict["required"] == []


def _inside(run, options):
    export(run, "rocrate", options=options)
    return run


def test_a_crate_of_a_failed_or_unfinished_run_satisfies_the_profile_too(tmp_path):
    failed = Lab(tmp_path / "failed").overview().end("failed")
    export(failed, "rocrate")
    assert judged(failed)["required"] == []
    going = Lab(tmp_path / "going").overview()
    export(going.folder, "rocrate", tmp_path / "copy")
    assert judged(tmp_path / "copy")["required"] == []
    going.close()


def test_the_validator_notices_what_is_missing(tmp_path):
    run = Lab(tmp_path / "run").overview().end()
    path = export(run, "rocrate").path
    graph = json.loads(path.read_text(encoding="utf-8"))
    for entity in graph["@graph"]:
        entity.pop("instrument", None)
    path.write_text(json.dumps(graph), encoding="utf-8")
    assert any("instrument" in message for message in judged(run)["required"])


COMPLETE = Options(
    elements=("Pt", "C"), prepared="2026-03-01T10:00:00+00:00", author="Ada B", orcid="0000-0002-1825-0097"
)


def said_of_nexus(path):
    done = subprocess.run(
        [PYTHON.with_name("pynx"), "validate", "--ignore-undocumented", path],
        capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_a_nexus_file_is_valid_nxem_where_elements_and_preparation_are_given(tmp_path):
    run = full_run(tmp_path / "full").folder
    told = said_of_nexus(export(run, "nexus", options=COMPLETE).path)
    assert "is valid according to the `NXem` application definition" in told, told


def test_a_nexus_file_of_a_shipped_configuration_is_valid_nxem_without_further_words(tmp_path):
    command = [ROOT / ".venv" / "bin" / "autoscope", "run", ROOT / "configs" / "nanoparticles.yaml", "--smoke", "-q"]
    subprocess.run([*command, "--no-report"], cwd=tmp_path, check=True, capture_output=True, timeout=110)
    (run,) = (tmp_path / "runs").iterdir()
    told = said_of_nexus(export(run, "nexus").path)
    assert "is valid according to the `NXem` application definition" in told, told


def test_a_nexus_file_of_an_unfinished_run_is_valid_too(tmp_path):
    going = Lab(tmp_path / "going").overview().measure(1)
    told = said_of_nexus(export(going.folder, "nexus", options=COMPLETE).path)
    assert "is valid according to the `NXem` application definition" in told, told
    going.close()


def test_the_validator_of_nexus_notices_what_is_missing(tmp_path):
    run = Lab(tmp_path / "run").overview().end()
    told = said_of_nexus(export(run, "nexus").path)
    assert "required field /entry/sample1/atom_types" in told
    assert "NOT valid" in told
