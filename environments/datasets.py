"""Stored spectrum images: one value for every source, one reader for our own files, checks that refuse damage."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from autoscope.config import ConfigModel
from autoscope.errors import DataError, FrameRejected
from autoscope.perception.bands import Band, channels
from autoscope.quantities import PositiveLength, parse
from autoscope.records import Axis

Array = NDArray[np.float32]

REQUIRED = ("image", "spectra", "axis")
UNKNOWN_PIXEL_M = 1e-9
"""Pixel size that stands in where a file does not tell it; `SpectrumImageData.pixel_known` is then False."""

_UNIT = re.compile(r"(?<![\w/])(keV|meV|MeV|eV|mV|V|nm|um|µm|Hz|kHz)(?![\w/])")
_PIXEL = re.compile(r"\s*(\d[\d.eE+-]*)(?:\s*[x×]\s*(\d[\d.eE+-]*))?\s*([A-Za-zµμ]+)")
_SIGNALS = ("EELS", "EDS", "EDX", "BEPS", "CL", "4D")
_AXIS_NAMES = {"eV": "energy", "V": "bias", "m": "wavelength", "Hz": "frequency"}


class DatasetOptions(ConfigModel):
    """How a stored spectrum image is read; everything absent means: as stored."""

    signal: str | None = None
    """Name of the spectrum signal; absent: from the file ("EELS" if it does not say)."""
    pixel_m: PositiveLength | None = None
    """Pixel size as stored, before binning; absent: from the file."""
    band: Band | None = None
    """Part of the axis to keep, e.g. ``[0.2 keV, 10 keV]``."""
    bin_px: PositiveInt = 1
    """Pixels joined in x and y: counts are summed, images averaged; an incomplete last row or column is left out."""
    bin_channels: PositiveInt = 1
    """Channels joined: counts are summed."""
    image: str | None = None
    """File with the structural image, if it is not in the same file; ``spectra`` takes the sum of each spectrum,
    which gives the answer away wherever the target depends on it."""


@dataclass(frozen=True, eq=False)
class SpectrumImageData:
    """A spectrum at each pixel of a structural image. Arrays are float32, ``[y, x]``, checked and read-only.

    Raises
    ------
    DataError
        Arrays do not fit together, are empty, not finite, or count less than nothing.
    """

    image: Array
    spectra: Array
    axis: Axis
    pixel_m: float
    meta: Mapping[str, Any]
    target: Array | None = None
    signal: str = "EELS"
    unit: str = "counts"
    pixel_known: bool = True
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("image", "spectra", "target"):
            array = getattr(self, name)
            if array is not None:
                object.__setattr__(self, name, _checked(array, name, self.source))
        self._check_shapes()
        if self.unit == "counts" and self.spectra.min() < 0:
            raise _damaged("counts are negative", self.source, value=float(self.spectra.min()), limit=">= 0")
        if not 0 < self.pixel_m < np.inf:
            raise _damaged("the pixel size must be positive", self.source, value=self.pixel_m)

    def _check_shapes(self) -> None:
        wanted = (*self.image.shape, self.axis.size)
        if self.image.ndim != 2 or self.spectra.shape != wanted:
            raise _damaged("spectra do not fit image and axis", self.source, value=self.spectra.shape, limit=wanted)
        if self.target is not None and self.target.shape != self.image.shape:
            raise _damaged("the target does not fit the image", self.source, self.target.shape, self.image.shape)

    @property
    def fov_m(self) -> float:
        """Width of the field in metres."""
        return float(self.image.shape[1] * self.pixel_m)


def _checked(array: Any, name: str, source: str) -> Array:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iufb":
        raise _damaged(f"{name!r} is not an array of real numbers", source, value=getattr(array, "dtype", type(array)))
    if array.size == 0:
        raise _damaged(f"{name!r} is empty", source, value=array.shape)
    out = np.array(array, dtype=np.float32)
    if not np.isfinite(out).all():
        bad = int(np.size(out) - np.isfinite(out).sum())
        raise _damaged(f"{name!r} holds values that are not finite", source, value=bad, limit="none")
    out.setflags(write=False)
    return out


def _damaged(what: str, where: str, value: object = None, limit: object = None, remedy: str = "") -> DataError:
    fetch = "Fetch the file again, or see docs/data.md for the layout"
    return DataError(what, where=where, value=value, limit=limit, remedy=remedy or fetch)


def read_dataset(path: Path, options: DatasetOptions | None = None) -> SpectrumImageData:
    """Read a spectrum image: ``.npz`` in the layout of docs/data.md, anything else through RosettaSciIO.

    Raises
    ------
    DataError
        The file is absent, damaged or of an unknown layout, or the reader it needs is not installed; always with
        the file, what is wrong, and what to do.
    """
    chosen = options or DatasetOptions()
    if not path.is_file():
        raise _damaged("no such data file", str(path), remedy="Check the path; 'make data' fetches the public sets")
    if path.suffix.lower() == ".npz":
        return _reduced(_read_npz(path, chosen), chosen)
    from environments.vendor_files import read_vendor_file

    return _reduced(*read_vendor_file(path, chosen))


def _read_npz(path: Path, options: DatasetOptions) -> SpectrumImageData:
    arrays = _load_arrays(path)
    missing = [key for key in REQUIRED if key not in arrays]
    if missing:
        raise _damaged("arrays are missing", str(path), value=missing, limit=", ".join(REQUIRED))
    meta = _meta(arrays.get("meta"), path)
    pixel_m = options.pixel_m or pixel_size_m(str(meta.get("px", "")), str(path))
    unit = str(meta.get("unit", "")).strip()
    return SpectrumImageData(
        image=_image(arrays["image"], arrays["spectra"], options, path),
        spectra=arrays["spectra"],
        axis=calibrated_axis(arrays["axis"], str(meta.get("axis_unit", "")), str(path)),
        pixel_m=pixel_m or UNKNOWN_PIXEL_M,
        meta=meta,
        target=arrays.get("target"),
        signal=options.signal or signal_name(str(meta.get("modality", ""))),
        unit="counts" if unit.lower().startswith("counts") else unit,
        pixel_known=pixel_m is not None,
        source=str(path),
    )


def _load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    if not zipfile.is_zipfile(path):
        raise _damaged("cannot be read: it is not, or no longer, an .npz archive", str(path))
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except Exception as error:  # damage shows as zip, zlib, header, value, key and memory errors alike
        pickled = "allow_pickle" in str(error)
        what = "holds pickled objects, which are never loaded" if pickled else f"cannot be read: {error}"
        remedy = "Store plain numeric arrays with numpy.savez" if pickled else ""
        raise _damaged(what, str(path), remedy=remedy) from error


def _meta(stored: NDArray[Any] | None, path: Path) -> dict[str, Any]:
    if stored is None:
        return {}
    try:
        meta = json.loads(str(stored))
    except json.JSONDecodeError as error:
        raise _damaged(f"'meta' is not JSON: {error}", str(path)) from error
    if not isinstance(meta, dict):
        raise _damaged("'meta' must be a JSON object", str(path), value=type(meta).__name__)
    return meta


def _image(stored: NDArray[Any], spectra: NDArray[Any], options: DatasetOptions, path: Path) -> NDArray[Any]:
    if options.image is None:
        return stored
    if options.image == "spectra" and spectra.ndim == 3:
        return np.asarray(spectra.sum(axis=-1))
    raise _damaged(
        "an .npz file has its own image",
        str(path),
        value=options.image,
        limit="absent or 'spectra'",
        remedy="Leave 'image' out",
    )


def calibrated_axis(values: NDArray[Any], unit_text: str, source: str = "") -> Axis:
    """Return the axis of channel coordinates; energies in eV. An axis that is not uniform becomes channel numbers.

    Raises
    ------
    DataError
        Not one row of finite numbers.

    Examples
    --------
    >>> calibrated_axis(np.array([0.2, 0.3, 0.4]), "keV")
    Axis(name='energy', unit='eV', size=3, offset=200.0, scale=100.0)
    """
    if values.ndim != 1 or values.dtype.kind not in "iuf" or not values.size or not np.isfinite(values).all():
        raise _damaged("the axis must be one row of finite numbers", source, value=values.shape)
    factor, unit = _unit(unit_text)
    places = values.astype(np.float64) * factor
    steps = max(len(places) - 1, 1)
    scale = float(f"{(places[-1] - places[0]) / steps:.7g}") or 1.0
    name = _AXIS_NAMES.get(unit, "channel")
    axis = Axis(name=name, unit=unit, size=len(places), offset=float(f"{places[0]:.7g}"), scale=scale)
    if np.abs(axis.values() - places).max() > 0.02 * abs(scale):
        return Axis(name="channel", unit="", size=len(places))
    return axis


def _unit(text: str) -> tuple[float, str]:
    """Return the factor to, and the name of, the base unit of the first unit named in a text; (1, "") without one.

    Examples
    --------
    >>> _unit("energy loss eV (700 + 8n)"), _unit("keV"), _unit("none: one scalar")
    ((1.0, 'eV'), (1000.0, 'eV'), (1.0, ''))
    """
    found = _UNIT.search(text)
    if found is None:
        return 1.0, ""
    base = next(b for b in ("eV", "V", "m", "Hz") if found[1].endswith(b))
    return parse(f"1 {found[1]}", base), base


def pixel_size_m(text: str, source: str = "") -> float | None:
    """Return the pixel size written in a text, in metres, or None if none is written.

    Raises
    ------
    DataError
        Pixels are not square, or their unit is not a length.

    Examples
    --------
    >>> pixel_size_m("8.55 nm"), pixel_size_m("0.01181 x 0.01181 µm"), pixel_size_m("unknown")
    (8.55e-09, 1.181e-08, None)
    """
    match = _PIXEL.match(text)
    if match is None:
        return None
    try:
        x_m, y_m = (parse(f"{number} {match[3]}", "m") for number in (match[1], match[2] or match[1]))
    except ValueError as error:
        raise _damaged(
            f"the pixel size is not a length: {error}", source, remedy="Give 'pixel' in the options"
        ) from error
    if abs(x_m - y_m) > 0.01 * x_m:
        raise _damaged("pixels are not square", source, value=text, limit="1 %", remedy="Give 'pixel' in the options")
    return x_m


def signal_name(modality: str) -> str:
    """Return the signal a text about the technique names first ("EDX" counts as "EDS"); "EELS" if none.

    Examples
    --------
    >>> signal_name("STEM-EELS core loss"), signal_name("SEM-EDS"), signal_name("")
    ('EELS', 'EDS', 'EELS')
    """
    found = next((name for name in _SIGNALS if name in modality.upper()), "EELS")
    return "EDS" if found == "EDX" else found


def _reduced(data: SpectrumImageData, options: DatasetOptions) -> SpectrumImageData:
    """Return the data cropped to the band and binned."""
    spectra, axis = data.spectra, data.axis
    if options.band is not None:
        try:
            kept = channels(options.band, axis)
        except FrameRejected as error:
            raise _damaged(
                f"the band to keep is not on the axis: {error}", data.source, remedy="Change 'band' in the options"
            ) from error
        spectra = spectra[..., kept]
        axis = axis.replace(size=len(kept), offset=float(axis.values()[kept[0]]))
    join, bin_px = options.bin_channels, options.bin_px
    if max(join // (axis.size + 1), bin_px // (min(data.image.shape) + 1)) > 0:
        raise _damaged("bins are larger than the data", data.source, (bin_px, join), data.spectra.shape, "Bin less")
    scale = axis.scale * join
    axis = axis.replace(size=axis.size // join, offset=axis.offset + axis.scale * (join - 1) / 2, scale=scale)
    return SpectrumImageData(
        image=binned(data.image, bin_px, mean=True),
        spectra=_joined(binned(spectra, bin_px, mean=data.unit != "counts"), join, mean=data.unit != "counts"),
        axis=axis,
        pixel_m=data.pixel_m * bin_px,
        meta=data.meta,
        target=None if data.target is None else binned(data.target, bin_px, mean=True),
        signal=data.signal,
        unit=data.unit,
        pixel_known=data.pixel_known,
        source=data.source,
    )


def binned(array: NDArray[Any], bin_px: int, *, mean: bool) -> NDArray[Any]:
    """Return an array (h, w, ...) with blocks of ``bin_px`` pixels summed or averaged; incomplete blocks left out.

    Examples
    --------
    >>> binned(np.ones((4, 5)), 2, mean=False).tolist()
    [[4.0, 4.0], [4.0, 4.0]]
    """
    if bin_px == 1:
        return array
    height, width = (size // bin_px for size in array.shape[:2])
    blocks = array[: height * bin_px, : width * bin_px]
    blocks = blocks.reshape(height, bin_px, width, bin_px, *array.shape[2:])
    return np.asarray(blocks.mean(axis=(1, 3)) if mean else blocks.sum(axis=(1, 3)))


def _joined(spectra: NDArray[Any], join: int, *, mean: bool) -> NDArray[Any]:
    kept = spectra[..., : spectra.shape[-1] // join * join]
    groups = kept.reshape(*spectra.shape[:-1], -1, join)
    return np.asarray(groups.mean(axis=-1) if mean else groups.sum(axis=-1))
