"""A double of AutoScript built from the contract: it has what the contract lists, checks every value, logs every call.

Behind it a specimen moves with the stage, so that signs can be looked at, as far as the contract's meaning goes.
"""

import math
import sys
import threading
import types
from pathlib import Path

import numpy as np
import yaml

CONTRACT = yaml.safe_load((Path(__file__).parents[2] / "golden/instruments/autoscript_contract.yaml").read_text())
PACKAGE = "autoscript_tem_microscope_client"
BLOBS = np.random.default_rng(7).uniform(-3e-6, 3e-6, (400, 2))
SIZES_M = np.random.default_rng(8).uniform(30e-9, 90e-9, 400)


def require(rule, value, where):
    """Fail where a value breaks its rule of the contract."""
    values = value if isinstance(value, list | tuple) else [value]
    for one in values:
        if "bounds" in rule:
            low, high = rule["bounds"]
            assert isinstance(one, int | float), f"{where} = {one!r} is no number"
            assert low <= one <= high, f"{where} = {one!r} is not within {rule['bounds']} {rule['unit']}"
            assert not rule.get("whole") or one == int(one), f"{where} = {one!r} is not whole"
        if kind := rule.get("of", rule.get("many_of")):
            assert one in CONTRACT["enumerations"][kind].values(), f"{where} = {one!r} is no {kind}"
        if "structure" in rule:
            assert type(one).__name__ == rule["structure"], f"{where} is a {type(one).__name__}"


def structure(name, fields):
    """Return a class of the vendor's structures: fields by position or name, all checked, None where not given."""

    def fill(self, *values, **named):
        given = dict(zip(fields, values)) | named
        for field, value in given.items():
            setattr(self, field, value)

    def put(self, field, value):
        assert field in fields, f"{name} has no {field}"
        if value is not None:
            require(fields[field], value, f"{name}.{field}")
        object.__setattr__(self, field, value)

    return type(name, (), dict.fromkeys(fields) | {"__init__": fill, "__setattr__": put})


class Node:
    """A branch of the client's tree; leaves are read, set and called as the contract says."""

    def __init__(self, bench, path):
        object.__setattr__(self, "_bench", bench)
        object.__setattr__(self, "_path", path)

    def _child(self, name):
        return f"{self._path}.{name}" if self._path else name

    def __getattr__(self, name):
        path = self._child(name)
        if path in CONTRACT["properties"]:
            return self._bench.read(path)
        if path in CONTRACT["methods"]:
            return lambda *arguments: self._bench.call(path, arguments)
        if any(known.startswith(f"{path}.") for part in ("properties", "methods") for known in CONTRACT[part]):
            return Node(self._bench, path)
        raise AssertionError(f"AutoScript has no {path}, as far as the contract knows")

    def __setattr__(self, name, value):
        path = self._child(name)
        assert CONTRACT["properties"].get(path, {}).get("access") == "rw", f"{path} cannot be set"
        require(CONTRACT["properties"][path], value, path)
        self._bench.write(path, value)


class Bench:
    """The column behind all clients, and the log of what they said (readings left out)."""

    def __init__(self):
        self.structures = types.SimpleNamespace(**{n: structure(n, f) for n, f in CONTRACT["structures"].items()})
        self.values = {
            "optics.acceleration_voltage.value": 200_000.0,
            "optics.optical_mode": "Stem",
            "optics.defocus": 0.0,
            "optics.scan_field_of_view": 1e-6,
            "optics.scan_rotation": 0.0,
            "optics.paused_scan_beam_position": [0.5, 0.5],
            "optics.blanker.is_beam_blanked": True,
        }
        self.stage, self.log, self.faults = dict.fromkeys("xyzab", 0.0), [], {}
        self.valves_closed, self.clients, self.mirrored = False, 0, False

    def read(self, path):
        if path == "specimen.stage.position":
            return self.structures.StagePosition(**self.stage)
        return self.values[path]

    def write(self, path, value):
        self.log.append(f"{path} = {_short(value)}")
        self.values[path] = self.faults.get(path, value)

    def call(self, path, arguments):
        wanted = CONTRACT["methods"][path]["arguments"]
        assert len(arguments) == len(wanted), f"{path} takes {wanted}"
        for argument, kind in zip(arguments, wanted):
            assert kind not in CONTRACT["structures"] or type(argument).__name__ == kind, f"{path} takes a {kind}"
        self.log.append(f"{path}({', '.join(_short(a) for a in arguments)})")
        if path in self.faults:
            raise self.faults[path]
        return getattr(self, f"_{path.rpartition('.')[2]}")(*arguments)

    def _connect(self, host, port):
        self.clients += 1

    def _disconnect(self):
        self.clients -= 1

    def _absolute_move_safe(self, position):
        for axis in self.stage:
            if (value := getattr(position, axis)) is not None:
                self.stage[axis] = value

    def _blank(self):
        self.values["optics.blanker.is_beam_blanked"] = True

    def _unblank(self):
        self.values["optics.blanker.is_beam_blanked"] = False

    def _close(self):
        self.valves_closed = True

    def _acquire_spectrum(self, settings):
        threading.Event().wait(settings.exposure_time)
        counts = np.zeros(4096, np.uint32)
        counts[160:170] = 0 if self.values["optics.blanker.is_beam_blanked"] else 50
        return types.SimpleNamespace(data=counts)

    def _acquire_stem_images_advanced(self, settings):
        part, size = settings.region.rectangle, settings.size
        columns, rows = round(part.width * size), round(part.height * size)
        threading.Event().wait(settings.dwell_time * rows * columns)
        pixel_m = self.values["optics.scan_field_of_view"] / size
        u = (round(part.left * size) + np.arange(columns) + 0.5 - size / 2) * pixel_m
        v = (round(part.top * size) + np.arange(rows) + 0.5 - size / 2) * pixel_m
        image = self._specimen(np.meshgrid(-u if self.mirrored else u, v))
        return [types.SimpleNamespace(data=image) for _ in settings.detector_types]

    def _specimen(self, grid):
        u, v = grid
        if self.values["optics.blanker.is_beam_blanked"]:
            return np.zeros(u.shape, np.uint16)
        c, s = math.cos(self.values["optics.scan_rotation"]), math.sin(self.values["optics.scan_rotation"])
        x, y = self.stage["x"] + c * u - s * v, self.stage["y"] + s * u + c * v
        image = np.full(u.shape, 20.0)
        for (bx, by), r in zip(BLOBS, SIZES_M):
            wide = math.hypot(r, abs(self.values["optics.defocus"]) * 0.2)
            image += 400.0 * (r / wide) ** 2 * np.exp(-((x - bx) ** 2 + (y - by) ** 2) / (2 * wide**2))
        return image.astype(np.uint16)


def _short(value):
    """Return a value as the golden log writes it."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_short(v) for v in value) + "]"
    fields = CONTRACT["structures"].get(type(value).__name__)
    if fields:
        given = [f"{f}={_short(getattr(value, f))}" for f in fields if getattr(value, f) is not None]
        return f"{type(value).__name__}({', '.join(given)})"
    return str(value)


def install(monkeypatch):
    """Put the double where the vendor's package would be; return its bench."""
    bench = Bench()
    package = types.ModuleType(PACKAGE)
    package.TemMicroscopeClient = lambda: Node(bench, "")
    enumerations = types.ModuleType(f"{PACKAGE}.enumerations")
    for name, members in CONTRACT["enumerations"].items():
        setattr(enumerations, name, type(name, (), members))
    structures = types.ModuleType(f"{PACKAGE}.structures")
    structures.__dict__.update(vars(bench.structures))
    for module in (package, enumerations, structures):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return bench
