"""The Gaussian-process policy beyond the exact model: take-over, other features, other devices."""

import numpy as np
import pytest
import torch

from autoscope.errors import ModelError
from autoscope.surrogates.device import TorchMemory
from autoscope.surrogates.encoder import Training
from autoscope.surrogates.inducing import InducingGaussianProcess
from policies.deep_kernel import DeepKernelPolicy
from policies.gp import GaussianProcessPolicy, inducing_points

GROWING = {"initial": 5, "patch_px": 5, "refit_every": 4, "measured_limit": 24}


def policies(make, **settings):
    return make(GaussianProcessPolicy, **(GROWING | settings))


@pytest.fixture
def brief_training(monkeypatch):
    monkeypatch.setattr("autoscope.surrogates.encoder.Training", lambda: Training(steps=2))


def test_the_run_goes_on_past_the_limit_and_still_knows_the_map(make, world):
    policy = policies(make)
    decisions = world.run(policy, 40)
    models = {d.fit.n: policy._committee._members["gp"]._active.name for d in decisions[-1:]}
    assert list(models.values()) == [InducingGaussianProcess.name]
    mean, _ = policy.estimate()
    assert np.corrcoef(mean, world.target.ravel())[0, 1] > 0.9


def test_restored_and_told_again_decide_alike_before_at_and_after_the_take_over(make, world, through_json, same):
    policy = policies(make)
    world.run(policy, 21)
    stages = set()
    for _ in range(14):
        decision = policy.ask(world.view())
        state = through_json(policy.state())
        restored, again = policies(make, seed=7), policies(make)
        restored.restore(state)
        for told in world.told:
            again.tell(*told)
        same(restored.ask(world.view()), decision)
        same(again.ask(world.view()), decision)
        assert through_json(restored.state()) == state == through_json(again.state())
        stages.add(state["model"]["learnt"]["members"]["gp"]["stage"])
        world.run(policy, 1)
    assert stages == {"exact", "inducing"}


def test_what_is_pending_is_respected_after_the_take_over(make, world):
    policy = policies(make)
    world.run(policy, 30)
    first = policy.ask(world.view())
    second = policy.ask(world.view([first.action]))
    assert world.pixel(first.action) != world.pixel(second.action)


def test_decisions_with_the_pool_on_a_device_are_those_without(make, make_world, monkeypatch):
    monkeypatch.setattr("autoscope.surrogates.device.has_gpu", lambda: True)
    monkeypatch.setattr("autoscope.surrogates.device.TorchMemory", lambda _: TorchMemory("cpu"))
    means = []
    for device in ("cpu", "auto"):
        world = make_world()
        reference = policies(make)
        world.run(reference, 29)
        policy = policies(make, device=device)
        for told in world.told:
            policy.tell(*told)
        means.append(policy.estimate())
    np.testing.assert_allclose(means[1], means[0], atol=1e-3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told_of_before_the_run(make):
    with pytest.raises(ModelError, match="CUDA"):
        policies(make, device="cuda")


@pytest.mark.parametrize("cls", [GaussianProcessPolicy, DeepKernelPolicy])
def test_what_an_encoder_learns_is_seen_by_the_model_and_the_same_after_a_restore(
    make, world, through_json, same, brief_training, cls
):
    settings = {"initial": 5, "patch_px": 5, "encoder_dimensions": 3, "rotation_invariant": True}
    if cls is DeepKernelPolicy:
        settings |= {"cold_steps": 5, "warm_steps": 2, "hidden": 8}
    policy = make(cls, **settings)
    world.run(policy, 8)
    table = policy._table
    assert len(table.encoder) == 3
    assert set(table.encoder) <= set(policy._columns(table))
    used = policy._committee._members["gp"].state()
    groups = (used.get("learnt") or used)["prior"]["groups"]
    assert set(table.encoder) <= {column for group in groups for column in group}
    restored = make(cls, seed=9, **settings)
    restored.restore(through_json(policy.state()))
    same(restored.ask(world.view()), policy.ask(world.view()))
    np.testing.assert_array_equal(restored._table.values, table.values)


@pytest.mark.parametrize(("invariant", "alike"), [(True, True), (False, False)])
def test_structures_turned_in_the_plane_look_alike_where_that_is_asked(make, world, invariant, alike):
    upright = np.random.default_rng(0).normal(size=(18, 18)).cumsum(axis=1)
    world.image = np.hstack([upright, np.rot90(upright)])
    world.target = world.image.copy()
    policy = make(GaussianProcessPolicy, rotation_invariant=invariant, patch_px=5)
    world.run(policy, 1)
    table = policy._table
    shown = table.values[:, list(table.components)].reshape(*world.image.shape, -1)
    inner = slice(3, 15)
    difference = np.abs(np.rot90(shown[:, :18]) - shown[:, 18:])[inner, inner].max()
    assert (difference < 1e-4) == alike


def test_smaller_pools_can_afford_more_inducing_points():
    counts = [inducing_points(m) for m in (10**6, 10**5, 50_000, 1000, 1)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (256, 512)


def deep(make, seed=1):
    return make(DeepKernelPolicy, seed, **(GROWING | {"cold_steps": 30, "warm_steps": 5}))


def test_a_deep_kernel_goes_on_past_its_limit_and_a_restored_one_decides_alike(make, world, through_json, same):
    policy, stages = deep(make), set()
    world.run(policy, 22)
    for _ in range(8):
        decision, state = policy.ask(world.view()), through_json(policy.state())
        restored, again = deep(make, seed=7), deep(make)
        restored.restore(state)
        for told in world.told:
            again.tell(*told)
        same(restored.ask(world.view()), decision)
        same(again.ask(world.view()), decision)
        stages.add(state["model"]["learnt"]["members"]["deep_kernel"]["stage"])
        world.run(policy, 2)
    assert stages == {"exact", "inducing"}
    mean, _ = policy.estimate()
    assert np.corrcoef(mean, world.target.ravel())[0, 1] > 0.9
