"""The decision table as CSV or Parquet, written batch by batch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from autoscope.exports.facts import Facts
from autoscope.exports.options import Options, Progress
from autoscope.exports.snapshot import Snapshot
from autoscope.exports.table import Cell, Column, Kind, columns

SCHEMA = "autoscope-decisions/1"
"""Name of the table's layout; another layout gets another name."""

_BATCH = 1000
_TYPES: dict[Kind, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "text": pa.string(),
    "texts": pa.list_(pa.string()),
}


def write_parquet(snapshot: Snapshot, path: Path, options: Options, progress: Progress) -> None:
    """Write the table with types; run id, head hash and versions lie in the file's metadata, units in the columns'."""
    made = columns(snapshot.values, snapshot.quality)
    schema = pa.schema([_field(column) for column in made], metadata=metadata(snapshot))
    with pa.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in _batches(snapshot, made, schema, progress):
            writer.write_batch(batch)


def write_csv(snapshot: Snapshot, path: Path, options: Options, progress: Progress) -> None:
    """Write the table as UTF-8 CSV with one line of names; several texts in one cell are parted by ``;``."""
    made = columns(snapshot.values, snapshot.quality)
    schema = pa.schema([pa.field(c.name, pa.string() if c.kind == "texts" else _TYPES[c.kind]) for c in made])
    with pa.csv.CSVWriter(str(path), schema) as writer:
        for batch in _batches(snapshot, made, schema, progress):
            writer.write_batch(batch)


def metadata(snapshot: Snapshot) -> dict[str, str]:
    """Return what a table says about its run, all as text."""
    facts = Facts.of(snapshot)
    return {
        "schema": SCHEMA,
        "run_id": facts.run_id,
        "name": facts.name,
        "sample": facts.sample,
        "operator": facts.operator,
        "instrument": facts.instrument,
        "tags": ", ".join(facts.tags),
        "corrected": json.dumps(facts.original, ensure_ascii=False),
        "state": facts.state,
        "head": facts.head,
        "records": str(facts.records),
        "started_utc": facts.started_utc,
        "ended_utc": facts.ended_utc,
        "autoscope_version": facts.run_version,
        "exported_by": f"autoscope {facts.export_version}",
        "config_sha256": facts.config_sha256,
        "config": json.dumps(facts.config, ensure_ascii=False),
    }


def _field(column: Column) -> pa.Field:
    return pa.field(column.name, _TYPES[column.kind], metadata={"unit": column.unit, "description": column.doc})


def _batches(
    snapshot: Snapshot, made: tuple[Column, ...], schema: pa.Schema, progress: Progress
) -> Iterator[pa.RecordBatch]:
    acts, done = snapshot.acts(), 0
    while batch := list(islice(acts, _BATCH)):
        arrays = [
            pa.array([_cell(c.of(act), field.type) for act in batch], type=field.type)
            for c, field in zip(made, schema, strict=True)
        ]
        yield pa.record_batch(arrays, schema=schema)
        done += len(batch)
        progress("acts", done, snapshot.acts_count)


def _cell(value: Cell, kind: pa.DataType) -> Cell:
    return ";".join(value) or None if isinstance(value, list) and kind == pa.string() else value
