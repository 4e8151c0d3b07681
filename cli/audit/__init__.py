"""`domainlm audit`: one file a group of commands; each adds its own to the app."""

from __future__ import annotations

import typer

from cli.audit import (
    anchors,
    approvals,
    bundle,
    collect,
    exports,
    holds,
    keys,
    lineage,
    page,
    policy,
    report,
    signer,
    verify,
)

app = typer.Typer(help="Evidence that needs no trust: verify, approve, trace, report.", no_args_is_help=True)
for group in (verify, bundle, anchors, approvals, holds, lineage, report, page, exports, policy, keys, signer, collect):
    group.register(app)
