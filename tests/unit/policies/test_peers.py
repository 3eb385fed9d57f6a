"""Other people's decision rules keep our promises, and workers of foreign interpreters fail loudly."""

import os
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from autoscope.errors import ModelError, PluginError
from autoscope.records import Measure
from policies.peers.botorch_gp import BoTorchPolicy
from policies.peers.gpytorch_dkl import GPyTorchDKLPolicy
from policies.peers.inputs import components, patches, places
from policies.peers.isolated import AtomAIPolicy, GPCamPolicy, ViDKLPolicy
from policies.peers.peer import Judgement, PeerPolicy
from policies.peers.process import WORKERS, WorkerFailed, WorkerJudge
from policies.peers.proposals import FEATURES, PROPOSALS, Field, propose
from policies.random import RandomPolicy

FAST = {"gpytorch_dkl": {"iterations": 5}, "botorch": {}, "botorch_components": {"inputs": "components"}}
CLASSES = {"gpytorch_dkl": GPyTorchDKLPolicy, "botorch": BoTorchPolicy, "botorch_components": BoTorchPolicy}


@pytest.fixture(params=["botorch", "gpytorch_dkl", pytest.param("botorch_components", marks=pytest.mark.slow)])
def peer(request, make):
    return lambda seed=1, **settings: make(
        CLASSES[request.param], seed, **({"initial": 4, "patch_px": 3} | FAST[request.param] | settings)
    )


class Nearest:
    """A judge that wants the brightest neighbourhood: a model whose answers are known."""

    def __init__(self, inputs):
        self.inputs, self.calls = inputs, 0

    def judge(self, taken, values, stds, seed):
        self.calls += 1
        near = cdist(self.inputs, self.inputs[taken]).argmin(axis=1)
        return Judgement(values[near], values[near], np.full(len(near), 0.5))


class NearestPolicy(PeerPolicy):
    model, acquisition = "nearest", "value"

    def _make_judge(self):
        return Nearest(self._places)


def test_peers_open_by_chance_like_the_random_policy_and_then_judge(peer, make, make_world):
    world, other = make_world(), make_world()
    decisions = world.run(peer(), 6)
    other.run(make(RandomPolicy, 1), 5)
    assert world.measured()[:4] == other.measured()
    assert all(d.fit is None for d in decisions[:5])
    assert all(d.fit.rung == "ok" and d.predicted_std > 0 for d in decisions[5:])
    assert len(set(world.measured())) == 5


def test_peers_told_everything_again_decide_the_same(peer, make_world, through_json, same):
    world = make_world()
    first = peer()
    world.run(first, 6)
    again, restored = peer(), peer()
    for decision, result in world.told:
        again.tell(decision, result)
    restored.restore(through_json(first.state()))
    wanted = first.ask(world.view())
    same(again.ask(world.view()), wanted)
    same(restored.ask(world.view()), wanted)
    np.testing.assert_array_equal(again.estimate()[0], first.estimate()[0])


def test_global_chance_of_torch_is_left_as_it_was(peer, make_world):
    import torch

    before = torch.random.get_rng_state()
    make_world().run(peer(), 6)
    assert torch.equal(before, torch.random.get_rng_state())


def test_there_is_no_map_before_the_model(peer, make_world):
    policy = peer()
    make_world().run(policy, 3)
    with pytest.raises(ModelError, match="no model yet"):
        policy.estimate()


def test_the_best_open_score_is_measured_and_one_judgement_serves_decision_and_map(make, make_world):
    world, policy = make_world(), make(NearestPolicy, initial=3)
    world.run(policy, 4)
    scores = policy.estimate()[0]
    decision = policy.ask(world.view())
    chosen = world.pixel(decision.action)
    assert chosen not in world.measured()
    assert scores[chosen] == np.delete(scores, world.measured()).max()
    assert policy._judge.calls == 1
    pending = policy.ask(world.view(pending=(decision.action,)))
    assert pending.action != decision.action


def test_a_failing_library_is_replaced_by_chance_and_recorded(make, make_world, monkeypatch):
    def fail(self, taken, values, stds, seed):
        raise np.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr(Nearest, "judge", fail)
    world, policy = make_world(), make(NearestPolicy, initial=3)
    decision = world.run(policy, 6)[-1]
    assert isinstance(decision.action, Measure)
    assert decision.fit.rung == "failed"
    assert "LinAlgError" in decision.reason
    with pytest.raises(ModelError, match="not positive definite"):
        policy.estimate()


def test_scores_that_are_no_numbers_are_replaced_by_chance(make, make_world, monkeypatch):
    nan = np.full(18 * 22, np.nan)
    monkeypatch.setattr(Nearest, "judge", lambda *_: Judgement(nan, nan, nan))
    decision = make_world().run(make(NearestPolicy, initial=3), 6)[-1]
    assert decision.fit.rung == "failed"
    assert decision.predicted_mean is None


def test_patches_are_those_cut_out_by_hand():
    image = np.arange(30.0).reshape(5, 6)
    found = patches(image, np.array([2 * 6 + 3]), 3)
    assert found.reshape(3, 3) == pytest.approx(image[1:4, 2:5] / 29)
    assert patches(np.ones((3, 3)), np.arange(9), 3).tolist() == np.zeros((9, 9)).tolist()
    assert places((5, 6), np.array([17])).tolist() == [[0.5, 1.0]]


def test_components_are_scaled_to_the_unit_cube():
    found = components(np.random.default_rng(0).normal(size=(50, 20)), 4)
    assert found.shape == (50, 4)
    assert (found.min(axis=0), found.max(axis=0)) == (pytest.approx(np.zeros(4)), pytest.approx(np.ones(4)))
    assert not components(np.ones((5, 3)), 2).any()


def test_proposals_are_open_places_and_few_open_ones_leave_empty_features():
    rng = np.random.default_rng(0)
    field = Field(places((4, 5), np.arange(20)), rng.normal(size=(20, 9)))
    for taken in (np.arange(3), np.arange(17)):
        proposed, seen = propose(field, taken, rng.normal(size=len(taken)), np.random.default_rng(1))
        assert len(proposed) == min(PROPOSALS, 20 - len(taken))
        assert not set(proposed) & set(taken)
        assert len(seen) == PROPOSALS * FEATURES
        assert not seen.reshape(PROPOSALS, FEATURES)[len(proposed) :].any()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_trained_agent_beats_chance_on_fields_it_has_not_seen():
    from policies.peers.sb3_agent import SB3Judge, random_field, trained

    agent, gains = trained(20_480, 0), []
    for seed in range(20):
        field, truth = random_field(np.random.default_rng(1000 + seed))
        order = np.random.default_rng(seed).permutation(len(truth))
        judge, taken = SB3Judge(agent, field), list(order[:5])
        for n in range(5, 30):
            at = np.array(taken)
            taken.append(int(np.argmax(judge.judge(at, truth[at], np.zeros(n), n).scores)))
        gains.append(truth[taken].max() - truth[order[:30]].max())
    assert len(set(taken)) == 30
    assert np.mean(gains) > 0.05


# --- workers of other interpreters ------------------------------------------------------------------


@pytest.fixture
def worker(tmp_path):
    """Return a maker of judges whose worker does what a few lines say."""

    def make_worker(body, answer_s=60.0):
        script = tmp_path / "worker.py"
        script.write_text(f"import sys\nsys.path.insert(0, {str(WORKERS)!r})\n" + textwrap.dedent(body))
        return WorkerJudge(Path(sys.executable), str(script), np.eye(5), {"gain": 3.0}, answer_s)

    return make_worker


GOOD = """
import numpy as np
from wire import serve

class Sum:
    def __init__(self, inputs, settings):
        self.inputs, self.gain = inputs, settings["gain"]

    def judge(self, taken, values, stds, seed):
        print("libraries like to talk")
        if seed == 13:
            raise ArithmeticError("an unlucky number")
        scores = self.gain * self.inputs[:, taken] @ values
        return scores, scores + seed, np.ones(5)

if __name__ == "__main__":
    serve(Sum, ("numpy",))
"""
ASKED = (np.array([1, 3]), np.array([2.0, 4.0]), np.array([0.1, 0.1]))


def test_a_worker_answers_whatever_its_library_prints(worker):
    judge = worker(GOOD)
    for seed in (0, 7):
        found = judge.judge(*ASKED, seed)
        assert found.scores.tolist() == [0.0, 6.0, 0.0, 12.0, 0.0]
        assert found.mean.tolist() == [seed, 6.0 + seed, seed, 12.0 + seed, seed]
    assert judge.versions == {"numpy": np.__version__}


def test_a_failing_judgement_leaves_the_worker_alive(worker):
    judge = worker(GOOD)
    with pytest.raises(WorkerFailed, match="ArithmeticError: an unlucky number"):
        judge.judge(*ASKED, 13)
    assert judge.judge(*ASKED, 0).scores[3] == 12.0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param("raise SystemExit('no such library')", "no such library", id="ends"),
        pytest.param("print('what is this'); sys.stdin.buffer.read()", "worker was lost", id="babbles"),
        pytest.param('print(\'{"what": "ready"\'); sys.stdin.buffer.read()', "worker was lost", id="half_a_message"),
    ],
)
def test_a_worker_that_is_lost_says_why(worker, body, said):
    with pytest.raises(PluginError, match=said):
        worker(body).judge(*ASKED, 0)


def test_a_worker_that_says_nothing_is_ended(worker):
    judge = worker("sys.stdin.buffer.read()", answer_s=0.2)
    with pytest.raises(PluginError, match=r"said nothing for 0\.2 s"):
        judge.judge(*ASKED, 0)
    assert judge._process.returncode is not None


def test_a_killed_worker_is_started_again(worker):
    judge = worker(GOOD)
    first = judge.judge(*ASKED, 0)
    judge._process.kill()
    judge._process.wait()
    assert judge.judge(*ASKED, 0).scores.tolist() == first.scores.tolist()


def test_a_worker_ends_with_its_judge(worker):
    judge = worker(GOOD)
    judge.judge(*ASKED, 0)
    process = judge._process
    del judge
    assert process.returncode is not None


@pytest.mark.parametrize("cls", [ViDKLPolicy, AtomAIPolicy, GPCamPolicy], ids=lambda cls: cls.environment)
def test_an_absent_interpreter_is_told_when_the_policy_is_made(make, cls, tmp_path):
    with pytest.raises(PluginError, match="make peers"):
        make(cls, python=str(tmp_path / "bin" / "python"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        pytest.param(ViDKLPolicy, {"steps": 50}, id="gpax"),
        pytest.param(AtomAIPolicy, {"cycles": 10}, id="atomai"),
        pytest.param(GPCamPolicy, {}, id="gpcam"),
    ],
)
def test_real_peers_judge_in_their_own_environments(make, make_world, cls, settings):
    variable = f"AUTOSCOPE_PEER_{cls.environment.upper()}_PYTHON"
    python = os.environ.get(variable, f".venv-peers/{cls.environment}/bin/python")
    if not Path(python).exists():
        pytest.skip(f"needs 'make peers' or {variable}")
    world = make_world()
    decisions = world.run(make(cls, initial=10, python=python, **settings), 13)
    assert [d.fit.rung for d in decisions[11:]] == ["ok", "ok"]
    assert all(d.predicted_std > 0 for d in decisions[11:])
