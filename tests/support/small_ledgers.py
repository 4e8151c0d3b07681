"""A small ledger with people, keys and runs, for the tests of everything that reads or writes evidence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from domainlm.audit.evidence import Evidence
from domainlm.digests import digest_json
from domainlm.ledger import entries
from domainlm.ledger.acts import spoken_of
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.log import Ledger
from domainlm.ledger.run.manifest import COMPLETED, Authors, ModelRecord, RunManifest, StepEntry
from domainlm.ledger.run.provenance import MANIFEST
from domainlm.ledger.signer.service import Receipt, SigningService
from domainlm.ledger.trust.gate import Gate, Member, Policy, Rules, identity
from domainlm.ledger.trust.signing import public_pem

ORIGIN = "bank/models"
PEOPLE = {"anna": ["officer"], "victor": ["validator"], "tina": ["trainer"], "olga": ["officer", "validator"]}
SERVICES = {"root": ["root"], "recorder": ["recorder"], "log": ["log"]}


@dataclass
class SmallLedger:
    """A ledger in a folder, with the private keys of everybody.

    Args:
        keys: name -> signer: root, recorder, log, anna (officer), victor (validator), tina (trainer), olga (both).
    """

    folder: Path
    ledger: Ledger
    service: SigningService
    keys: dict[str, CryptoSigner]
    policy: Policy

    @property
    def root_keyids(self) -> frozenset[str]:
        return frozenset({self.keys["root"].public_key.keyid})

    def evidence(self) -> Evidence:
        return Evidence(self.ledger.entries(), Gate(ORIGIN, self.root_keyids))

    def as_files(self) -> dict[str, str]:
        """Write everybody's key to NAME.pem in the folder, the services' to signer/.

        Returns:
            The variables by which the commands and the signer find this ledger.
        """
        signer = self.folder / "signer"
        signer.mkdir(mode=0o700)
        for name, key in self.keys.items():
            path = (signer if name in ("recorder", "log") else self.folder) / f"{name}.pem"
            path.write_bytes(key.private_bytes)
            path.chmod(0o600)
        (self.folder / "root.public.pem").write_text(public_pem(self.keys["root"].public_key))
        (self.folder / "audit.yaml").write_text(f"origin: {ORIGIN}\n")
        return {
            "DOMAINLM_AUDIT": str(self.folder / "audit.yaml"),
            "DOMAINLM_LEDGER": f"sqlite:///{self.folder / 'ledger.sqlite'}",
            "DOMAINLM_ROOT": str(self.folder / "root.public.pem"),
            "DOMAINLM_SIGNER_KEYS": str(signer),
        }

    def state(
        self, who: str, kind: str, content: Any, subjects: dict[str, str] | None = None, time: datetime | None = None
    ) -> Receipt:
        """An entry signed by somebody; content is a model of `domainlm.ledger.acts` or a mapping."""
        found = content.model_dump(mode="json") if hasattr(content, "model_dump") else content
        about = spoken_of(content) or {"0" * 64}
        subjects = subjects or {f"subject/{place}": digest for place, digest in enumerate(sorted(about))}
        statement = entries.statement(kind, ORIGIN, who, subjects, found, time)
        return self.service.add([Envelope.sign(statement, self.keys[who])])[0]

    def enter_run(self, manifest: RunManifest, time: datetime | None = None) -> Receipt:
        """A run's entry, signed by the recorder."""
        content = {MANIFEST: manifest.sealed().model_dump(mode="json")}
        return self.state("recorder", entries.RUN, content, {"manifest": manifest.sealed().digest}, time)


def small_ledger(folder: Path, rules: Rules | None = None, time: datetime | None = None) -> SmallLedger:
    """A fresh ledger with its first policy, of a moment."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = {name: CryptoSigner.generate_ed25519() for name in (*SERVICES, *PEOPLE)}
    policy = Policy(
        version=1,
        ledger=ORIGIN,
        keys={signer.public_key.keyid: signer.public_key.to_dict() for signer in keys.values()},
        members={
            name: Member(
                keys=[keys[name].public_key.keyid],
                roles=roles,  # type: ignore[arg-type]
                identities=[identity(f"{name}@bank.example")] if name in PEOPLE else [],
            )
            for name, roles in {**SERVICES, **PEOPLE}.items()
        },
        rules=rules or Rules(production=True),
    )
    ledger = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}", ORIGIN)
    root_keyids = frozenset({keys["root"].public_key.keyid})
    # tests enter what is said to happen on later days
    service = SigningService(
        ledger, root_keyids, keys["recorder"], keys["log"], clock=lambda: datetime(9000, 1, 1, tzinfo=UTC)
    )
    made = SmallLedger(folder, ledger, service, keys, policy)
    made.state("root", entries.POLICY, policy, time=time)
    return made


def small_run(number: int = 1, **changes: Any) -> RunManifest:
    """A completed run that registered version `number` of `domainlm-finance`, by tina; other fields may be changed."""
    digests = {
        part: digest_json([part, number]) for part in ("adapter", "tokenizer", "data", "configuration", "evaluation")
    } | {"base": digest_json(["base"])}
    step = StepEntry(name="train", status=COMPLETED, parameters={"seed": 1}, outputs={"adapter": digests["adapter"]})
    values: dict[str, Any] = {
        "run_id": f"00000000-0000-4000-8000-{number:012d}",
        "run_name": f"finetuning_pipeline-{number}",
        "pipeline": "finetuning_pipeline",
        "status": COMPLETED,
        "started": "2026-11-20T10:00:00.000+00:00",
        "ended": "2026-11-20T10:05:00.000+00:00",
        "steps": [step],
        "metrics": {"headline_accuracy": 0.5 + number / 100},
        "model": ModelRecord(
            name="domainlm-finance",
            version=str(number),
            identity=digest_json(digests),
            digests=digests,
            verdict="shown",
        ),
        "authors": Authors(
            code=[identity("tina@bank.example")],
            configuration=[identity("tina@bank.example")],
            data=[identity("tina@bank.example")],
            trained_by=identity("tina@bank.example"),
        ),
    }
    return RunManifest(**(values | changes))
