"""`domainlm promote`: a candidate becomes the champion, in the ledger and in both registries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.environment import enter_project, enter_stack, from_here, quiet_libraries

if TYPE_CHECKING:
    from domainlm.audit.decisions.promotion import Registries
    from domainlm.audit.evidence import Evidence


def promote(
    version: Annotated[str, typer.Argument(metavar="[VERSION]", help="Number of the version, or NAME/VERSION.")] = "",
    name: Annotated[str, typer.Option("--name", help="Registered model; the ledger's only one by default.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide, and change nothing.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Compare the registries' champions with the ledger.")] = False,
    stack: Annotated[
        str, typer.Option("-s", "--stack", help="Stack whose registries show the champion.", callback=from_here)
    ] = "",
) -> None:
    """Make an approved version the champion. Refuses where the ledger is broken or an approval is missing."""
    enter_project()
    quiet_libraries()
    enter_stack(stack)
    from domainlm.audit.decisions.statements import printable
    from domainlm.errors import ConfigurationError
    from steps.examined import examined
    from steps.promoting import promote_in_stack
    from steps.registry import StackRegistries

    if check:
        _check(StackRegistries())
        return
    name, version = (version.rpartition("/")[0] or name), version.rpartition("/")[2]
    if not version:
        raise ConfigurationError("names no version", "promote", "for example `domainlm promote 3`")
    verification, evidence = examined()
    done = promote_in_stack(name or _only_name(evidence), version, lambda: (verification, evidence), dry_run)
    for line in done.warnings:
        typer.echo(printable(line), err=True)
    if done.already:
        typer.echo(f"{done.label} is the champion already, in the ledger and in both registries")
    elif dry_run:
        typer.echo(f"{done.label} may be promoted; nothing was changed")
    elif done.finished:
        typer.echo(f"finished: the ledger had promoted {done.label} (entry {done.entry}); the registries show it now")
    else:
        by = "a standing approval" if done.decision and done.decision.standing else ", ".join(done.decision.counted)
        typer.echo(f"promoted: {done.label}, by {by}; entry {done.entry}")


def _only_name(evidence: Evidence) -> str:
    from domainlm.errors import ConfigurationError

    names = sorted({run.act.model.name for run in evidence.models().values()})
    if len(names) != 1:
        known = ", ".join(names) or "none"
        raise ConfigurationError(f"the ledger knows {len(names)} registered models", "--name", f"name one of: {known}")
    return names[0]


def _check(registries: Registries) -> None:
    from domainlm.audit.decisions.promotion import alias_findings, stored_findings
    from domainlm.audit.decisions.statements import printable
    from steps.examined import examined

    verification, evidence = examined()
    champions = registries.champions()
    findings = [finding for finding in verification.findings if finding.severity == "broken"]
    findings += alias_findings(evidence, champions, registries.names)
    for name in sorted({champion.name for champion in champions}):
        findings += stored_findings(evidence, registries, name)
    for finding in findings:
        typer.echo(printable(finding.line()))
    for champion in champions:
        typer.echo(printable(f"{champion.registry}: {champion.name}/{champion.version} ({champion.identity[:16]})"))
    if findings:
        raise typer.Exit(1)
    typer.echo("the registries show what the ledger promoted" if champions else "there is no champion")
