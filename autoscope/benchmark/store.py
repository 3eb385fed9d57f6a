"""Results on disk: one Parquet file a cell, named by its key, whole or absent; docs/benchmarks.md tells the columns."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from autoscope.benchmark.campaign import Campaign
from autoscope.benchmark.trace import SERIES, Trace, Truth
from autoscope.errors import DataError

LABELS = ("environment", "policy", "budget", "repetition", "control")
REAL_TIME = ("latency_s", "peak_rss_bytes", "seconds")
"""Columns that differ between two runs of the same cell, because they tell of real time and memory."""
_CODEC = "zstd"
_FLOATS, _SMALL = pa.list_(pa.float64()), pa.list_(pa.list_(pa.float32()))
SCHEMA = pa.schema(
    [
        *((name, pa.int64() if name == "repetition" else pa.string()) for name in LABELS),
        ("key", pa.string()),
        ("truth", pa.string()),
        ("status", pa.string()),
        ("notes", pa.string()),
        ("cell", pa.string()),
        ("chosen", pa.list_(pa.int64())),
        *((name, _FLOATS) for name in SERIES),
        ("maps_at", pa.list_(pa.int64())),
        ("maps_mean", _SMALL),
        ("maps_sd", _SMALL),
        ("peak_rss_bytes", pa.int64()),
        ("seconds", pa.float64()),
    ]
)
"""One row a cell. ``truth`` names the file of the truth; ``cell`` is the configuration as JSON."""


def encode(campaign: Campaign) -> bytes:
    """Return a campaign as the bytes of a Parquet file of one row."""
    cell, trace = campaign.cell, campaign.trace
    row: dict[str, Any] = {name: getattr(cell, name) for name in LABELS}
    row |= {
        "key": cell.key,
        "truth": truth_key(campaign.truth),
        "status": "failed" if campaign.failed else "completed",
        "notes": json.dumps(dict(trace.notes), sort_keys=True),
        "cell": cell.text(),
        "chosen": trace.chosen,
        "maps_at": list(trace.maps),
        "maps_mean": [mean.astype(np.float32) for mean, _ in trace.maps.values()],
        "maps_sd": [sd.astype(np.float32) for _, sd in trace.maps.values()],
        "peak_rss_bytes": trace.peak_rss_bytes,
        "seconds": campaign.seconds,
    }
    row |= {name: getattr(trace, name) for name in SERIES}
    return to_bytes(pa.Table.from_pylist([row], schema=SCHEMA))


def decode(row: Mapping[str, Any]) -> Trace:
    """Return the trace of one row."""
    means, sds = (row[name] for name in ("maps_mean", "maps_sd"))
    maps = {n: (np.array(m, np.float64), np.array(s, np.float64)) for n, m, s in zip(row["maps_at"], means, sds)}
    return Trace(
        chosen=np.array(row["chosen"], np.int64),
        **{name: np.array(row[name], np.float64) for name in SERIES},
        maps=maps,
        peak_rss_bytes=row["peak_rss_bytes"],
        notes=json.loads(row["notes"]),
    )


def digest(table: pa.Table) -> str:
    """Return a sha256 over everything of some rows that must not differ between two runs of them.

    Real time and memory, and the metrics made of them, are left out; rows are taken in the order of their keys.
    """
    kept = [name for name in table.column_names if name in SCHEMA.names and name not in REAL_TIME]
    rows = sorted(table.select(kept).to_pylist(), key=lambda row: row["key"])
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


@functools.lru_cache(maxsize=16)
def encode_truth(truth: Truth) -> tuple[str, bytes]:
    """Return the name of a truth, and its Parquet file: one row a candidate."""
    told = {"name": truth.name, "shape": list(truth.shape), "unit": truth.unit, "notes": truth.notes}
    columns = {"value": truth.values, "x_m": truth.xy_m[:, 0], "y_m": truth.xy_m[:, 1]}
    return truth_key(truth), to_bytes(pa.table(columns, metadata={"truth": json.dumps(told)}))


@functools.lru_cache(maxsize=16)
def truth_key(truth: Truth) -> str:
    """Return the name of a truth: a sha256 over its name, places and values."""
    text = json.dumps([truth.name, truth.shape, truth.unit, truth.notes]).encode()
    return hashlib.sha256(text + truth.values.tobytes() + truth.xy_m.tobytes()).hexdigest()[:32]


class Store:
    """The folder of a benchmark.

    Parameters
    ----------
    folder : Path
        Made where it is absent; ``cells`` and ``truths`` inside it hold what is finished.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cells, self._truths = folder / "cells", folder / "truths"
        for place in (self._cells, self._truths):
            place.mkdir(parents=True, exist_ok=True)

    def __contains__(self, key: str) -> bool:
        return self._cell(key).is_file()

    def put(self, key: str, cell: bytes, truth_name: str, truth: bytes) -> None:
        """Keep a result and its truth, durably: a file is there whole, or not at all."""
        if not self._truth(truth_name).is_file():
            write_whole(self._truth(truth_name), truth)
        write_whole(self._cell(key), cell)

    def row(self, key: str) -> dict[str, Any]:
        """Return the row of a cell.

        Raises
        ------
        DataError
            The file is damaged or absent.
        """
        return row_of(self.cell(key))

    def cell(self, key: str) -> pa.Table:
        """Return the table of one row that a cell is kept as.

        Raises
        ------
        DataError
            The file is damaged or absent.
        """
        return _read(self._cell(key))

    def truth(self, name: str) -> Truth:
        """Return a truth.

        Raises
        ------
        DataError
            The file is damaged or absent.
        """
        table = _read(self._truth(name))
        told = json.loads(table.schema.metadata[b"truth"])
        value, x_m, y_m = (table.column(column).to_numpy() for column in ("value", "x_m", "y_m"))
        rows, columns = told.pop("shape")
        return Truth(values=value, xy_m=np.stack([x_m, y_m], axis=1), shape=(rows, columns), **told)

    def drop(self, key: str) -> None:
        """Forget a result, so that it is computed again."""
        self._cell(key).unlink(missing_ok=True)

    def keys(self) -> Iterator[str]:
        """Yield the keys of all that is kept."""
        yield from sorted(path.stem for path in self._cells.glob("*.parquet"))

    def _cell(self, key: str) -> Path:
        return self._cells / f"{key}.parquet"

    def _truth(self, name: str) -> Path:
        return self._truths / f"{name}.parquet"


def row_of(cell: pa.Table) -> dict[str, Any]:
    """Return the row of a cell's table."""
    row: dict[str, Any] = cell.to_pylist()[0]
    return row


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that whoever reads finds the old one or the whole new one, whatever happens."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def to_bytes(table: pa.Table) -> bytes:
    """Return a table as the bytes of a Parquet file; dictionaries and statistics only where there are rows to share."""
    buffer, many = io.BytesIO(), table.num_rows > 1
    pq.write_table(table, buffer, compression=_CODEC, use_dictionary=many, write_statistics=many)
    return buffer.getvalue()


def _read(path: Path) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:  # a whole file by one thread: several times quicker than as a data set
            return file.read(use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"cannot be read: {error}", where=str(path), remedy="Delete it: the next 'autoscope bench' computes it anew"
        ) from error
