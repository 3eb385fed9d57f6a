"""A column that outlives its drivers, with a log of its own of what physically happened, and servers around it."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from autoscope.bus.client import BusInstrument
from autoscope.bus.driver import InLine
from autoscope.bus.ledger import Ledger
from autoscope.bus.service import Service
from autoscope.bus.serving import ServeConfig
from autoscope.clock import SimClock
from autoscope.records import (
    Axis,
    Blank,
    Capabilities,
    Frame,
    FrameMeta,
    Measure,
    MicroscopeState,
    MoveStage,
    Observation,
    Range,
    SpectrumSignal,
)
from autoscope.testing.transport import Crash, FaultyTransport, MemoryTransport

AXIS = Axis(name="energy", unit="eV", size=2)
SCOPE = Capabilities(
    instrument="a column",
    serial="C-1",
    simulated=False,
    voltage_v=2e5,
    actions=("move_stage", "measure", "blank", "wait"),
    detectors=("HAADF",),
    signals=(SpectrumSignal(name="EELS", axis=AXIS),),
    ranges={"x_m": Range(low=-1.0, high=1.0)},
    tolerances={"x_m": 1e-9},
)
SETTINGS = {"job": "serve", "name": "column", "instrument": {"name": "simulated"}}


@dataclass
class Column:
    """What physically is, and what physically happened: (act_id, kind) of every act begun, oldest first."""

    clock: SimClock
    x_m: float = 0.0
    dose_e: float = 0.0
    blanked: bool = True
    log: list = field(default_factory=list)
    crash: str = ""
    """Where the next act kills its server: ``before`` or ``after`` it is done."""
    takes_s: float = 0.5
    trouble: Exception | None = None
    on_act: object = None
    _counts: Counter = field(default_factory=Counter)
    stuck_m: float | None = None
    """Where the stage stops, wherever it is sent."""

    def times(self, act_id):
        return self._counts[act_id]

    def note(self, act_id, kind):
        self.log.append((act_id, kind))
        self._counts[act_id] += 1


class Head:
    """The driver software of a column: remembers nothing itself."""

    def __init__(self, column):
        self.column = column

    def describe(self):
        return SCOPE

    def state(self):
        column = self.column
        return MicroscopeState(
            time_s=column.clock.now_s(),
            x_m=column.x_m,
            dose_e=column.dose_e,
            blanked=column.blanked,
            beam_current_a=1e-12,
        )

    def execute(self, act):
        column, before = self.column, self.state()
        self._die("before")
        if column.trouble is not None:
            raise column.trouble
        column.note(act.act_id, act.action.kind)
        column.clock.wait(column.takes_s)
        if column.on_act is not None:
            column.on_act()
        frames = ()
        match act.action:
            case MoveStage():
                column.x_m = act.action.x_m if column.stuck_m is None else column.stuck_m
            case Blank():
                column.blanked = act.action.blanked
            case Measure():
                column.dose_e += act.action.dwell_s
                meta = FrameMeta(signal="EELS", axes=(AXIS,), time_s=0.0, dwell_s=1.0, x_m=0.0, y_m=0.0)
                # the number of the act, so that a reply that went to the wrong question shows
                frames = (Frame(meta, np.array([len(column.log), round(act.action.x_m * 1e9)], dtype=np.int64)),)
        self._die("after")
        return Observation(act.act_id, before, self.state(), frames)

    def make_safe(self):
        self.column.note("", "make_safe")
        self.column.blanked = True

    def _die(self, where):
        if self.column.crash == where:
            self.column.crash = ""
            raise Crash


class MortalLedger(Ledger):
    """A ledger whose server can die just before or after it is written."""

    crash = ""

    def accept(self, *args, **more):
        self._die("before accept")
        super().accept(*args, **more)
        self._die("after accept")

    def finish(self, *args, **more):
        self._die("before finish")
        super().finish(*args, **more)
        self._die("after finish")

    def _die(self, where):
        if self.crash == where:
            self.crash = ""
            raise Crash


def serve(column, folder, clock, settings=None, ledger=MortalLedger):
    """Return a server in this process around a column; its ledger lies in the folder."""
    config = ServeConfig.model_validate(SETTINGS | (settings or {}))
    service = Service(
        config,
        InLine(lambda: Head(column)),
        ledger(folder, clock=clock, durable=False),
        clock=clock,
        instrument_clock=Wall(column.clock),
    )
    service.opened = service.open()
    return service


class Link:
    """One agent, one network, one server that can die and come back."""

    def __init__(self, folder, clock=None, plan=None, settings=None):
        self.folder, self.settings = folder, settings
        self.clock = clock or SimClock()
        self.instrument_clock = self.clock
        self.column = Column(self.clock)
        self.memory = MemoryTransport(None, clock=self.clock)
        self.network = FaultyTransport(self.memory, self.clock, plan) if plan else self.memory
        self.services = []
        self.start()

    @property
    def service(self):
        return self.memory.service

    def start(self):
        """Start the server, which may be down."""
        if self.services:
            self.services[-1].ledger.close()
        service = serve(self.column, self.folder, self.clock, self.settings)
        self.services.append(service)
        self.memory.service = service

    def kill(self):
        """Kill the server."""
        self.memory.service = None

    def client(self, transport=None, **options):
        """Return a new agent's instrument."""
        config = BusInstrument.Config.model_validate({"who": "test"} | options)
        # the agent's clock is no SimClock to it: the column is a real one
        return BusInstrument(config, clock=Wall(self.clock), transport=transport or self.network, timer=self.clock)

    def close(self):
        self.services[-1].ledger.close()


class Wall:
    """The same clock, not known as a simulated one."""

    def __init__(self, clock):
        self.now_s, self.wall, self.wait = clock.now_s, clock.wall, clock.wait
