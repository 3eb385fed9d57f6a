"""Ways to a column: the twin in this process, or the SOAP service; both by property name and in vendor units."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from autoscope.errors import InstrumentError, OutcomeUnknown, Unreachable
from autoscope.protocols import Clock
from environments.instruments.detwin.config import DetwinConfig, ServerConfig
from environments.instruments.driving import vendor_package

REMEDY = "pip install 'autoscope[detwin]'"


class Column(Protocol):
    """Properties of a column by DE-TEM-Channel name, in its units."""

    def get(self, name: str) -> Any:
        """Return the value of a property."""

    def set(self, name: str, value: Any) -> None:
        """Set a property; returns when it is accepted, not when a stage has arrived."""

    def moving(self) -> bool:
        """Return whether the stage is under way."""

    def stop(self) -> None:
        """Blank the beam and stop the stage, whatever else is under way."""

    def has_corrector(self) -> bool:
        """Return whether there is an aberration corrector."""

    def correct(self, name: str, value_m: complex, target_m: complex) -> None:
        """Have an aberration brought from a value to another; returns when it is accepted, not when it is done."""

    def correcting(self) -> bool:
        """Return whether the corrector is under way.

        Raises
        ------
        InstrumentError
            It has failed.
        """


RUNNING, FAILED, ABSENT = 1, 3, 6
"""States of the corrector's service."""


def _under_way(status: int, error: Callable[[], str]) -> bool:
    if status in {FAILED, ABSENT}:
        raise InstrumentError(f"the corrector has failed: {error() or 'it is not there'}", where="corrector")
    return status == RUNNING


class TwinClock:
    """Our clock as the twin expects one."""

    virtual = True
    time_scale = 1.0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self) -> float:
        """Return seconds."""
        return self._clock.now_s()

    def now(self) -> float:
        """Return seconds."""
        return self._clock.now_s()

    def sleep(self, duration_s: float) -> None:
        """Wait."""
        self._clock.wait(max(duration_s, 0.0))

    def sleep_until(self, time_s: float) -> None:
        """Wait until a time."""
        self.sleep(time_s - self.now())


class TwinConnection:
    """A twin of our own, on our clock.

    Raises
    ------
    PluginError
        The package de-twin is not installed.
    ConfigError
        (from the twin) no such specimen, camera or corrector.
    """

    def __init__(self, config: DetwinConfig, clock: Clock, seed: int) -> None:
        package = vendor_package("de_twin", driver="detwin", remedy=REMEDY)
        render = vendor_package("de_twin.render", driver="detwin", remedy=REMEDY)
        self.state_types = vendor_package("de_twin.state", driver="detwin", remedy=REMEDY)
        self._refused: type[Exception] = vendor_package(
            "de_twin.column.errors", driver="detwin", remedy=REMEDY
        ).ColumnRefused
        self.twin = package.DigitalTwin(
            config.specimen,
            camera=config.camera,
            corrector=None if config.corrector == "none" else config.corrector,
            seed=seed,
            clock=TwinClock(clock),
            render_config=render.RenderConfig(
                stem_model="coherent" if config.coherent else "kinematic", intensity_jitter=False
            ),
        )

    def get(self, name: str) -> Any:
        """Return the value of a property."""
        return self.twin.column.get(name)

    def set(self, name: str, value: Any) -> None:
        """Set a property."""
        try:
            self.twin.column.set(name, value)
        except self._refused as error:
            raise InstrumentError(f"the column refused: {error}", where=name, value=value) from error

    def moving(self) -> bool:
        """Return whether the stage is under way."""
        return bool(self.twin.column.busy)

    def has_corrector(self) -> bool:
        """Return whether the probe has a corrector."""
        return self.twin.column.corrector is not None

    def correct(self, name: str, value_m: complex, target_m: complex) -> None:
        """Have an aberration brought from a value to another."""
        accepted, why = self.twin.column.corrector.served.post_correct(name, value_m * 1e9, target_m * 1e9)
        if not accepted:
            raise InstrumentError(f"the corrector refused: {why}", where=name, value=target_m)

    def correcting(self) -> bool:
        """Return whether the corrector is under way."""
        unit = self.twin.column.corrector.served
        return _under_way(unit.status(), lambda: unit.last_error)

    def stop(self) -> None:
        """Blank the beam and stop the stage: the column has a lock of its own, which no rendering holds."""
        self.twin.column.set_beam_blank(True)
        self.twin.column.stop()


class SoapConnection:
    """A column behind DE-TEM-Channel or ``de-twin serve --soap``; every call is a connection of its own.

    Raises
    ------
    Unreachable
        Nobody answers.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._package = vendor_package("de_twin.column.soap", driver="detwin", remedy=REMEDY)
        self._where = f"{config.host}:{config.soap_port}"
        self._client = self._package.SoapTemChannelClient(config.host, config.soap_port, timeout=config.timeout_s)
        self._beside = self._package.SoapTemChannelClient(config.host, config.soap_port, timeout=config.timeout_s)
        self._lock = threading.Lock()
        self._place: Any = None
        self.get("InstrumentType")

    def get(self, name: str) -> Any:
        """Return the value of a property."""
        try:
            with self._lock:
                return self._client.get(name)
        except (self._package.SoapError, OSError, ValueError) as error:
            raise Unreachable(f"the column does not answer: {error}", where=f"{self._where} {name}") from error

    def set(self, name: str, value: Any) -> None:
        """Set a property."""
        try:
            with self._lock:
                accepted = self._client.set(name, dict(value) if isinstance(value, Mapping) else value)
        except (self._package.SoapError, OSError, ValueError) as error:
            raise OutcomeUnknown(
                f"the line broke while the column was told to set {name}: {error}",
                where=self._where,
                value=value,
                remedy="Read the instrument back",
            ) from error
        if not accepted:
            raise InstrumentError("the column refused", where=name, value=value)

    def moving(self) -> bool:
        """Return whether the stage is under way: the service says so, or it is elsewhere than when last asked."""
        place = self.get("StagePosition")
        changed, self._place = place != self._place, place
        try:
            with self._lock:
                running = self._client.operation_status(0) == self._package.OP_RUNNING
        except (self._package.SoapError, OSError, ValueError) as error:
            raise Unreachable(f"the column does not answer: {error}", where=self._where) from error
        return bool(running or changed)

    def has_corrector(self) -> bool:
        """Return whether the service says that there is a corrector."""
        return bool(self._asked("corrector", lambda: self._client.corrector_present()))

    def correct(self, name: str, value_m: complex, target_m: complex) -> None:
        """Have an aberration brought from a value to another."""
        value, target = (value_m.real, value_m.imag), (target_m.real, target_m.imag)
        try:
            with self._lock:
                accepted = self._client.corrector_correct(name, value, target)
        except (self._package.SoapError, OSError, ValueError) as error:
            raise OutcomeUnknown(
                f"the line broke while the corrector was told to correct {name}: {error}",
                where=self._where,
                value=target,
                remedy="Measure the aberrations again",
            ) from error
        if not accepted:
            raise InstrumentError("the corrector refused", where=name, value=target_m)

    def correcting(self) -> bool:
        """Return whether the corrector is under way."""
        status = self._asked("corrector", lambda: self._client.corrector_status())
        return _under_way(status, lambda: self._asked("corrector", lambda: self._client.corrector_error()))

    def _asked(self, what: str, ask: Callable[[], Any]) -> Any:
        try:
            with self._lock:
                return ask()
        except (self._package.SoapError, OSError, ValueError) as error:
            raise Unreachable(f"the column does not answer: {error}", where=f"{self._where} {what}") from error

    def stop(self) -> None:
        """Blank the beam and stop the stage, on a client that no act uses."""
        try:
            self._beside.set("BeamBlank", 1)
        finally:
            self._beside.stop()
