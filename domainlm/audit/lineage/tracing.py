"""From a model to what made it, and from a person to what saw them: the ledger and the row-level index read together.

The ledger says which sets of rows a run used and commits to each by a root; the index says which rows these are. A set
whose root the index gives again is `proven`; one that it does not know (an index of another machine, or one that was
lost) or gives otherwise is named as what it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from domainlm.audit.evidence import Evidence, Stated
from domainlm.audit.lineage.index import Lineage, Row
from domainlm.errors import ArtifactError, EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.run.manifest import RowSet, Source
from domainlm.reports import Report

PROVEN, UNKNOWN, DIFFERENT = "proven", "not in the index", "other rows"
Proof = Literal["proven", "not in the index", "other rows"]


class SetTrace(Report):
    """A set of rows that a run used.

    Fields:
        run: entry that names it: the model's own run, or that of its base.
        proof: whether the index gives the root that the ledger holds.
        counts: rows by source, licence, consent, purpose, jurisdiction, handling, split, task, language; those that
            were forgotten since under `forgotten`. Empty where the index does not know the set.
    """

    run: int
    data: str
    artifact: str
    use: str
    rows: int
    root: str
    proof: Proof
    counts: dict[str, dict[str, int]]


class ModelTrace(Report):
    """What made a model.

    Fields:
        entry, number: of the run that registered it.
        code: commit, dirty flag, lock file; the digest of each file is in the manifest.
        base: its card, and `entry` of the run that trained it where this ledger has that.
        sources: names of the sources, with their files' digests and terms.
        steps: step -> {inputs, outputs} by digest: who consumed what.
        sets: the rows, first those of the base.
    """

    model: str
    identity: str
    entry: str
    number: int
    run: str
    pipeline: str
    ended: str
    code: dict[str, Any]
    configuration: dict[str, Any]
    base: dict[str, Any]
    sources: list[dict[str, Any]]
    steps: dict[str, dict[str, dict[str, str]]]
    sets: list[SetTrace]


class DataTrace(Report):
    """A data version that saw a person.

    Fields:
        rows: how many of its rows name them, as far as these were not forgotten for another person's sake.
        models: identity -> NAME/VERSION of the models that learnt from it or were judged by it.
        uses: what it was used for.
        runs: every run that used it.
    """

    data: str
    artifact: str
    rows: int
    models: dict[str, str]
    uses: list[str]
    runs: list[str]


def trace_model(evidence: Evidence, index: Lineage, name: str) -> ModelTrace:
    """What made a model.

    Args:
        evidence: the ledger.
        index: the row-level index.
        name: NAME/VERSION, or 8 digits or more of its identity.

    Raises:
        EvidenceRefused: the ledger holds no run that registered it.
    """
    stated = evidence.model(name)
    if stated is None:
        known = [f"{one.act.model.name}/{one.act.model.version}" for one in evidence.models().values()]
        raise EvidenceRefused(
            "the ledger holds no run that registered this model", name, f"known: {', '.join(known) or 'none'}"
        )
    run, model = stated.act, stated.act.model
    maker = base_run(evidence, stated)
    sets = [(maker, one) for one in maker.act.rows] if maker is not None else []
    sets += [(stated, one) for one in run.rows]
    return ModelTrace(
        model=f"{model.name}/{model.version}", identity=model.identity, entry=stated.digest, number=stated.number,
        run=run.run_id, pipeline=run.pipeline, ended=run.ended,
        code={key: value for key, value in run.code.items() if key != "files"} | {"files": len(run.code["files"])}
        if "files" in run.code else run.code,
        configuration=run.configuration, base=run.base | ({"entry": maker.number} if maker is not None else {}),
        sources=[_told(source) for source in run.sources],
        steps={step.name: {"inputs": step.inputs, "outputs": step.outputs} for step in run.steps},
        sets=[_traced(index, made_by, one) for made_by, one in sets],
    )  # fmt: skip


def base_run(evidence: Evidence, stated: Stated) -> Stated | None:
    """The earlier run of this ledger that trained the base of a model; None where the run did so itself, or nobody
    here did."""
    base, run = stated.act.base.get("digest"), stated.act
    if not base or any(step.name == "pretrain" for step in run.steps):
        return None
    for other in evidence.of_kind(entries.RUN):
        trained = any(step.name == "pretrain" for step in other.act.steps)
        if other.number < stated.number and trained and other.act.base.get("digest") == base:
            return other
    return None


def rows_of(index: Lineage, trace: ModelTrace) -> Iterator[tuple[SetTrace, Row]]:
    """Every row of a trace that the index knows."""
    for one in trace.sets:
        if one.proof != UNKNOWN:
            for row in index.rows_of(one.data, one.use):
                yield one, row


def trace_subject(index: Lineage, subject: str) -> list[DataTrace]:
    """Every data version that saw a person, and the models that came of it.

    Args:
        index: the row-level index, its ids carried to the present key.
        subject: the person's keyed id.
    """
    versions = {version.digest: version for version in index.data_versions()}
    found = []
    for data in index.data_of(subject):
        used = index.uses_of(data)
        found.append(
            DataTrace(
                data=data,
                artifact=versions[data].artifact,
                rows=len(index.rows_about(subject, data)),
                models={one.identity: one.model for one in used if one.identity},
                uses=sorted({one.use for one in used}),
                runs=sorted({one.run for one in used}),
            )
        )
    return found


def _traced(index: Lineage, stated: Stated, one: RowSet) -> SetTrace:
    artifact, proof, counts = "", UNKNOWN, {}
    try:
        again = index.root_of(one.data, one.use)
        proof = PROVEN if (again.root, again.rows) == (one.root, one.rows) else DIFFERENT
        counts = index.counts(one.data, one.use)
        artifact = next(version.artifact for version in index.data_versions() if version.digest == one.data)
    except ArtifactError:
        pass
    return SetTrace(
        run=stated.number, data=one.data, artifact=artifact, use=one.use, rows=one.rows, root=one.root, proof=proof,
        counts=counts,
    )  # fmt: skip


def _told(source: Source) -> dict[str, Any]:
    return source.model_dump(mode="json", exclude={"steward"})
