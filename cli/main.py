"""The entry point of `domainlm`: commands, and how errors look."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from cli import (
    audit,
    backup,
    bases,
    batches,
    clean,
    cluster,
    compare,
    dashboard,
    erase,
    follow,
    keys,
    probe,
    promote,
    retrain,
    run,
    scan,
    setup,
    simulate,
    stack,
    vault,
    watch,
)
from domainlm.errors import DomainLMError

app = typer.Typer(
    help="Turn an institution's own text into a fine-tuned language model that it may legally use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("watch")(watch.watch)
app.command("retrain")(retrain.retrain)
app.command("probe")(probe.probe)
app.command("simulate")(simulate.simulate)
app.command("compare")(compare.compare)
app.command("follow")(follow.follow)
app.command("promote")(promote.promote)
app.command("setup")(setup.setup)
app.command("dashboard")(dashboard.dashboard)
app.command("clean")(clean.clean)
app.command("bases", epilog=bases.EPILOG)(bases.bases)
app.command("scan", help=scan.HELP, epilog=scan.EPILOG)(scan.scan)
app.command("erase")(erase.erase)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.add_typer(stack.app, name="stack")
app.add_typer(cluster.app, name="cluster")
app.add_typer(vault.app, name="vault")
app.add_typer(keys.app, name="keys")
app.add_typer(batches.app, name="batches")
app.add_typer(audit.app, name="audit")


@app.callback()
def commands() -> None:
    """Kept so that typer shows commands even if there is only one."""


def main() -> None:
    """Run a command; our own errors become one clear message and exit code 1."""
    try:
        app()
    except DomainLMError as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]{type(error).__name__}[/]", end=" ")
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
