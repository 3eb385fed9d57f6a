"""How much of one spectral component a spectrum holds: loadings of a fixed PCA or NMF basis.

The basis is part of the configuration, as numbers or as a file, and never fitted to the frames of the run: the
value is a pure function of the frame, the same today, on resume and in a recomputation from the journal.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, NonNegativeInt, model_validator

from autoscope.errors import ConfigError, DataError, FrameRejected
from autoscope.perception.bands import convert
from autoscope.perception.spectra import Array, Noise, SpectrumScalarizer
from autoscope.records import Axis

LAYOUT = ("components", "mean", "offset", "scale", "unit")


@dataclass(frozen=True, eq=False)
class Basis:
    """Component spectra, shape (k, e), the mean spectrum (e,) that is subtracted first, and their axis."""

    components: Array
    mean: Array
    axis: Axis

    @classmethod
    def learn(cls, spectra: ArrayLike, axis: Axis, *, count: int = 3, method: Literal["pca", "nmf"] = "pca") -> Self:
        """Return the basis of reference spectra (n, e): principal components, or non-negative factors.

        Deterministic: the sign of a principal component is such that its largest entry is positive, and the
        factorisation starts from singular vectors (Boutsidis & Gallopoulos, Pattern Recognition 41 (2008) 1350) found
        with a fixed seed.

        Raises
        ------
        DataError
            Fewer spectra or channels than components, not finite, or negative values for ``nmf``.
        """
        from sklearn.decomposition import NMF, PCA  # 0.5 s: only when a basis is really learned

        data = np.asarray(spectra, dtype=np.float64)
        if data.ndim != 2 or data.shape[1] != axis.size or min(data.shape) < count:
            raise DataError(
                "a basis needs spectra (n, e) with n, e >= count", value=data.shape, limit=(count, axis.size)
            )
        if not np.isfinite(data).all() or (method == "nmf" and data.min() < 0):
            raise DataError("reference spectra must be finite, and not negative for nmf", value=float(data.min()))
        if method == "nmf":
            model = NMF(count, init="nndsvda", max_iter=2000, tol=1e-5, random_state=0).fit(data)
            return cls(np.asarray(model.components_), np.zeros(axis.size), axis)
        model = PCA(count, svd_solver="full").fit(data)
        found = np.asarray(model.components_)
        largest = found[np.arange(count), np.abs(found).argmax(axis=1)]
        return cls(found * np.sign(largest)[:, None], np.asarray(model.mean_), axis)

    def save(self, path: Path) -> None:
        """Write the basis as ``.npz`` without pickled objects."""
        axis = self.axis
        np.savez(path, components=self.components, mean=self.mean, offset=axis.offset, scale=axis.scale, unit=axis.unit)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a basis written by `save`.

        Raises
        ------
        DataError
            Absent, not such a file, or its arrays do not fit together.
        """
        remedy = "Write it with Basis.learn(...).save(path)"
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                components, mean, offset, scale, unit = (stored[key] for key in LAYOUT)
            axis = Axis(
                name="energy", unit=str(unit), size=components.shape[-1], offset=float(offset), scale=float(scale)
            )
        except Exception as error:  # zip, format, key, type and value errors: whatever damage does to a file
            raise DataError(f"is not a readable component basis: {error}", where=str(path), remedy=remedy) from error
        if components.ndim != 2 or mean.shape != components.shape[1:] or components.dtype.kind != "f":
            raise DataError(
                "components (k, e) and mean (e,) do not fit", where=str(path), value=components.shape, remedy=remedy
            )
        if not (np.isfinite(components).all() and np.isfinite(mean).all()):
            raise DataError("the basis holds values that are not finite", where=str(path), remedy=remedy)
        return cls(components, mean, axis)

    def weights(self, index: int) -> Array:
        """Return the row (e,) of the pseudo-inverse that gives the least-squares loading of one component."""
        return np.asarray(np.linalg.pinv(self.components)[:, index])

    def digest(self) -> str:
        """Return the sha256 of the numbers in the basis."""
        hashed = hashlib.sha256(self.axis.model_dump_json().encode())
        for array in (self.components, self.mean):
            hashed.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return hashed.hexdigest()


class Component(SpectrumScalarizer):
    """The least-squares loading of one component of a fixed basis, or a fixed weighted sum of the channels.

    With component spectra as rows of ``H`` and a mean spectrum ``m`` the value is entry ``index`` of
    ``(c - m) H^+``: for principal components their score, for non-negative factors the unconstrained loading.
    It is linear in the spectrum, so the variance ``sum_k w_k^2 var(c_k)`` is exact.
    """

    kind = "component"

    class Config(SpectrumScalarizer.Config):
        """Options of `Component`: either ``basis`` or ``weights``."""

        basis: Path | None = None
        """File of `Basis.save`."""
        index: NonNegativeInt = 0
        """Which component of the basis, counted from 0."""
        weights: tuple[float, ...] | None = Field(default=None, min_length=1)
        """One number a channel; the value is their sum with the spectrum. Any linear property of a spectrum."""

        @model_validator(mode="after")
        def _either(self) -> Self:
            if (self.basis is None) == (self.weights is None):
                raise ValueError("a component needs either a 'basis' file or 'weights', and not both")
            return self

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._basis = Basis.load(config.basis) if config.basis is not None else None
        if self._basis is not None and config.index >= len(self._basis.components):
            raise ConfigError(
                "the basis has no such component",
                where=str(config.basis),
                value=config.index,
                limit=f"0 to {len(self._basis.components) - 1}",
            )
        self._weights = np.asarray(config.weights) if self._basis is None else self._basis.weights(config.index)

    def parameters(self) -> dict[str, Any]:
        """Return the options with the content of the basis in the place of its path."""
        plain = self.config.plain()
        return plain if self._basis is None else plain | {"basis": self._basis.digest()}

    def unit(self, spectrum_unit: str, axis_unit: str) -> str:
        """Return the unit of the spectrum: loadings count in it when the components are normalised."""
        return spectrum_unit

    def evaluate(self, spectra: Array, noise: Noise, axis: Axis) -> tuple[Array, Array]:
        """Return loadings and their variances."""
        self._check(axis)
        mean: Array | float = 0.0 if self._basis is None else self._basis.mean
        return (spectra - mean) @ self._weights, noise.propagate(self._weights)

    def _check(self, axis: Axis) -> None:
        wanted = self._basis.axis if self._basis is not None else None
        if axis.size != self._weights.size or (wanted is not None and not _same_places(axis, wanted)):
            raise FrameRejected(
                "the axis is not the one the component was made for",
                where=axis.name,
                value=_range(axis),
                limit=_range(wanted) if wanted is not None else f"{self._weights.size} channels",
                remedy="Learn the basis from spectra with the same axis",
            )


def _same_places(axis: Axis, other: Axis) -> bool:
    """Return whether the outermost channels agree to a hundredth of a channel."""
    ends: NDArray[np.float64] = axis.values()[[0, -1]]
    try:
        wanted = [convert(float(place), other.unit, axis.unit) for place in other.values()[[0, -1]]]
    except ValueError:
        return False
    return bool(np.abs(ends - wanted).max() <= 0.01 * abs(axis.scale))


def _range(axis: Axis) -> str:
    first, last = axis.values()[[0, -1]]
    return f"{axis.size} channels, {first:g} to {last:g} {axis.unit}".rstrip()
