"""Versions registered as a pipeline does it: in MLflow, in a ZenML run, in a small ledger; and promoted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from small_ledgers import ORIGIN, SmallLedger, small_ledger, small_run
from zenml import Model, log_metadata, pipeline, step

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.audit.decisions.promotion import promote
from domainlm.audit.proof.verification import examine
from domainlm.digests import digest_json
from domainlm.ledger import entries
from domainlm.ledger.acts import Approval
from domainlm.ledger.run.manifest import ModelRecord
from domainlm.register import Provenance, Registration, register
from domainlm.register.settings import RegisterSettings


@step(enable_cache=False)
def note(digests: dict[str, str], name: str, version: str) -> None:
    """What `steps.register` says of ZenML's model version."""
    log_metadata({"digests": digests, "registry_name": name, "registry_version": version}, infer_model=True)


@pipeline(enable_cache=False)
def registering(digests: dict[str, str], name: str, version: str) -> None:
    """Stands for a training that registers."""
    note(digests, name, version)


class Bank:
    """Registers versions as a pipeline does: in MLflow, in a ZenML run, in a ledger."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.made: SmallLedger = small_ledger(folder / "ledger")

    def register(self, number: int, approved: bool = True, trusted: bool | None = None, **changes: Any) -> ModelRecord:
        """A version, and the entry of its run; other fields of the manifest may be changed."""
        from steps.registry import tracking_uri

        adapter = AdapterFolder(self.folder / f"adapter-{number}")
        tokenizer, base = TokenizerFolder(self.folder / "tokenizer"), BaseCheckpoint(self.folder / "base")
        for part in (adapter, tokenizer, base):
            part.path.mkdir(exist_ok=True)
        base.write_card(name="toy", external=True, location="/nowhere", digest=digest_json("base"))
        (tokenizer.path / "tokenizer.json").write_text("{}")
        tokenizer.write_card(new_tokens={}, base_digest=base.card["digest"])
        (adapter.path / "weights.json").write_text(json.dumps({"version": number}))
        adapter.write_card(method="lora", base_digest=base.card["digest"], tokenizer_digest=tokenizer.digest)
        provenance = Provenance(data="d" * 64, configuration="c" * 64, evaluation="e" * 64, commit="abc", dirty=False,
                                licences=["CC0-1.0"], handling="public")  # fmt: skip
        settings = RegisterSettings(name=self.name, experiment=self.name)
        registration: Registration = register(
            base, tokenizer, adapter, provenance, {"accuracy": 0.7}, "shown", settings, tracking_uri(),
            self.folder / "artifacts",
        )  # fmt: skip
        model = Model(name=f"zenml-{self.name}")  # ZenML's model may have another name than MLflow's
        run = registering.with_options(model=model)(registration.digests, self.name, registration.version)
        model = ModelRecord(
            name=self.name, version=registration.version, identity=digest_json(registration.digests),
            digests=registration.digests, verdict="shown", trusted=trusted,
        )  # fmt: skip
        entry = self.made.enter_run(small_run(number, **{"run_id": str(run.id), "model": model} | changes)).entry
        for person in ("anna", "victor") if approved else ():
            act = Approval(model=f"{self.name}/{model.version}", identity=model.identity, run=entry, decision="approve")
            self.made.state(person, entries.APPROVAL, act)
        return model

    def champions(self, registries) -> dict[str, tuple[str, str]]:
        """Registry -> (version, identity) of this name's champion."""
        return {
            found.registry: (found.version, found.identity)
            for found in registries.champions()
            if found.name == self.name
        }

    def promote(self, version: str, registries):
        ledger = self.made.ledger
        return promote(
            self.name, version, ledger=ledger, registries=registries,
            examine=lambda: examine(ledger.raw(), ledger.checkpoints(), (), ORIGIN, self.made.root_keyids),
            append=lambda act: self.made.state("recorder", entries.PROMOTION, act, {act.model: act.identity}),
        )  # fmt: skip
