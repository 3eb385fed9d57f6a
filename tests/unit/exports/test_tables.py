"""The decision table, whatever the run holds, comes back as it was."""

import csv
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoscope.exports import export
from autoscope.exports.snapshot import Snapshot
from autoscope.exports.table import columns, unit_of
from autoscope.journal import JournalReader
from autoscope.records import Measure, Scalar
from tests.unit.exports.lab import Lab

DOCS = Path(__file__).parents[3] / "docs" / "exports.md"


@pytest.fixture(scope="module")
def table(lab, tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "t.parquet"
    export(lab.folder, "parquet", path)
    return pq.read_table(path)


def test_there_is_one_row_an_act_in_the_order_of_the_decisions(table, lab):
    steps = list(JournalReader.open(lab.folder).steps())
    assert table.column("step").to_pylist() == [step.index for step in steps] == list(range(lab.step))
    assert table.column("act_id").to_pylist() == [step.act_id for step in steps]
    assert table.column("reason").to_pylist() == [step.decision.reason for step in steps]


def test_rows_tell_what_was_foretold_what_came_and_what_it_cost(table, lab):
    rows, steps = table.to_pylist(), list(JournalReader.open(lab.folder).steps())
    for row, step in zip(rows, steps, strict=True):
        assert row["predicted_mean"] == step.decision.predicted_mean
        assert row["action"] == step.decision.action.kind
        assert row["action_dwell_s"] == getattr(step.decision.action, "dwell_s", None)
        assert row["status"] == (step.outcome.status if step.outcome else "open")
        assert row["after_dose_e"] == (step.outcome.state.dose_e if step.outcome else None)
        peak = next((v for v in step.outcome.values if v.name == "peak"), None) if step.outcome else None
        assert row["value_peak_eV"] == (peak.value if peak else None)
        assert row["value_peak_std_eV"] == (peak.std if peak else None)
        assert row["frame_sha256"] == [ref.sha256 for ref in step.outcome.frames] if step.outcome else True
        assert row["decided_by"] == step.decision.decided_by
        if step.outcome and step.outcome.values:
            assert json.loads(row["values"]) == [v.model_dump(mode="json") for v in step.outcome.values]


def test_the_table_knows_its_run_and_the_units_of_its_columns(table, lab):
    told = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert told["schema"] == "autoscope-decisions/1"
    assert told["run_id"] == "full-0123abcd"
    assert told["head"] == list(JournalReader.open(lab.folder).records())[-1].hash
    assert json.loads(told["config"])["seed"] == 3
    assert table.schema.field("begun_s").metadata[b"unit"] == b"s"
    assert table.schema.field("value_peak_eV").metadata[b"unit"] == b"eV"


def test_csv_says_the_same_as_parquet(lab, table, tmp_path):
    path = tmp_path / "t.csv"
    export(lab.folder, "csv", path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for text, row in zip(rows, table.to_pylist(), strict=True):
        assert set(text) == set(row)
        for name, value in row.items():
            assert text[name] == as_text(value), name


def as_text(value):
    if value is None or value == []:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ";".join(value)
    if isinstance(value, float):
        return Number(value)
    return str(value)


class Number(float):
    """Equal to any text that reads as exactly this number."""

    def __eq__(self, other):
        return float(other) == float(self)

    __hash__ = float.__hash__


def test_arrow_reads_the_csv_back_to_the_last_bit(lab, table, tmp_path):
    path = tmp_path / "t.csv"
    export(lab.folder, "csv", path)
    parsing = pyarrow.csv.ParseOptions(newlines_in_values=True)
    read = pyarrow.csv.read_csv(path, parse_options=parsing)
    for name in ("predicted_mean", "value_peak_eV", "decided_s", "dose_e"):
        assert read.column(name).to_pylist() == table.column(name).to_pylist()


texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(texts, numbers, numbers, st.floats(0, 1e300), texts), min_size=1, max_size=4),
    unit=st.sampled_from(["", "eV", "1/nm", "counts"]),
)
def test_whatever_a_run_says_comes_back_from_parquet(tmp_path_factory, rows, unit):
    lab = Lab(tmp_path_factory.mktemp("any") / "run")
    for reason, mean, value, std, target in rows:
        decision = lab.decision(
            Measure(x_m=mean, y_m=0.0, dwell_s=0.1), "spectrum", reason=reason, predicted_mean=mean, target=target
        )
        scalar = Scalar(name="t", value=value, std=std, unit=unit, scalarizer="t/1")
        lab.act(decision, values=(scalar,))
    lab.end()
    read = pq.read_table(export(lab.folder, "parquet").path)
    ends = {"": "", "eV": "_eV", "1/nm": "_1_per_nm", "counts": "_counts"}[unit]
    given_back = zip(
        *(
            read.column(c).to_pylist()
            for c in ("reason", "action_x_m", f"value_t{ends}", f"value_t_std{ends}", "target")
        ),
        strict=True,
    )
    assert list(given_back) == rows


@given(
    values=st.lists(st.tuples(texts, st.sampled_from(["", "eV", "1/nm"])), max_size=6, unique=True),
    quality=st.lists(texts, max_size=6, unique=True),
)
def test_column_names_are_unique_whatever_targets_are_called(values, quality):
    names = [column.name for column in columns(tuple(values), tuple(quality))]
    assert len(names) == len(set(names))


def test_every_number_with_a_unit_has_it_in_its_name():
    unitless = {"predicted_mean", "predicted_std", "acquisition_value", "model_log_evidence"}
    for column in columns((), ()):
        if column.kind == "float" and column.name not in unitless:
            assert column.unit == unit_of(column.name) != "", column.name


def test_every_column_is_documented(lab):
    snapshot = Snapshot.take(lab.folder)
    text = DOCS.read_text(encoding="utf-8")
    for column in columns((), ()):
        if not column.name.startswith(("action_", "before_", "after_")):
            assert f"`{column.name}`" in text, column.name
    assert len(snapshot.values) == 2


def test_absent_numbers_are_null_and_not_nan(table):
    assert not any(isinstance(v, float) and math.isnan(v) for row in table.to_pylist() for v in row.values())


def test_the_table_tells_which_dark_frames_were_subtracted_from_the_frames_of_an_act():
    (column,) = [c for c in columns((), ()) if c.name == "dark_references"]
    done = SimpleNamespace(outcome=SimpleNamespace(dark={"EELS": ("run-000004", "run-000005")}))
    assert json.loads(column.of(done)) == {"EELS": ["run-000004", "run-000005"]}
    assert column.of(SimpleNamespace(outcome=SimpleNamespace(dark={}))) is None
    assert column.of(SimpleNamespace(outcome=None)) is None
