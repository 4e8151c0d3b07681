"""`domainlm audit lineage` and `audit subject`: from a model to its rows, from a person to all that saw them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.environment import enter_project

if TYPE_CHECKING:
    from domainlm.audit.lineage.index import Lineage
    from domainlm.audit.lineage.tracing import ModelTrace

Json = Annotated[bool, typer.Option("--json", help="JSON, for programs.")]
RowsJson = Annotated[bool, typer.Option("--json", help="JSON, for programs; with --rows one more line a row.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("lineage")(lineage)
    app.command("subject")(subject)


def index_at_hand() -> Lineage:
    """The project's row-level index, its ids carried to the present key."""
    from cli.keys import keys_at_hand
    from domainlm.audit.lineage.index import FILE, Lineage
    from domainlm.ledger.settings import evidence_folder

    index = Lineage(evidence_folder() / FILE)
    index.carry(keys_at_hand())
    return index


def lineage(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="NAME/VERSION, or 8 digits or more of its identity.")],
    rows: Annotated[bool, typer.Option("--rows", help="Every row: keyed id, source, row number, terms.")] = False,
    as_json: RowsJson = False,
) -> None:
    """What made a model: run, code, configuration, base, sources, and the rows that taught and judged it."""
    enter_project(ready=False)
    from domainlm.audit.evidence import Evidence
    from domainlm.audit.lineage.tracing import PROVEN, rows_of, trace_model
    from domainlm.ledger.client import evidence_entries, new_gate

    index = index_at_hand()
    trace = trace_model(Evidence(evidence_entries(), new_gate()), index, model)
    if as_json:
        typer.echo(json.dumps(trace.model_dump(mode="json"), ensure_ascii=False))
    else:
        _print(trace)
    for one, row in rows_of(index, trace) if rows else ():
        if as_json:
            typer.echo(json.dumps({"data": one.data, "use": one.use, **row._asdict()}, ensure_ascii=False))
        else:
            told = (one.use, row.record or "(forgotten)", row.source, row.row, row.split, row.task, row.licence)
            typer.echo("\t".join(str(value) for value in (*told, row.consent, row.jurisdiction, row.handling)))
    if any(one.proof != PROVEN for one in trace.sets) or not trace.sets:
        typer.echo("not every set of rows could be proven", err=True)
        raise typer.Exit(1)


def subject(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Keyed id, as `domainlm vault subject` prints it.")],
    as_json: Json = False,
) -> None:
    """Every data version and model that saw a person. The look itself is logged in the ledger, without the id."""
    enter_project(ready=False)
    from cli.keys import keys_at_hand
    from domainlm.audit.lineage.tracing import trace_subject
    from domainlm.errors import ConfigurationError
    from steps.erased import erasure_register

    keys = keys_at_hand()
    if not keys.knows(identifier) or len(identifier) != 32:
        raise ConfigurationError("this is no keyed id of this institution", "ID", "ask `domainlm vault subject`")
    index = index_at_hand()
    _log_the_look()
    present = keys.carried("subject", identifier)
    found = trace_subject(index, present)
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found], ensure_ascii=False))
        return
    for one in found:
        named = ", ".join(f"{name or 'unnamed'} ({identity[:12]})" for identity, name in sorted(one.models.items()))
        uses = ", ".join(one.uses) or "no use"
        typer.echo(f"{one.artifact} {one.data[:12]}: {one.rows} rows, {uses}; {named or 'no model'}")
    if present in erasure_register(keys).subjects():
        typer.echo(
            "erased on the record; what saw this person can no longer be linked; models that must be retrained:"
            " `domainlm audit verify`"
        )
    elif not found:
        typer.echo("no data version of this project's index saw this person")


def _log_the_look() -> None:
    """An entry that somebody looked at a person; fails closed: where it cannot be made, nothing is shown."""
    import secrets

    from domainlm.digests import digest_bytes
    from domainlm.ledger import client, entries
    from domainlm.ledger.acts import Read
    from domainlm.ledger.run.authorship import whoever_runs
    from domainlm.ledger.trust.gate import identity
    from domainlm.project import project_root

    person = identity(whoever_runs(project_root())[0])
    # a number that nothing leads back from: not even that two looks were at the same person
    look = {"look": digest_bytes(secrets.token_bytes(32))}
    client.submit(entries.READ, look, Read(person=person, page="audit subject").model_dump(mode="json"))


def _print(trace: ModelTrace) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="bold", no_wrap=True)
    lines.add_column(overflow="fold")
    for title, told in _lines(trace):
        lines.add_row(title, told)
    console.print(lines)
    for one in trace.sets:
        of = f"{one.artifact or 'data'} {one.data[:12]}"
        console.print(f"\n[bold]{one.use}[/]: {one.rows:,} rows of {of}, {one.proof}")
        for field, counted in one.counts.items():
            if field == "forgotten":
                console.print(f"  {sum(counted.values()):,} of these rows were forgotten after an erasure")
                continue
            told = ", ".join(f"{value or '(none)'} {count:,}" for value, count in sorted(counted.items()))
            console.print(f"  {field}: {told}", markup=False)


def _lines(trace: ModelTrace) -> list[tuple[str, str]]:
    code, configuration, base = trace.code, trace.configuration, trace.base
    dirty = ", with uncommitted changes" if code.get("dirty", True) else ""
    own = f"; trained in entry {base['entry']}" if "entry" in base else ""
    return [
        ("model", f"{trace.model}, identity {trace.identity}"),
        ("run", f"{trace.run} ({trace.pipeline}), ended {trace.ended or 'never'}; entry {trace.number}"),
        ("code", f"commit {code.get('commit') or '(none)'}{dirty}; {code.get('files', 0)} files"),
        ("lock file", str(code.get("lock") or "(none)")),
        ("configuration", f"{configuration.get('file') or '(none)'}, {configuration.get('digest', '')}"),
        ("base", f"{base.get('name', '(none)')}, {base.get('licence', '')}, {base.get('digest', '')}{own}"),
        *((f"source {source['name']}", _source(source)) for source in trace.sources),
    ]  # fmt: skip


def _source(source: dict[str, Any]) -> str:
    terms = ("licence", "consent", "purpose", "jurisdiction", "handling")
    return f"{source['rows']:,} rows, {len(source['files'])} files; " + ", ".join(str(source[term]) for term in terms)
