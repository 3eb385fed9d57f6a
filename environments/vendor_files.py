"""Vendor files (.hspy, .dm3, .dm4, .emd, .bcf, .pts, ...) through RosettaSciIO, an optional package."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import DataError
from environments.datasets import (
    UNKNOWN_PIXEL_M,
    DatasetOptions,
    SpectrumImageData,
    binned,
    calibrated_axis,
    pixel_size_m,
    signal_name,
)

Item = Mapping[str, Any]

INSTALL = "Install the readers: pip install 'autoscope[readers]'"


def read_vendor_file(path: Path, options: DatasetOptions) -> tuple[SpectrumImageData, DatasetOptions]:
    """Return the largest spectrum image of a file with its structural image, and what is left to crop and bin.

    Raises
    ------
    DataError
        No reader is installed or knows the format, the file is damaged, or holds no spectrum image or no image.
    """
    early = _reader_options(path, options)
    items, done_px = _items(path, early), int(early.get("downsample", 1))
    cubes = [item for item in items if np.ndim(item["data"]) == 3]
    if not cubes:
        raise DataError(
            "holds no spectrum image", where=str(path), value=_shapes(items), limit="an array (y, x, channel)"
        )
    cube = max(cubes, key=lambda item: np.size(item["data"]))
    spectra, axes = _spectral_last(cube)
    kind = str(cube.get("metadata", {}).get("Signal", {}).get("signal_type", ""))
    pixel_m = options.pixel_m * done_px if options.pixel_m else _pixel_m(axes[:2], path)
    data = SpectrumImageData(
        image=_image(spectra, items, options, path),
        spectra=spectra,
        axis=calibrated_axis(_coordinates(axes[2]), _unit_text(axes[2]), str(path)),
        pixel_m=pixel_m or UNKNOWN_PIXEL_M,
        meta={"title": _title(cube), "modality": kind},
        signal=options.signal or signal_name(kind),
        unit="counts" if spectra.dtype.kind in "iu" or kind.startswith(("EDS", "EELS")) else "",
        pixel_known=pixel_m is not None,
        source=str(path),
    )
    return data, options.replace(bin_px=options.bin_px // done_px)


def _items(path: Path, reader_options: Mapping[str, Any]) -> list[Item]:
    """Return what the first reader that understands the file finds in it."""
    failures = []
    for plugin in _plugins(path):
        try:
            reader = importlib.import_module(plugin["api"]).file_reader
            return list(reader(str(path), **reader_options))
        except ImportError as error:
            package = getattr(error, "name", None) or str(error)
            raise DataError(
                f"its reader needs the package {package!r}", where=str(path), remedy=f"pip install {package}"
            ) from error
        except Exception as error:  # a reader of foreign files fails in every way there is
            failures.append(f"{plugin['name']}: {type(error).__name__}: {error}")
    raise DataError(
        f"cannot be read: {'; '.join(failures)}", where=str(path), remedy="Fetch the file again, or export it anew"
    )


def _plugins(path: Path) -> list[dict[str, Any]]:
    try:
        known = importlib.import_module("rsciio").IO_PLUGINS
    except ImportError as error:
        raise DataError("needs RosettaSciIO, which is not installed", where=str(path), remedy=INSTALL) from error
    extension = path.suffix.lstrip(".").lower()
    fitting = [p for p in known if extension in [e.lower() for e in p["file_extensions"]]]
    if not extension or not fitting:
        raise DataError("is of no format a reader is known for", where=str(path), value=path.suffix, remedy="Give .npz")
    return fitting


def _reader_options(path: Path, options: DatasetOptions) -> dict[str, Any]:
    """Return what must be done while reading: the events of a .pts file make an array too large to bin afterwards."""
    if path.suffix.lower() != ".pts":
        return {}
    cutoff = options.band[1].to("eV") / 1000.0 + 0.1 if options.band is not None else None
    return {"SI_dtype": np.uint16, "cutoff_at_kV": cutoff, "downsample": options.bin_px}


def _spectral_last(cube: Item) -> tuple[NDArray[Any], list[Item]]:
    data, axes = np.asarray(cube["data"]), list(cube["axes"])
    spectral = [k for k, axis in enumerate(axes) if axis.get("navigate") is False]
    place = spectral[0] if len(spectral) == 1 else 2
    order = [k for k in range(3) if k != place] + [place]
    return np.moveaxis(data, place, 2), [axes[k] for k in order]


def _image(spectra: NDArray[Any], items: list[Item], options: DatasetOptions, path: Path) -> NDArray[Any]:
    """Return the structural image, averaged down to the pixels of the spectra if it is finer by a whole factor."""
    if options.image == "spectra":
        return np.asarray(spectra.sum(axis=2, dtype=np.float64))
    where = path if options.image is None else _beside(path, options.image)
    found = items if options.image is None else _items(where, {})
    images = [np.asarray(item["data"]) for item in found if np.ndim(item["data"]) == 2]
    for image in images:
        factor = image.shape[0] // spectra.shape[0]
        if factor >= 1 and image.shape == (spectra.shape[0] * factor, spectra.shape[1] * factor):
            return binned(image, factor, mean=True)
    raise DataError(
        "holds no image that fits the spectra",
        where=str(where),
        value=[image.shape for image in images],
        limit=spectra.shape[:2],
        remedy="Name the file of the image as 'image', or 'spectra' to sum the spectra (which gives the answer away)",
    )


def _beside(path: Path, image: str) -> Path:
    """Return the path of the image: as given, or in the folder of the spectra."""
    given = Path(image)
    beside = given if given.is_file() else path.parent / given
    if not beside.is_file():
        raise DataError("no such image file", where=str(beside), remedy="Give the path of the structural image")
    return beside


def _coordinates(axis: Item) -> NDArray[np.float64]:
    if "axis" in axis:
        return np.asarray(axis["axis"], dtype=np.float64)
    return np.asarray(float(axis["offset"]) + float(axis["scale"]) * np.arange(int(axis["size"])))


def _unit_text(axis: Item) -> str:
    unit = axis.get("units")
    return unit if isinstance(unit, str) else ""


def _pixel_m(axes: list[Item], path: Path) -> float | None:
    y, x = ((abs(float(axis.get("scale", 0.0))), _unit_text(axis)) for axis in axes)
    if not x[1] or not x[0]:
        return None
    return pixel_size_m(f"{x[0]!r} x {y[0]!r} {x[1]}", str(path))


def _title(item: Item) -> str:
    return str(item.get("metadata", {}).get("General", {}).get("title", ""))


def _shapes(items: list[Item]) -> list[tuple[int, ...]]:
    return [np.shape(item["data"]) for item in items]
