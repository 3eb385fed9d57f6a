"""What is known about a run as a whole, in one flat value that every format writes in its own words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from autoscope import __version__
from autoscope.exports.snapshot import Snapshot


@dataclass(frozen=True)
class Facts:
    """The head of an export."""

    run_id: str
    name: str
    sample: str
    operator: str
    notes: str
    seed: int | None
    started_utc: str
    ended_utc: str
    """Of the last record taken in."""
    state: str
    head: str
    records: int
    acts: int
    run_version: str
    """Version of autoscope that wrote the run."""
    export_version: str
    config: dict[str, Any]
    config_sha256: str
    elements: tuple[str, ...]
    """Known to be in the sample, by the configuration."""
    prepared: str
    """When the sample was prepared, by the configuration; a simulated one comes to be when its run begins."""
    tags: tuple[str, ...]
    original: dict[str, Any]
    """What corrections replaced."""
    made_by: dict[str, Any]
    """Versions of Python, libraries and plug-ins, and the machine."""
    instrument: str
    serial: str
    simulated: bool
    voltage_v: float
    detectors: tuple[str, ...]
    signals: tuple[str, ...]
    policy: str
    environment: str

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        """Return the facts of a run; what was never written is empty."""
        started = snapshot.started
        config: dict[str, Any] = started.get("config") or {}
        scope: dict[str, Any] = started.get("capabilities") or {}
        return cls(
            run_id=snapshot.run_id,
            name=str(started.get("name") or config.get("name") or snapshot.name),
            sample=str(started.get("sample") or ""),
            operator=str(started.get("operator") or ""),
            notes=str(config.get("notes") or ""),
            seed=config.get("seed"),
            started_utc=snapshot.first_utc,
            ended_utc=snapshot.last_utc,
            state=snapshot.state,
            head=snapshot.head,
            records=snapshot.seq,
            acts=snapshot.acts_count,
            run_version=str(started.get("version") or ""),
            export_version=__version__,
            config=config,
            config_sha256=str(started.get("config_sha256") or ""),
            elements=tuple(config.get("elements") or ()),
            prepared=str(config.get("prepared") or (snapshot.first_utc if scope.get("simulated") else "")),
            tags=snapshot.tags,
            original=started.get("original") or {},
            made_by=started.get("made_by") or {},
            instrument=str(started.get("instrument") or scope.get("instrument") or "unknown"),
            serial=str(scope.get("serial") or ""),
            simulated=bool(scope.get("simulated", False)),
            voltage_v=float(scope.get("voltage_v") or 0.0),
            detectors=tuple(scope.get("detectors") or ()),
            signals=tuple(str(s.get("name")) for s in scope.get("signals") or ()),
            policy=str((config.get("policy") or {}).get("name") or ""),
            environment=str((config.get("environment") or {}).get("name") or ""),
        )

    @property
    def title(self) -> str:
        """Return a title for people."""
        return f"{self.name}: {self.sample}" if self.sample else self.name

    @property
    def description(self) -> str:
        """Return what the run was, in two sentences."""
        on = f"on {self.instrument}{' (simulated)' if self.simulated else ''}"
        text = f"Autonomous experiment by autoscope {self.run_version} {on}, policy {self.policy}: {self.acts} acts."
        return f"{text} Run state: {self.state}.{' ' + self.notes if self.notes else ''}"
