"""A benchmark's folder read back: configuration, campaigns without their maps, truths, and every metric."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from autoscope.benchmark import store as files
from autoscope.benchmark.audit import Finding, audit
from autoscope.benchmark.config import BenchConfig
from autoscope.benchmark.scores import chosen
from autoscope.benchmark.store import Store
from autoscope.benchmark.trace import Metric, Trace, Truth
from autoscope.config import Document
from autoscope.errors import DataError

SHUFFLED = "shuffled_labels"


RECORDED = "recorded"
"""The policy that plays records again."""


@dataclass(frozen=True, eq=False)
class Run:
    """One campaign.

    Attributes
    ----------
    trace : Trace
        Without maps.
    values : mapping of metric to number
        None where the campaign has none; infinity where a level was never reached.
    bounded : mapping of metric to number
        As ``values``, but what was spent in vain instead of infinity: a lower bound that can be averaged.
    """

    environment: str
    policy: str
    budget: str
    repetition: int
    control: str
    failed: bool
    truth: str
    trace: Trace
    values: Mapping[str, float | None]
    bounded: Mapping[str, float | None]


@dataclass(frozen=True)
class Heard:
    """What a policy decided again without an instrument, as ``autoscope bench audit`` wrote it."""

    policy: str
    environment: str
    decisions: int
    same: int
    first: str = ""
    opened: tuple[str, ...] = ()

    @property
    def caught(self) -> bool:
        """Whether it decided by something that is not in the record."""
        return self.same < self.decisions or bool(self.opened)


@dataclass(frozen=True, eq=False)
class Results:
    """A whole benchmark.

    Attributes
    ----------
    metrics : mapping of label to Metric
        In the order of the configuration.
    made_by : mapping
        Versions of code and libraries.
    """

    folder: Path
    config: BenchConfig
    runs: tuple[Run, ...]
    truths: Mapping[str, Truth]
    metrics: Mapping[str, Metric]
    made_by: Mapping[str, Any]
    hearings: tuple[Heard, ...] = ()

    @cached_property
    def tasks(self) -> list[tuple[str, str]]:
        """Environment and budget of every comparison that is no control, in the order of the configuration."""
        return list(dict.fromkeys((run.environment, run.budget) for run in self.runs if not run.control))

    @cached_property
    def policies(self) -> list[str]:
        """All policies, in the order of the configuration."""
        return list(dict.fromkeys(run.policy for run in self.runs))

    @cached_property
    def findings(self) -> list[Finding]:
        """What the audit of negative controls found."""
        controls = [run for run in self.runs if run.control == SHUFFLED]
        return audit((run.policy, run.environment, run.trace, self.truths[run.truth]) for run in controls)

    def of(self, environment: str, budget: str) -> list[Run]:
        """Return the campaigns of one comparison."""
        return [run for run in self.runs if (run.environment, run.budget) == (environment, budget)]

    def policies_of(self, environment: str, budget: str) -> list[str]:
        """Return the policies of one comparison, in the order of the configuration."""
        return list(dict.fromkeys(run.policy for run in self.of(environment, budget)))

    def seeds_of(self, environment: str, budget: str) -> dict[str, int]:
        """Return how many campaigns each policy of one comparison has."""
        return dict(Counter(run.policy for run in self.of(environment, budget)))

    def records_of(self, environment: str, budget: str) -> dict[str, int]:
        """Return how many campaigns of one comparison each policy has whose choices were recorded and played again."""
        seeds, known = self.seeds_of(environment, budget), self.config.policies
        return {name: count for name, count in seeds.items() if name in known and known[name].name == RECORDED}

    def truth_of(self, environment: str, budget: str) -> Truth:
        """Return a truth of one comparison: that of its first campaign."""
        return self.truths[self.of(environment, budget)[0].truth]


def read_results(folder: Path) -> Results:
    """Return the results in a folder written by ``autoscope bench``.

    Raises
    ------
    DataError
        It is no such folder, or a file of it is damaged.
    ConfigError
        A metric of its configuration is not installed.
    """
    table, made_by = _table(folder / "results.parquet")
    config = Document.read(folder / "bench.yaml").validate(BenchConfig)
    metrics, store = dict(chosen(config.metrics)), Store(folder)
    truths: dict[str, Truth] = {}
    runs = []
    for labels in table.select([*files.LABELS, "key"]).to_pylist():
        row = store.row(labels.pop("key"))
        name, trace = row["truth"], files.decode(row)
        if name not in truths:
            truths[name] = store.truth(name)
        values = {label: metric(trace, truths[name]) for label, metric in metrics.items()}
        bounded = {label: _bounded(metrics[label], value, trace) for label, value in values.items()}
        bare = replace(trace, maps={})
        runs.append(
            Run(**labels, failed=row["status"] == "failed", truth=name, trace=bare, values=values, bounded=bounded)
        )
    if not runs:
        raise DataError("there is no finished campaign", where=str(folder), remedy="Run 'autoscope bench CONFIG' first")
    return Results(folder, config, tuple(runs), truths, metrics, made_by, _hearings(folder / "hearings.json"))


def _hearings(path: Path) -> tuple[Heard, ...]:
    if not path.exists():
        return ()
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return tuple(Heard(**(one | {"opened": tuple(one.get("opened", ()))})) for one in told)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        remedy = "Write it again with 'autoscope bench audit CONFIG', or delete it"
        raise DataError(f"the hearings cannot be read: {error}", where=str(path), remedy=remedy) from error


def _bounded(metric: Metric, value: float | None, trace: Trace) -> float | None:
    horizon = getattr(metric, "horizon", None)
    return float(horizon(trace)) if value is not None and math.isinf(value) and horizon is not None else value


def _table(path: Path) -> tuple[pa.Table, Mapping[str, Any]]:
    try:
        table = pq.read_table(path)
        told = json.loads((table.schema.metadata or {}).get(b"autoscope", b"{}"))
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DataError(
            f"the results cannot be read: {error}", where=str(path), remedy="Run 'autoscope bench CONFIG' first"
        ) from error
    return table, dict(told.get("made_by", {}))
