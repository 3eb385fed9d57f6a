"""Makes the choices of a recorded run again, so that people and policies are judged alike in a benchmark."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from autoscope.config import ConfigModel
from autoscope.errors import AutoscopeError, ConfigError, DataError
from autoscope.journal import JournalReader
from autoscope.protocols import JsonValue
from autoscope.records import Decision, Finish, FrameRef, Measure, Result, Scan, View, Wait
from policies.field import unaffordable

PERSON = "person"


class RecordedConfig(ConfigModel):
    """Settings of a record that is played again."""

    runs: tuple[Path, ...] = Field(min_length=1)
    """Folders of runs. A benchmark gives one campaign to each, in their order; a run plays the first."""
    elsewhere: bool = False
    """Play it where the overview is not the recorded one too: on another specimen, or another draw of its noise."""
    digests: tuple[str, ...] = ()
    """sha256 of what was chosen in each; filled in where absent, and held against the record where given."""

    @model_validator(mode="after")
    def _identified(self) -> Self:
        """Note what each record says, so that a result is known by it."""
        try:
            found = tuple(Choices.of(run).sha256 for run in self.runs)
        except AutoscopeError as error:
            raise ValueError(f"cannot be played: {error}") from error
        if self.digests and self.digests != found:
            raise ValueError("the records are not those of the digests: they have changed since")
        object.__setattr__(self, "digests", found)
        return self

    def campaigns(self) -> tuple[RecordedConfig, ...]:
        """Return the settings of each campaign of a benchmark: a record can be played once, not with other chance."""
        return tuple(self.replace(runs=(run,), digests=(one,)) for run, one in zip(self.runs, self.digests))


class Choices:
    """What was chosen in a run, and done.

    Attributes
    ----------
    decisions : tuple of Decision
        In their order; waits, and acts that came to nothing, are left out.
    overview : FrameRef or None
        Of the first image.
    """

    def __init__(self, reader: JournalReader) -> None:
        done = {r.body.get("act_id"): r.body for r in reader.records("outcome") if r.body.get("status") == "done"}
        self.decisions: tuple[Decision, ...] = ()
        self.overview: FrameRef | None = None
        for record in reader.records("intent"):
            decision = Decision.model_validate_json(json.dumps(record.body["decision"]))
            outcome = done.get(record.body.get("act_id"))
            if outcome is None or isinstance(decision.action, Wait):
                continue
            if isinstance(decision.action, Scan) and self.overview is None and outcome["frames"]:
                self.overview = FrameRef.model_validate_json(json.dumps(outcome["frames"][0]))
            self.decisions += (decision,)

    @classmethod
    def of(cls, run: Path) -> Self:
        """Return the choices of a run's folder.

        Raises
        ------
        JournalError
            There is no run.
        DataError
            Nothing was measured in it.
        """
        choices = cls(JournalReader.open(run))
        if not any(isinstance(decision.action, Measure) for decision in choices.decisions):
            raise DataError("nothing was measured in this run", where=str(run))
        return choices

    @property
    def sha256(self) -> str:
        """The digest of all acts in their order."""
        acts = [decision.action.model_dump(mode="json") for decision in self.decisions]
        return hashlib.sha256(json.dumps(acts, sort_keys=True).encode()).hexdigest()


class RecordedPolicy:
    """Does what was done in a run, act after act, whatever comes of it, and then finishes.

    Raises
    ------
    ConfigError
        The record has changed since the configuration was resolved.
    JournalCorrupt
        The overview cannot be read.
    """

    Config: ClassVar[type[RecordedConfig]] = RecordedConfig
    checkpointed: ClassVar[bool] = True

    def __init__(self, config: RecordedConfig, *, rng: np.random.Generator) -> None:
        self.config, self._run = config, config.runs[0]
        choices = Choices.of(self._run)
        if choices.sha256 != config.digests[0]:
            raise ConfigError("the record has changed since", where=str(self._run), value=choices.sha256)
        self._decisions = choices.decisions
        ref = None if config.elsewhere else choices.overview
        self._overview: NDArray[Any] | None = JournalReader.open(self._run).load_frame(ref).data if ref else None
        self._at_ = 0
        self._seen_ = False

    def ask(self, view: View) -> Decision | Finish:
        """Return the next act of the record."""
        at = self._at_ + len(view.pending)
        if at >= len(self._decisions):
            return Finish(reason=f"The record ends here: {at} acts of {self._run.name}.")
        chosen = self._decisions[at]
        who = "a person" if chosen.decided_by == PERSON else f"the {chosen.decided_by.replace('_', ' ')}"
        reason = f"As {who} decided in act {at} of {self._run.name}: {chosen.reason}"
        decision = Decision(action=chosen.action, purpose=chosen.purpose, reason=reason, target=chosen.target)
        return unaffordable(decision.action, view) or decision

    def tell(self, decision: Decision, result: Result) -> None:
        """Go on to the next act.

        Raises
        ------
        DataError
            The overview is not the recorded one: what was chosen there means nothing here.
        """
        self._at_ += 1
        if self._seen_ or self._overview is None or not isinstance(decision.action, Scan) or not result.frames:
            return
        self._seen_ = True
        if not np.array_equal(result.frames[0].data, self._overview):
            raise DataError(
                "the overview is not that of the record: another specimen, another seed, or another scan",
                where=str(self._run),
                remedy="Record it with the environment and the seed of the benchmark ('autoscope bench seeds CONFIG'), "
                "or say 'elsewhere: true'",
            )

    def state(self) -> dict[str, JsonValue]:
        """Return how far the record was played."""
        return {"at": self._at_, "seen": self._seen_}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""
        self._at_, self._seen_ = int(state["at"]), bool(state["seen"])
