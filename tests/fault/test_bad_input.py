"""Wrong configurations and damaged data, each with the message a person gets (pytest -rA shows them)."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autoscope.cli.planning import check_config
from autoscope.errors import AutoscopeError

ROOT = Path(__file__).resolve().parents[2]
AUTOSCOPE = str(Path(sys.executable).with_name("autoscope"))
NIGHT = (ROOT / "configs" / "overnight_survey.yaml").read_text()
REPLAY = """
name: replay
environment: {name: replay, options: {data: {path: PATH, dwell: 50 ms}}}
policy: {name: random, options: {target: signal, dwell: 50 ms, points: 3}}
scalarizers: {signal: {name: band_integral}}
budget: {steps: 5}
"""

# name, text to replace, replacement, what the message must say
CONFIGS = [
    ("misspelt group", "budget:", "budgte:", ["budgte", "'budget'"]),
    ("misspelt nested key", "  time: 10 h", "  tiem: 10 h", ["budget.tiem", "'time'"]),
    ("misspelt key in a list", "density: 20", "densty: 20", ["specimens.0.densty", "'density'"]),
    ("bare number for a time", "time: 10 h", "time: 10", ["budget.time", "bare number", "unit"]),
    ("wrong dimension", "time: 10 h", "time: 10 nm", ["budget.time", "nanometer"]),
    ("unit slip: metres for micrometres", "x: [-11 um, 11 um]", "x: [-11 m, 11 m]", ["tiles"]),
    ("unknown unit", "dwell: 8 s", "dwell: 8 parsnips", ["policy.options.dwell", "parsnips"]),
    ("no unit at all", "fov: 2 um", "fov: 2", ["tile.fov", "bare number"]),
    ("negative length", "fov: 2 um", "fov: -2 um", ["tile.fov", "must be in"]),
    ("zero dwell", "dwell: 8 s", "dwell: 0 s", ["policy.options.dwell", "must be in"]),
    ("not a number", "dwell: 8 s", "dwell: .nan", ["policy.options.dwell"]),
    ("infinite budget", "time: 10 h", "time: inf h", ["budget.time"]),
    ("text for a count", "visit: 12", "visit: many", ["policy.options.visit", "integer"]),
    ("share above one", "scouts: 4", "overview_share: 1.5", ["overview_share", "less than or equal to 1"]),
    ("bounds the wrong way round", "x: [-11 um, 11 um]", "x: [11 um, -11 um]", ["area", "lower bound first"]),
    ("unknown policy", "name: survey", "name: surveyor", ["'survey'"]),
    ("unknown environment", "name: simulated", "name: simulator", ["'simulated'"]),
    ("unknown specimen", "kind: catalyst", "kind: catalist", ["catalist", "catalyst"]),
    ("unknown scalarizer", "name: band_integral", "name: band_integrel", ["'band_integral'"]),
    ("target nobody computes", "target: co_k", "target: ni_k", ["ni_k", "co_k, pt_m"]),
    ("key given twice", "seed: 1", "seed: 1\nseed: 2", ["'seed' is given twice"]),
    ("broken YAML", "policy:", "policy: [", ["not valid YAML"]),
    ("a tag that would run code", "seed: 1", "seed: !!python/object/apply:os.getcwd []", ["plain YAML value"]),
    ("negative seed", "seed: 1", "seed: -1", ["seed"]),
    ("name that is no file name", "name: overnight_survey", "name: ../../etc", ["name", "pattern"]),
    ("missing policy", "policy:", "notes_policy:", ["policy: is required"]),
    ("beam current beyond the gun", "beam_current: 50 pA", "beam_current: 50 mA", ["beam_current", "range"]),
    ("limit smaller than the first act", "  x: [-12 um, 12 um]", "  x: [-1 um, 1 um]", ["x_m", "limit"]),
    ("dwell above its limit", "max_dwell: 20 s", "max_dwell: 1 us", ["dwell_s"]),
    ("band beyond everything", "band: [6.80 keV, 7.06 keV]", "band: [7.06 keV, 6.80 keV]", ["band"]),
]


def _refused(tmp_path: Path, text: str, *overrides: str) -> str:
    path = tmp_path / "night.yaml"
    path.write_text(text)
    with pytest.raises(AutoscopeError) as caught:
        check_config(path, list(overrides))
    return str(caught.value)


def test_the_command_line_prints_the_message_without_traceback_and_exits_with_2(tmp_path):
    path = tmp_path / "night.yaml"
    path.write_text(NIGHT.replace("  time: 10 h", "  tiem: 10 h"))
    done = subprocess.run([AUTOSCOPE, "check", str(path)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert "budget.tiem: no such setting. Did you mean 'time'?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("name", "old", "new", "said"), CONFIGS, ids=[c[0] for c in CONFIGS])
def test_a_wrong_configuration_gets_a_clear_message(tmp_path, name, old, new, said):
    assert old in NIGHT
    message = _refused(tmp_path, NIGHT.replace(old, new, 1))
    for fragment in said:
        assert fragment in message, message
    print(f"CASE {name}: {message.strip().replace(str(tmp_path), '...')!r}")


def _good(path: Path, **changes: object) -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, object] = {
        "image": rng.random((6, 5)).astype(np.float32),
        "spectra": rng.poisson(4.0, (6, 5, 7)).astype(np.float32),
        "axis": np.arange(7, dtype=np.float32),
        "meta": '{"px": "1 nm", "axis_unit": "eV"}',
    }
    kept = {k: v for k, v in (arrays | changes).items() if v is not None}
    np.savez(path, **kept)


def _truncate(path: Path) -> None:
    _good(path)
    path.write_bytes(path.read_bytes()[:200])


def _nan(path: Path) -> None:
    spectra = np.ones((6, 5, 7), np.float32)
    spectra[2, 2, 2] = np.nan
    _good(path, spectra=spectra)


FILES = [
    ("absent file", lambda path: None, ["no such data file"]),
    ("empty file", lambda path: path.write_bytes(b""), ["map.npz"]),
    ("truncated archive", _truncate, ["map.npz"]),
    ("text named .npz", lambda path: path.write_text("hello"), ["map.npz"]),
    ("spectra missing", lambda path: _good(path, spectra=None), ["spectra"]),
    ("image of another size", lambda path: _good(path, image=np.ones((3, 3), np.float32)), ["image"]),
    ("axis of another length", lambda path: _good(path, axis=np.arange(3.0)), ["axis"]),
    ("NaN in a spectrum", _nan, ["finite"]),
    (
        "negative counts",
        lambda path: _good(path, spectra=-np.ones((6, 5, 7), np.float32), meta='{"unit": "counts"}'),
        ["map.npz"],
    ),
    ("pickled objects", lambda path: _good(path, image=np.array([{"a": 1}], dtype=object)), ["map.npz"]),
]


@pytest.mark.parametrize(("name", "damage", "said"), FILES, ids=[f[0] for f in FILES])
def test_a_damaged_data_file_gets_a_clear_message(tmp_path, name, damage, said):
    path = tmp_path / "map.npz"
    damage(path)
    message = _refused(tmp_path, REPLAY.replace("PATH", str(path)))
    for fragment in said:
        assert fragment in message, message
    print(f"CASE {name}: {message.strip().replace(str(tmp_path), '...')!r}")


def test_a_malformed_override_gets_a_clear_message(tmp_path):
    message = _refused(tmp_path, NIGHT, "budget.time")
    assert "a.b=value" in message
    print(f"CASE malformed override: {message.strip()!r}")
