"""The dashboard's own bell, and the lines over its screen."""

from __future__ import annotations

import asyncio

from autoscope.attention.config import AttentionConfig
from autoscope.clock import SimClock
from autoscope.dashboard.heeding import Heeding
from tests.unit.dashboard.lab import Lab
from tests.unit.dashboard.looking import pressed, settled, watching


def test_the_bell_rings_once_for_what_is_new_and_not_when_muted(tmp_path):
    lab = Lab(tmp_path / "run").start().overview().measure(3)
    rung, clock = [], SimClock()
    heeding = Heeding(AttentionConfig(remind_after_s=0.0), clock)

    async def inside():
        async with watching(tmp_path / "run", heeding=heeding) as (app, pilot):
            app.bell = lambda: rung.append(1)
            await settled(app, pilot)
            assert not rung
            for _ in range(4):
                lab.fail()
            await settled(app, pilot)
            assert len(rung) == 1
            assert any("4 acts in a row" in note.message for note in app._notifications)
            lab.measure(1)
            clock.wait(60.0)
            await settled(app, pilot)
            await pressed(app, pilot, "M")
            clock.wait(60.0)
            for _ in range(4):
                lab.fail()
            await settled(app, pilot)
            return [note.message for note in app._notifications]

    told = asyncio.run(inside())
    lab.journal.close()
    assert len(rung) == 1
    assert "the bell is silent" in told
    assert sum(line.startswith("TROUBLE") for line in told) == 2
    assert sum(line.startswith("all is well again") for line in told) == 1
