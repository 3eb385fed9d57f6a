"""What a benchmark is: policies x environments x budgets x seeds, and where it is computed."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from autoscope.config import ConfigModel, PluginConfig
from autoscope.quantities import Duration, Electrons, PositiveDuration, PositiveLength

Control = Literal["shuffled_labels", "meaningless_image"]
LABEL = r"^[A-Za-z0-9][A-Za-z0-9_.+ -]{0,59}$"


class PoolConfig(ConfigModel):
    """The candidates, the same for every policy: the pixels of the overview."""

    stride_px: PositiveInt = 1
    """Only every so many-th pixel, in both directions."""
    fov_m: PositiveLength = 100e-9
    """Width of the overview; of stored data always the whole image."""
    width_px: PositiveInt = 64
    height_px: PositiveInt = 64
    dwell_s: PositiveDuration = 5e-6
    detector: str = "HAADF"

    def overview(self) -> dict[str, Any]:
        """Return the overview as an option of policies, quantities as text."""
        return {name: value for name, value in self.plain().items() if name != "stride_px"}


class TruthConfig(ConfigModel):
    """What measurements are judged by."""

    source: Literal["expected", "target"] = "expected"
    """"expected": the scalarizer applied to what a noise-free measurement gives, or the most averaged there is;
    "target": the map stored beside the data as its target."""
    smoothing_px: float = Field(default=0.0, ge=0.0, le=10.0)
    """Standard deviation of a Gaussian the map is averaged with, where noisy data are all there is."""


class BenchEnvironment(ConfigModel):
    """One task: an environment, the target, and what policies are told of it."""

    environment: PluginConfig
    scalarizers: dict[str, PluginConfig] = Field(min_length=1)
    target: str = ""
    """Scalarizer whose value is looked for; absent: the only one."""
    dwell_s: PositiveDuration = 0.05
    """Of each measurement."""
    signals: tuple[str, ...] = ()
    pool: PoolConfig = PoolConfig()
    truth: TruthConfig = TruthConfig()
    controls: tuple[Control, ...] = ()
    """Negative controls made of this environment: pixels that answer with another's spectrum, an image of nothing."""

    @model_validator(mode="after")
    def _target_is_known(self) -> Self:
        if not self.target and len(self.scalarizers) > 1:
            raise ValueError("several scalarizers: say which one is looked for, with 'target: NAME'")
        if self.target and self.target not in self.scalarizers:
            raise ValueError(f"target {self.target!r} is not among the scalarizers: {', '.join(self.scalarizers)}")
        return self

    @property
    def wanted(self) -> str:
        """Return the name of the target."""
        return self.target or next(iter(self.scalarizers))


class BenchBudget(ConfigModel):
    """What one campaign may spend; at least one of the three."""

    measurements: PositiveInt | None = None
    time_s: PositiveDuration | None = None
    """On the instrument's clock, deciding included."""
    dose_e: Electrons | None = None

    @model_validator(mode="after")
    def _limited(self) -> Self:
        if self.measurements is None and self.time_s is None and self.dose_e is None:
            raise ValueError("a budget needs measurements, time or dose, or a campaign has no end")
        return self

    @property
    def label(self) -> str:
        """Return the budget as people read it."""
        given = self.plain()
        return ", ".join(f"{value} {name}" for name, value in given.items() if value is not None)


class SeedsConfig(ConfigModel):
    """How often each campaign is repeated with other chance."""

    first: NonNegativeInt = 0
    count: PositiveInt = 20
    """At most so many."""
    of: dict[str, PositiveInt] = {}
    """Policies that get fewer seeds, because they are slow: label -> how many. They are compared over those."""
    at_least: PositiveInt = 5
    batch: PositiveInt = 5
    """Seeds between two looks at whether the comparison is decided."""
    stop: Literal["never", "decided"] = "never"
    """"decided": no more seeds once every pair of policies is told apart, or shown to differ by less than ``margin``,
    in every task; with alpha spending, so that looking often finds nothing that is not there."""
    metric: str = "simple_regret"
    """Label of the metric that decides."""
    margin: float | None = Field(default=None, gt=0.0)
    """Differences of the metric smaller than this matter to nobody; absent: policies that are alike get all seeds."""


class ClusterConfig(ConfigModel):
    """Where cells are computed, unless the command line says it."""

    kind: Literal["local", "slurm", "pbs", "lsf", "sge", "htcondor", "moab", "oar"] = "local"
    """"local": processes of this computer; the others need the extra ``cluster`` (dask-jobqueue)."""
    workers: PositiveInt | None = None
    """Processes, or jobs; absent: one for each core of this computer."""
    options: dict[str, Any] = {}
    """Given to dask-jobqueue as they are: queue, account, cores, memory, walltime, ..."""


class BenchConfig(ConfigModel):
    """One benchmark."""

    job: Literal["bench"] = "bench"
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,59}$")
    seed: NonNegativeInt = 0
    """All chance follows from it, the name of the environment and the number of the repetition."""
    notes: str = ""
    environments: dict[str, BenchEnvironment] = Field(min_length=1)
    policies: dict[str, PluginConfig] = Field(min_length=1)
    """Label -> policy. What the environment says (target, dwell, overview, points) is filled in where not given."""
    budgets: tuple[BenchBudget, ...] = Field(min_length=1)
    seeds: SeedsConfig = SeedsConfig()
    opening: NonNegativeInt = 0
    """So many first measurements at random candidates, the same for every policy; 0: each policy opens as it does."""
    decision_time_s: Duration = 0.05
    """What each decision costs on the instrument's clock; real latency is measured beside it."""
    maps_at: tuple[PositiveInt, ...] = (25, 50, 100, 200)
    """Measurements after which a policy's belief over the pool is kept."""
    metrics: dict[str, PluginConfig] = {}
    """Label -> metric; none given: all that are installed, with their defaults."""
    cluster: ClusterConfig = ClusterConfig()

    @model_validator(mode="after")
    def _labels(self) -> Self:
        import re

        for label in (*self.environments, *self.policies):
            if not re.match(LABEL, label):
                raise ValueError(f"{label!r} is no label: letters, digits, '_.+ -', at most 60")
        for label in self.seeds.of:
            if label not in self.policies:
                raise ValueError(f"seeds.of names {label!r}, which is not among the policies")
        return self
