"""Peers whose packages cannot, or by their licence should not, be installed beside ours: GPax, AtomAI, gpCAM."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt

from autoscope.quantities import PositiveDuration
from policies.field import FieldConfig
from policies.peers.peer import Judge, PeerConfig, PeerPolicy
from policies.peers.process import WorkerJudge, interpreter

Array = NDArray[np.float64]


class IsolatedConfig(PeerConfig):
    """Where the worker runs."""

    python: str | None = None
    """Interpreter of the peer's environment; absent: variable AUTOSCOPE_PEER_<NAME>_PYTHON, or .venv-peers/<name>."""
    answer_s: PositiveDuration = 900.0
    """A worker that has said nothing for so long is ended, and the run with it."""


class IsolatedPolicy(PeerPolicy):
    """A peer judged by a worker process; the interpreter is looked for when the policy is made."""

    Config: ClassVar[type[FieldConfig]] = IsolatedConfig
    environment: ClassVar[str]
    """Name of the folder under ``.venv-peers``."""
    script: ClassVar[str]

    def __init__(self, config: IsolatedConfig, *, rng: np.random.Generator) -> None:
        super().__init__(config, rng=rng)
        self._isolated = config
        self._python = interpreter(self.environment, config.python)

    @abc.abstractmethod
    def _settings(self) -> Mapping[str, Any]:
        """Return what the worker is told once, as plain data."""

    def _inputs(self) -> Array:
        return self._patches

    def _make_judge(self) -> Judge:
        return WorkerJudge(self._python, self.script, self._inputs(), self._settings(), self._isolated.answer_s)


class ViDKLConfig(IsolatedConfig):
    """Defaults of `gpax.viDKL.fit`; the bound's beta is that of its documentation."""

    steps: PositiveInt = 1000
    rate: PositiveFloat = 0.005
    beta: PositiveFloat = 0.25


class ViDKLPolicy(IsolatedPolicy):
    """GPax's viDKL (variational deep kernel learning) on patches, upper confidence bound."""

    Config: ClassVar[type[FieldConfig]] = ViDKLConfig
    environment, script = "gpax", "gpax_vidkl.py"
    model, acquisition = "gpax viDKL", "upper_confidence_bound"

    def __init__(self, config: ViDKLConfig, *, rng: np.random.Generator) -> None:
        super().__init__(config, rng=rng)
        self._config = config

    def _settings(self) -> Mapping[str, Any]:
        return {name: getattr(self._config, name) for name in ("steps", "rate", "beta")}

    @property
    def _parameters(self) -> Mapping[str, float]:
        return {"beta": self._config.beta}


class AtomAIConfig(IsolatedConfig):
    """As AtomAI's notebooks have it."""

    cycles: PositiveInt = 200
    dimensions: PositiveInt = 2


class AtomAIPolicy(IsolatedPolicy):
    """AtomAI's dklGPR on patches, expected improvement."""

    Config: ClassVar[type[FieldConfig]] = AtomAIConfig
    environment, script = "atomai", "atomai_dkl.py"
    model, acquisition = "atomai dklGPR", "expected_improvement"

    def __init__(self, config: AtomAIConfig, *, rng: np.random.Generator) -> None:
        super().__init__(config, rng=rng)
        self._config = config

    def _settings(self) -> Mapping[str, Any]:
        return {"cycles": self._config.cycles, "dimensions": self._config.dimensions}


class GPCamConfig(IsolatedConfig):
    """gpCAM's default kernel, trained at 10, 20, 50, 100, 200 ... measurements as its `optimize` does."""

    iterations: PositiveInt = 20
    """Generations of its global search for hyperparameters."""


class GPCamPolicy(IsolatedPolicy):
    """gpCAM's GPOptimizer on coordinates, noise as measured, mean plus three standard deviations."""

    Config: ClassVar[type[FieldConfig]] = GPCamConfig
    environment, script = "gpcam", "gpcam_gp.py"
    model, acquisition = "gpcam GPOptimizer", "upper_confidence_bound"

    def __init__(self, config: GPCamConfig, *, rng: np.random.Generator) -> None:
        super().__init__(config, rng=rng)
        self._config = config

    def _inputs(self) -> Array:
        return self._places

    def _settings(self) -> Mapping[str, Any]:
        return {"iterations": self._config.iterations, "seed": self._root_ % 2**31}

    @property
    def _parameters(self) -> Mapping[str, float]:
        return {"kappa": 3.0}
