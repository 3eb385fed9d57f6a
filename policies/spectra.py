"""Whole spectra as the target: where the spectrum is least known, most unlike all seen, or richest in a band."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from autoscope.acquisition.choice import choose, runners_up
from autoscope.acquisition.design import diverse
from autoscope.acquisition.functions import upper_confidence_bound
from autoscope.acquisition.spectral import spectral_novelty, spectral_variance
from autoscope.errors import FitFailed
from autoscope.perception.bands import Band, channels
from autoscope.perception.spectra import NOT_SPECTRAL, residual_std
from autoscope.protocols import JsonValue
from autoscope.records import Axis, FitSummary, Frame, Result
from autoscope.surrogates.features import FeatureTable, describe, describe_place
from autoscope.surrogates.gp import GaussianProcess
from autoscope.surrogates.prior import Features
from autoscope.surrogates.spectral import SpectralSurrogate
from autoscope.surrogates.surrogate import Surrogate
from policies.field import MAX_VALUELESS, RUNNERS_UP, Choice, Estimate, FieldConfig, FieldPolicy, Situation

Array = NDArray[np.float64]
Acquisition = Literal["max_variance", "novelty", "upper_confidence_bound"]
FEWEST = 3
"""Spectra that a basis needs."""


class SpectraConfig(FieldConfig):
    """Settings of the policy for whole spectra."""

    target: str = Field(default="spectrum", min_length=1)
    """What the decisions call what they look for; no scalarizer is needed."""
    signal: str = Field(min_length=1)
    """Which spectra: "EELS", "EDS"."""
    components: int = Field(default=4, ge=1, le=16)
    """Principal components of the spectra so far that are predicted at every pixel, each by a model of its own."""
    acquisition: Acquisition = "max_variance"
    """"max_variance" measures where the spectrum is least known, "novelty" where it is expected to be most unlike all
    seen, "upper_confidence_bound" where a band may be strongest."""
    band: Band | None = None
    """The band whose sum is wanted high (upper_confidence_bound)."""
    kappa: float = Field(default=2.0, ge=0.0)
    """Standard deviations an uncertain pixel is given credit for (upper_confidence_bound)."""
    initial: int = Field(default=8, ge=FEWEST)
    """Spectra at places unlike each other before the models decide."""
    refit_every: PositiveInt = 5
    """Find components and hyperparameters anew after so many spectra; in between the posteriors are updated."""
    refit_growth: float = Field(default=0.1, ge=0.0, le=1.0)
    """And not before the spectra have grown by this fraction."""
    patch_px: PositiveInt = 11
    counts_per_event: PositiveFloat = 1.0
    """Reading that one detected event makes (gain of a camera; 1 for counted photons)."""
    noise_std: PositiveFloat | None = None
    """Standard deviation of a channel; absent: counting noise for counts, else estimated from each spectrum."""

    @model_validator(mode="after")
    def _a_bound_needs_a_band(self) -> SpectraConfig:
        if (self.acquisition == "upper_confidence_bound") != (self.band is not None):
            raise ValueError(
                "acquisition: upper_confidence_bound needs a band to sum, and the others have no use for one"
            )
        return self


class SpectraPolicy(FieldPolicy):
    """Learns the spectrum at every pixel from those measured, through a basis weighted for counting noise.

    Components and hyperparameters are found at fixed numbers of spectra, so the models are a function of the spectra in
    their order, however often they were asked.
    """

    Config: ClassVar[type[FieldConfig]] = SpectraConfig
    components: ClassVar[int] = 16
    """Principal components of image patches to describe a pixel with."""

    def __init__(self, config: SpectraConfig, *, rng: np.random.Generator) -> None:
        super().__init__(config, rng=rng)
        self.config = config
        self._spectra_: list[Array] = []
        self._noise_: list[Array] = []
        self._axis_: Axis | None = None
        self._fitted_n_ = 0
        self._learnt_n_ = 0
        self._summary_: FitSummary | None = None
        self._to_restore_: Mapping[str, Any] | None = None

    # --- features and model -------------------------------------------------------------------------

    @cached_property
    def _table(self) -> FeatureTable:
        scan = self._known_grid().scan
        if self._image_ is None:
            return describe_place(scan.height_px, scan.width_px)
        return describe(self._image_, self.config.patch_px, self.components)

    @cached_property
    def _model(self) -> SpectralSurrogate:
        return SpectralSurrogate(self._for_a_score, self.config.components)

    def _for_a_score(self) -> Surrogate:
        table = self._table
        groups = tuple(group for group in (table.components, table.jets, table.place) if group)
        model = GaussianProcess(groups=groups, shape="matern52")
        model.attach(table.values[self._candidates])
        return model

    def _features(self, first: int, last: int) -> Features:
        return self._table.values[np.asarray(self._pixels_[first:last], dtype=np.int64)]

    def _told(self, first: int, last: int) -> tuple[Features, Array, Array]:
        return self._features(first, last), np.array(self._spectra_[first:last]), np.array(self._noise_[first:last])

    def _catch_up(self) -> SpectralSurrogate:
        """Bring the models to the spectra there are."""
        model = self._model
        if self._to_restore_ is not None:
            model.recall(self._to_restore_, *self._told(0, self._fitted_n_))
            model.pool_scores()
            if self._fitted_n_ < self._learnt_n_:
                model.condition(*self._told(self._fitted_n_, self._learnt_n_))
            self._to_restore_ = None
        for n in range(max(self._learnt_n_, self.config.initial - 1) + 1, len(self._spectra_) + 1):
            if n >= self._next_epoch():
                self._summary_ = model.fit(*self._told(0, n))[0].replace(model=model.name)
                model.pool_scores()  # built before conditioning, as after a restore: the same bits
                self._fitted_n_ = n
            else:
                model.condition(*self._told(n - 1, n))
            self._learnt_n_ = n
        return model

    def _next_epoch(self) -> int:
        if not self._fitted_n_:
            return self.config.initial
        return self._fitted_n_ + max(self.config.refit_every, math.ceil(self._fitted_n_ * self.config.refit_growth))

    # --- the choice ---------------------------------------------------------------------------------

    def _choose(self, situation: Situation) -> Choice:
        if len(self._spectra_) < self.config.initial:
            nth, of = len(self._spectra_) + len(situation.pending) + 1, self.config.initial
            return self._unlike(situation, f"Starting point {nth} of {of}: a place unlike those taken so far.")
        try:
            model = self._catch_up()
        except FitFailed as error:
            why = f"No model could be fitted ({error.what}): a place unlike the others is next."
            return self._unlike(situation, why)
        values, mean, std = self._valued(model, situation)
        index = choose(values, situation.rng, situation.forbidden)
        others = runners_up(values, index, situation.forbidden, RUNNERS_UP)
        best, *rest = (Estimate(i, float(mean[i]), float(std[i]), float(values[i])) for i in (index, *others))
        parameters = {"kappa": self.config.kappa} if self.config.band is not None else {}
        reason = self._explain(best, int((~situation.forbidden).sum()), len(model.basis.loadings))
        return Choice(best, reason, self.config.acquisition, parameters, rest, self._summary_)

    def _valued(self, model: SpectralSurrogate, situation: Situation) -> tuple[Array, Array, Array]:
        """Return the worth of every candidate, and mean and std of the band, or NaN where none is wanted; each (m,)."""
        mean, std = model.pool_scores()
        basis, pending = model.basis, situation.pending
        if len(pending):
            noise = basis.score_std(np.median(self._noise_, axis=0)[None])[0]
            std = model.pool_score_std_given(self._table.values[pending], noise)
        unknown = np.full(len(mean), np.nan)
        if self.config.acquisition == "max_variance":
            return spectral_variance(std), unknown, unknown
        if self.config.acquisition == "novelty":
            seen = basis.scores(np.array(self._spectra_))
            return spectral_novelty(mean, std, seen), unknown, unknown
        weights = self._weights()
        level = float(basis.mean @ weights) + mean @ (basis.loadings @ weights)
        spread = np.sqrt(basis.variance(mean, std, weights[None])[:, 0])
        bound = np.asarray(upper_confidence_bound(level, spread, self.config.kappa), dtype=np.float64)
        return bound, np.asarray(level), spread

    def _weights(self) -> Array:
        """Return ones inside the band, (channels,)."""
        weights = np.zeros(len(self._spectra_[0]))
        if self._axis_ is not None:
            weights[channels(self.config.band, self._axis_)] = 1.0
        return weights

    def _explain(self, best: Estimate, open_: int, components: int) -> str:
        known = f"of {open_} open pixels, by {components} components of {len(self._spectra_)} spectra"
        match self.config.acquisition:
            case "max_variance":
                return f"Where the spectrum is least known {known}."
            case "novelty":
                return f"Where the spectrum is expected to be most unlike all seen, {known}."
            case _:
                said = f"{best.mean:.4g} ± {best.std:.2g} {self._unit_}"
                band = " to ".join(map(str, self.config.band or ()))
                return f"Where the band {band} may be strongest, {said}, {known}."

    def _unlike(self, situation: Situation, reason: str) -> Choice:
        """Return a place unlike those measured or pending."""
        taken = np.concatenate([np.asarray(self._pixels_, dtype=np.int64), situation.pending])
        table = self._table.values
        index = diverse(table[self._candidates], table[taken], situation.forbidden, situation.rng)
        return Choice(Estimate(index), reason, "diverse", {}, ())

    # --- what was told ------------------------------------------------------------------------------

    def _take_measurement(self, pixel: int, result: Result) -> None:
        frame = next((f for f in result.frames if self._fits(f)), None)
        if result.outcome.status != "done" or frame is None or not np.isfinite(frame.data).all():
            self._tries_[pixel] = self._tries_.get(pixel, 0) + 1
            self._valueless_ += result.outcome.status == "done"
            return
        spectrum = np.asarray(frame.data, dtype=np.float64)
        self._axis_, self._unit_ = frame.meta.axes[0], frame.meta.unit
        self._pixels_.append(pixel)
        self._spectra_.append(spectrum)
        self._noise_.append(self._variance(spectrum, frame.meta.unit))
        self._values_.append(float(spectrum.sum()))
        self._stds_.append(math.sqrt(float(self._noise_[-1].sum())))

    def _fits(self, frame: Frame) -> bool:
        """Return whether a frame is one spectrum of the signal, with as many channels as those before."""
        same = not self._spectra_ or frame.data.shape == self._spectra_[0].shape
        spectral = frame.data.ndim == 1 and frame.meta.axes[0].name not in NOT_SPECTRAL
        return frame.meta.signal == self.config.signal and spectral and same

    def _variance(self, spectrum: Array, unit: str) -> Array:
        if self.config.noise_std is not None:
            return np.full_like(spectrum, self.config.noise_std**2)
        if unit == "counts":
            gain = self.config.counts_per_event
            return gain * np.maximum(spectrum, gain)  # an empty channel may hold one event
        return np.full_like(spectrum, float(residual_std(spectrum[None])[0]) ** 2)

    def _finished(self, pending: int) -> Any:
        done = super()._finished(pending)
        if done is not None and self._valueless_ >= MAX_VALUELESS and not self._values_:
            return done.replace(reason=f"No measurement gave a spectrum of {self.config.signal!r}: check the signal.")
        return done

    # --- state --------------------------------------------------------------------------------------

    def state(self) -> dict[str, JsonValue]:
        """Return all that was learnt as JSON data, spectra included."""
        learnt: Any = self._to_restore_
        if learnt is None and self._fitted_n_:
            learnt = self._model.state()
        more: dict[str, JsonValue] = {
            "spectra": _packed(np.array(self._spectra_)),
            "noise": _packed(np.array(self._noise_)),
            "axis": None if self._axis_ is None else self._axis_.model_dump(mode="json"),
            "fitted_n": self._fitted_n_,
            "learnt_n": self._learnt_n_,
            "summary": None if self._summary_ is None else self._summary_.model_dump(mode="json"),
            "learnt": learnt,
        }
        return super().state() | more

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; the models are rebuilt from their hyperparameters when they are next needed."""
        super().restore(state)
        self._spectra_, self._noise_ = list(_unpacked(state["spectra"])), list(_unpacked(state["noise"]))
        self._axis_ = None if state["axis"] is None else Axis.model_validate(state["axis"])
        self._fitted_n_, self._learnt_n_ = state["fitted_n"], state["learnt_n"]
        self._summary_ = None if state["summary"] is None else FitSummary.model_validate(state["summary"])
        self._to_restore_ = state["learnt"]
        for name in ("_table", "_model"):
            self.__dict__.pop(name, None)


def _packed(rows: Array) -> dict[str, JsonValue]:
    """Return rows as JSON data: shape and compressed base64 of little-endian float64."""
    data = base64.b64encode(zlib.compress(rows.astype("<f8").tobytes(), 1)).decode("ascii")
    return {"shape": list(rows.shape), "data": data}


def _unpacked(plain: Mapping[str, Any]) -> Array:
    flat = np.frombuffer(zlib.decompress(base64.b64decode(plain["data"])), dtype="<f8")
    return flat.astype(np.float64).reshape(plain["shape"])
