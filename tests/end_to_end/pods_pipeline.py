"""The first real stages and `record`, for the tests of evidence from pods. Run in a project of its own:

    python pods_pipeline.py CONFIG [STACK]      on this machine, or on the stack of a file, whose steps are processes

Prints the run's id and each step's status as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

if len(sys.argv) > 2:  # before ZenML is imported
    from domainlm.cluster.settings import read_stack

    read_stack(Path(sys.argv[2])).enter()

from zenml import pipeline
from zenml.client import Client
from zenml.enums import StackComponentType

from cli.stack import apply
from domainlm.ledger.run.asked import Asked, say
from domainlm.ledger.run.authorship import whoever_runs
from domainlm.ledger.run.submission import state
from domainlm.project import project_root
from domainlm.redact.policy import read_policy
from pipelines import hooks
from steps.erased import mark_for_run
from steps.ingest import ingest
from steps.keys import load_keys
from steps.prepare import prepare
from steps.record import record
from steps.redact import redact


@pipeline(**hooks.around_a_run)
def small_pipeline(pack: str = "domains/finance") -> None:
    """Ingest, redact, prepare, and record."""
    keys = load_keys()
    redacted, _ = redact(ingest(), policy=read_policy(pack), key_id=keys.lineage, erased=mark_for_run(keys))
    prepared, _ = prepare(redacted)
    record(None, after=prepared)


if __name__ == "__main__":
    configuration, told = sys.argv[1], {}
    if len(sys.argv) > 2:
        import pods_as_processes

        if not Client().list_flavors(name="pods_as_processes").items:
            Client().create_flavor(pods_as_processes.FLAVOR, StackComponentType.ORCHESTRATOR)
        apply(Path(sys.argv[2]))
        told = {"extra": state(Asked(configuration), whoever_runs(project_root()), load_keys)}
    say(Asked(str(Path(configuration).resolve())))
    try:
        run = small_pipeline.with_options(config_path=configuration, **told)()
    except Exception as error:  # on this machine a failed step raises
        print(type(error).__name__, file=sys.stderr)
        sys.exit(1)
    found = Client().get_pipeline_run(run.id, hydrate=True)
    print(json.dumps({"run": str(run.id)} | {name: str(step.status) for name, step in found.steps.items()}))
