"""The maps that are replayed: of a file or a specimen, altered, and kept for the next run of the kind."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Protocol

from autoscope.chance import stream
from autoscope.errors import DataError
from environments.alterations import AlterationConfig, RecordedMap, altered
from environments.datasets import DatasetOptions, read_dataset
from environments.specimen_map import ExpectedMap, SpecimenMapConfig, expected_map

KEPT = 4
"""Maps kept in memory, so that many runs on the same one read and alter it once; their arrays are read-only."""


class MapOptions(Protocol):
    """Which map, and what is done to it."""

    @property
    def path(self) -> Path | None:
        """File, if it is one."""

    @property
    def specimen(self) -> SpecimenMapConfig | None:
        """Specimen, if it is none."""

    @property
    def read(self) -> DatasetOptions:
        """How a file is read."""

    @property
    def alter(self) -> AlterationConfig:
        """What is altered."""


def recorded_map(options: MapOptions, root: int) -> RecordedMap:
    """Return a map; the same ``root`` gives the same one.

    Raises
    ------
    DataError
        The file or the specimen cannot be used so.
    """
    alter = options.alter.model_dump_json(by_alias=True)
    if options.specimen is not None:
        return _of_specimen(options.specimen.model_dump_json(by_alias=True), alter, root)
    if options.path is None:
        raise DataError("there is neither a file nor a specimen to replay")
    status = options.path.stat() if options.path.is_file() else None
    stamp = (status.st_mtime_ns, status.st_size) if status else (0, 0)
    read = options.read.model_dump_json(by_alias=True)
    if options.alter == AlterationConfig():
        return _of_file(options.path, stamp, read)
    return _altered_file(options.path, stamp, read, alter, root)


@functools.lru_cache(maxsize=KEPT)
def _of_file(path: Path, stamp: tuple[int, int], read: str) -> RecordedMap:
    data = read_dataset(path, DatasetOptions.model_validate_json(read))
    return RecordedMap(data, data.spectra, "the map as recorded")


@functools.lru_cache(maxsize=KEPT)
def _altered_file(path: Path, stamp: tuple[int, int], read: str, alter: str, root: int) -> RecordedMap:
    return altered(_of_file(path, stamp, read), AlterationConfig.model_validate_json(alter), root)


@functools.lru_cache(maxsize=KEPT)
def _of_specimen(text: str, alter: str, root: int) -> RecordedMap:
    config = SpecimenMapConfig.model_validate_json(text)

    expected = _expected(text, root if config.seed is None else config.seed)
    data = expected.counted(stream(root, "image"), stream(root, "spectra"))
    recorded = RecordedMap(data, expected.spectra, "expected counts")
    return altered(recorded, AlterationConfig.model_validate_json(alter), root)


@functools.lru_cache(maxsize=KEPT)
def _expected(text: str, seed: int) -> ExpectedMap:
    return expected_map(SpecimenMapConfig.model_validate_json(text), stream(seed, "specimen"))
