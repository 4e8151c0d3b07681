"""A run's entry: SLSA Provenance v1 (slsa.dev/spec/v1.0/provenance) around the manifest, which in-toto's tools read.

Subjects are what the run made, by content digest, and the manifest itself; a run that made nothing has the manifest
alone. `buildDefinition` says what went in, `runDetails` who ran it and when, and `domainlm_manifest` holds the whole
manifest: what SLSA has no field for.
"""

from __future__ import annotations

import re
from typing import Any

from domainlm import __version__
from domainlm.digests import digest_json
from domainlm.ledger.run.manifest import RunManifest, moment_of, time_of

MANIFEST = "domainlm_manifest"  # the extension field that holds the whole manifest
BUILD_TYPE = "urn:domainlm:pipeline:v1"  # docs/record.md says what its parameters mean
BUILDER = "urn:domainlm:builder:v1"
_SHA256 = re.compile(r"[0-9a-f]{64}")


def entry_of(manifest: RunManifest) -> tuple[dict[str, str], dict[str, Any]]:
    """Subjects and content of a run's entry, for `domainlm.ledger.client.submit(entries.RUN, ...)`.

    Args:
        manifest: of a run that has ended, however it did.
    """
    manifest = manifest if manifest.digest else manifest.sealed()
    # one that was written before some field was there is entered as it was written
    whole = manifest.model_dump(mode="json", exclude_unset=True)
    return subjects_of(manifest), predicate_of(manifest) | {MANIFEST: whole}


def subjects_of(manifest: RunManifest) -> dict[str, str]:
    """STEP/OUTPUT -> content digest of everything that the run made or took from the cache, and `manifest`."""
    made = {f"{step.name}/{name}": digest for step in manifest.steps for name, digest in step.outputs.items()}
    return {name: digest for name, digest in made.items() if _SHA256.fullmatch(digest)} | {"manifest": manifest.digest}


def predicate_of(manifest: RunManifest) -> dict[str, Any]:
    """The predicate without extension fields. A time that is not known is left out."""
    when = {"startedOn": moment_of(manifest.started), "finishedOn": moment_of(manifest.ended)}
    configuration = manifest.configuration
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "pipeline": manifest.pipeline,
                "parameters": configuration.get("parameters", {}),
                "configuration": configuration.get("file", ""),
                "stack": configuration.get("stack", ""),
            },
            "internalParameters": {
                "run": manifest.run_name,
                "status": manifest.status,
                "dirty": bool(manifest.code.get("dirty", True)),
                "keyId": manifest.key_id,
            },
            "resolvedDependencies": _dependencies(manifest),
        },
        "runDetails": {
            "builder": {"id": BUILDER, "version": {"domainlm": __version__}},
            "metadata": {"invocationId": manifest.run_id} | {name: time_of(at) for name, at in when.items() if at},
            "byproducts": [
                {"name": f"{step.name}/{name}", "digest": {"sha256": digest}}
                for step in manifest.steps
                for name, digest in sorted(step.outputs.items())
                if name.endswith(("report", "verdict")) and _SHA256.fullmatch(digest)
            ],
        },
    }


def _dependencies(manifest: RunManifest) -> list[dict[str, Any]]:
    """What went in: every file of every source, code, lock file, configuration and base, as in-toto's descriptors."""
    code, base = manifest.code, manifest.base
    found: list[dict[str, Any]] = [
        {
            "name": f"{source.stage}/{source.name}/{file}",
            "uri": source.uri,
            "digest": {"sha256": digest},
            "annotations": {"licence": source.licence, "consent": source.consent, "purpose": source.purpose},
        }
        for source in manifest.sources
        for file, digest in sorted(source.files.items())
    ]
    if code.get("files"):
        # one digest over path -> SHA-256 of every file; the manifest has each
        digests = {"sha256": digest_json(code["files"])} | ({"gitCommit": code["commit"]} if code["commit"] else {})
        found.append({"name": "code", "digest": digests})
    for name, digest in (
        ("lock", code.get("lock", "")),
        ("configuration", manifest.configuration.get("digest", "")),
        ("base", base.get("digest", "")),
    ):
        if _SHA256.fullmatch(str(digest)):
            found.append({"name": name, "digest": {"sha256": digest}})
    return found + _images(manifest)


def _images(manifest: RunManifest) -> list[dict[str, Any]]:
    """The container images that the steps ran in, where the cluster said by what digest; more than one is odd."""
    ran = {
        (place.image, place.image_digest.removeprefix("sha256:")) for step in manifest.steps for place in step.places
    }
    return [
        {"name": "image", "uri": image, "digest": {"sha256": digest}}
        for image, digest in sorted(ran)
        if _SHA256.fullmatch(digest)
    ]
