"""PROV-JSON is read back by its own library, with everything said as it was meant."""

import pytest
from prov.model import ProvActivity, ProvAssociation, ProvAttribution, ProvDocument, ProvEntity, ProvUsage

from autoscope.exports import export
from autoscope.exports.options import Options
from autoscope.journal import JournalReader


@pytest.fixture(scope="module")
def document(lab, tmp_path_factory):
    path = tmp_path_factory.mktemp("prov") / "prov.json"
    export(lab.folder, "prov", path, options=Options(author="Ada B", orcid="0000-0002-1825-0097"))
    return ProvDocument.deserialize(str(path), format="json")


def told(record):
    return {str(key): value for key, value in record.attributes}


def local(record):
    return record.identifier.localpart


def test_every_act_has_its_decision_its_outcome_and_its_frames(document, lab):
    entities = {local(e): told(e) for e in document.get_records(ProvEntity)}
    activities = {local(a): a for a in document.get_records(ProvActivity)}
    for step in JournalReader.open(lab.folder).steps():
        decision = entities[f"decision.{step.index}"]
        assert decision["prov:label"] == step.decision.reason
        assert decision.get("autoscope:predicted_mean") == step.decision.predicted_mean
        assert f"act.{step.index}" in activities
        if step.outcome is None:
            assert f"outcome.{step.index}" not in entities
            continue
        outcome = entities[f"outcome.{step.index}"]
        assert outcome["autoscope:status"] == step.outcome.status
        assert outcome["autoscope:dose_e"] == step.outcome.dose_e
        for value in step.outcome.values:
            assert outcome[f"autoscope:value.{value.name}"] == value.value
            assert outcome[f"autoscope:std.{value.name}"] == value.std
        for ref in step.outcome.frames:
            assert entities[f"frame.{ref.file}"]["autoscope:sha256"] == ref.sha256


def test_decisions_are_plans_of_the_acts_and_belong_to_who_made_them(document):
    links = [told(a) for a in document.get_records(ProvAssociation)]
    plans = {link["prov:activity"].localpart: link["prov:plan"].localpart for link in links if link.get("prov:plan")}
    assert plans["act.3"] == "decision.3"
    makers = {
        t["prov:entity"].localpart: t["prov:agent"].localpart for t in map(told, document.get_records(ProvAttribution))
    }
    assert makers["decision.3"] == "policy"
    assert set(makers.values()) >= {"policy", "instrument", "person.Jo%20Example"}


def test_what_a_model_saw_is_used_by_the_decision(document, lab):
    uses = {
        (t["prov:activity"].localpart, t["prov:entity"].localpart) for t in map(told, document.get_records(ProvUsage))
    }
    for step in JournalReader.open(lab.folder).steps():
        if step.decision.data_sha256:
            assert (f"decide.{step.index}", f"data.{step.decision.data_sha256}") in uses


def test_what_people_did_is_theirs(document):
    links = [told(a) for a in document.get_records(ProvAssociation)]
    theirs = {t["prov:activity"].localpart for t in links if t["prov:agent"].localpart == "person.Jo%20Example"}
    activities = {local(a): told(a) for a in document.get_records(ProvActivity)}
    interventions = {name for name, t in activities.items() if str(t.get("prov:type")) == "autoscope:Intervention"}
    assert interventions
    assert interventions <= theirs


def test_reading_and_writing_again_says_the_same(document):
    again = ProvDocument.deserialize(content=document.serialize(format="json"), format="json")
    assert again == document


def test_types_are_names_and_not_text(document):
    kinds = {
        type(value).__name__ for r in document.get_records() for key, value in r.attributes if str(key) == "prov:type"
    }
    assert kinds == {"QualifiedName"}


def test_a_long_run_told_in_parts_is_the_same_document(lab, document, monkeypatch, tmp_path):
    from autoscope.exports import provenance

    monkeypatch.setattr(provenance, "_ACTS", 3)
    options = Options(author="Ada B", orcid="0000-0002-1825-0097")
    path = export(lab.folder, "prov", tmp_path / "parts.json", options=options).path
    parts = ProvDocument.deserialize(str(path), format="json")
    assert len(parts.get_records()) == len(document.get_records())
    assert parts == document
