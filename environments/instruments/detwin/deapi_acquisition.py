"""Images and patterns over a DE-Server (deapi): virtual detectors are masks that the server sums as frames arrive."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.delivery import NoSink
from autoscope.errors import InstrumentError, NotReached, Unreachable, Unsupported
from autoscope.protocols import Clock, FrameSink
from autoscope.records import Measure, Scan, SpectrumImage
from environments.instruments.detwin.config import Annulus, DetwinConfig, ServerConfig
from environments.instruments.detwin.connection import REMEDY
from environments.instruments.detwin.controller import ColumnController
from environments.instruments.detwin.geometry import Plan, binned, mask, plan
from environments.instruments.driving import vendor_package

Array = NDArray[Any]
FIRST_MASK = 1
"""Masks that a client may set are numbers 1 to 4."""
HEADER_BYTES = 1024
SMALLEST_GRID = 4
"""Points along a side of the smallest scan a DE-Server takes."""
POLL_S = 0.02
MOVIE_S = 0.5
"""Longest wait for the next frame before looking whether the scan is to be stopped."""
PATIENCE_S = 120.0
"""On top of twice the exposure: the server may have to take dark and gain references first."""


class DeapiAcquisition:
    """Scans of a DE-Server.

    The connection is made when first needed and made anew after it broke.

    Parameters
    ----------
    config, server
        Detectors, patterns, addresses.
    controller : ColumnController
        Sets the magnification a scan needs.
    fields_m : dict of float to float
        Field of each rung of the magnification ladder.
    clock : Clock
        Polls wait on it.
    """

    def __init__(
        self,
        config: DetwinConfig,
        server: ServerConfig,
        controller: ColumnController,
        fields_m: dict[float, float],
        clock: Clock,
    ) -> None:
        self._config, self._server, self._controller = config, server, controller
        self._fields_m, self._clock = fields_m, clock
        self._camera = vendor_package("de_twin.detector", driver="detwin", remedy=REMEDY).camera(config.camera)
        self._deapi = vendor_package("deapi", driver="detwin", remedy=REMEDY)
        logging.getLogger("DECameraClientLib").setLevel(logging.WARNING)
        self._client: Any = None
        self._lock = threading.Lock()

    def images(self, action: Scan, check_stop: Callable[[], None]) -> dict[str, Array]:
        """Return one image per virtual detector, (rows, columns) float32 in the camera's units."""
        shape, drawn = self._frame_shape(), plan(action, self._fields_m)
        masks = [mask(shape, self._frame_pixel_rad(), self._ring(name)) for name in action.detectors]
        with self._session() as client:
            for number, chosen in enumerate(masks, FIRST_MASK):
                client.set_virtual_mask(number, shape[1], shape[0], chosen.astype(np.uint8))
            end_s = self._begin(client, drawn, action.dwell_s, check_stop, movie=False)
            while client.acquiring:
                self._require_time(end_s, check_stop)
                self._clock.wait(POLL_S)
            return {
                name: self._result(client, f"virtual_image{number}", action)
                for number, name in enumerate(action.detectors, FIRST_MASK)
            }

    def cube(
        self, action: SpectrumImage, check_stop: Callable[[], None], sink: FrameSink
    ) -> tuple[Array, dict[str, Array]]:
        """Return patterns (rows, columns, ky, kx) and, summed from them, one image per virtual detector."""
        rings = {name: self._ring(name) for name in action.detectors}
        cube = self._patterns(action, check_stop, sink)
        side = self._config.pattern.side_px
        masks = {name: mask((side, side), self.pixel_rad(), ring) for name, ring in rings.items()}
        return cube, {name: cube[..., chosen].sum(axis=-1) for name, chosen in masks.items()}

    def patterns(self, action: SpectrumImage | Measure) -> Array:
        """Return the patterns of a scan (rows, columns, ky, kx), or of a point (1, 1, ky, kx)."""
        return self._patterns(action, lambda: None, NoSink())

    def pixel_rad(self) -> float:
        """Return the angle of one pixel of a binned pattern."""
        return self._frame_pixel_rad() * self._frame_shape()[0] / self._config.pattern.side_px

    def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            self._client.disconnect()
            self._client = None

    def _frame_shape(self) -> tuple[int, int]:
        rows, columns = (int(n) // self._bins() for n in self._camera.sensor_shape)
        return rows, columns

    def _frame_pixel_rad(self) -> float:
        return float(self._camera.pixel_um) * 1e-6 * self._bins() / self._config.camera_length_m

    def _bins(self) -> int:
        return math.gcd(2, int(self._camera.sensor_shape[0]) // self._config.pattern.side_px)

    def _ring(self, name: str) -> Annulus:
        ring, reach_rad = self._config.detectors[name], self._frame_shape()[0] // 2 * self._frame_pixel_rad()
        if ring.outer_rad > reach_rad * (1.0 + 1e-6):
            raise Unsupported(
                "this virtual detector reaches beyond the camera",
                where=f"detectors.{name}",
                value=ring.outer_rad,
                limit=f"{reach_rad:g} rad",
                remedy="Choose a shorter camera length or a smaller outer angle",
            )
        return ring

    def _patterns(self, action: SpectrumImage | Measure, check_stop: Callable[[], None], sink: FrameSink) -> Array:
        """Return patterns, each binned, kept and told of as soon as the server has it."""
        drawn, side = plan(action, self._fields_m), self._config.pattern.side_px
        point = drawn.size == (1, 1)  # the smallest grid, all of it at one place, shares the dwell time
        columns, rows = (SMALLEST_GRID, SMALLEST_GRID) if point else drawn.size
        dwell_s = action.dwell_s / (rows * columns) if point else action.dwell_s
        drawn = dataclasses.replace(drawn, size=(columns, rows))
        cube = np.empty((rows, columns, side, side), np.float32)
        sink.begin(self._config.pattern.name, cube)
        patterns, done = cube.reshape(-1, side, side), 0
        with self._session() as client:
            end_s = self._begin(client, drawn, dwell_s, check_stop, movie=True)
            while done < len(patterns):
                self._require_time(end_s, check_stop)
                frames = self._movie(client, self._frame_shape())[: len(patterns) - done]
                patterns[done : done + len(frames)] = binned(frames.astype(np.float32), side)
                done += len(frames)
                sink.advance(self._config.pattern.name, done)
        return patterns.sum(axis=0)[None, None] if point else cube

    def _movie(self, client: Any, shape: tuple[int, int]) -> Array:
        """Return the next frames (n, rows, columns), none where there is none yet."""
        room = HEADER_BYTES + 2 * shape[0] * shape[1]
        status, size, count, data = client.get_movie_buffer(None, room, 1, timeoutMsec=int(MOVIE_S * 1e3))
        if status == self._deapi.MovieBufferStatus.TIMEOUT:
            return np.empty((0, *shape), np.uint16)
        if status != self._deapi.MovieBufferStatus.OK or count < 1:
            raise InstrumentError(f"the camera server sent no more frames ({status}, {size} bytes)", where=self._where)
        return np.frombuffer(data, np.uint16, offset=HEADER_BYTES).reshape(count, *shape)

    def _begin(self, client: Any, drawn: Plan, dwell_s: float, check_stop: Callable[[], None], *, movie: bool) -> float:
        """Start a scan and return by when it must be over."""
        check_stop()
        self._controller.magnify(drawn.magnification)
        for name, value in _properties(drawn, dwell_s, self._bins()).items():
            _set(client, name, value)
        points = drawn.size[0] * drawn.size[1]
        end_s = self._clock.now_s() + 2.0 * points * dwell_s + PATIENCE_S + 0.1 * points
        client.start_acquisition(1, request_movie_buffer=movie)
        return end_s

    def _require_time(self, end_s: float, check_stop: Callable[[], None]) -> None:
        check_stop()
        if self._clock.now_s() > end_s:
            raise NotReached("the scan did not finish in time", where=self._where)

    def _result(self, client: Any, name: str, action: Scan) -> Array:
        image = np.asarray(client.get_result(name)[0], np.float32)
        if image.shape != (action.height_px, action.width_px):
            raise InstrumentError("the camera server sent an image of another size", where=name, value=image.shape)
        return image

    @contextlib.contextmanager
    def _session(self) -> Iterator[Any]:
        """Give the client to one exposure; after a failure the scan is stopped, and the next one connects anew."""
        with self._lock:
            client = self._connected()
            try:
                yield client
            except BaseException:
                self._client = None
                with contextlib.suppress(Exception):
                    client.stop_acquisition()
                with contextlib.suppress(Exception):
                    client.disconnect()
                raise

    @property
    def _where(self) -> str:
        return f"{self._server.host}:{self._server.deapi_port}"

    def _connected(self) -> Any:
        if self._client is None:
            client = self._deapi.Client()
            client.usingMmf = False
            try:
                client.connect(self._server.host, self._server.deapi_port)
            except OSError as error:
                raise Unreachable(f"the camera server does not answer: {error}", where=self._where) from error
            self._client = client
        return self._client


def _set(client: Any, name: str, value: str | float) -> None:
    """Set a property and read it back: the server keeps the old value of what it does not like, and only warns.

    Raises
    ------
    NotReached
        It took another value.
    """
    client[name] = value
    read = client[name]
    same = read == value if isinstance(value, str) else math.isclose(float(read), value, rel_tol=1e-4, abs_tol=1e-9)
    if not same:
        raise NotReached("the camera server took another value", where=name, value=read, limit=value)


def _properties(drawn: Plan, dwell_s: float, bins: int) -> dict[str, str | float]:
    """Return the properties of a scan by their DE-Server names, in its units (V, deg, 1/s)."""
    return {
        "Hardware Binning X": bins,
        "Hardware Binning Y": bins,
        "Frames Per Second": 1.0 / dwell_s,
        "Grabbing - Frames Per Buffer": 1,
        "Scan - Enable": "On",
        "Scan - Size X": drawn.size[0],
        "Scan - Size Y": drawn.size[1],
        "Scan - ROI Enable": "Off",
        "Scan - Camera Frames Per Point": 1,
        "Scan - Voltage H Min": drawn.voltage_h[0],
        "Scan - Voltage H Max": drawn.voltage_h[1],
        "Scan - Voltage V Min": drawn.voltage_v[0],
        "Scan - Voltage V Max": drawn.voltage_v[1],
        "Scan - Rotation": math.degrees(drawn.rotation_rad),
        "Scan - Flip Horizontally": "On",
        "Scan - Flip Vertically": "On",
    }
