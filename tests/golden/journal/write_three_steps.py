"""Writes the run of three steps that is kept in ``layout_2``; ``python write_three_steps.py FOLDER``.

Kept runs must verify for ever; ``three_steps`` is one of layout 1. Another is written only when the layout gets a new
version, into a new folder.
"""

import sys
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from autoscope.clock import SimClock
from autoscope.exposure import Cost
from autoscope.journal import Journal
from autoscope.records import Axis, Decision, Frame, FrameMeta, Intervention, MicroscopeState, Outcome, Scalar, Scan

SCAN = Scan(fov_m=1e-7, width_px=4, height_px=3, dwell_s=1e-6)
CONFIG = "job: run\nname: three steps\n"


def frame(step, data=None):
    meta = FrameMeta(
        signal="HAADF",
        axes=(Axis(name="y", unit="m", size=3, scale=25e-9), Axis(name="x", unit="m", size=4, scale=25e-9)),
        time_s=float(step), dwell_s=1e-6, x_m=step * 1e-6, y_m=0.0,
    )  # fmt: skip
    values = np.arange(12, dtype=np.uint16).reshape(3, 4) + 100 * step
    return Frame(meta, values.astype(np.uint16) if data is None else data)


def decision(step):
    return Decision(
        action=SCAN, purpose="overview", reason=f"Step {step} of three, µm by µm", predicted_mean=0.1 * step
    )


def act(recorder, clock, step):
    """Intend, do, record: one step as an engine writes it."""
    act_id = f"act-{step}"
    recorder.append(
        "intent", {"act_id": act_id, "decision": decision(step), "cost": Cost(time_s=0.5, bytes=24)}, step=step
    )
    clock.wait(0.5)
    ref = recorder.write_frame(frame(step), step=step, index=0)
    before = MicroscopeState(time_s=float(step), dose_e=float(sum(range(step))))
    after = before.replace(dose_e=before.dose_e + step)
    value = Scalar(name="brightness", value=105.5 + step, std=0.1, unit="counts", scalarizer="mean/1/00000000")
    outcome = Outcome(
        act_id=act_id, status="done", state_before=before, state=after, dose_e=float(step),
        frames=(ref,), values=(value,), quality={"mean": 105.5},
    )  # fmt: skip
    recorder.append("outcome", outcome, step=step)


def begin(recorder):
    recorder.append("run_started", {"config": {"job": "run", "name": "three steps"}, "version": "0.1.0"})


def write(recorder, clock, steps=3):
    """Write a whole run to any recorder."""
    begin(recorder)
    for step in range(steps):
        act(recorder, clock, step)
    recorder.append("note", {"text": 'line\nbreak, "quotes", \\ and \u2028, \U0001d70e'})
    recorder.append(
        "intervention", Intervention(who="operator", when="2026-01-01T20:00:02Z", why="seen enough", command="stop")
    )
    recorder.append("run_ended", {"reason": "stopped"})


class Signer:
    """A key that everybody knows: Ed25519 of 32 bytes of the number one."""

    def __init__(self, seed=1):
        self._key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.public_key = self._key.public_key().public_bytes_raw().hex()

    def sign(self, message):
        return self._key.sign(message)


def write_folder(folder, steps=3, disk=None, signer=None):
    clock = SimClock()
    with Journal.create(folder, clock=clock, config=CONFIG, disk=disk, signer=signer) as journal:
        write(journal, clock, steps)
        return journal.head


if __name__ == "__main__":
    print(write_folder(Path(sys.argv[1]), signer=Signer()))
