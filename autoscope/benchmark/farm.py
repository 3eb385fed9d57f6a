"""Where cells are computed: on Dask workers, of this computer or of others; a lost worker costs time, nothing else."""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, cast

from autoscope.benchmark import store
from autoscope.benchmark.allotment import Allotment, Pace
from autoscope.benchmark.campaign import made_differently, run_cell
from autoscope.benchmark.config import ClusterConfig
from autoscope.benchmark.grid import Cell
from autoscope.benchmark.memory import set_imports_aside
from autoscope.errors import AutoscopeError, ConfigError, PluginError

if TYPE_CHECKING:
    from distributed import Client

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
LOST_WORKERS = 5
"""Workers that may die over one cell before the cell is given up."""
LOOK_AGAIN_S = 1.0
"""Between two looks at which workers there are, where nothing else happens."""
FETCHING_S = 30.0
"""How long a result may take from the worker that has it; then it is computed again."""
SETTINGS = {
    "distributed.scheduler.work-stealing": False,  # an allotment says who computes what
    "distributed.nanny.pre-spawn-environ": ONE_THREAD,
    "distributed.worker.preload": ["autoscope.benchmark.worker_start"],
    "distributed.worker.preload-argv": [[]],
    "distributed.admin.large-graph-warning-threshold": "1 GiB",
    "distributed.worker.profile.enabled": False,  # else each worker looks at its own stack a hundred times a second
    "distributed.admin.tick.interval": "500 ms",  # and each part of Dask at the clock, fifty times
    "distributed.admin.system-monitor.interval": "5 s",
    "distributed.worker.memory.monitor-interval": "500 ms",
}
"""What Dask is told, here and in the workers started from here."""
CLASSES = {"slurm": "SLURM", "pbs": "PBS", "lsf": "LSF", "sge": "SGE", "htcondor": "HTCondor", "moab": "Moab"}
CLASSES |= {"oar": "OAR"}


@dataclass(frozen=True)
class Finished:
    """What came of one cell: the bytes of its files, or why there are none."""

    key: str
    cell: bytes = b""
    truth_name: str = ""
    truth: bytes = b""
    error: str = ""
    truth_s: float = 0.0
    """Real seconds that the truth took; next to nothing where it was known."""
    campaign_s: float = 0.0
    """Real seconds that the campaign took."""


class Farm(Protocol):
    """Computes cells in any order."""

    def compute(self, cells: Iterable[Cell]) -> Iterator[Finished]:
        """Yield each as it is finished."""


def compute_cell(text: str, *, elsewhere: bool = False) -> Finished:
    """Return what came of a cell given as JSON; what a worker does.

    Parameters
    ----------
    text : str
        `Cell.text`.
    elsewhere : bool
        The cell comes from another process, whose code and libraries ours must be the same as.

    Raises
    ------
    AutoscopeError
        The cell cannot be computed, or this process runs other code than the one that asks.
    """
    cell = Cell.read(text)
    if elsewhere and (differing := made_differently(cell)):
        raise PluginError(
            "the worker would make another result than the computer that asks",
            where=os.uname().nodename,
            value="; ".join(differing),
            remedy="Install the same versions on both",
        )
    campaign = run_cell(cell)
    if elsewhere:
        set_imports_aside()
    name, truth = store.encode_truth(campaign.truth)
    kept = store.encode(campaign)
    return Finished(cell.key, kept, name, truth, truth_s=campaign.truth_seconds, campaign_s=campaign.seconds)


class Here:
    """Computes cells one after the other in this process."""

    def compute(self, cells: Iterable[Cell]) -> Iterator[Finished]:
        """Yield each as it is finished."""
        for cell in cells:
            try:
                yield compute_cell(cell.text())
            except AutoscopeError as error:
                yield Finished(cell.key, error=f"{type(error).__name__}: {error}")


class Workers:
    """Computes cells on the workers of a Dask scheduler; those of a worker that is lost go to others.

    Parameters
    ----------
    client : distributed.Client
        Connected.
    """

    def __init__(self, client: Client) -> None:
        self._client, self._pace = client, Pace()

    def compute(self, cells: Iterable[Cell]) -> Iterator[Finished]:
        """Yield each as it is finished; those not yielded yet are called off when the caller stops asking.

        Raises
        ------
        ConfigError
            The scheduler is gone.
        """
        allotment, errand = Allotment(cells, self._pace), _Errand()
        try:
            while allotment or errand.cells:
                threads = self._threads()
                yield from self._lost(allotment.stranded(threads), allotment, errand)
                self._hand_out(threads, allotment, errand)
                finished = self._next(allotment, errand)
                if finished is not None:
                    yield finished
        finally:
            self._client.cancel([future for future, _ in errand.cells.values()], force=True)

    def _threads(self) -> dict[str, int]:
        """Return the workers there are, and how many cells each computes at once."""
        try:
            threads: dict[str, int] = self._client.nthreads()
        except (OSError, TimeoutError) as error:
            raise ConfigError(
                f"the scheduler is lost: {error}",
                where="--scheduler",
                value=str(getattr(self._client.scheduler, "address", "")),
                remedy="Start it again; the same command goes on with what is missing",
            ) from error
        return threads

    def _hand_out(self, threads: dict[str, int], allotment: Allotment, errand: _Errand) -> None:
        for worker, cell in allotment.hand_out(threads):
            key = f"{cell.key}-{errand.losses[cell.key]}"
            future = self._client.submit(
                compute_cell, cell.text(), elsewhere=True, workers=[worker], key=key, pure=False
            )
            errand.cells[key] = future, cell
            future.add_done_callback(errand.done.put)

    def _next(self, allotment: Allotment, errand: _Errand) -> Finished | None:
        """Return what is finished next; nothing if that takes long, for workers may have come or gone meanwhile."""
        try:
            future, cell = errand.cells.pop(errand.done.get(timeout=LOOK_AGAIN_S).key)
        except (Empty, KeyError):  # one that was lost is told about as well, by then called off
            return None
        if future.cancelled():  # the scheduler is gone
            return next(self._lost([cell], allotment, errand), None)
        try:
            error = future.exception(timeout=FETCHING_S)
            finished = future.result(timeout=FETCHING_S) if error is None else None
        except TimeoutError:  # the worker was lost with the result
            return next(self._lost([cell], allotment, errand), None)
        allotment.finished(cell)
        future.release()
        if finished is None:
            return Finished(cell.key, error=f"{type(error).__name__}: {error}")
        self._pace.learn(cell, finished.truth_s, finished.campaign_s)
        return cast(Finished, finished)

    def _lost(self, cells: Iterable[Cell], allotment: Allotment, errand: _Errand) -> Iterator[Finished]:
        """Have cells computed again whose workers are gone; yield those that have cost too many workers."""
        for cell in list(cells):
            sent = errand.cells.pop(f"{cell.key}-{errand.losses[cell.key]}", None)
            if sent is not None:
                self._client.cancel([sent[0]], force=True)
            errand.losses[cell.key] += 1
            if errand.losses[cell.key] <= LOST_WORKERS:
                allotment.again(cell)
            else:
                allotment.finished(cell)
                yield Finished(cell.key, error=f"KilledWorker: {LOST_WORKERS + 1} workers were lost while they had it")


@dataclass
class _Errand:
    """What is at workers."""

    cells: dict[str, tuple[Any, Cell]] = field(default_factory=dict)
    """Of each key that the scheduler knows: the future, and the cell."""
    done: SimpleQueue[Any] = field(default_factory=SimpleQueue)
    """Futures, as they are finished."""
    losses: Counter[str] = field(default_factory=Counter)
    """Workers that were lost over each cell."""


@contextmanager
def opened(
    cluster: ClusterConfig, *, workers: int | None = None, scheduler: str = "", patience_s: float = 20.0
) -> Iterator[Farm]:
    """Open a farm, and close what was opened for it.

    Parameters
    ----------
    cluster : ClusterConfig
        What the configuration says.
    workers : int, optional
        Processes or jobs, in place of the configuration's; 0 computes in this process, without Dask.
    scheduler : str, optional
        Address of a scheduler that runs already, ``tcp://host:8786``; nothing is started then.
    patience_s : float
        How long a scheduler may take to answer.

    Raises
    ------
    ConfigError
        The scheduler cannot be reached, or what the cluster needs is not installed.
    """
    wanted = cluster.workers if workers is None else workers
    if wanted == 0 and not scheduler:
        yield Here()
        return
    from dask import config as dask_config
    from distributed import Client

    with ExitStack() as stack:
        stack.enter_context(dask_config.set(SETTINGS))
        address = scheduler or stack.enter_context(_cluster(cluster, wanted or os.cpu_count() or 1))
        try:
            client = stack.enter_context(Client(address, set_as_default=False, timeout=patience_s))
        except (OSError, TimeoutError) as error:
            raise ConfigError(
                f"the scheduler cannot be reached: {error}",
                where="--scheduler",
                value=str(address),
                remedy="Start one with 'dask scheduler', and workers with 'dask worker ADDRESS --nthreads 1'",
            ) from error
        yield Workers(client)


def _cluster(config: ClusterConfig, workers: int) -> Any:
    if config.kind == "local":
        from distributed import LocalCluster

        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # its pages of metrics: for nobody else, on any port
            silence_logs=50,
        )
    try:
        jobs = importlib.import_module("dask_jobqueue")
    except ImportError as error:
        raise ConfigError(
            "this cluster needs dask-jobqueue, which is not installed",
            where="cluster.kind",
            value=config.kind,
            remedy="pip install 'autoscope[cluster]'",
        ) from error
    made = getattr(jobs, f"{CLASSES[config.kind]}Cluster")(**config.options)
    made.scale(jobs=workers)
    return made
