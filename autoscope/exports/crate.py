"""A run as an RO-Crate after the Process Run profile: the folder itself, a copy of it, or a zip."""

from __future__ import annotations

import errno
import hashlib
import shutil
import sqlite3
import tempfile
import zipfile
from contextlib import closing
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.model.data_entity import DataEntity
from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from autoscope.errors import ExportError
from autoscope.exports.facts import Facts
from autoscope.exports.frame_source import FrameSource
from autoscope.exports.options import Options, Progress
from autoscope.exports.snapshot import Act, Snapshot
from autoscope.journal.disk import is_full
from autoscope.journal.layout import CONFIG, DATABASE, FRAMES
from autoscope.records import FrameRef

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
SHA256 = "https://w3id.org/ro/terms/workflow-run#sha256"
VERSION = "1.1"
"""Version of RO-Crate that the profile builds on."""

METADATA = "ro-crate-metadata.json"
BESIDES = {
    "report/index.html": ("Morning report", "text/html", "report"),
    "run.nxs": ("The run as NeXus NXem (HDF5)", "application/x-hdf5", "frames"),
    "prov.json": ("Provenance as W3C PROV-JSON", "application/json", "records"),
    "decisions.csv": ("Table of the decisions", "text/csv", "decisions"),
    "decisions.parquet": ("Table of the decisions", "application/vnd.apache.parquet", "decisions"),
}
"""Files that may lie in a run folder besides the record: name, media type and the part they belong to."""


def write(snapshot: Snapshot, path: Path, options: Options, progress: Progress) -> list[str]:
    """Write the crate and return what its reader must know.

    By the name of ``path``: ``ro-crate-metadata.json`` makes the run folder itself a crate, a name that ends with
    ``.zip`` packs everything into one file, any other makes a folder with a copy of everything.

    Raises
    ------
    JournalCorrupt
        A frame does not verify and ``skip_damaged`` is not set.
    ExportError
        The metadata alone are asked for outside the run folder.
    """
    name = path.name.removeprefix(".").removesuffix(".partial")
    inside = name == METADATA
    if inside and path.parent.resolve() != snapshot.folder.resolve():
        raise ExportError(
            "these metadata describe files beside them, so they belong into the run folder",
            where=str(path.parent / name),
            remedy="Leave --output out, or give a folder or a name that ends with .zip",
        )
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".crate-") as scratch:
        packer = _Packer(snapshot, options, progress, None if inside else Path(scratch))
        crate = packer.pack()
        if inside:
            crate.metadata.write(scratch)
            shutil.move(Path(scratch, METADATA), path)
        elif name.endswith(".zip"):
            crate.write_zip(path)
            with zipfile.ZipFile(path, "a") as archive:  # readers look for the folders that the metadata name
                if any(name.startswith(f"{FRAMES}/") for name in archive.namelist()):
                    archive.writestr(f"{FRAMES}/", b"")
        else:
            crate.write(path)
    return packer.notes


class _Packer:
    def __init__(self, snapshot: Snapshot, options: Options, progress: Progress, scratch: Path | None) -> None:
        self._snapshot, self._options, self._progress = snapshot, options, progress
        self._facts, self._scratch = Facts.of(snapshot), scratch
        self._crate = ROCrate(version=VERSION)
        self._crate.metadata.extra_terms["sha256"] = SHA256
        self.notes: list[str] = []

    def pack(self) -> ROCrate:
        """Return the crate with all its entities; nothing is written yet."""
        crate, facts = self._crate, self._facts
        root = crate.root_dataset
        crate.name, crate.description = facts.title, facts.description
        root["datePublished"] = facts.ended_utc
        root["identifier"] = facts.run_id
        if facts.tags:
            root["keywords"] = ", ".join(facts.tags)
        root["conformsTo"] = self._context(PROFILE, "CreativeWork", name="Process Run Crate", version="0.5")
        self._sign(root)
        action = self._action()
        microscope = self._context(
            "#microscope", "IndividualProduct", name=facts.instrument, serialNumber=facts.serial or "not recorded",
            description="simulated" if facts.simulated else f"{facts.voltage_v / 1000:.0f} kV",
        )  # fmt: skip
        root["mentions"] = [action, microscope]
        return crate

    def _sign(self, root: Entity) -> None:
        """Write the licence and the author, where they were given."""
        options = self._options
        if options.licence:
            given = options.licence
            url = given if "://" in given else f"https://spdx.org/licenses/{given}"
            root["license"] = self._context(url, "CreativeWork", name=given, description=f"Licence {given}")
        else:
            root["license"] = "No licence was given: ask the author before using the data"
        if options.author:
            root["author"] = self._person(options.author)

    def _person(self, name: str) -> Entity:
        options = self._options
        if name != options.author:
            return self._context(f"#person-{name.replace(' ', '-')}", "Person", name=name)
        orcid = f"https://orcid.org/{options.orcid}" if options.orcid else f"#person-{name.replace(' ', '-')}"
        person = self._context(orcid, "Person", name=name)
        if options.affiliation:
            place = options.affiliation_id or f"#{options.affiliation.replace(' ', '-')}"
            person["affiliation"] = self._context(place, "Organization", name=options.affiliation)
            self._crate.root_dataset["publisher"] = person["affiliation"]
        return person

    def _context(self, identifier: str, kind: str, **properties: str) -> Entity:
        return self._crate.add(ContextEntity(self._crate, identifier, properties={"@type": kind, **properties}))

    # --- the action ---------------------------------------------------------------------------------

    def _action(self) -> Entity:
        facts, ended = self._facts, self._snapshot.ended
        failed = ended is not None and ended.get("status") == "failed"
        status = "FailedActionStatus" if failed else "CompletedActionStatus" if ended else "ActiveActionStatus"
        properties = {
            "@type": "CreateAction",
            "name": f"Run {facts.name}",
            "description": facts.description,
            "startTime": facts.started_utc,
            "endTime": facts.ended_utc,
            "actionStatus": f"http://schema.org/{status}",
        }
        if failed and ended is not None:
            properties["error"] = str(ended.get("reason"))
        action = self._crate.add_action(self._software(), f"#run-{facts.run_id}", properties=properties)
        action["agent"] = self._person(facts.operator or "not recorded")
        action["object"] = [*self._config(), *self._conditions()]
        action["result"] = [self._journal(), *self._frames(), *self._besides()]
        return action

    def _software(self) -> Entity:
        version = self._facts.run_version or "unknown"
        software = self._context(
            f"urn:autoscope:software:{version}", "SoftwareApplication", name="autoscope", softwareVersion=version
        )
        if url := _home():
            software["url"] = url
        return software

    def _config(self) -> list[Entity]:
        path = self._snapshot.folder / CONFIG
        if "config" not in self._options.include or not path.is_file():
            return []
        return [self._file(path, CONFIG, "Resolved configuration of the run", "application/yaml")]

    def _conditions(self) -> list[Entity]:
        facts = self._facts
        given = {
            "seed": facts.seed,
            "policy": facts.policy,
            "sample": facts.sample,
            "config_sha256": facts.config_sha256,
        }
        return [
            self._context(f"#{name}", "PropertyValue", name=name, value=str(value))
            for name, value in given.items()
            if value not in (None, "")
        ]

    def _journal(self) -> Entity:
        """Describe the journal; a copy is made by SQLite, so that it is whole also while the run goes on."""
        source = self._snapshot.folder / DATABASE
        if self._scratch is not None:
            copied = self._scratch / DATABASE
            _copy_database(source, copied)
            source = copied
        still = self._scratch is None and self._snapshot.ended is None  # its bytes change with every record
        journal = self._file(source, DATABASE, "Journal: every decision and what came of it", "application/vnd.sqlite3",
                             hashed=not still)  # fmt: skip
        journal["description"] = f"{self._facts.records} records; hash of the last: {self._facts.head}"
        if still:
            self.notes.append(f"no sha256 of {DATABASE}: the run had not ended, its bytes may still change")
        return journal

    # --- frames -------------------------------------------------------------------------------------

    def _frames(self) -> list[Entity]:
        """Describe the frames; a copy gets a file for each, in place those inside the journal stay there."""
        if "frames" not in self._options.include:
            return []
        parts: list[Entity] = []
        inside = 0
        with FrameSource(self._snapshot.folder, skip_damaged=self._options.skip_damaged) as source:
            for done, act in enumerate(self._snapshot.acts(), start=1):
                for ref in act.frames:
                    content, path = source.content(act, ref), source.file(ref)
                    if content is None:
                        continue
                    path = path or self._extracted(ref, content)
                    if path is None:
                        inside += 1
                    else:
                        parts.append(self._frame(act, ref, path, len(content)))
                self._progress("acts", done, self._snapshot.acts_count)
        self.notes += source.notes
        if inside:
            self.notes.append(f"{inside} small frames lie inside {DATABASE}; a copy (--output) has a file for each")
        return [self._folder(parts)] if parts else []

    def _extracted(self, ref: FrameRef, content: bytes) -> Path | None:
        if self._scratch is None:
            return None
        path = self._scratch / FRAMES / ref.file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    def _folder(self, parts: list[Entity]) -> Entity:
        told = {"@type": "Dataset", "name": "Frames", "description": "Images and spectra, one NumPy array a file"}
        folder = self._crate.add(DataEntity(self._crate, f"{FRAMES}/", properties=told))
        folder["hasPart"] = parts
        return folder

    def _frame(self, act: Act, ref: FrameRef, path: Path, size: int) -> Entity:
        properties = {
            "name": f"{ref.meta.signal}, act {act.step}",
            "description": " ".join(filter(None, (act.decision.purpose, act.decision.target))),
            "encodingFormat": "application/x-npy",
            "sha256": ref.sha256,
            "contentSize": str(size),
            "dateCreated": act.ended_utc,
        }
        return self._crate.add_file(path, f"{FRAMES}/{ref.file}", properties=properties)

    def _besides(self) -> list[Entity]:
        found = []
        for name, (title, kind, part) in BESIDES.items():
            path = self._snapshot.folder / name
            if part in self._options.include and path.is_file():
                found.append(self._file(path, name, title, kind))
        return found

    def _file(self, path: Path, name: str, title: str, kind: str, *, hashed: bool = True) -> Entity:
        properties: dict[str, Any] = {"name": title, "encodingFormat": kind}
        if hashed:
            with path.open("rb") as file:
                properties["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
            properties["contentSize"] = str(path.stat().st_size)
        return self._crate.add_file(path, name, properties=properties)


def _copy_database(source: Path, target: Path) -> None:
    """Copy a database while others may write to it.

    Raises
    ------
    OSError
        The disk failed or is full.
    """
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
    except sqlite3.Error as error:
        number = errno.ENOSPC if is_full(error) else errno.EIO
        raise OSError(number, f"the journal cannot be copied: {error}") from error


def _home() -> str:
    """Return the home page that the installed package names; "" where it names none."""
    try:
        urls = metadata("autoscope").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    return urls[0].partition(",")[2].strip() if urls else ""
