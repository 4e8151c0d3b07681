"""`domainlm audit export`: a run or model in the formats of other tools: OpenLineage, CycloneDX, W3C PROV, SLSA."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.environment import enter_project

if TYPE_CHECKING:
    from domainlm.audit.evidence import Evidence, Stated

OPENLINEAGE, ML_BOM, SBOM, PROV, SLSA = "openlineage", "ml-bom", "sbom", "prov", "slsa"
FORMATS = (OPENLINEAGE, ML_BOM, SBOM, PROV, SLSA)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    what: Annotated[
        str, typer.Argument(metavar="[MODEL|RUN]", help="NAME/VERSION, identity or run id; sbom needs none.")
    ] = "",
    form: Annotated[str, typer.Option("--as", help=f"One of {', '.join(FORMATS)}.")] = SLSA,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A new file; standard output by default.")
    ] = None,
    send: Annotated[str, typer.Option("--send", help="openlineage only: file:// or http(s):// URL to send to.")] = "",
) -> None:
    """Write a run's evidence in a standard format. Nothing here is signed but slsa, which is the ledger's own entry."""
    from domainlm.errors import ConfigurationError, nearest

    if form not in FORMATS:
        raise ConfigurationError(f"there is no format '{form}'", "audit export", nearest(form, FORMATS))
    if form != SBOM and not what:
        raise ConfigurationError(f"{form} is of a model or run", "audit export", "name one: NAME/VERSION or a run id")
    output = output.absolute() if output else None
    enter_project(ready=False)
    if send:
        from domainlm.audit.standards.openlineage import emit

        typer.echo(f"sent {emit(_found(what)[0].act, send)} events")
        return
    text = _sbom() if form == SBOM else _written(form, *_found(what))
    if output is None:
        typer.echo(text)
        return
    try:
        with open(output, "x", encoding="utf-8") as stream:
            stream.write(text + "\n")
    except FileExistsError:
        raise ConfigurationError("there is a file already", str(output), "name another") from None
    typer.echo(f"written: {output}")


def _found(what: str) -> tuple[Stated, Evidence]:
    from domainlm.audit.evidence import Evidence
    from domainlm.errors import ConfigurationError
    from domainlm.ledger.client import evidence_entries, new_gate

    evidence = Evidence(evidence_entries(), new_gate())
    stated = evidence.model(what) or evidence.run(what)
    if stated is None:
        raise ConfigurationError(
            f"the ledger has no model or run '{what[:80]}'", "audit export", "see `domainlm audit models`"
        )
    return stated, evidence


def _sbom() -> str:
    from domainlm.audit.standards.bom import software_bom
    from domainlm.project import SOURCE_ROOT

    return _json(software_bom(SOURCE_ROOT / "constraints.txt", datetime.now(UTC)))


def _written(form: str, stated: Stated, evidence: Evidence) -> str:
    if form == SLSA:
        return stated.envelope.to_bytes().decode()
    if form == ML_BOM:
        from domainlm.audit.standards.bom import model_bom

        return _json(model_bom(stated.act))
    if form == OPENLINEAGE:
        from openlineage.client.serde import Serde

        from domainlm.audit.standards.openlineage import events

        return "\n".join(Serde.to_json(event) for event in events(stated.act))
    from domainlm.audit.standards.provenance_graph import document

    return str(document(stated, evidence).serialize(indent=2))


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
