"""`domainlm erase`: a person's data out of everything that the project keeps; what it cannot reach, it says."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from cli.environment import enter_project, enter_stack, from_here, quiet_libraries
from cli.keys import keys_at_hand
from domainlm.errors import DomainLMError, PlaceTaken
from domainlm.project import home
from domainlm.reading import display

if TYPE_CHECKING:
    from collections.abc import Callable

    from domainlm.audit.erasure.erasure import Eraser
    from domainlm.audit.evidence import Evidence
    from domainlm.keys import KeyRing


def erase(
    subjects: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SUBJECT...]", help="Subject ids; none finishes what was interrupted."),
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", help="The request's number: one to four words, 10 to 60 characters.")
    ] = "",
    stack: Annotated[
        str, typer.Option("-s", "--stack", help="Stack whose stores are erased from.", callback=from_here)
    ] = "",
) -> None:
    """Erase persons: their rows leave data, samples, caches, checkpoints and vault, and do not come back.

    A subject id comes from `domainlm vault subject PERSON`; a person has one for the name and one for each number.
    """
    enter_project()
    quiet_libraries()
    enter_stack(stack)
    if stack and (working := runs_at_work()):
        raise PlaceTaken("a run is at work on the stack", ", ".join(working), "wait for its end, or stop it")
    from domainlm.redact.access import operating_system_user

    done = eraser().erase(subjects or [], reason, operating_system_user())
    for subject, found in done.items():
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in found.counts.items() if count)
        typer.echo(f"erased: {subject}, ledger entry {found.entry}: {counts or 'nothing was kept'}")
        for identity in found.models:
            typer.echo(f"  must be trained again: model {identity}")
    if not done:
        typer.echo("nothing to finish")
    else:
        from steps.erased import mark_for_run

        mark_for_run(keys_at_hand())  # pods of a schedule that was compiled before bring nothing back
        if stack and (working := runs_at_work()):
            typer.echo(f"began meanwhile, erase again when they have ended: {', '.join(working)}")
        typer.echo("not reached: the sources themselves, copies handed out, backups (`domainlm restore` erases again)")
        for line in in_the_spool():
            typer.echo(line)


def in_the_spool() -> list[str]:
    """What to say of rows that queries landed: their files hold them in clear, and no id of a person stands in them, so
    that each may be about the erased."""
    from cli.landing import there_is_a_book
    from domainlm.retrain.book import open_book
    from domainlm.retrain.zone.spool import DEFAULT, spooled_files

    lines, found = [], []
    try:
        if there_is_a_book():
            with closing(open_book(create=False)) as book:
                found = spooled_files(book)
    except DomainLMError as error:
        lines = [f"NOT ERASED: rows that queries landed may hold the person; the book that lists them: {error.what}"]
    listed = {uri for _, uri in found}
    for path in sorted((home() / DEFAULT).rglob("*.jsonl")):  # of another book
        if not {str(path), display(str(path))} & listed:
            found.append(("", display(str(path))))
    if not found:
        return lines
    return [
        *lines,
        f"NOT ERASED: {len(found)} files of rows that queries landed may hold the person. Delete the person in the "
        "database, then each of these files that does; the next look lands the rest of its rows anew:",
        *(f"  {f'batch {batch[:12]}' if batch else 'of another book'}: {_plain(uri)}" for batch, uri in found),
    ]


def _plain(text: str) -> str:
    """A name out of a store could steer the terminal."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def runs_at_work() -> list[str]:
    """Names of the active stack's runs that have not ended: their pods may hold what is about to be erased."""
    from zenml.client import Client
    from zenml.utils.pagination_utils import depaginate

    found = depaginate(Client().list_pipeline_runs, stack=Client().active_stack_model.name)
    return sorted(run.name for run in found if not run.status.is_finished)


def eraser() -> Eraser:
    """An eraser over everything that this project keeps."""
    from domainlm.audit.erasure.erasure import Eraser, Places
    from domainlm.audit.lineage.index import FILE, Lineage
    from domainlm.ledger.client import submit
    from domainlm.ledger.settings import evidence_folder
    from domainlm.redact.quarantine import Quarantine
    from domainlm.redact.vault import Vault
    from steps.erased import erasure_register
    from steps.marks import mark_must_retrain
    from steps.stored import ZenMLStore

    keys = keys_at_hand()
    vault = Vault(home() / "vault", keys)
    lineage = Lineage(evidence_folder() / FILE)
    lineage.carry(keys)

    def mark(models: list[str]) -> None:
        runs = {identity: stated.act.run_id for identity, stated in read_evidence().models().items()}
        mark_must_retrain((identity, runs.get(identity, "")) for identity in models)

    places = Places(
        home=home(),
        store=ZenMLStore(),
        lineage=lineage,
        evidence=read_evidence,
        submit=submit,
        forget_vault=vault.forget,
        drop_vault=vault.drop,
        forget_quarantine=Quarantine(home() / "quarantine", keys).forget,
        mark_models=mark,
        identify=identifier(keys),
    )
    return Eraser(places, erasure_register(keys))


def identifier(keys: KeyRing) -> Callable[[str], list[str]]:
    """A function that gives the subject ids a text has under each entity, as `domainlm vault subject` makes them."""
    from domainlm.redact.folding import fold
    from domainlm.redact.operators import normalise
    from domainlm.redact.settings import ENTITIES, RedactSettings

    regions = RedactSettings().phone_regions

    def identify(text: str) -> list[str]:
        folded = fold(text).text
        found = [keys.keyed_id("subject", entity, normalise(entity, folded, regions)) for entity in ENTITIES]
        return [*found, keys.keyed_id("subject", "SUBJECT", text)]  # a source's own column, as it is written

    return identify


def read_evidence() -> Evidence:
    """The project's ledger, every entry judged by its policy."""
    from domainlm.audit.evidence import Evidence
    from domainlm.ledger.client import evidence_entries, new_gate

    return Evidence(evidence_entries(), new_gate())
