"""The frame every peer stands in: a few places by chance, then a model made anew from all that is known."""

from __future__ import annotations

import abc
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from autoscope.acquisition.choice import runners_up
from autoscope.chance import stream
from autoscope.errors import ModelError, PluginError
from autoscope.records import FitSummary
from policies.field import RUNNERS_UP, Choice, Estimate, FieldConfig, FieldPolicy, Situation
from policies.peers.inputs import patches, places
from policies.pixels import Indices

Array = NDArray[np.float64]


class PeerConfig(FieldConfig):
    """Settings all peers share; those of each library are named in its own policy."""

    initial: int = Field(default=10, ge=2)
    """Places drawn by chance before the model decides: the ten of the libraries' own examples."""
    patch_px: int = Field(default=11, ge=1)
    """Side of the image patch around a candidate, odd; a model on places ignores it."""


@dataclass(frozen=True)
class Judgement:
    """What a model made of the measurements: arrays over the pool, each (m,).

    Attributes
    ----------
    scores : array
        Worth of measuring a candidate next; higher is better.
    mean, std : array
        Belief about the noise-free target, in its unit; NaN where the model has none.
    """

    scores: Array
    mean: Array
    std: Array


class Judge(Protocol):
    """A model made anew at each call: the same measurements and seed give the same judgement."""

    def judge(self, taken: Indices, values: Array, stds: Array, seed: int) -> Judgement:
        """Return what is thought of all candidates after some were measured, each (n,).

        Parameters
        ----------
        taken : array of int64
            Which candidates, in the order measured.
        values, stds : array
            What was measured there, with its standard uncertainty.
        seed : int
            All chance of this judgement.
        """


class PeerPolicy(FieldPolicy):
    """Overview, ``initial`` places by chance, then the best score of a model that is made anew for each decision.

    Where the library fails, a place drawn by chance stands in, and the decision says so.
    """

    Config: ClassVar[type[FieldConfig]] = PeerConfig
    model: ClassVar[str]
    """Name of the model in what decisions record."""
    acquisition: ClassVar[str]
    checkpointed: ClassVar[bool] = False
    """Nobody vouches for what a library keeps to itself."""

    def __init__(self, config: PeerConfig, *, rng: np.random.Generator) -> None:
        super().__init__(config, rng=rng)
        self._peer = config
        self._judged: tuple[int, Judgement | Exception] | None = None

    @abc.abstractmethod
    def _make_judge(self) -> Judge:
        """Return the model for the candidates of this overview."""

    @property
    def _parameters(self) -> Mapping[str, float]:
        """Settings of the acquisition, to be recorded."""
        return {}

    # --- what the model sees -------------------------------------------------------------------------

    @cached_property
    def _judge(self) -> Judge:
        return self._make_judge()

    @cached_property
    def _places(self) -> Array:
        scan = self._known_grid().scan
        return places((scan.height_px, scan.width_px), self._candidates)

    @cached_property
    def _patches(self) -> Array:
        """Patches (m, d); without a usable overview the places stand in."""
        image = self._image_
        return self._places if image is None else patches(image, self._candidates, self._peer.patch_px)

    # --- the choice ---------------------------------------------------------------------------------

    def _choose(self, situation: Situation) -> Choice:
        known = len(self._values_)
        if known < self._peer.initial:
            nth = known + len(situation.pending) + 1
            return self._by_chance(situation, f"Starting point {nth} of {self._peer.initial}, drawn by chance.", None)
        judged = self._judgement()
        if isinstance(judged, Exception):
            why = f"{self.model} failed ({type(judged).__name__}), so a place drawn by chance is next."
            return self._by_chance(situation, why, FitSummary(model=self.model, n=known, rung="failed"))
        return self._best(situation, judged)

    def _by_chance(self, situation: Situation, reason: str, fit: FitSummary | None) -> Choice:
        order = stream(self._root_, "order").permutation(len(self._candidates))
        first, *others = (Estimate(int(i)) for i in order[~situation.forbidden[order]][: RUNNERS_UP + 1])
        return Choice(first, reason, "", {}, others, fit)

    def _best(self, situation: Situation, judged: Judgement) -> Choice:
        values = np.where(np.isfinite(judged.scores), judged.scores, -np.inf)
        values = np.where(situation.forbidden, -np.inf, values)
        index = int(np.argmax(values))
        if not math.isfinite(values[index]):
            fit = FitSummary(model=self.model, n=len(self._values_), rung="failed")
            return self._by_chance(situation, f"{self.model} valued no open place.", fit)
        others = runners_up(values, index, situation.forbidden, RUNNERS_UP)
        best, *rest = (
            Estimate(int(i), float(judged.mean[i]), float(judged.std[i]), float(values[i])) for i in (index, *others)
        )
        reason = f"Highest {self.acquisition} of {int((~situation.forbidden).sum())} open pixels by {self.model}"
        if math.isfinite(best.mean):
            reason += f": {self._field.target} is expected at {best.mean:.4g} ± {best.std:.2g}"
        fit = FitSummary(model=self.model, n=len(self._values_))
        return Choice(best, f"{reason}.", self.acquisition, self._parameters, rest, fit)

    def _judgement(self) -> Judgement | Exception:
        """Return the judgement of all that is known, or with what the library failed."""
        known = len(self._values_)
        if self._judged is None or self._judged[0] != known:
            self._judged = known, self._judge_now(known)
        return self._judged[1]

    def _judge_now(self, known: int) -> Judgement | Exception:
        taken = self._places_of(self._pixels_)
        seed = int(stream(self._root_, f"peer {known}").integers(2**31))
        here = taken >= 0
        values, stds = np.array(self._values_)[here], np.array(self._stds_)[here]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what a library warns of is for its own users
                return self._judge.judge(taken[here], values, stds, seed)
        except PluginError:
            raise
        except Exception as error:  # each library fails in ways of its own
            return error

    def _places_of(self, pixels: list[int]) -> Indices:
        """Return which candidates pixels are, -1 for none."""
        wanted = np.asarray(pixels, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._candidates, wanted), len(self._candidates) - 1)
        return np.where(self._candidates[at] == wanted, at, -1).astype(np.int64)

    def estimate(self) -> tuple[Array, Array]:
        """Return the model's mean and std of the target over all candidates, row by row, each (m,).

        Raises
        ------
        ModelError
            There is no map: fewer measurements than ``initial``, the library failed, or it has no model of the target.
        """
        if len(self._values_) < self._peer.initial:
            raise ModelError("there is no model yet", value=len(self._values_), limit=self._peer.initial)
        judged = self._judgement()
        if isinstance(judged, Exception):
            raise ModelError(f"{self.model} failed: {type(judged).__name__}: {judged}") from judged
        if not np.isfinite(judged.mean).all():
            raise ModelError(f"{self.model} has no model of the target, and so no map")
        return judged.mean, judged.std

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; the model is made anew when it is next needed."""
        super().restore(state)
        self._judged = None
        for name in ("_judge", "_places", "_patches"):
            self.__dict__.pop(name, None)
