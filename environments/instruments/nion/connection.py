"""The Nion stack of this process: started without window or document, or found where Nion Swift already runs."""

from __future__ import annotations

import asyncio
import atexit
import logging
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoscope.errors import ConfigError, InstrumentError
from environments.instruments.driving import vendor_package
from environments.instruments.nion.config import AttachConfig, NionConfig, UsimConfig
from environments.instruments.nion.physics import Drift, Physics

SAMPLES = ("flakes", "amorphous", "gold")
FIRST_SETTINGS = {
    "C10": 0.0,
    "C12.a": 0.0,
    "C12.b": 0.0,
    "BeamCurrent": 200e-12,
    "EELS_MagneticShift_Offset": -20.0,
    "C_Blank": 1.0,
}
"""What the simulated column starts with, in its own units; blanked."""
DRIFT = "_ValueManager__drift_controller"
"""Where usim keeps what images and spectra alike take the sample's drift from; its own always says zero."""
START_S = 60.0
"""Longest time the simulated stack may take to start."""
REMEDY = "pip install 'autoscope[nion]' (GPL-3.0), or choose another instrument"

_lock = threading.Lock()
_started: Any = None
"""The simulated stack is one per process: nionswift keeps its hardware in process-wide registries."""


@dataclass(frozen=True)
class Column:
    """Handles of one Nion column; everything in them is the vendor's."""

    controller: Any
    scan: Any
    cameras: dict[str, Any]
    geometry: Any
    """The module with ``FloatPoint`` and ``IntSize``."""
    data_channel: Any
    """The class that gathers what an acquisition delivers."""
    simulated: bool


def connect(config: NionConfig) -> Column:
    """Return the column that a configuration names, started if it is a simulated one.

    Raises
    ------
    PluginError
        nionswift is not installed.
    InstrumentError
        The stack did not start.
    ConfigError
        There is no controller or hardware source of that name; those that there are, are told.
    """
    sources = _package("nion.instrumentation.HardwareSource")
    wanted, manager = config.connection, sources.HardwareSourceManager()
    return Column(
        controller=_usim(wanted) if isinstance(wanted, UsimConfig) else _attached(wanted),
        scan=_source(manager, config.scan.source, "scan.source"),
        cameras={c.name: _source(manager, c.source, f"cameras.{c.name}.source") for c in config.cameras},
        geometry=_package("nion.utils.Geometry"),
        data_channel=_package("nion.instrumentation.Acquisition").DataAndMetadataDataChannel,
        simulated=isinstance(wanted, UsimConfig),
    )


def _package(module: str) -> Any:
    return vendor_package(module, driver="nion", remedy=REMEDY)


def _source(manager: Any, name: str, where: str) -> Any:
    found = manager.get_hardware_source_for_hardware_source_id(name)
    if found is None:
        known = ", ".join(source.hardware_source_id for source in manager.hardware_sources)
        raise ConfigError("no hardware source of this name", where=where, value=name, limit=known or "none")
    return found


def _attached(config: AttachConfig) -> Any:
    registry = _package("nion.utils.Registry")
    controllers = list(registry.get_components_by_type("stem_controller"))
    for controller in controllers:
        if controller.instrument_id == config.controller:
            return controller
    raise ConfigError(
        "no STEM controller of this name is registered in this process",
        where="connection.controller",
        value=config.controller,
        limit=", ".join(c.instrument_id for c in controllers) or "none",
        remedy="Start 'autoscope serve' inside Nion Swift's own Python, after its instrument plug-ins are loaded",
    )


def _usim(config: UsimConfig) -> Any:
    """Return the controller of the simulated stack, at its first settings."""
    global _started
    with _lock:
        if _started is None:
            _started = _Usim()
        _started.begin(config)
        return _started.setup.instrument


class _Usim:
    """The stack of nionswift-usim, alive as long as the process."""

    def __init__(self) -> None:
        self._made: list[Any] = []
        self._error: BaseException | None = None
        # its acquisition threads inherit being daemons from this one; otherwise no process with usim would ever end
        thread = threading.Thread(target=self._start, name="nion-start", daemon=True)
        thread.start()
        thread.join(START_S)
        if not self._made:
            raise InstrumentError(
                "nionswift-usim did not start", value=repr(self._error), limit=f"{START_S} s", remedy=REMEDY
            ) from self._error
        self.setup: Any = self._made[0]
        self._original: Any = self.setup.instrument.scan_data_generator.generate_scan_data

    def _start(self) -> None:
        try:
            self._loop = asyncio.new_event_loop()
            atexit.register(self._loop.close)
            asyncio.set_event_loop(self._loop)  # its hardware sources ask for one when they are made; it need not run
            logging.getLogger("acquisition").setLevel(logging.ERROR)
            folder = Path(tempfile.mkdtemp(prefix="autoscope-usim-"))
            _package("nion.instrumentation.HardwareSource").run()
            _package("nion.instrumentation.DriftTracker").run()
            _package("nion.instrumentation.camera_base").run(folder)
            _package("nion.instrumentation.scan_base").run(folder)
            devices = _package("nion.usim_device.DeviceConfiguration")
            # with a configuration location it would delete ./test_data
            setup = devices.AcquisitionContextConfiguration(set_configuration_location=False)
            setup.run()
            self._made.append(setup)
        except BaseException as error:  # told to the thread that waits
            self._error = error

    def begin(self, config: UsimConfig) -> None:
        """Load the sample and bring all settings back to those of a fresh start."""
        controller, geometry = self.setup.instrument, _package("nion.utils.Geometry")
        generator = controller.scan_data_generator
        generator.sample_index = SAMPLES.index(config.sample)
        controller.SetVal2D("stage_position_m", geometry.FloatPoint())
        for control, value in FIRST_SETTINGS.items():
            controller.SetVal(control, value)
        physics = Physics(generator, config.hidden_defocus_m, config.drift_m_per_s) if config.physics else None
        generator.generate_scan_data = physics.image if physics else self._original
        drift = Drift(config.drift_m_per_s, geometry.FloatPoint)
        setattr(controller.value_manager, DRIFT, drift)
