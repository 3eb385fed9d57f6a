"""The calls that a campaign consists of, without the arena: what its overhead is measured against."""

from __future__ import annotations

from autoscope.benchmark import campaign as campaigns
from autoscope.benchmark.config import BenchEnvironment
from autoscope.benchmark.entrant import Entrant
from autoscope.benchmark.grid import Cell
from autoscope.engine.assemble import Job, assemble
from autoscope.guard.ranges import permitted
from autoscope.quantities import FROM_FILE
from autoscope.records import Act, Budget, Decision, Measure, Observation, Outcome, Result, Scalar, View
from autoscope.surrogates.threads import one_thread

Place = tuple[float, float]


def bare_campaign(cell: Cell) -> list[Place]:
    """Call environment, policy and scalarizers as the campaign of a cell does, in a plain loop; return the places.

    Nothing is guarded, checked, written down, counted or kept, and no act is expected to fail. What the calls take as
    arguments is made: a view of the instrument, and an outcome.
    """
    resolved = campaigns.resolved_of(cell)
    with one_thread():
        job = assemble(resolved)
        task = BenchEnvironment.model_validate(cell.task, context=FROM_FILE)
        policy = Entrant(job.policy, task.pool, cell.opening, resolved.config.seed)
        job.environment.reset(seed=resolved.config.seed, options={"bare": True})
        try:
            return _walked(cell, job, policy)
        finally:
            job.environment.make_safe()
            job.environment.close()


def _walked(cell: Cell, job: Job, policy: Entrant) -> list[Place]:
    environment, clock, config = job.environment, job.clock, job.config
    can = environment.describe()
    can = can.replace(ranges=permitted(config.limits, can))
    start_s, places, steps = clock.now_s(), list[Place](), config.budget.steps or 0
    for step in range(steps):
        state = environment.read_state()
        left = Budget(steps=steps - step)
        view = View(step=step, time_s=clock.now_s() - start_s, budget=left, state=state, capabilities=can)
        decision = policy.ask(view)
        if not isinstance(decision, Decision):
            break
        clock.wait(config.engine.decision_time_s)
        act = Act(act_id=f"{config.name}-{step:06d}", action=decision.action)
        *_, info = environment.step(act)
        seen: Observation = info["observation"]
        policy.tell(decision, _result(job, seen))
        if isinstance(decision.action, Measure):
            places.append((decision.action.x_m, decision.action.y_m))
            if len(places) in cell.maps_at or len(places) == cell.measurements:
                _ = job.policy.estimate() if hasattr(job.policy, "estimate") else None
            if len(places) == cell.measurements:
                break
    return places


def _result(job: Job, seen: Observation) -> Result:
    values: list[Scalar] = []
    for frame in seen.frames:
        values += [one.scalarize(frame, name) for name, one in job.scalarizers.items() if one.fits(frame)]
    outcome = Outcome(
        act_id=seen.act_id,
        status="done",
        state_before=seen.state_before,
        state=seen.state,
        dose_e=seen.dose_e,
        values=tuple(values),
    )
    return Result(outcome, seen.frames)
