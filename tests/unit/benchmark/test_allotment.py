"""Who computes which cell: by simulated workers, whose cells take as long as we say."""

import heapq
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscope.benchmark.allotment import Allotment, Pace
from autoscope.benchmark.grid import Cell

TRUTH_S = {"microscope": 1.3, "map": 0.3, "small map": 0.05}
CAMPAIGN_S = {"random": 0.03, "sobol": 0.03, "gp": 0.28, "deep kernel": 1.0}


def cell(environment, policy, repetition):
    made = {"environment": environment, "scalarizers": {}, "seed": repetition, "policy": policy}
    return Cell(environment, policy, "60 measurements", repetition, "", made, {}, 60, 5, (), {})


def grid(repetitions, environments=tuple(TRUTH_S), policies=tuple(CAMPAIGN_S)):
    return [cell(e, p, k) for k in range(repetitions) for e in environments for p in policies]


def unit(one):
    return one.environment, one.repetition


@dataclass
class Workshop:
    """Workers that compute what an allotment hands out; the next to be finished is finished first."""

    allotment: Allotment
    pace: Pace
    workers: list[str]
    queues: dict = field(default_factory=dict)
    known: set = field(default_factory=set)
    log: list = field(default_factory=list)
    now_s: float = 0.0
    truths_s: float = 0.0
    _due: list = field(default_factory=list)

    def work(self, until=None):
        self._hand_out()
        while self._due and (until is None or len(self.log) < until):
            self.now_s, worker, truth_s, own_s = heapq.heappop(self._due)
            if worker in self.workers:
                self._finish(worker, self.queues[worker].pop(0), truth_s, own_s)
        return self.now_s

    def lose(self, worker):
        """Let a worker vanish with all it had."""
        self.workers.remove(worker)
        had = self.queues.pop(worker, [])
        stranded = self.allotment.stranded(dict.fromkeys(self.workers, 1))
        assert [c.key for c in stranded] == [c.key for c in had]
        for one in stranded:
            self.allotment.again(one)

    def _finish(self, worker, done, truth_s, own_s):
        self.allotment.finished(done)
        self.pace.learn(done, truth_s, own_s)
        self.log.append((worker, done))
        if self.queues[worker]:
            self._begin(worker)
        self._hand_out()

    def _hand_out(self):
        for worker, one in self.allotment.hand_out(dict.fromkeys(self.workers, 1)):
            self.queues.setdefault(worker, []).append(one)
            if len(self.queues[worker]) == 1:
                self._begin(worker)

    def _begin(self, worker):
        one = self.queues[worker][0]
        truth_s = 1e-4 if (worker, unit(one)) in self.known else TRUTH_S[one.environment]
        self.known.add((worker, unit(one)))
        self.truths_s += truth_s
        own_s = CAMPAIGN_S[one.policy]
        heapq.heappush(self._due, (self.now_s + truth_s + own_s, worker, truth_s, own_s))


def workshop(cells, workers):
    return Workshop(Allotment(cells, pace := Pace()), pace, [f"w{k}" for k in range(workers)])


def all_at_once_s(cells):
    """Return what one worker needs, who makes each truth once."""
    return sum(CAMPAIGN_S[c.policy] for c in cells) + sum(TRUTH_S[e] for e, _ in {unit(c) for c in cells})


@pytest.mark.parametrize(("workers", "least"), [(2, 1.97), (4, 3.6), (8, 6.0)])
def test_workers_share_a_grid_almost_without_loss(workers, least):
    cells = grid(12)
    assert all_at_once_s(cells) / workshop(cells, workers).work() > least


def test_each_truth_is_made_once_while_there_are_whole_units():
    shop = workshop(cells := grid(12), 2)
    shop.work(until=len(cells) - 2 * len(CAMPAIGN_S))
    places = {(worker, unit(c)) for worker, c in shop.log}
    assert len(places) == len({place for _, place in places})


def test_long_units_come_before_short_ones_once_it_is_known_which_they_are():
    shop = workshop(grid(10), 2)
    shop.work()
    first_of = list(dict.fromkeys(unit(c) for _, c in shop.log if c.repetition > 2))
    assert [environment for environment, _ in first_of[:7]] == ["microscope"] * 7


def test_a_single_unit_of_long_campaigns_is_shared_by_all():
    cells = [cell("map", policy, 0) for policy in ("deep kernel", "gp", "random", "sobol")]
    shop = workshop(cells, 2)
    assert shop.work() < all_at_once_s(cells)
    assert len({worker for worker, _ in shop.log}) == 2


def test_nobody_joins_a_unit_for_what_would_take_longer_than_waiting():
    shop = workshop(grid(1, ("microscope",), ("random", "sobol")), 2)
    for one in grid(1, ("microscope",), ("random", "sobol")):
        shop.pace.learn(one, TRUTH_S["microscope"], CAMPAIGN_S[one.policy])
    shop.work()
    assert len({worker for worker, _ in shop.log}) == 1


def test_threads_of_a_worker_each_have_a_cell_of_the_same_unit():
    handed = list(Allotment(grid(3), Pace()).hand_out({"w0": 2, "w1": 1}))
    assert sorted(worker for worker, _ in handed) == ["w0"] * 3 + ["w1"] * 2  # one more waits at each
    assert len({unit(c) for worker, c in handed if worker == "w0"}) == 1


def test_nothing_is_handed_out_where_nobody_is():
    allotment = Allotment(grid(1), Pace())
    assert list(allotment.hand_out({})) == []
    assert allotment


@given(
    repetitions=st.integers(1, 4),
    workers=st.integers(1, 6),
    lost=st.integers(0, 3),
    after=st.integers(0, 30),
    rest=st.lists(st.integers(0, 47), max_size=12),
)
def test_every_cell_is_handed_out_once_whoever_is_lost(repetitions, workers, lost, after, rest):
    cells = [c for k, c in enumerate(grid(repetitions)) if k not in rest]  # a grid of which some is kept
    shop = workshop(cells, workers)
    shop.work(until=after)
    for worker in shop.workers[:lost]:
        shop.lose(worker)
    shop.workers.append("late")  # there may have been nobody for a while
    shop.work()
    assert sorted(c.key for _, c in shop.log) == sorted(c.key for c in cells)
    assert not shop.allotment
