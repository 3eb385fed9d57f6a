"""Long runs for the dashboard's figures: valid journals, written in one transaction instead of step by step."""

from __future__ import annotations

import copy
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np

from autoscope.journal import JournalReader
from autoscope.journal.chain import Row, canonical, link, pack
from autoscope.journal.layout import DATABASE, INSERT
from tests.unit.dashboard.lab import FOV_M, Lab

CANDIDATES = 40_000


def long_run(folder: Path, steps: int) -> Path:
    """Write a run of so many steps, every record chained as the engine chains them, and return its folder."""
    lab = Lab(folder, candidates=CANDIDATES, spectra=False).start().overview().measure(2)
    lab.journal.close()
    *_, intent, outcome = JournalReader.open(folder).records()
    last = Row(*outcome.__dict__.values())._replace(body=canonical(outcome.body))
    rng = np.random.default_rng(1)
    with closing(sqlite3.connect(folder / DATABASE)) as connection, connection:
        for step in range(lab.step, steps):
            time_s = outcome.time_s + 0.12 * (step - lab.step)
            for kind, body in (("intent", intent.body), ("outcome", outcome.body)):
                made = _varied(body, kind, step, rng)
                last = link(last, kind, made, step=step, time_s=time_s, wall=outcome.wall, is_plain=True)
                connection.execute(INSERT, last._replace(body=pack(last.body)))
    return folder


def _varied(body: dict, kind: str, step: int, rng: np.random.Generator) -> dict:
    made = copy.copy(body)
    made["act_id"] = f"particles-0badcafe-{step:06d}"
    if kind == "intent":
        place = dict(zip(("x_m", "y_m"), rng.uniform(-FOV_M / 2, FOV_M / 2, 2).tolist()))
        made["decision"] = body["decision"] | {"action": body["decision"]["action"] | place}
    else:
        made["values"] = [body["values"][0] | {"value": float(rng.normal(1e4, 3e3))}]
        made["state"] = body["state"] | {"dose_e": 1.56e7 * step}
    return made


def verified(folder: Path) -> int:
    """Return how many records of a run are in its chain; raises where one is not."""
    return sum(1 for _ in JournalReader.open(folder).records())


if __name__ == "__main__":
    import sys

    print(json.dumps({"records": verified(long_run(Path(sys.argv[1]), int(sys.argv[2])))}))
