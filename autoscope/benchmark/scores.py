"""Every metric of every campaign: what statistics and pages are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from autoscope.benchmark import store as files
from autoscope.benchmark.grid import Cell
from autoscope.benchmark.store import Store
from autoscope.benchmark.trace import Metric
from autoscope.config import PluginConfig
from autoscope.errors import ConfigError, PluginError
from autoscope.quantities import FROM_FILE
from autoscope.registry import available, load


@dataclass(frozen=True)
class Score:
    """The numbers of one campaign; None where it has none."""

    environment: str
    policy: str
    budget: str
    repetition: int
    control: str
    failed: bool
    values: Mapping[str, float | None]


@dataclass(frozen=True)
class Scores:
    """The numbers of many campaigns.

    Attributes
    ----------
    rows : tuple of Score
    metrics : mapping of str to Metric
        By the labels that the values of a score have.
    """

    rows: tuple[Score, ...]
    metrics: Mapping[str, Metric]

    def columns(self) -> dict[str, list[float | None]]:
        """Return the values of each metric in the order of the rows."""
        return {name: [row.values[name] for row in self.rows] for name in self.metrics}

    def tasks(self) -> list[tuple[str, str]]:
        """Return environment and budget of every comparison, in the order of the rows."""
        return list(dict.fromkeys((row.environment, row.budget) for row in self.rows))

    def of(self, metric: str, environment: str, budget: str) -> dict[str, dict[int, float]]:
        """Return policy -> repetition -> value; campaigns without a value are left out."""
        found: dict[str, dict[int, float]] = {}
        for row in self.rows:
            value = row.values[metric]
            if (row.environment, row.budget) == (environment, budget) and value is not None:
                found.setdefault(row.policy, {})[row.repetition] = value
        return found


def score(store: Store, cells: Sequence[Cell], metrics: Mapping[str, PluginConfig]) -> Scores:
    """Return every metric of some finished cells.

    Raises
    ------
    ConfigError
        A metric is not installed, or does not take its options.
    """
    scorer = Scorer(store, metrics)
    return Scores(tuple(scorer.score(cell, store.row(cell.key)) for cell in cells), scorer.metrics)


class Scorer:
    """Makes the numbers of finished cells from their rows.

    Parameters
    ----------
    store : Store
        Has their truths.
    metrics : mapping of str to PluginConfig
        All that are installed where it names none.

    Raises
    ------
    ConfigError
        A metric is not installed, or does not take its options.
    """

    def __init__(self, store: Store, metrics: Mapping[str, PluginConfig]) -> None:
        self.metrics = dict(chosen(metrics))
        self._truth = lru_cache(maxsize=64)(store.truth)

    def score(self, cell: Cell, row: Mapping[str, Any]) -> Score:
        """Return every metric of a cell."""
        trace, true = files.decode(row), self._truth(row["truth"])
        values = {name: metric(trace, true) for name, metric in self.metrics.items()}
        labels = {name: getattr(cell, name) for name in files.LABELS}
        return Score(**labels, failed=row["status"] == "failed", values=values)


def chosen(metrics: Mapping[str, PluginConfig]) -> Iterator[tuple[str, Metric]]:
    """Yield the metrics of a configuration by their labels; all that are installed where it names none.

    Raises
    ------
    ConfigError
        A metric is not installed, or does not take its options.
    """
    wanted = dict(metrics) or {plugin.name: PluginConfig(name=plugin.name) for plugin in available("metrics")}
    for label, part in wanted.items():
        yield label, _made(label, part)


def _made(label: str, part: PluginConfig) -> Metric:
    from pydantic import ValidationError

    try:
        plugin: Any = load("metrics", part.name)
        metric: Metric = plugin(plugin.Config.model_validate(part.options, context=FROM_FILE))
    except (PluginError, ValidationError) as error:
        raise ConfigError(str(error), where=f"metrics.{label}", remedy="See 'autoscope list metrics'") from error
    return metric
