"""`domainlm audit verify`: the ledger, or an exported bundle."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from domainlm.errors import ConfigurationError, SecretError

if TYPE_CHECKING:
    from domainlm.audit.evidence import Evidence
    from domainlm.audit.proof.verification import Verification
    from domainlm.ledger.anchors import Published
    from domainlm.ledger.findings import Finding

EXIT = {"good": 0, "broken": 1, "unanchored": 2}
EPILOG = "Exit code: 0 good, 1 broken, 2 unanchored (nothing was altered, but no published checkpoint bears it out)."


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("verify", epilog=EPILOG)(verify)


def verify(
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="An exported bundle; needs no project, only --root.")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", help="Public keys (PEM) of the root that you trust; the project's own else."),
    ] = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option("--anchor", help="A published checkpoint: a file, a folder, a git repository, or an fsspec URL."),
    ] = None,
    artifacts: Annotated[
        bool, typer.Option("--artifacts", help="Also load every stored artifact, and ask the registries.")
    ] = False,
    identity: Annotated[
        Path | None, typer.Option("--identity", help="age key file that opens an encrypted bundle.")
    ] = None,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Ask for the passphrase of an encrypted bundle.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of lines.")] = False,
) -> None:
    """Say what was altered and where, one line each, then the verdict."""
    from domainlm.audit.proof.cross_checks import within

    if bundle is not None:
        if artifacts:
            raise ConfigurationError("a bundle has no stores to load from", "--artifacts", "verify the project with it")
        found, evidence = _verify_bundle(bundle, root, anchor or [], identity, passphrase)
        found = found.with_findings(within(evidence, found.model))
    else:
        found, evidence = _verify_project(root, anchor or [])
        found = found.with_findings([*within(evidence), *_files(evidence)])
        if artifacts:
            found = _with_stores(found, evidence)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        show(found)
    raise typer.Exit(EXIT[found.verdict])


def show(found: Verification) -> None:
    """One line a finding, then the verdict; what comes from a hostile file cannot steer the terminal."""
    for finding in found.findings:
        typer.echo(plain(finding.line()))
    told = f"{found.verdict}: {found.origin}: {found.entries} of {found.size} entries"
    if found.model:
        told += f", those that concern the model {found.model[:16]}; what else was said of it does not show"
    if found.artifacts:
        told += f", {found.artifacts} artifacts"
    if found.verdict == "broken":
        told += f", {sum(finding.severity == 'broken' for finding in found.findings)} faults"
    elif found.anchored:
        told += f", borne out by the checkpoint that was published for {found.anchored}"
    typer.echo(plain(told))
    if found.root:
        typer.echo(f"root {found.root}")


def _verify_bundle(
    bundle: Path, root: Path | None, anchor: list[str], identity: Path | None, passphrase: bool
) -> tuple[Verification, Evidence]:
    from domainlm.audit.proof.bundle import examine_bundle

    if root is None:
        raise ConfigurationError("a bundle is verified with the root's public key", "--root", "give its PEM file")
    secret = typer.prompt("Passphrase", hide_input=True) if passphrase else ""
    return examine_bundle(bundle, root_keys(root), given(anchor), identity=identity, passphrase=secret)


def _verify_project(root: Path | None, anchor: list[str]) -> tuple[Verification, Evidence]:
    from cli.environment import enter_project

    keys = root_keys(root) if root else None  # relative to where the command was given
    outside = given(anchor)
    enter_project(ready=False)
    from domainlm.audit.proof.verification import examine
    from domainlm.ledger.anchors import published
    from domainlm.ledger.log import Ledger
    from domainlm.ledger.settings import AuditSettings, root_keyids

    settings = AuditSettings.load()
    ledger = Ledger(settings.ledger_url, settings.origin, create=False)
    outside += published(settings.anchors, settings.origin)
    checkpoints = ledger.checkpoints()  # before the entries, since others may append
    return examine(ledger.raw(), checkpoints, outside, settings.origin, keys or root_keyids(), stored=ledger.leaves)


def root_keys(path: Path) -> frozenset[str]:
    """Ids of the keys in a PEM file."""
    from domainlm.ledger.trust.signing import keys_of_pem

    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        raise SecretError("the root's public key cannot be read", str(path), "give its PEM file") from None
    return frozenset(key.keyid for key in keys_of_pem(text, str(path)))


def given(anchors: Iterable[str]) -> list[Published]:
    """The published checkpoints at places that a person names."""
    from domainlm.ledger.anchors import published, read_printed
    from domainlm.ledger.settings import AnchorSettings

    found: list[Published] = []
    for place in anchors:
        path = Path(place)
        if "://" in place:
            found += published([AnchorSettings(object_store=place)])
        elif (path / ".git").exists() or (path / "HEAD").is_file():
            found += published([AnchorSettings(git=str(path.absolute()))])
        elif path.is_dir():
            found += published([AnchorSettings(folder=str(path.absolute()))])
        else:
            found.append(read_printed(path))
    return found


def _files(evidence: Evidence) -> list[Finding]:
    from domainlm.audit.proof.cross_checks import manifest_files
    from domainlm.project import home

    return manifest_files(evidence, sorted((home() / "runs").glob("*.json")))


def _with_stores(found: Verification, evidence: Evidence) -> Verification:
    from cli.environment import quiet_libraries

    quiet_libraries()
    from domainlm.audit.decisions.promotion import alias_findings, registered_findings
    from domainlm.audit.proof.cross_checks import known_runs, stored_artifacts
    from domainlm.ledger import entries
    from steps.registry import StackRegistries
    from steps.stored_outputs import ended_runs, stored_outputs

    registries = StackRegistries()
    more = alias_findings(evidence, registries.champions(), registries.names)
    more += registered_findings(evidence, registries)
    if evidence.stated:
        more += known_runs(evidence, ended_runs(evidence.stated[0].header.time))
    manifests = {stated.act.run_id: stated.act for stated in evidence.of_kind(entries.RUN)}
    differing, count = stored_artifacts(evidence, stored_outputs(manifests.values()))
    return found.with_findings([*more, *differing], count)


def plain(text: str) -> str:
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
