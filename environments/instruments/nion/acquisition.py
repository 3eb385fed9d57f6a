"""Images, spectra and spectrum images of a Nion column, and how they are stopped."""

from __future__ import annotations

import contextlib
import math
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import AutoscopeError, InstrumentError
from autoscope.protocols import FrameSink
from autoscope.records import Axis, Measure, Scan, SpectrumImage, SpectrumSignal
from environments.instruments.nion.config import CameraConfig, NionConfig
from environments.instruments.nion.connection import Column

Array = NDArray[Any]

POINT_FOV_M = 10e-9
"""Field whose middle the probe is parked in; the column places a probe in fractions of a field only."""
GRAB_S = 10.0
"""Time a camera may take for a frame, beyond three exposures."""
POLL_S = 0.02
"""How often an acquisition under way is asked whether it is to end."""
PIXEL_TOLERANCE = 0.01
"""Relative difference of pixel size from the one asked for that is still an image of the field asked for."""


class Acquisition:
    """The detectors of a column.

    Parameters
    ----------
    column : Column
        The vendor's handles.
    config : NionConfig
        Names of channels and cameras.
    stopped : callable
        Whether what is under way is to be ended.
    """

    def __init__(self, column: Column, config: NionConfig, stopped: Callable[[], bool]) -> None:
        self._column, self._config, self._stopped = column, config, stopped
        self._cameras = {camera.name: camera for camera in config.cameras}
        states = [column.scan.get_channel_state(i) for i in range(column.scan.channel_count)]
        self._channels = {state.name: index for index, state in enumerate(states)}

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the scan unit's channels."""
        return tuple(self._channels)

    def signal(self, camera: CameraConfig) -> SpectrumSignal:
        """Return what a camera records at a point, learnt from one frame of its shortest exposure."""
        frame = self._grab(camera, camera.exposure_range_s[0])
        axes = [
            Axis(name=name, unit=c.units or "px", size=size, offset=float(c.offset), scale=float(c.scale))
            for name, size, c in zip(_names(camera), frame.data.shape, frame.dimensional_calibrations)
        ]
        return SpectrumSignal(name=camera.name, axis=axes[-1], rows=axes[0] if len(axes) == 2 else None)

    def scan(self, action: Scan) -> tuple[Array, ...]:
        """Record an image (height, width) float32 per detector, in the order asked for."""
        parameters = self._parameters(action, action.detectors)
        found = self._ended(lambda: self._column.scan.record_immediate(parameters), action.kind)
        return self._images(action, found, action.detectors)

    def measure(self, action: Measure) -> tuple[Array, ...]:
        """Park the probe and record a spectrum (channel,) or pattern (row, column) per signal."""
        self.park(action.x_m, action.y_m)
        return tuple(
            np.ascontiguousarray(self._grab(self._cameras[name], action.dwell_s).data) for name in action.signals
        )

    def spectrum_image(self, action: SpectrumImage, sink: FrameSink) -> tuple[tuple[Array, ...], Array]:
        """Record images, and a data set (height, width, channel) or (height, width, row, column) of one signal.

        The sink is told of the data set as the stack delivers it, on the stack's own thread.
        """
        camera = self._cameras[action.signals[0]]
        source = self._column.cameras[camera.name]
        frame = source.get_current_frame_parameters()
        frame.exposure_ms, frame.binning = 1e3 * action.dwell_s, camera.binning
        frame.processing = "sum_project" if camera.kind == "spectrum" else None
        detectors = action.detectors or self._config.scan.channels[:1]
        parameters = self._parameters(action, detectors)
        parameters.scan_id = uuid.uuid4()
        self._set_context(action)
        causes: list[Exception] = []
        telling = _Telling(self._column.data_channel(), source.hardware_source_id, camera.name, sink)
        done = self._ended(
            lambda: self._column.scan.grab_synchronized(
                data_channel=telling.channel,
                scan_frame_parameters=parameters,
                camera=source,
                camera_frame_parameters=frame,
                error_handler=causes.append,  # or it prints them and says only that it failed
            ),
            action.kind,
            causes,
            telling,
        )
        scans, (data, *_) = done
        images = self._images(action, scans, detectors) if action.detectors else ()
        return images, np.ascontiguousarray(data.data)

    def park(self, x_m: float, y_m: float) -> None:
        """Park the probe at an offset from the optical axis."""
        parameters = self._column.scan.get_current_frame_parameters()
        self._place(parameters, POINT_FOV_M, (64, 64), (x_m, y_m), 0.0)
        self._column.scan.set_current_frame_parameters(parameters)
        self._column.controller.set_probe_position(self._column.geometry.FloatPoint(y=0.5, x=0.5))

    def _set_context(self, action: SpectrumImage) -> None:
        """Make the field of a synchronised scan the one that places of the probe are fractions of.

        The stack does so for an image only; spectra of usim would come from the field before. usim also adds the
        centre of the field twice, so for it the field is told without.
        """
        side = max(action.height_px, action.width_px)
        parameters = self._column.scan.get_current_frame_parameters()
        fov_m, centre_m = action.fov_m * side / action.width_px, (action.centre_x_m, action.centre_y_m)
        if self._column.simulated:
            centre_m = (0.0, 0.0)
        self._place(parameters, fov_m, (side, side), centre_m, action.rotation_rad)
        self._column.scan.set_current_frame_parameters(parameters)

    def stop(self) -> None:
        """End everything under way; each part is tried, whatever happens to the others."""
        scan = self._column.scan
        for end in (scan.abort_recording, scan.grab_synchronized_abort, scan.abort_playing):
            with contextlib.suppress(Exception):
                end()
        for camera in self._column.cameras.values():
            with contextlib.suppress(Exception):
                camera.abort_playing()

    def _grab(self, camera: CameraConfig, exposure_s: float) -> Any:
        """Return a frame whose exposure began after this call: the spectrum, or the whole pattern."""
        source = self._column.cameras[camera.name]
        parameters = source.get_current_frame_parameters()
        parameters.exposure_ms, parameters.binning, parameters.processing = 1e3 * exposure_s, camera.binning, None
        source.set_current_frame_parameters(parameters)

        def grab() -> Any:
            source.start_playing(frame_parameters=parameters)
            try:
                return source.grab_next_to_start(timeout=3.0 * exposure_s + GRAB_S)
            finally:
                source.stop_playing(sync_timeout=exposure_s + GRAB_S)

        frames = self._ended(grab, camera.name)
        frame = frames[-1] if frames else None  # a spectrometer's camera gives its frame and then the sum over it
        if frame is None:
            raise _nothing(camera.name)
        return frame

    def _ended(
        self,
        acquire: Callable[[], Any],
        where: str,
        causes: Sequence[Exception] = (),
        telling: _Telling | None = None,
    ) -> Any:
        """Return what an acquisition gives; ended, again and again until it is, when it is to be stopped.

        To stop it once is not enough: the stack forgets an abort that comes just before an acquisition begins.

        Raises
        ------
        InstrumentError
            The stack raised something, or gave nothing.
        AutoscopeError
            What the sink raised that was told: nobody wants the rest.
        """
        results: list[Any] = []
        errors: list[Exception] = []

        def run() -> None:
            try:
                results.append(acquire())
            except Exception as error:
                errors.append(error)

        worker = threading.Thread(target=run, name="nion-acquire", daemon=True)
        worker.start()
        while worker.is_alive():
            worker.join(POLL_S)
            if self._stopped() or (telling is not None and telling.unwanted):
                self.stop()
        if telling is not None and telling.unwanted:
            raise telling.unwanted
        if errors:
            cause = (*causes, errors[0])[0]
            raise InstrumentError(
                "the column failed while it recorded", where=where, value=repr(cause), remedy="Look at the column"
            ) from cause
        if not results or results[0] is None:
            raise _nothing(where)
        return results[0]

    def _parameters(self, action: Scan | SpectrumImage, detectors: Sequence[str]) -> Any:
        parameters = self._column.scan.get_current_frame_parameters()
        centre_m = (action.centre_x_m, action.centre_y_m)
        self._place(parameters, action.fov_m, (action.height_px, action.width_px), centre_m, action.rotation_rad)
        # for an image the dwell time of a pixel; in a synchronised scan the camera sets the pace
        parameters.pixel_time_us = 1e6 * action.dwell_s
        parameters.enabled_channel_indexes = sorted(self._channels[name] for name in detectors)
        return parameters

    def _place(
        self, parameters: Any, fov_m: float, shape: tuple[int, int], centre_m: tuple[float, float], rotation_rad: float
    ) -> None:
        """Set the field: a square one, or the middle strip of one (the stack means different things by the width of
        a field that is not square).
        """
        geometry, (height, width) = self._column.geometry, shape
        side = max(shape)
        parameters.fov_nm = 1e9 * fov_m * side / width
        parameters.pixel_size = geometry.IntSize(height=side, width=side)
        parameters.center_nm = geometry.FloatPoint(y=1e9 * centre_m[1], x=1e9 * centre_m[0])
        parameters.rotation_rad = rotation_rad
        strip = height != width
        parameters.subscan_pixel_size = geometry.IntSize(height=height, width=width) if strip else None
        parameters.subscan_fractional_size = (
            geometry.FloatSize(height=height / side, width=width / side) if strip else None
        )
        parameters.subscan_fractional_center = geometry.FloatPoint(y=0.5, x=0.5) if strip else None
        parameters.subscan_rotation = 0.0

    def _images(
        self, action: Scan | SpectrumImage, found: Sequence[Any], detectors: Sequence[str]
    ) -> tuple[Array, ...]:
        order = sorted(detectors, key=lambda name: self._channels[name])
        if len(found) != len(order) or any(image is None for image in found):
            raise _nothing(action.kind)
        images = dict(zip(order, found))
        pixel_nm = 1e9 * action.fov_m / action.width_px
        for name, image in images.items():
            seen_nm = [abs(float(c.scale)) for c in image.dimensional_calibrations[:2]]
            if image.data.shape != (action.height_px, action.width_px) or any(
                abs(seen / pixel_nm - 1.0) > PIXEL_TOLERANCE for seen in seen_nm
            ):
                raise InstrumentError(
                    "the scan unit recorded another field than asked",
                    where=name,
                    value=(image.data.shape, seen_nm),
                    limit=f"{(action.height_px, action.width_px)} pixels of {pixel_nm:g} nm",
                    remedy="Check the scan unit's calibration and its limits",
                )
        return tuple(np.ascontiguousarray(images[name].data) for name in detectors)


class _Telling:
    """What gathers the data of a synchronised scan, telling a sink of how much there is.

    Parameters
    ----------
    channel : DataAndMetadataDataChannel
        The stack's own, which copies what is delivered to its place in arrays of the whole scan.
    source, signal : str
        Of the camera whose data the sink is told of: name in the stack, and ours.
    """

    def __init__(self, channel: Any, source: str, signal: str, sink: FrameSink) -> None:
        self.channel = channel
        self.unwanted: AutoscopeError | None = None
        """Why the sink wants no more."""
        self._source, self._signal, self._sink = source, signal, sink
        self._begun = False
        self._keep: Callable[..., None] = channel.update_data
        channel.update_data = self._update

    def _update(self, channel: Any, data: Array, taken: Any, place: slice, metadata: Any) -> None:
        self._keep(channel, data, taken, place, metadata)
        if channel.segments[0] != self._source or self.unwanted is not None:
            return
        whole = self.channel.get_data(channel).data
        try:
            if not self._begun:
                self._begun = True
                self._sink.begin(self._signal, whole)
            self._sink.advance(self._signal, int(place.stop) // math.prod(whole.shape[2:]))
        except AutoscopeError as error:  # raised where the acquisition is waited for, not inside the stack
            self.unwanted = error


def _names(camera: CameraConfig) -> tuple[str, ...]:
    return ("energy",) if camera.kind == "spectrum" else ("row", "column")


def _nothing(where: str) -> InstrumentError:
    return InstrumentError("nothing was recorded: the acquisition was ended", where=where, remedy="Look why, ask anew")
