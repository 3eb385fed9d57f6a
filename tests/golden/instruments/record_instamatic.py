"""Record a session with instamatic's own simulated JEOL: the golden file that the driver is held against.

AUTOSCOPE_INSTAMATIC_PYTHON=.venv-peers/instamatic/bin/python python -m tests.golden.instruments.record_instamatic
"""

import json
import tempfile
from pathlib import Path

from autoscope.clock import SimClock
from autoscope.records import Act, MoveStage, SetOptics
from environments.instruments.instamatic import connection
from tests.unit.instruments.instamatic_double import own_python, simulated_jeol
from tests.unit.instruments.ports import free_ports, wait_until_open
from tests.unit.instruments.test_instamatic import CALIBRATED, GOLDEN, made, session


def main():
    """Write every call and its answer, in order, of a session that begins from rest at the origin."""
    exchanges, exchange = [], connection._exchange

    def recording(line, message):
        answer = exchange(line, message)
        exchanges.append([json.loads(message), answer])
        return answer

    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as folder, simulated_jeol(own_python(), Path(folder), port) as server:
        wait_until_open(server, port)
        instrument = made(port, **CALIBRATED)
        home = MoveStage(x_m=12e-6, y_m=-2e-6, z_m=0.0, alpha_rad=0.0, beta_rad=0.0)
        instrument.execute(Act(act_id="home", action=home))
        instrument.execute(Act(act_id="focus", action=SetOptics(defocus_m=0.0, stigmator_a_m=0.0, stigmator_b_m=0.0)))
        connection._exchange = recording
        recorded = made(port, SimClock(), **CALIBRATED)
        recorded._clock = instrument._clock  # the stage takes real time; polls are thinned out below
        session(recorded)
    GOLDEN.write_text(json.dumps(_thinned(exchanges), indent=0).replace("\n", "").replace("],[{", "],\n[{") + "\n")


def _thinned(exchanges):
    """Return the exchanges with one answer of every run of polls that said the stage was still moving."""
    kept = []
    for call, answer in exchanges:
        moving = call["func_name"] == "isStageMoving" and answer == [200, True]
        if not (moving and kept and kept[-1][0] == call and kept[-1][1] == answer):
            kept.append([call, answer])
    return kept


if __name__ == "__main__":
    main()
