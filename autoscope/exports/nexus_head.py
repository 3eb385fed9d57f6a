"""What a NeXus file says about a run as a whole, in the names of NXem."""

from __future__ import annotations

import json
from typing import Any

import h5py
import numpy as np

from autoscope.exports.facts import Facts
from autoscope.exports.options import Options
from autoscope.journal.chain import FORMAT
from autoscope.sample_facts import is_day

RELEASE = "v2026.01"
"""Release of the NeXus definitions that the layout keeps to."""


def section(parent: h5py.Group, name: str, nx_class: str) -> h5py.Group:
    """Return a new group of a NeXus class, its members kept in the order they are made."""
    group = parent.create_group(name, track_order=True)
    group.attrs["NX_class"] = nx_class
    return group


def put(group: h5py.Group, name: str, value: Any, **attributes: Any) -> h5py.Dataset | None:
    """Write a value with its attributes and return the dataset; absent values (None or "") are left out."""
    if value is None or (isinstance(value, str) and not value):
        return None
    if isinstance(value, np.ndarray) and value.dtype == object:
        dataset = group.create_dataset(name, data=value, dtype=h5py.string_dtype("utf-8"))
    else:
        dataset = group.create_dataset(name, data=value)
    for key, attribute in attributes.items():
        dataset.attrs[key] = attribute
    return dataset


def write_head(file: h5py.File, facts: Facts, options: Options) -> h5py.Group:
    """Write everything but acts and frames, and return the entry."""
    file.attrs.update(
        {
            "NX_class": "NXroot",
            "default": "entry",
            "creator": "autoscope",
            "creator_version": facts.export_version,
            "NeXus_release": RELEASE,
            "HDF5_Version": h5py.version.hdf5_version,
            "h5py_version": h5py.version.version,
        }
    )
    entry = section(file, "entry", "NXentry")
    put(entry, "definition", "NXem", version=RELEASE)
    put(entry, "title", facts.title)
    put(entry, "experiment_alias", facts.name)
    put(entry, "experiment_description", facts.description)
    put(entry, "identifier_experiment", facts.run_id)
    put(entry, "start_time", facts.started_utc)
    put(entry, "end_time", facts.ended_utc)
    put(entry, "keywords", ", ".join(facts.tags))
    put(entry, "corrected", json.dumps(facts.original, ensure_ascii=False) if facts.original else None)
    _write_software(entry, facts)
    _write_people(entry, facts, options)
    _write_sample(entry, facts, options)
    _write_instrument(section(entry, "measurement", "NXem_measurement"), facts)
    _write_journal(entry, facts)
    if "config" in options.include:
        _write_config(entry, facts)
    return entry


def _write_software(entry: h5py.Group, facts: Facts) -> None:
    profiling = section(entry, "profiling", "NXcs_profiling")
    put(section(profiling, "program1", "NXprogram"), "program", "autoscope", version=facts.run_version or "unknown")
    put(profiling, "made_by", json.dumps(facts.made_by, ensure_ascii=False) if facts.made_by else None)
    policy = section(entry, "policy", "NXprocess")
    put(policy, "program", f"autoscope policy {facts.policy}")
    put(policy, "version", facts.run_version)
    parameters = section(policy, "parameters", "NXparameters")
    put(parameters, "policy", json.dumps(facts.config.get("policy"), ensure_ascii=False))
    put(parameters, "scalarizers", json.dumps(facts.config.get("scalarizers"), ensure_ascii=False))
    put(parameters, "budget", json.dumps(facts.config.get("budget"), ensure_ascii=False))
    put(parameters, "limits", json.dumps(facts.config.get("limits"), ensure_ascii=False))
    put(parameters, "seed", facts.seed)


def _write_people(entry: h5py.Group, facts: Facts, options: Options) -> None:
    user = section(entry, "user1", "NXuser")
    put(user, "name", facts.operator or "not recorded")
    put(user, "role", "operator")
    if not options.author:
        return
    author = section(entry, "user2", "NXuser")
    put(author, "name", options.author)
    put(author, "role", "author")
    put(author, "affiliation", options.affiliation)
    if options.orcid:
        put(author, "identifier_orcid", f"https://orcid.org/{options.orcid}", type="ORCID")


def _write_sample(entry: h5py.Group, facts: Facts, options: Options) -> None:
    sample = section(entry, "sample1", "NXsample")
    put(sample, "name", facts.sample or "not recorded")
    put(sample, "is_simulation", facts.simulated)
    put(sample, "atom_types", ",".join(options.elements or facts.elements))
    _put_instant(sample, "preparation_date", options.prepared or facts.prepared)
    put(sample, "description", facts.notes)


def _put_instant(group: h5py.Group, name: str, text: str) -> None:
    """Write an instant; NeXus knows no days, so one is written as its first instant and says that it is a day."""
    if is_day(text):
        put(group, name, f"{text}T00:00:00+00:00", resolution="day")
    else:
        put(group, name, text)


def _write_instrument(measurement: h5py.Group, facts: Facts) -> None:
    instrument = section(measurement, "instrument", "NXem_instrument")
    put(instrument, "name", facts.instrument)
    put(instrument, "type", "tem")
    _fabrication(instrument, facts)
    put(section(instrument, "program1", "NXprogram"), "program", "autoscope", version=facts.run_version or "unknown")
    column = section(instrument, "ebeam_column", "NXebeam_column")
    source = section(column, "electron_source", "NXsource")
    put(source, "emitter_type", "not recorded")
    put(source, "probe", "electron")
    put(source, "voltage", facts.voltage_v, units="V")
    for name in (*facts.detectors, *facts.signals):
        detector = section(instrument, f"detector_{''.join(c if c.isalnum() else '_' for c in name)}", "NXdetector")
        put(detector, "name", name)


def _fabrication(instrument: h5py.Group, facts: Facts) -> None:
    made = section(instrument, "fabrication", "NXfabrication")
    put(made, "vendor", "simulated" if facts.simulated else "not recorded")
    put(made, "model", facts.instrument)
    put(made, "serial_number", facts.serial)


def _write_journal(entry: h5py.Group, facts: Facts) -> None:
    journal = section(entry, "journal", "NXcollection")
    put(journal, "format", FORMAT)
    put(journal, "run_id", facts.run_id)
    put(journal, "state", facts.state)
    put(journal, "head", facts.head, long_name="sha256 of the last record: note it elsewhere to prove the record later")
    put(journal, "records", facts.records)
    put(journal, "acts", facts.acts)


def _write_config(entry: h5py.Group, facts: Facts) -> None:
    note = section(entry, "note_config", "NXnote")
    put(note, "type", "application/json")
    put(note, "file_name", "config.yaml")
    put(note, "description", "The resolved configuration of the run")
    text = json.dumps(facts.config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    put(note, "data", np.bytes_(text.encode()))
    put(note, "checksum", facts.config_sha256)
    put(note, "algorithm", "sha256")
