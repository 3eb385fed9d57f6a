"""What may be done to a stored map for a study: fewer electrons, more noise, or labels and images that say nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat

from autoscope.chance import stream
from autoscope.config import ConfigModel
from autoscope.errors import DataError
from environments.datasets import SpectrumImageData


class AlterationConfig(ConfigModel):
    """Alterations of a stored map; chance follows from the seed of the run."""

    keep: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of the recorded counts that is kept: the same map with so much of its dose. Give ``dwell`` as so much of
    the recorded dwell. Needs whole counts."""
    noise: NonNegativeFloat = 0.0
    """Gaussian noise added to each channel, in standard deviations of all values of the map. Not for counts."""
    labels: Literal["true", "shuffled"] = "true"
    """"shuffled": each pixel answers with the spectrum of another; neither image nor neighbours tell anything."""
    image: Literal["true", "meaningless"] = "true"
    """"meaningless": the pixels of the image change places; neighbours in the map still resemble each other."""


@dataclass(frozen=True, eq=False)
class RecordedMap:
    """A map that is replayed, and what its spectra are without the noise of this draw."""

    data: SpectrumImageData
    expected: NDArray[Any]
    """Shape of ``data.spectra``."""
    expectation: str
    """Where ``expected`` comes from, as a phrase."""


def altered(recorded: RecordedMap, config: AlterationConfig, root: int) -> RecordedMap:
    """Return the map with all alterations made.

    Parameters
    ----------
    recorded : RecordedMap
    config : AlterationConfig
    root : int
        Seed of all chance; the same one gives the same map.

    Raises
    ------
    DataError
        The data are not what an alteration needs.
    """
    if config.keep < 1.0:
        recorded = thinned(recorded, config.keep, stream(root, "thinning"))
    if config.noise > 0.0:
        recorded = _noisy(recorded, config.noise, stream(root, "noise"))
    if config.labels == "shuffled":
        recorded = _shuffled(recorded, stream(root, "labels"))
    if config.image == "meaningless":
        image = recorded.data.image
        scattered = stream(root, "image").permutation(np.asarray(image).ravel()).reshape(image.shape)
        recorded = replace(recorded, data=replace(recorded.data, image=scattered))
    return recorded


def thinned(recorded: RecordedMap, keep: float, rng: np.random.Generator) -> RecordedMap:
    """Return a map of which each count is kept with the same chance, independently of all others.

    Of Poisson counts this is exactly the map that so much of the dose would have given, and what is kept is
    independent of what is left over (thinning of a Poisson process; Kingman, Poisson Processes (1993), ch. 5). So what
    is left over, scaled, is an estimate of the truth that shares no noise with the draw; it stands in where nothing
    better is known.

    Raises
    ------
    DataError
        The spectra are not whole counts.
    """
    data = recorded.data
    counts = np.rint(np.asarray(data.spectra, np.float64))
    if data.unit != "counts" or np.abs(counts - data.spectra).max() > 1e-3:
        raise DataError(
            "thinning needs whole counts", where=data.source or "the map", value=data.unit, remedy="Take 'keep' out"
        )
    drawn = rng.binomial(counts.astype(np.int64), keep)
    kept = replace(data, spectra=drawn.astype(np.float32))
    if recorded.expected is not data.spectra:  # the truth is known without any draw
        return replace(recorded, data=kept, expected=np.asarray(recorded.expected) * keep)
    left = (counts - drawn) * (keep / (1.0 - keep))
    return RecordedMap(kept, left, f"the {1.0 - keep:.3g} of the counts that were not drawn, scaled")


def _noisy(recorded: RecordedMap, noise: float, rng: np.random.Generator) -> RecordedMap:
    data = recorded.data
    if data.unit == "counts":
        raise DataError(
            "noise cannot be added to counts",
            where=data.source or "the map",
            value=noise,
            remedy="Use 'keep': fewer counts are noisier",
        )
    spread = noise * float(np.std(data.spectra, dtype=np.float64))
    drawn = data.spectra + rng.normal(0.0, spread, data.spectra.shape)
    return replace(recorded, data=replace(data, spectra=drawn.astype(np.float32)))


def _shuffled(recorded: RecordedMap, rng: np.random.Generator) -> RecordedMap:
    data = recorded.data
    order = rng.permutation(data.image.size)

    def moved(array: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(array.reshape(data.image.size, -1)[order].reshape(array.shape))

    target = None if data.target is None else moved(data.target)
    spectra, same = moved(data.spectra), recorded.expected is data.spectra
    changed = replace(data, spectra=spectra, target=target)
    return RecordedMap(changed, changed.spectra if same else moved(recorded.expected), recorded.expectation)
