"""A run as W3C PROV-JSON: who decided what, with which data, and what came of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from prov.model import PROV_TYPE, ProvActivity, ProvAgent, ProvDocument, ProvEntity

from autoscope.exports.facts import Facts
from autoscope.exports.options import Options, Progress
from autoscope.exports.prov_spool import ProvSpool
from autoscope.exports.snapshot import Act, Snapshot
from autoscope.journal import Record
from autoscope.records import Outcome

_ACTS = 200
"""Acts that are held in memory as PROV records."""
Attributes = dict[Any, Any]
"""Names, qualified or with a prefix, and plain values or names."""
SOFTWARE = frozenset({"policy", "runner_up", ""})
"""Values of ``decided_by`` that name nobody: the policy, or a runner-up of its that stood in."""


def write(snapshot: Snapshot, path: Path, options: Options, progress: Progress) -> None:
    """Write the document.

    Each act gives an activity ``decide`` and an activity ``act``, the decision as an entity and plan, its outcome and
    its frames. A decision made by a person is associated with that person, interventions are activities of theirs.
    """
    teller = _Teller(Facts.of(snapshot), options)
    with ProvSpool(path.parent) as spool:
        for remark in snapshot.remarks:
            teller.remark(remark)
        for done, act in enumerate(snapshot.acts(), start=1):
            teller.act(act)
            if done % _ACTS == 0:
                spool.add(teller.passed_on())
            progress("acts", done, snapshot.acts_count)
        spool.add(teller.passed_on())
        spool.write(path)


@dataclass(frozen=True)
class _Agents:
    operator: ProvAgent
    software: ProvAgent
    policy: ProvAgent
    instrument: ProvAgent


class _Teller:
    def __init__(self, facts: Facts, options: Options) -> None:
        self._options, self._facts = options, facts
        self.document = self._blank()
        self._agents = self._introduce()
        self._config = self._entity(
            "config", {PROV_TYPE: "prov:Plan", "autoscope:sha256": facts.config_sha256, "prov:label": "configuration"}
        )
        self._run = self._begin()
        self._people: dict[str, ProvAgent] = {}
        self._datasets: set[str] = set()
        self._last: ProvActivity | None = None

    def _blank(self) -> ProvDocument:
        document = ProvDocument()
        document.add_namespace("autoscope", "urn:autoscope:terms:")
        document.add_namespace("run", f"urn:autoscope:run:{quote(self._facts.run_id, safe='')}:")
        return document

    def passed_on(self) -> ProvDocument:
        """Return what was told since the last call, and begin a new part."""
        told, self.document = self.document, self._blank()
        return told

    # --- the run ------------------------------------------------------------------------------------

    def _introduce(self) -> _Agents:
        facts = self._facts
        operator = self._agent("operator", facts.operator or "not recorded", "prov:Person")
        software = self._agent("software", f"autoscope {facts.run_version}", "prov:SoftwareAgent")
        policy = self._agent("policy", facts.policy, "prov:SoftwareAgent")
        kind = "prov:SoftwareAgent" if facts.simulated else "autoscope:Instrument"
        instrument = self._agent("instrument", f"{facts.instrument} {facts.serial}".strip(), kind)
        self.document.actedOnBehalfOf(software, operator)
        self.document.actedOnBehalfOf(policy, software)
        if self._options.author:
            author = self._agent("author", self._options.author, "prov:Person")
            if self._options.orcid:
                author.add_attributes({"autoscope:orcid": f"https://orcid.org/{self._options.orcid}"})
        return _Agents(operator, software, policy, instrument)

    def _begin(self) -> ProvActivity:
        facts, document = self._facts, self.document
        run = document.activity(
            "run:run", _time(facts.started_utc), _time(facts.ended_utc), {"prov:label": facts.title} | _head(facts)
        )
        document.wasAssociatedWith(run, self._agents.software, plan=self._config)
        document.wasAssociatedWith(run, self._agents.operator)
        document.used(run, self._config)
        journal = self._entity("journal", {"prov:label": "journal.sqlite"} | _head(facts))
        document.wasGeneratedBy(journal, run)
        document.wasAttributedTo(journal, self._agents.software)
        sample = self._entity("sample", {"prov:label": facts.sample or "not recorded"})
        document.used(run, sample)
        return run

    # --- acts ---------------------------------------------------------------------------------------

    def act(self, act: Act) -> None:
        """Tell one act."""
        decision, decide = self._decide(act)
        document, number = self.document, act.step
        acting = document.activity(
            f"run:act.{number}", _time(act.begun_utc), _time(act.ended_utc), self._typed(_asked(act))
        )
        document.wasAssociatedWith(acting, self._agents.instrument, plan=decision)
        document.wasInformedBy(acting, decide)
        document.used(acting, decision)
        if act.outcome is not None:
            outcome = self._entity(f"outcome.{number}", _came(act.outcome))
            document.wasGeneratedBy(outcome, acting, _time(act.ended_utc))
        if "frames" in self._options.include:
            self._frames(act, acting)
        self._last = acting

    def _decide(self, act: Act) -> tuple[ProvEntity, ProvActivity]:
        document, number = self.document, act.step
        kind = self._typed({PROV_TYPE: "autoscope:Decide"})
        decide = document.activity(f"run:decide.{number}", None, _time(act.decided_utc), kind)
        who = self._who(act.decision.decided_by)
        document.wasAssociatedWith(decide, who)
        if self._last is not None:
            document.wasInformedBy(decide, self._last)
        if act.decision.data_sha256:
            document.used(
                decide, self._dataset(act.decision.data_sha256, act.decision.fit.n if act.decision.fit else None)
            )
        decision = self._entity(f"decision.{number}", _decided(act))
        document.wasGeneratedBy(decision, decide, _time(act.decided_utc))
        document.wasAttributedTo(decision, who)
        return decision, decide

    def _frames(self, act: Act, acting: ProvActivity) -> None:
        for ref in act.frames:
            frame = self._entity(
                f"frame.{quote(ref.file, safe='')}",
                {
                    PROV_TYPE: "autoscope:Frame",
                    "prov:label": ref.meta.signal,
                    "autoscope:file": f"frames/{ref.file}",
                    "autoscope:sha256": ref.sha256,
                },
            )
            self.document.wasGeneratedBy(frame, acting, _time(act.ended_utc))
            self.document.wasAttributedTo(frame, self._agents.instrument)

    def _dataset(self, sha256: str, n: int | None) -> str:
        if sha256 not in self._datasets:
            told: Attributes = {PROV_TYPE: "autoscope:Data", "autoscope:sha256": sha256}
            self._entity(f"data.{sha256}", told | ({} if n is None else {"autoscope:n": n}))
            self._datasets.add(sha256)
        return f"run:data.{sha256}"

    # --- people -------------------------------------------------------------------------------------

    def remark(self, record: Record) -> None:
        """Tell an intervention, note or fault."""
        told: Attributes = {PROV_TYPE: f"autoscope:{record.kind.capitalize()}"}
        told |= {
            f"autoscope:{key}": value if isinstance(value, (str, int, float)) else json.dumps(value, sort_keys=True)
            for key, value in record.body.items()
            if value not in (None, "", {}, [])
        }
        happened = self.document.activity(
            f"run:record.{record.seq}", _time(record.wall), _time(record.wall), self._typed(told)
        )
        who = str(record.body.get("who") or "")
        self.document.wasAssociatedWith(happened, self._who(who) if who else self._agents.software)
        self.document.wasInformedBy(self._run, happened)

    def _who(self, name: str) -> ProvAgent:
        if name in SOFTWARE:
            return self._agents.policy
        if name not in self._people:
            self._people[name] = self._agent(f"person.{quote(name, safe='')}", name, "prov:Person")
        return self._people[name]

    def _agent(self, name: str, label: str, kind: str) -> ProvAgent:
        return self.document.agent(f"run:{name}", {PROV_TYPE: self._type(kind), "prov:label": label})

    def _entity(self, name: str, attributes: Attributes) -> ProvEntity:
        return self.document.entity(f"run:{name}", self._typed(attributes))

    def _typed(self, attributes: Attributes) -> Attributes:
        """Return the attributes that say something, the type as a name and not as a text."""
        given = {key: value for key, value in attributes.items() if value not in (None, "")}
        return given | ({PROV_TYPE: self._type(str(given[PROV_TYPE]))} if PROV_TYPE in given else {})

    def _type(self, name: str) -> Any:
        return self.document.valid_qualified_name(name)


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _head(facts: Facts) -> Attributes:
    return {
        "autoscope:run_id": facts.run_id,
        "autoscope:head": facts.head,
        "autoscope:records": facts.records,
        "autoscope:state": facts.state,
        "autoscope:version": facts.run_version or "unknown",
    }


def _asked(act: Act) -> Attributes:
    fields = act.decision.action.model_dump(mode="json", exclude_none=True)
    return {PROV_TYPE: "autoscope:Act", "autoscope:act_id": act.act_id} | {
        f"autoscope:{key}": json.dumps(value) if isinstance(value, (list, dict)) else value
        for key, value in fields.items()
    }


def _came(outcome: Outcome) -> Attributes:
    told: Attributes = {
        PROV_TYPE: "autoscope:Outcome",
        "autoscope:status": outcome.status,
        "autoscope:dose_e": outcome.dose_e,
    }
    for value in outcome.values:
        told |= {f"autoscope:value.{value.name}": value.value, f"autoscope:std.{value.name}": value.std}
    if outcome.fault:
        told["autoscope:fault"] = f"{outcome.fault.error}: {outcome.fault.message}"
    return told


def _decided(act: Act) -> Attributes:
    decision = act.decision
    told: Attributes = {
        PROV_TYPE: "prov:Plan",
        "prov:label": decision.reason,
        "autoscope:purpose": decision.purpose,
        "autoscope:target": decision.target,
        "autoscope:predicted_mean": decision.predicted_mean,
        "autoscope:predicted_std": decision.predicted_std,
        "autoscope:acquisition": decision.acquisition,
        "autoscope:acquisition_value": decision.acquisition_value,
        "autoscope:candidates": decision.candidates,
        "autoscope:candidates_sha256": decision.candidates_sha256,
        "autoscope:random_state_sha256": decision.random_state_sha256,
        "autoscope:intent_seq": act.seqs[0],
    }
    return told | ({"autoscope:model": decision.fit.model} if decision.fit else {})
