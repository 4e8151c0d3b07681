"""A run's entry is an in-toto statement with SLSA provenance, as the in-toto project's own package reads it."""

from __future__ import annotations

import json

import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement
from small_ledgers import small_run

from domainlm.ledger import entries
from domainlm.ledger.entries import ENTRY
from domainlm.ledger.run.manifest import FAILED, Failure, Place, RunManifest, Source, StepEntry
from domainlm.ledger.run.provenance import MANIFEST, entry_of, subjects_of

DIGEST = "d" * 64


def whole() -> RunManifest:
    source = Source(
        name="glossary", uri="domains/finance/glossary.csv", files={"glossary.csv": DIGEST}, rows=3, licence="MIT"
    )
    return small_run(
        sources=[source],
        code={"commit": "c" * 40, "dirty": False, "lock": "e" * 64, "files": {"cli/run.py": "f" * 64}},
        configuration={"parameters": {"base": "embedded"}, "file": "zenml_config.yaml", "digest": "1" * 64},
        base={"name": "embedded", "digest": "2" * 64, "licence": "MIT"},
    )


def statement_of(manifest: RunManifest) -> dict:
    subjects, content = entry_of(manifest)
    return json.loads(json.dumps(entries.statement(entries.RUN, "bank/models", "recorder", subjects, content)))


@pytest.mark.parametrize("status", ["completed", "failed", "interrupted"])
def test_the_statement_passes_in_totos_own_checks(status: str) -> None:
    made = statement_of(whole().model_copy(update={"status": status}))
    Statement.copy_from_pb(json_format.ParseDict(made, Statement([], "", {}).pb.__class__())).validate()
    assert made["predicateType"] == "https://slsa.dev/provenance/v1"
    predicate = {name: value for name, value in made["predicate"].items() if name not in (MANIFEST, ENTRY)}
    message = json_format.ParseDict(predicate, Provenance())  # a field that SLSA does not know would raise
    descriptors = [*message.build_definition.resolved_dependencies, *message.run_details.byproducts]
    assert len(descriptors) == 5
    for descriptor in descriptors:
        ResourceDescriptor.copy_from_pb(descriptor).validate()
    assert message.run_details.metadata.finished_on.seconds > message.run_details.metadata.started_on.seconds


def test_every_source_file_code_lock_configuration_and_base_is_a_dependency() -> None:
    made = statement_of(whole())["predicate"]["buildDefinition"]["resolvedDependencies"]
    found = {item["name"]: item["digest"] for item in made}
    assert found["ingest/glossary/glossary.csv"] == {"sha256": DIGEST}
    assert found["code"]["gitCommit"] == "c" * 40 and len(found["code"]["sha256"]) == 64
    assert (found["lock"], found["configuration"], found["base"]) == (
        {"sha256": "e" * 64}, {"sha256": "1" * 64}, {"sha256": "2" * 64},
    )  # fmt: skip


def test_subjects_are_what_the_run_made_and_its_manifest() -> None:
    manifest = whole().sealed()
    assert subjects_of(manifest) == {"train/adapter": manifest.steps[0].outputs["adapter"], "manifest": manifest.digest}


def test_a_run_that_made_nothing_has_its_manifest_as_its_subject() -> None:
    manifest = RunManifest(
        run_id="1", run_name="r", pipeline="p", status=FAILED, failure=Failure(step="ingest", error="SourceError"),
        steps=[StepEntry(name="ingest", status=FAILED, outputs={"source_manifest": "None"})],
    )  # fmt: skip
    made = statement_of(manifest)
    assert [subject["name"] for subject in made["subject"]] == ["manifest"]
    Statement.copy_from_pb(json_format.ParseDict(made, Statement([], "", {}).pb.__class__())).validate()


def test_the_whole_manifest_is_in_the_entry_and_verifies() -> None:
    found = RunManifest(**statement_of(whole())["predicate"][MANIFEST])
    found.verify()
    assert found == whole().sealed()


def test_the_image_of_the_pods_is_a_dependency_once_for_each_digest() -> None:
    image = "registry.bank.example/domainlm:0.1.0-cpu"
    places = [Place(image=image, image_digest=f"sha256:{DIGEST}"), Place(image=image, image_digest="")]
    steps = [StepEntry(name=name, status="completed", places=places) for name in ("prepare", "train")]
    made = statement_of(whole().model_copy(update={"steps": steps}))["predicate"]["buildDefinition"]
    found = [one for one in made["resolvedDependencies"] if one["name"] == "image"]
    assert found == [{"name": "image", "uri": image, "digest": {"sha256": DIGEST}}]
