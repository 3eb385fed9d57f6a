"""The carousel: specimens, each with the map of what it has received."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autoscope.errors import ConfigError, InstrumentError
from environments.instruments.simulated.config import DoseConfig
from environments.instruments.simulated.exposure_map import ExposureMap
from environments.sample.specimen import Specimen


class Carousel:
    """Specimens in numbered slots; one is loaded.

    Parameters
    ----------
    specimens : sequence of Specimen
        Slot 0 is loaded at the start.
    config : DoseConfig
        Resolution of the exposure maps.
    will_not_load : sequence of int
        Slots whose sample jams.

    Raises
    ------
    ConfigError
        There is no specimen.
    """

    def __init__(self, specimens: Sequence[Specimen], config: DoseConfig, will_not_load: Sequence[int] = ()) -> None:
        if not specimens:
            raise ConfigError("a carousel needs at least one specimen", where="specimens", remedy="Give one or more")
        self.specimens = tuple(specimens)
        self.maps = tuple(ExposureMap(s.extent_m, config) for s in specimens)
        self.slot = 0
        self._will_not_load = frozenset(will_not_load)

    def load(self, slot: int) -> None:
        """Put a specimen into the beam.

        Raises
        ------
        InstrumentError
            It jams; the one before is loaded again.
        """
        if slot in self._will_not_load:
            raise InstrumentError(
                "the sample jammed and did not load; the one before is loaded again",
                where="load_sample",
                value=slot,
                remedy="Look at the cartridge of this slot by hand",
            )
        self.slot = slot

    def snapshot(self) -> dict[str, Any]:
        """Return the slot loaded, and what each specimen has received."""
        return {"slot": self.slot, "maps": [exposed.snapshot() for exposed in self.maps]}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take up a snapshot of a carousel of the same specimens."""
        self.slot = snapshot["slot"]
        for exposed, kept in zip(self.maps, snapshot["maps"], strict=True):
            exposed.restore(kept)

    @property
    def specimen(self) -> Specimen:
        """The loaded specimen."""
        return self.specimens[self.slot]

    @property
    def exposed(self) -> ExposureMap:
        """What the loaded specimen has received."""
        return self.maps[self.slot]
