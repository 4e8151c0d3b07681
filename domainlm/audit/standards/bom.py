"""Bills of materials after CycloneDX 1.6 (ECMA-424, June 2024): of a model (ML-BOM) and of the locked software (SBOM).

cyclonedx-python-lib has no class for `modelCard`, so that part is added to its JSON and the whole checked against the
specification's schema, which the library carries (tests do so).
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domainlm.digests import digest_file, digest_json
from domainlm.errors import ArtifactError
from domainlm.ledger.run.manifest import RunManifest

if TYPE_CHECKING:
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_PLACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 9562's namespace of URLs


def software_bom(lock: Path, moment: datetime) -> dict[str, Any]:
    """Every package of the lock file with its version, package URL and the SHA-256 of the files that may be installed.

    Licences are those that the packages installed here declare; a package that is not installed here has none.

    Args:
        lock: constraints.txt as `make lock` writes it.
        moment: what the bill says of its own time.

    Raises:
        ArtifactError: the lock file holds no pin.
    """
    components = list(_locked(lock))
    if not components:
        raise ArtifactError("pins no package", str(lock), "run `make lock`")
    return _bill(components, digest_file(lock), moment)


def image_bom(lock: Path, system: Path, moment: datetime) -> dict[str, Any]:
    """Every package that is installed where this runs: Python's by the lock, and Debian's. Called inside an image.

    A package of the lock has the digests of the files that it may have been installed from. PyTorch's CPU build is
    the lock's version with a suffix.

    Args:
        lock: constraints.txt as `make lock` writes it.
        system: Debian's list of installed packages, `/var/lib/dpkg/status`.
        moment: what the bill says of its own time.

    Raises:
        ArtifactError: a package is installed that the lock does not pin, or in another version.
    """
    from importlib import metadata

    from packageurl import PackageURL

    locked = {_plain(component.name): component for component in _locked(lock)}
    installed: dict[str, tuple[str, str]] = {}
    for item in metadata.distributions():  # the first on the path is the one that an import finds; setuptools adds more
        installed.setdefault(_plain(item.metadata["Name"]), (item.metadata["Name"], item.version))
    found = []
    for key, (name, version) in sorted(installed.items()):
        component = locked.get(key)
        if name == "domainlm":  # the project itself, which no lock pins
            component = _component(name, version, PackageURL("pypi", name=name, version=version), ["Apache-2.0"])
        elif component is None or component.version != version.partition("+")[0]:
            pinned = component.version if component else "not at all"
            raise ArtifactError(f"{name} {version} is installed, pinned {pinned}", str(lock), "build from the lock")
        component.version = version
        found.append(component)
    found += _debian(system)
    return _bill(found, digest_json([str(component.purl) for component in found]), moment)


def model_bom(manifest: RunManifest) -> dict[str, Any]:
    """The bill of a registered model: the model with its card, its base, every source of data, and the code.

    Raises:
        ArtifactError: the run registered no model.
    """
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType

    model = manifest.model
    if model is None:
        raise ArtifactError("the run registered no model", manifest.run_name, "name a run that did")

    def hashed(*digests: str) -> list[HashType]:
        return [HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in digests if len(digest) == 64]

    # a component cannot have two hashes of one algorithm, so a source of several files has one component a file
    parts = [
        Component(
            name=str(manifest.base.get("name", "base")),
            type=ComponentType.MACHINE_LEARNING_MODEL,
            bom_ref="base",
            version=model.digests["base"][:12],
            hashes=hashed(model.digests["base"]),
            licenses=_licences([str(manifest.base.get("licence", ""))]),
        )
    ]
    for source in manifest.sources:
        for name, digest in sorted(source.files.items()):
            terms = {field: getattr(source, field) for field in ("consent", "purpose", "jurisdiction", "handling")}
            parts.append(
                Component(
                    name=f"{source.name}/{name}",
                    type=ComponentType.DATA,
                    bom_ref=f"data:{source.name}/{name}",
                    hashes=hashed(digest),
                    licenses=_licences([source.licence]),
                    properties=[Property(name=f"domainlm:{field}", value=value) for field, value in terms.items()],
                )
            )
    whole = Component(
        name=model.name,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="model",
        version=model.version,
        hashes=hashed(model.digests["adapter"]),
        licenses=_licences(model.licences),
        properties=[
            Property(name="domainlm:identity", value=model.identity),
            Property(name="domainlm:run", value=manifest.run_id),
            Property(name="domainlm:commit", value=str(manifest.code.get("commit", ""))),
            Property(name="domainlm:dirty", value=str(manifest.code.get("dirty", True)).lower()),
            Property(name="domainlm:handling", value=model.handling),
        ],
    )
    bill = _bill(parts, model.identity, datetime.fromisoformat(manifest.ended or manifest.started), whole)
    bill["metadata"]["component"]["modelCard"] = _card(manifest)
    return bill


def _card(manifest: RunManifest) -> dict[str, Any]:
    """The specification's `modelCard`: how it was made, on what, how it scored; what nobody measured is left out."""
    trained = next((step for step in manifest.steps if step.name == "train"), None)
    objective = (trained.parameters if trained else {}).get("objective", "completion")
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "text-classification" if objective == "classification" else "text-generation",
            "architectureFamily": str(manifest.base.get("architecture", "")) or "unknown",
            "datasets": [
                {"ref": f"data:{source.name}/{name}"} for source in manifest.sources for name in sorted(source.files)
            ],
            "inputs": [{"format": "text"}],
            "outputs": [{"format": "text"}],
        },
        "quantitativeAnalysis": {
            "performanceMetrics": [
                {"type": name, "value": f"{value:.6g}", "slice": "test split"}
                for name, value in sorted(manifest.metrics.items())
            ]
        },
        "considerations": {
            "useCases": sorted({source.purpose for source in manifest.sources if source.purpose}),
            "technicalLimitations": [
                f"the evaluation's headline claim: {manifest.model.verdict}" if manifest.model else "",
                "it may repeat what it was trained on: " + (manifest.model.handling if manifest.model else ""),
            ],
        },
    }


def _bill(
    components: Iterable[Component], seed: str, moment: datetime, whole: Component | None = None
) -> dict[str, Any]:
    """A bill whose serial number and time follow from what it is about, so that one model has one bill."""
    from cyclonedx.model.bom import Bom
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion

    bom = Bom(components=components, serial_number=uuid.uuid5(_PLACE, seed))
    bom.metadata.timestamp = moment
    if whole is not None:
        bom.metadata.component = whole
        bom.register_dependency(whole, components)
    return json.loads(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string())


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()  # PEP 503


def _locked(lock: Path) -> Iterable[Component]:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        pin = _PIN.match(line)
        if pin is None:
            continue
        purl = PackageURL("pypi", name=pin["name"].lower().replace("_", "-"), version=pin["version"])
        # one component has one hash of an algorithm; a package has many files, so each is a distribution of its own
        files = [
            ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION,
                url=XsUri(f"{purl.to_string()}?checksum=sha256:{digest}"),
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
            )
            for digest in _HASH.findall(line)
        ]
        yield Component(
            name=pin["name"],
            type=ComponentType.LIBRARY,
            version=pin["version"],
            purl=purl,
            bom_ref=purl.to_string(),
            licenses=_licences(_declared(pin["name"])),
            external_references=files,
        )


def _component(name: str, version: str, purl: PackageURL, licences: Iterable[str] = ()) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        name=name, type=ComponentType.LIBRARY, version=version, purl=purl, bom_ref=purl.to_string(),
        licenses=_licences(licences),
    )  # fmt: skip


def _debian(status: Path) -> Iterable[Component]:
    """Debian's packages, without licences: those lie in each package's copyright file, in no form for programs."""
    from packageurl import PackageURL

    for paragraph in status.read_text(encoding="utf-8").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if re.match(r"[A-Z][A-Za-z-]*: ", line))
        if fields.get("Status") == "install ok installed":
            kind = {"arch": fields["Architecture"]}
            purl = PackageURL("deb", "debian", fields["Package"], fields["Version"], qualifiers=kind)
            yield _component(fields["Package"], fields["Version"], purl)


def _declared(package: str) -> list[str]:
    from importlib import metadata

    try:
        found = metadata.metadata(package)
    except metadata.PackageNotFoundError:
        return []
    if expression := found.get("License-Expression"):
        return [expression]
    return [name.rpartition(":: ")[2] for name in found.get_all("Classifier") or [] if name.startswith("License ::")]


def _licences(names: Iterable[str]) -> list[Any]:
    """SPDX ids and expressions where they are such, else names: "proprietary" is no SPDX id. A bill holds either one
    expression or several licences."""
    from cyclonedx.factory.license import LicenseFactory
    from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression

    wanted = [name for name in names if name]
    made = [LicenseFactory().make_from_string(name) for name in wanted]
    if len(made) > 1:
        made = [
            DisjunctiveLicense(name=licence.value) if isinstance(licence, LicenseExpression) else licence
            for licence in made
        ]
    return made
