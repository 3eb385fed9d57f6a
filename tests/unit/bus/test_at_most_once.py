"""Whatever the network does and whenever the server dies: no act twice, no reply crossed, no false claim."""

import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from autoscope.bus.messages import Execute
from autoscope.errors import BusError, OutcomeUnknown, Unreachable
from autoscope.records import Act, Measure, MoveStage
from autoscope.testing.transport import Fate
from tests.fault.served import observed
from tests.unit.bus.column import Link

FATES = st.lists(st.sampled_from(Fate), max_size=12)
DEATHS = ("before", "after", "before accept", "after accept", "before finish", "after finish")
UNKNOWN, DONE, NEVER, OPEN = "unknown", "done", "never", "open"


class Wire(RuleBasedStateMachine):
    """One agent, one bad network, one mortal server, and the model: what may be said of each act."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.fates = []
        self.link = Link(Path(self.folder.name), plan=lambda: self.fates.pop(0) if self.fates else Fate.DELIVER)
        self.client = self.link.client()
        self.numbers = itertools.count(1)
        self.model = {}  # act_id -> what the agent was told
        self.last = None
        self.steps = 0

    # --- the reference model --------------------------------------------------------------------

    def told(self, act, answer):
        before = self.model.get(act.act_id, OPEN)
        if isinstance(answer, BaseException):
            new = UNKNOWN if isinstance(answer, OutcomeUnknown) else NEVER
        else:
            new = DONE
            assert answer.act_id == act.act_id
            if isinstance(act.action, Measure):
                assert answer.frames[0].data[1] == round(act.action.x_m * 1e9), "a reply to another question"
            else:
                assert answer.state.x_m == act.action.x_m
        if before == DONE and new == NEVER:
            return  # nothing was sent this time; what is done stays done
        assert before in {OPEN, UNKNOWN, new}, f"{act.act_id} was {before} and is now {new}"
        self.model[act.act_id] = new

    def _most(self):
        return max((self.link.column.times(act_id) for act_id in self.model), default=0)

    @invariant()
    def nothing_was_done_twice(self):
        self.steps += 1
        for act_id, word in self.model.items():
            times = self.link.column.times(act_id)
            assert times <= 1, f"{act_id} was done {times} times"
            assert word != DONE or times == 1, f"{act_id} is said to be done and was not"
            assert word != NEVER or times == 0, f"{act_id} is said never to have begun and was done"

    # --- what happens ---------------------------------------------------------------------------

    @rule(fates=FATES, measure=st.booleans())
    def act(self, fates, measure):
        number = next(self.numbers)
        place = number * 1e-6
        action = Measure(x_m=place, y_m=0.0, dwell_s=1.0) if measure else MoveStage(x_m=place)
        self._ask(Act(act_id=f"act-{number}", action=action, deadline_s=600.0), fates)

    @rule(fates=FATES)
    def act_again(self, fates):
        if self.last is not None:
            self._ask(self.last, fates)

    @rule(death=st.sampled_from(DEATHS), fates=FATES, measure=st.booleans(), comes_back=st.booleans())
    def act_and_die(self, death, fates, measure, comes_back):
        target = self.link.column if death in {"before", "after"} else self.link.service.ledger
        target.crash = death
        self.act(fates, measure)
        target.crash = ""
        if self.link.service is None and comes_back:
            self._ask(self.last, [])
        self._restart()

    @rule(back=st.integers(0, 30))
    def replay_a_recording(self, back):
        sent = self.link.network.sent
        if back < len(sent):
            self.link.network.replay(len(sent) - 1 - back)

    @rule()
    def kill_and_restart(self):
        self.link.kill()
        self._restart()

    @rule(seconds=st.sampled_from((0.5, 4.0, 30.0)))
    def freeze(self, seconds):
        self.link.clock.wait(seconds)
        self.link.service.tick()
        if seconds > 5.0:
            assert self.link.column.blanked

    @rule()
    def agent_dies_and_recalls(self):
        self.client = self.link.client()
        if self.last is None:
            return
        try:
            answer = self.client.recall(self.last.act_id)
        except BusError as error:
            answer = error
        if answer is not None:
            self.told(self.last, answer)
        elif self.model[self.last.act_id] == UNKNOWN:
            self.model[self.last.act_id] = OPEN

    def _ask(self, act, fates):
        self.fates[:], self.last = fates, act
        if self.model.setdefault(act.act_id, OPEN) == NEVER:
            self.model[act.act_id] = OPEN  # it may be begun, because it is asked for once more
        try:
            self.told(act, self.client.execute(act))
        except (OutcomeUnknown, Unreachable) as error:
            self.told(act, error)
        self.fates.clear()

    def _restart(self):
        if self.link.service is None:
            self.link.start()

    def teardown(self):
        faults = "F3, F5, F6, F7, F8, F9, F17, I1"
        observed(faults, "most often one act was done, in the state machine", self._most(), "times", self.steps)
        self.link.close()
        self.folder.cleanup()


MODEST = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def test_no_act_twice_and_no_reply_crossed_whatever_the_network_and_the_server_do():
    run_state_machine_as_test(Wire, settings=MODEST)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(4))
def test_no_act_twice_and_no_reply_crossed_in_100_000_steps(part):
    """Four parts of some 26,000 steps (examples end early now and then), so that they may run side by side."""
    many = settings(MODEST, max_examples=140, stateful_step_count=200, derandomize=False, database=None)
    run_state_machine_as_test(Wire, settings=many)


def test_a_naive_client_that_asks_again_after_a_timeout_moves_more_than_once(tmp_path):
    """The negative control: the same network and server, but every attempt is a new act, as with any blind resend."""
    fates = []
    link = Link(tmp_path, plan=lambda: fates.pop(0) if fates else Fate.DELIVER)
    client = link.client()
    client._talk.hold()
    fates += [Fate.DELIVER, Fate.DROP, Fate.DROP] * 2  # requests arrive, answers do not
    for attempt in range(1, 4):
        act = Act(act_id=f"try-{attempt}", action=MoveStage(x_m=1e-7), lease=client._talk.keeper.lease)
        if client._acting.call(Execute(session=client._talk.welcome.session, seq=attempt, act=act), 1.0) is not None:
            break
    link.close()
    assert [kind for _, kind in link.column.log].count("move_stage") == 3


def test_the_same_network_moves_the_stage_once_for_our_client(tmp_path):
    fates = []
    link = Link(tmp_path, plan=lambda: fates.pop(0) if fates else Fate.DELIVER)
    client = link.client()
    client._talk.hold()
    fates += [Fate.DELIVER, Fate.DROP, Fate.DROP] * 2
    client.execute(Act(act_id="once", action=MoveStage(x_m=1e-7)))
    link.close()
    assert link.column.times("once") == 1
