"""The arena: computes what is missing of a grid, keeps it, and stops adding seeds when the comparison is decided."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import yaml

from autoscope.benchmark import store as files
from autoscope.benchmark.config import SeedsConfig
from autoscope.benchmark.farm import Farm
from autoscope.benchmark.grid import Cell, Grid
from autoscope.benchmark.scores import Scorer, Scores, score
from autoscope.benchmark.stopping import StoppingPlan, judge
from autoscope.benchmark.store import LABELS, Store, write_whole
from autoscope.errors import ConfigError
from autoscope.provenance import provenance

Decide = Callable[[Scores], bool]
"""Whether further seeds could change nothing any more."""
MAPS = ("maps_at", "maps_mean", "maps_sd")


class Progress(Protocol):
    """Is told how far a benchmark is."""

    def planned(self, cells: int, kept: int) -> None:
        """Learn that so many cells are wanted now, and how many of them are there already."""

    def finished(self, cell: Cell, error: str) -> None:
        """Learn that a cell is finished, or why it is not."""


class Silent:
    """Tells nobody."""

    def planned(self, cells: int, kept: int) -> None:
        """Do nothing."""

    def finished(self, cell: Cell, error: str) -> None:
        """Do nothing."""


@dataclass
class Tally:
    """What was done in one call."""

    computed: int = 0
    kept: int = 0
    failures: list[tuple[Cell, str]] = field(default_factory=list)
    decided_after: int | None = None
    """Repetitions after which the comparison was decided."""
    cells: list[Cell] = field(default_factory=list)
    """All that are wanted and there, in the order of the grid."""


class Arena:
    """A benchmark in its folder.

    Parameters
    ----------
    grid : Grid
        What is wanted.
    folder : Path
        Where results are kept; what is there already is not computed again.
    """

    def __init__(self, grid: Grid, folder: Path) -> None:
        self.grid, self.store = grid, Store(folder)
        text = yaml.safe_dump(grid.config.plain(), sort_keys=False, allow_unicode=True)
        write_whole(folder / "bench.yaml", text.encode())

    def run(
        self,
        farm: Farm,
        *,
        progress: Progress | None = None,
        decide: Decide | None = None,
        arrange: Callable[[list[Cell]], list[Cell]] = list,
    ) -> Tally:
        """Compute what is missing, batch by batch of seeds, and write the results.

        Parameters
        ----------
        farm : Farm
            Where.
        progress : Progress, optional
            Told about each cell.
        decide : callable, optional
            Asked after each batch where the configuration says ``stop: decided``; `all_decided` by default.
        arrange : callable
            The order in which cells are handed out; changes no result.

        Returns
        -------
        Tally
            What was done. Results are in ``results.parquet``, also after an interrupt, which is raised again.
        """
        tally, told = Tally(), progress or Silent()
        try:
            for batch in batches(self.grid.config.seeds):
                self._one_batch(list(self.grid.cells(batch)), farm, told, tally, arrange)
                if self._decided(tally, decide or self.all_decided, batch):
                    break
        finally:
            self.write_results(tally)
        return tally

    def forget_failed(self) -> int:
        """Forget the campaigns of this grid that broke down, so that they are computed again; return how many."""
        seeds = self.grid.config.seeds
        failed = [
            cell.key
            for cell in self.grid.cells(range(seeds.first, seeds.first + seeds.count))
            if cell.key in self.store and self.store.row(cell.key)["status"] == "failed"
        ]
        for key in failed:
            self.store.drop(key)
        return len(failed)

    def scores(self, cells: Sequence[Cell]) -> Scores:
        """Return every metric of some finished cells."""
        return score(self.store, cells, self.grid.config.metrics)

    def all_decided(self, scores: Scores) -> bool:
        """Return whether every comparison of the deciding metric is decided, in every task.

        Raises
        ------
        ConfigError
            There is no such metric.
        """
        seeds = self.grid.config.seeds
        if seeds.metric not in scores.metrics:
            known = ", ".join(scores.metrics)
            raise ConfigError("there is no such metric", where="seeds.metric", value=seeds.metric, limit=known)
        looks = tuple(batch.stop - seeds.first for batch in batches(seeds))
        plan = StoppingPlan(looks, margin=seeds.margin)
        return all(judge(scores.of(seeds.metric, *task), plan).decided for task in scores.tasks())

    def write_results(self, tally: Tally) -> Path:
        """Write everything but the maps into one table, a row a cell, with every metric as a column.

        Returns
        -------
        Path
            The file; ``versions.json`` beside it tells what made it.
        """
        table, scores = self._read(tally.cells)
        for name in LABELS:  # a cell kept from an earlier benchmark may have been called something else there
            values = pa.array([getattr(cell, name) for cell in tally.cells], table.schema.field(name).type)
            table = table.set_column(table.schema.get_field_index(name), name, values)
        for metric, values in scores.columns().items():
            table = table.append_column(f"metric.{metric}", pa.array(values, pa.float64()))
        told = {"config": self.grid.config.plain(), "made_by": provenance(()), "digest": files.digest(table)}
        table = table.replace_schema_metadata({"autoscope": json.dumps(told)})
        write_whole(self.store.folder / "versions.json", json.dumps(told["made_by"], indent=2).encode())
        path = self.store.folder / "results.parquet"
        write_whole(path, files.to_bytes(table))
        return path

    def _read(self, cells: Sequence[Cell]) -> tuple[pa.Table, Scores]:
        """Return the rows of some cells without their maps, and their numbers; each file is read once."""
        scorer, tables, rows = Scorer(self.store, self.grid.config.metrics), [files.SCHEMA.empty_table()], []
        tables[0] = tables[0].drop_columns(list(MAPS))
        for cell in cells:
            table = self.store.cell(cell.key)
            tables.append(table.drop_columns(list(MAPS)))
            rows.append(scorer.score(cell, files.row_of(table)))
        return pa.concat_tables(tables), Scores(tuple(rows), scorer.metrics)

    # --- one batch ----------------------------------------------------------------------------------

    def _one_batch(
        self,
        cells: list[Cell],
        farm: Farm,
        progress: Progress,
        tally: Tally,
        arrange: Callable[[list[Cell]], list[Cell]],
    ) -> None:
        missing = {cell.key: cell for cell in cells if cell.key not in self.store}
        tally.kept += sum(cell.key not in missing for cell in cells)
        progress.planned(len(cells), len(cells) - len(missing))
        try:
            for finished in farm.compute(arrange(list(missing.values()))):
                cell = missing[finished.key]
                if finished.error:
                    tally.failures.append((cell, finished.error))
                else:
                    self.store.put(finished.key, finished.cell, finished.truth_name, finished.truth)
                    tally.computed += 1
                progress.finished(cell, finished.error)
        finally:
            tally.cells += [cell for cell in cells if cell.key in self.store]

    def _decided(self, tally: Tally, decide: Decide, batch: range) -> bool:
        seeds = self.grid.config.seeds
        done = batch.stop - seeds.first
        if seeds.stop != "decided" or done < seeds.at_least or done >= seeds.count:
            return False
        if decide(self.scores([cell for cell in tally.cells if not cell.control])):
            tally.decided_after = done
            return True
        return False


def batches(seeds: SeedsConfig) -> Iterator[range]:
    """Yield the repetitions in batches: all at once, or some at a time where the comparison may be decided earlier.

    Examples
    --------
    >>> [list(b) for b in batches(SeedsConfig(count=7, batch=2, at_least=3, stop="decided"))]
    [[0, 1, 2], [3, 4], [5, 6]]
    """
    end = seeds.first + seeds.count
    if seeds.stop == "never":
        yield range(seeds.first, end)
        return
    start, size = seeds.first, min(seeds.at_least, seeds.count)
    while start < end:
        yield range(start, min(start + size, end))
        start, size = start + size, seeds.batch
