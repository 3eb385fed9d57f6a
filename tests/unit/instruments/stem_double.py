"""temscript's null microscope with what it lacks: STEM, a detector, and a specimen that moves with the stage."""

import contextlib
import math
import threading

import numpy as np
from temscript.null_microscope import NullMicroscope
from temscript.server import MicroscopeServer

FIELD_AT_1X_M = 0.1
FULL_PX = 1024
BLOBS = np.random.default_rng(7).uniform(-3e-6, 3e-6, (400, 2))
SIZES_M = np.random.default_rng(8).uniform(30e-9, 90e-9, 400)


class StemMicroscope(NullMicroscope):
    """A Talos of the mind. Its scan runs along +x of the stage, mirrored where ``mirrored``; faults on request."""

    def __init__(self, *, mirrored=False, rungs=()):
        super().__init__(wait_exposure=False)
        self.mirrored, self.rungs, self.calls, self.mode = mirrored, rungs, [], "STEM"
        self._stem_acq_param["binning"] = 1

    def is_stem_available(self):
        return True

    def get_stem_detectors(self):
        return {"HAADF": {"type": "STEM_DETECTOR", "binnings": [1, 2, 4, 8]}}

    def get_instrument_mode(self):
        return self.mode

    def set_stem_magnification(self, value):
        nearest = min(self.rungs, key=lambda rung: abs(rung - value)) if self.rungs else value
        super().set_stem_magnification(nearest)

    def set_stem_acquisition_param(self, param, ignore_errors=False):
        param = dict(param)
        self._stem_acq_param["binning"] = int(param.pop("binning", self._stem_acq_param["binning"]))
        param.pop("image_size", None)
        super().set_stem_acquisition_param(param, ignore_errors)

    def set_beam_blanked(self, mode):
        self.calls.append("blank" if mode else "unblank")
        super().set_beam_blanked(mode)

    def acquire(self, *names):
        self.calls.append("acquire")
        size = FULL_PX // self._stem_acq_param["binning"]
        threading.Event().wait(self._stem_acq_param["dwell_time(s)"] * size**2)
        return {name: self._image(size) for name in names}

    def _image(self, size):
        if self._beam_blanked:
            return np.zeros((size, size), np.int16)
        field_m = FIELD_AT_1X_M / self._stem_magnification
        u = ((np.arange(size) + 0.5) / size - 0.5) * field_m
        u, v = np.meshgrid(-u if self.mirrored else u, u)
        c, s = math.cos(self._stem_rotation), math.sin(self._stem_rotation)
        x = self._stage_pos["x"] + c * u - s * v
        y = self._stage_pos["y"] + s * u + c * v
        image = np.full((size, size), 20.0)
        blur_m = abs(self._probe_defocus) * 0.01
        for (bx, by), r in zip(BLOBS, SIZES_M):
            if math.hypot(bx - self._stage_pos["x"], by - self._stage_pos["y"]) < field_m + 1e-7:
                wide = math.hypot(r, blur_m)
                image += 400.0 * (r / wide) ** 2 * np.exp(-((x - bx) ** 2 + (y - by) ** 2) / (2 * wide**2))
        return image.astype(np.int16)


@contextlib.contextmanager
def served(microscope):
    """Serve a microscope by temscript's own server; yield its port."""
    server = MicroscopeServer(("127.0.0.1", 0), microscope_factory=lambda: microscope)
    server.RequestHandlerClass.log_message = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join(5.0)
        server.server_close()
