"""A stored image with a scalar map, as an instrument without physics."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest

from autoscope.chance import stream
from autoscope.records import (
    Axis,
    Budget,
    Capabilities,
    Decision,
    Fault,
    Finish,
    Frame,
    FrameMeta,
    Measure,
    MicroscopeState,
    Outcome,
    Result,
    Scalar,
    Scan,
    SpectrumSignal,
    View,
)

STATE = MicroscopeState(time_s=0.0, beam_current_a=1e-10)
CHANNELS = Axis(name="energy", unit="eV", size=4)


def frame(scan, image):
    axes = (Axis(name="y", unit="m", size=image.shape[0]), Axis(name="x", unit="m", size=image.shape[1]))
    meta = FrameMeta(signal="HAADF", axes=axes, time_s=0.0, dwell_s=scan.dwell_s, x_m=0.0, y_m=0.0)
    return Frame(meta, image.copy())


@dataclass
class World:
    """Answers decisions from an image (h, w) and a map of the target (h, w)."""

    image: np.ndarray
    target: np.ndarray
    native: bool = True
    std: float = 0.01
    failing: set = field(default_factory=set)
    told: list = field(default_factory=list)

    @property
    def scan(self):
        h, w = self.image.shape
        return Scan(fov_m=w * 1e-9, width_px=w, height_px=h, dwell_s=1e-6, centre_x_m=3e-9, centre_y_m=-7e-9)

    @property
    def capabilities(self):
        signals = (SpectrumSignal(name="EELS", axis=CHANNELS), SpectrumSignal(name="EDS", axis=CHANNELS))
        return Capabilities(
            instrument="stored",
            serial="1",
            simulated=True,
            voltage_v=2e5,
            actions=("scan", "measure"),
            detectors=("HAADF",),
            signals=signals,
            native_scan=self.scan if self.native else None,
        )

    def view(self, pending=(), **budget):
        step = len(self.told)
        view = View(step=step, time_s=0.0, budget=Budget(**budget), state=STATE, capabilities=self.capabilities)
        return view.replace(pending=tuple(pending))

    def pixel(self, action):
        scan, (h, w) = self.scan, self.image.shape
        j = np.floor(((action.x_m - scan.centre_x_m) / scan.fov_m + 0.5) * w)
        i = np.floor(((action.y_m - scan.centre_y_m) / (scan.fov_m * h / w) + 0.5) * h)
        return int(i) * w + int(j)

    def result(self, action, status="done", values=(), frames=()):
        fault = None if status == "done" else Fault(error="FrameRejected", message="planted")
        outcome = Outcome(act_id="a", status=status, state_before=STATE, state=STATE, values=values, fault=fault)
        return Result(outcome, frames)

    def do(self, decision):
        action = decision.action
        if isinstance(action, Scan):
            return self.result(action, frames=(frame(action, self.image),))
        pixel = self.pixel(action)
        if pixel in self.failing:
            return self.result(action, "rejected")
        value = float(self.target.ravel()[pixel])
        scalar = Scalar(name="brightness", value=value, std=self.std, unit="counts", scalarizer="planted/1/0")
        return self.result(action, values=(scalar,))

    def run(self, policy, steps, **budget):
        """Drive a policy for some steps; return its decisions (and its Finish)."""
        decisions = []
        for _ in range(steps):
            decision = policy.ask(self.view(**budget))
            decisions.append(decision)
            if isinstance(decision, Finish):
                break
            result = self.do(decision)
            policy.tell(decision, result)
            self.told.append((decision, result))
        return decisions

    def measured(self):
        return [self.pixel(d.action) for d, _ in self.told if isinstance(d.action, Measure)]


def blobs(height=18, width=22, seed=0):
    """Return an image of blobs and a target that follows it, with one place far above the rest."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = 0.02 * rng.normal(size=(height, width))
    for _ in range(8):
        cy, cx, r = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(1.0, 2.5)
        image += np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * r * r))
    return image, image**2 + 0.1 * x / width


@pytest.fixture
def world():
    return World(*blobs())


@pytest.fixture
def make_world():
    return lambda **changes: World(*blobs(), **changes)


@pytest.fixture
def make():
    """Return a maker of policies: class, seed, settings."""
    return lambda cls, seed=1, **settings: cls(
        cls.Config(**({"target": "brightness"} | settings)), rng=stream(seed, "policy")
    )


@pytest.fixture
def through_json():
    return lambda state: json.loads(json.dumps(state, allow_nan=False))


@pytest.fixture
def same():
    """Compare decisions without their floats being rounded."""

    def compare(a, b):
        assert type(a) is type(b)
        assert a.model_dump() == b.model_dump() if isinstance(a, Decision | Finish) else a == b

    return compare
