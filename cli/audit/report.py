"""`domainlm audit report`, `checklist`: a model on paper, and the laws' checklist."""

from __future__ import annotations

import getpass
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.environment import enter_project

if TYPE_CHECKING:
    from domainlm.audit.evidence import Evidence, Stated
    from domainlm.audit.proof.verification import Verification
    from domainlm.audit.regulation import Answer, Checklist

Pack = Annotated[Path, typer.Option("--pack", help="The domain pack with the checklist.")]
Anchor = Annotated[
    list[str] | None,
    typer.Option("--anchor", help="A published checkpoint: a file, a folder, a git repository, or an fsspec URL."),
]
Language = Annotated[str, typer.Option("--language", help="en or ko.")]
PACK = Path("domains/finance")
MARKS = {"answered": "+", "in part": "~", "missing here": "!", "not covered": "-"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("report")(report)
    app.command("checklist")(checklist)


def report(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="NAME/VERSION, or 8 digits or more of its identity.")],
    html: Annotated[Path | None, typer.Option("--html", help="Write the report as one HTML page.")] = None,
    pdf: Annotated[Path | None, typer.Option("--pdf", help="Write the report as PDF/A.")] = None,
    language: Language = "en",
    pack: Pack = PACK,
    anchor: Anchor = None,
    enter: Annotated[
        bool, typer.Option("--enter", help="Note in the ledger who made the report, with the file's digest.")
    ] = False,
) -> None:
    """The report of a model version. It is made from the ledger alone and is not itself entered, but by --enter."""
    targets = {ending: path.absolute() for ending, path in (("html", html), ("pdf", pdf)) if path is not None}
    if not targets:
        raise typer.BadParameter("name a file: --html FILE, --pdf FILE, or both")
    outside = places(anchor)
    enter_project(ready=False)
    from domainlm.audit.decisions.approvals import decide
    from domainlm.audit.regulation import read_checklist
    from domainlm.audit.report import build, save, to_html, to_pdf

    verification, evidence, notes = at_hand(outside)
    run = _run_of(evidence, model)
    identity = run.act.model.identity
    document = build(
        evidence, identity, verification, decide(evidence, identity), language,
        checkpoint=notes[-1] if notes else "", checklist=read_checklist(pack),
    )  # fmt: skip
    page = to_html(document)
    contents = {"html": page.encode(), "pdf": to_pdf(page) if "pdf" in targets else b""}
    for ending, path in targets.items():
        if enter:
            _note(contents[ending], ending, identity)
        save(path, contents[ending])
        typer.echo(f"{path}")
    typer.echo(document.headline)
    raise typer.Exit(1 if verification.verdict == "broken" else 0)


def checklist(
    model: Annotated[
        str, typer.Argument(metavar="[MODEL]", help="NAME/VERSION or identity; left out, the whole map as Markdown.")
    ] = "",
    law: Annotated[str, typer.Option("--law", help="One source alone, such as gdpr.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for programs.")] = False,
    language: Language = "en",
    pack: Pack = PACK,
) -> None:
    """What a model's evidence answers of the laws' checklist: + answered, ~ in part, ! missing here, - not covered."""
    enter_project(ready=False)
    from domainlm.audit.regulation import answer, read_checklist, to_markdown

    found = read_checklist(pack)
    if law:
        found.of(law)  # a law that is not there is refused, also with a model
    if not model:
        typer.echo(found.model_dump_json(indent=2) if as_json else to_markdown(found), nl=as_json)
        return
    _, evidence, _ = at_hand()
    answers = [
        one for one in answer(found, _run_of(evidence, model).act, evidence) if not law or one.item.source == law
    ]
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in answers], ensure_ascii=False, indent=2))
        return
    _print(found, answers, language)


def checkpoint_of(file: Path) -> str:
    """The signed checkpoint that a report prints, letter by letter (`cli.audit.anchors` has the command)."""
    from domainlm.audit.report import read_checkpoint
    from domainlm.errors import ArtifactError

    try:
        content = file.read_bytes()
    except OSError:
        raise ArtifactError("the report cannot be read", str(file), "name the file") from None
    return read_checkpoint(content)


def places(anchors: list[str] | None) -> list[str]:
    """Anchors as a person names them, relative to where they are: to be asked before a project is entered."""
    return [place if "://" in place else str(Path(place).absolute()) for place in anchors or []]


def at_hand(anchors: Sequence[str] = ()) -> tuple[Verification, Evidence, list[str]]:
    """The project's ledger verified, what it says, and its signed checkpoints, the smallest first.

    Args:
        anchors: published checkpoints beside those that the project's settings name, as `places` makes them.
    """
    from cli.audit.verify import given
    from domainlm.audit.proof.cross_checks import manifest_files, within
    from domainlm.audit.proof.verification import examine
    from domainlm.ledger.anchors import published
    from domainlm.ledger.client import root_keyids
    from domainlm.ledger.log import Ledger
    from domainlm.ledger.settings import AuditSettings
    from domainlm.project import home

    settings = AuditSettings.load()
    ledger = Ledger(settings.ledger_url, settings.origin, create=False)
    outside = [*given(anchors), *published(settings.anchors, settings.origin)]
    notes = ledger.checkpoints()  # before the entries, since others may append
    found, evidence = examine(ledger.raw(), notes, outside, settings.origin, root_keyids(), stored=ledger.leaves)
    files = manifest_files(evidence, sorted((home() / "runs").glob("*.json")))
    return found.with_findings([*within(evidence), *files]), evidence, notes


def _run_of(evidence: Evidence, model: str) -> Stated:
    from domainlm.errors import EvidenceRefused, nearest

    run = evidence.model(model)
    if run is None:
        known = [f"{one.act.model.name}/{one.act.model.version}" for one in evidence.models().values()]
        remedy = nearest(model, known) if known else "run the pipeline: each registered model has an entry"
        raise EvidenceRefused("no run in the ledger registered it", model, remedy, "missing-manifest")
    return run


def _note(content: bytes, ending: str, identity: str) -> None:
    """On the record before the file exists: who took evidence out."""
    from domainlm.digests import digest_bytes
    from domainlm.ledger import entries
    from domainlm.ledger.acts import Read
    from domainlm.ledger.client import submit

    look = Read(person=getpass.getuser(), page=f"report.{ending}", subject=identity)
    submit(entries.READ, {f"report.{ending}": digest_bytes(content)}, look.model_dump(mode="json"))


def _print(checklist: Checklist, answers: list[Answer], language: str) -> None:
    from domainlm.audit.report.document import plain

    for key, source in checklist.sources.items():
        lines = [one for one in answers if one.item.source == key]
        if not lines:
            continue
        typer.echo(f"{source.title_ko if language == 'ko' else source.title} ({source.version})")
        for one in lines:
            told = one.value or ", ".join(one.item.answers) if one.state in ("answered", "in part") else ""
            if one.state == "in part":
                told += f"; {one.item.gap_in(language)}"
            told = told or ", ".join(one.lacking) or one.item.gap_in(language)
            typer.echo(f"  {MARKS[one.state]} {one.item.at}: {one.item.asks_in(language)} [{plain(told)}]")
    counts = ", ".join(f"{sum(one.state == state for one in answers)} {state}" for state in MARKS)
    typer.echo(f"{counts}; no legal advice, and no claim of compliance")
