"""Checkpoints of a run: where its policy, and a simulated instrument, can begin again without being told everything.

At every checkpoint the living policy itself takes up the state that it has just given out. From there on its decisions
follow from that state alone, so a policy that takes it up later decides the same to the bit.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoscope.clock import SimClock
from autoscope.engine.acting import guarded
from autoscope.engine.asking import Evidence
from autoscope.engine.assemble import Job
from autoscope.journal import Readable, Recorder
from autoscope.journal.checkpoints import EVENT
from autoscope.journal.recorder import Keeping
from autoscope.protocols import Checkpointed, Policy, Reproducible, Restorable
from autoscope.provenance import differences, provenance

LEVEL = 1  # of zlib: most of it are numbers, and it is made while a beam may wait


@dataclass(frozen=True)
class Noted:
    """What the record tells of a checkpoint."""

    seq: int
    body: Mapping[str, Any]
    made_by: Mapping[str, Any]
    """The versions that were running."""

    @property
    def told(self) -> int:
        """Outcomes that the policy had been told."""
        return int(self.body.get("told", 0))


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read.

    Attributes
    ----------
    seq : int
        Number of the record that tells of it.
    evidence : Evidence
        What the policy had been told.
    policy : dict
        Its state.
    clock_s : float
        The clock of the run.
    environment : dict, optional
        The state of a simulated instrument, where it can be restored.
    """

    seq: int
    evidence: Evidence
    policy: dict[str, Any]
    clock_s: float
    environment: dict[str, Any] | None = None


def is_due(policy: Policy, told: int, every: int) -> bool:
    """Return whether a checkpoint belongs after so many outcomes."""
    return every > 0 and told % every == 0 and isinstance(policy, Checkpointed) and policy.checkpointed


def settle(policy: Policy) -> str:
    """Have a policy take up its own state, and return that state as text.

    Raises
    ------
    PluginError
        The policy raised, or its state is no plain data.
    """
    text = guarded("policy.state", lambda: json.dumps(policy.state(), separators=(",", ":")))
    guarded("policy.restore", lambda: policy.restore(json.loads(text)))
    return text


def digest(state: str) -> str:
    """Return the sha256 of a policy's state."""
    return hashlib.sha256(state.encode("utf-8")).hexdigest()


def make(job: Job, recorder: Recorder, evidence: Evidence) -> None:
    """Settle the policy, and keep its state and that of a simulated instrument where the recorder keeps such.

    Raises
    ------
    PluginError
        The policy raised.
    JournalError
        The disk failed.
    """
    state = settle(job.policy)
    body = {"event": EVENT, "told": evidence.told, "evidence_sha256": evidence.sha256, "policy_sha256": digest(state)}
    if not isinstance(recorder, Keeping):
        recorder.append("note", body)
        return
    clock_s, environment = job.clock.now_s(), json.dumps(_instrument(job), separators=(",", ":"))
    text = f'{{"clock_s":{clock_s!r},"environment":{environment},"policy":{state}}}'
    recorder.keep_checkpoint(body, zlib.compress(text.encode("utf-8"), LEVEL))


def _instrument(job: Job) -> Mapping[str, Any] | None:
    """Return the state of an instrument that can be restored; on a real clock its instants never come again."""
    environment = job.environment
    if not isinstance(job.clock, SimClock) or not isinstance(environment, Restorable):
        return None
    return environment.snapshot() if isinstance(environment, Reproducible) and environment.reproducible else None


def latest(job: Job, noted: list[Noted], told: int, journal: Readable) -> Checkpoint | None:
    """Return the newest checkpoint that fits: made by these versions, whole, and not beyond what is recorded."""
    if not (isinstance(job.policy, Checkpointed) and job.policy.checkpointed):
        return None
    now = provenance(job.plugins())
    for note in reversed(noted):
        if note.told > told or differences(dict(note.made_by), now):
            continue
        if (data := journal.load_checkpoint(note.body)) is not None:
            return _read(note, data)
    return None


def _read(note: Noted, data: bytes) -> Checkpoint:
    plain = json.loads(zlib.decompress(data))  # its hash is that of the record
    evidence = Evidence(note.told, str(note.body["evidence_sha256"]))
    return Checkpoint(note.seq, evidence, plain["policy"], float(plain["clock_s"]), plain["environment"])
