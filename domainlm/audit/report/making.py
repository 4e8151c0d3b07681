"""How the model was made: what it is, its data, the redaction, the contract with the data, the training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from domainlm.audit.report.document import Block, Code, Facts, Listing, Notice, Paragraph, Section, Table, plain
from domainlm.audit.report.subject import Subject
from domainlm.ledger.run.manifest import Source, StepEntry

MANY = 40  # rows of a table that a reader of ten minutes is shown
SHORT_DIGEST = 12
REDACTION_FIGURES = (
    "records_in", "records_out", "records_changed", "records_quarantined", "erased_rows", "subjects", "canaries",
    "labelled_texts_leaking",
)  # fmt: skip
CONTRACT_FIGURES = ("suite", "rows", "expectations", "expectations_broken", "warnings", "test_rows")
COSTS = ("seconds", "tokens_per_second", "energy_kwh", "cost")
RECIPE_FIRST = (
    "method", "bits", "objective", "epochs", "max_steps", "batch_size", "gradient_accumulation", "learning_rate",
    "rank", "lora_rank", "alpha", "lora_alpha", "max_length", "seed",
)  # fmt: skip
RECIPE_LONGEST = 10


def short(digest: str) -> Code:
    """The first digits of a digest."""
    return Code(plain(digest[:SHORT_DIGEST]))


def use(subject: Subject) -> Section:
    """What the model is and what it may be used for."""
    words, manifest, model = subject.words, subject.manifest, subject.model
    licence = manifest.verdicts.get("licence", {})
    handling = words.name("handling", model.handling) if model.handling else words("not-stated")
    gate = str(licence.get("verdict", ""))
    rows: list[tuple[str, str | tuple[str, ...]]] = [
        (words("use.model"), plain(subject.name)),
        (words("use.identity"), Code(model.identity)),
        (words("use.purpose"), plain(licence.get("purpose") or words("not-recorded"))),
        (words("use.handling"), plain(handling)),
        (words("use.tier"), str(model.tier) if model.tier else words("not-stated")),
        (words("use.base"), plain(_base(manifest.base) or words("not-recorded"))),
        (words("use.gate"), plain(words.name("gate", gate) if gate else words("not-recorded"))),
        (words("use.licences"), plain(", ".join(model.licences) or words("not-recorded"))),
        (words("use.run"), plain(manifest.run_name)),
        (words("use.parts"), tuple(f"{plain(part)} {short(digest)}…" for part, digest in model.digests.items())),
    ]
    duties = [duty for duty in str(licence.get("duties", "")).split(" | ") if duty]
    blocks: list[Block] = [Facts(tuple(rows))]
    if duties:
        blocks.append(Listing(words("use.duties"), tuple(plain(duty) for duty in duties)))
    elif licence:
        blocks.append(Paragraph(words("use.no-duties")))
    return Section("use", words("use"), tuple(blocks))


def _base(base: Mapping[str, Any]) -> str:
    named = [str(base[key]) for key in ("name", "model", "licence", "license") if base.get(key)]
    return ", ".join(dict.fromkeys(named))


def data(subject: Subject) -> Section:
    """Which sources, under which terms, and which rows were used for what."""
    words, manifest = subject.words, subject.manifest
    blocks: list[Block] = []
    if manifest.sources:
        columns = ("source", "licence", "consent", "purpose", "jurisdiction", "handling", "rows")
        lines = [
            (
                plain(source.name, 60)
                + (words("data.base") if source.stage.startswith("base") else "")
                + (words("data.untrusted") if source.trusted is False else ""),
                *(
                    plain(getattr(source, term) or words("not-stated"), 80)
                    for term in ("licence", "consent", "purpose")
                ),
                plain(_law(subject, source), 80),
                plain(source.handling or words("not-stated"), 80),
                f"{source.rows:,}",
            )
            for source in manifest.sources
        ]
        caption = words("data.sources", count=len(lines))
        blocks.append(
            Table(caption, tuple(words(f"data.{column}") for column in columns), tuple(lines[:MANY]), numeric=(6,))
        )
        if len(lines) > MANY:
            blocks.append(Paragraph(words("and-more", count=len(lines) - MANY)))
    else:
        blocks.append(Notice("caution", words("tone.caution"), words("data.no-sources")))
    if manifest.rows:
        lines = [
            (words.name("use-of", plain(rows.use)), f"{rows.rows:,}", short(rows.data), Code(plain(rows.root)))
            for rows in manifest.rows
        ]
        columns = ("use", "rows", "data", "root")
        blocks.append(
            Table(words("data.sets"), tuple(words(f"data.{column}") for column in columns), tuple(lines), numeric=(1,))
        )
    else:
        blocks.append(Paragraph(words("data.no-sets")))
    return Section("data", words("data"), tuple(blocks))


def _law(subject: Subject, source: Source) -> str:
    """Rows by the law that they are under; the source's own statement where they were not counted."""
    if source.jurisdictions:
        most = sorted(source.jurisdictions.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{law or subject.words('not-stated')} {rows:,}" for law, rows in most)
    if source.jurisdiction:
        return subject.words("data.default", law=source.jurisdiction)
    return subject.words("not-stated")


def privacy(subject: Subject) -> Section:
    """What became of personal data."""
    words, verdicts = subject.words, subject.manifest.verdicts
    parts = {part: verdicts[part] for part in ("redaction", "base_redaction") if verdicts.get(part)}
    blocks: list[Block] = [_redacted(subject, parts)]
    if parts:
        heads = {"redaction": words("privacy.tuning"), "base_redaction": words("privacy.base")}
        names = [name for name in REDACTION_FIGURES if any(name in part for part in parts.values())]
        lines = [(words(f"privacy.{name}"), *(_figure(part.get(name)) for part in parts.values())) for name in names]
        for name in sorted({key for part in parts.values() for key in part if key.startswith("name_canaries_")}):
            label = words("privacy.names", language=plain(name.removeprefix("name_canaries_")))
            lines.append((label, *(_figure(part.get(name)) for part in parts.values())))
        head = (words("privacy.part"), *(heads[part] for part in parts))
        blocks.append(Table(words("privacy.counts"), head, tuple(lines), numeric=tuple(range(1, len(head)))))
        if told := _entities(parts.get("redaction", {})):
            blocks.append(Paragraph(words("privacy.entities", entities=told)))
    blocks.append(Paragraph(words("privacy.limit")))
    return Section("privacy", words("privacy"), tuple(blocks))


def _redacted(subject: Subject, parts: Mapping[str, Mapping[str, Any]]) -> Notice:
    words = subject.words
    if "redaction" not in parts:
        return Notice("bad", words("tone.bad"), words("privacy.unknown"))
    if all(part.get("verdict") == "passed" for part in parts.values()):
        if any(part.get("labelled_texts_leaking") for part in parts.values()):
            return Notice("caution", words("tone.caution"), words("privacy.leaking"))
        return Notice("good", words("tone.good"), words("privacy.passed"))
    return Notice("bad", words("tone.bad"), words("privacy.failed"))


def _entities(redaction: Mapping[str, Any]) -> str:
    counts = {
        name.removeprefix("entities_").upper(): count
        for name, count in redaction.items()
        if name.startswith("entities_") and isinstance(count, int) and count > 0
    }
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{plain(name)} {count:,}" for name, count in most)


def contract(subject: Subject) -> Section:
    """What the contract with the data said."""
    words, verdicts = subject.words, subject.manifest.verdicts
    parts = {part: verdicts[part] for part in ("validation", "base_validation") if verdicts.get(part)}
    kept = bool(parts) and all(part.get("verdict") == "kept" for part in parts.values())
    if "validation" not in parts:
        notice = Notice("bad", words("tone.bad"), words("contract.unknown"))
    elif kept:
        notice = Notice("good", words("tone.good"), words("contract.kept"))
    else:
        notice = Notice("bad", words("tone.bad"), words("contract.broken"))
    blocks: list[Block] = [notice]
    if parts:
        heads = {"validation": words("privacy.tuning"), "base_validation": words("privacy.base")}
        lines = [
            (words(f"contract.{name}"), *(_figure(part.get(name)) for part in parts.values()))
            for name in CONTRACT_FIGURES
            if any(name in part for part in parts.values())
        ]
        head = (words("contract.part"), *(heads[part] for part in parts))
        blocks.append(Table(words("contract.counts"), head, tuple(lines), numeric=tuple(range(1, len(head)))))
    return Section("contract", words("contract"), tuple(blocks))


def training(subject: Subject) -> Section:
    """By whom, with which code and recipe, on what, and at which cost."""
    words, manifest = subject.words, subject.manifest
    train, lock = next((step for step in manifest.steps if step.name == "train"), None), manifest.code.get("lock")
    rows: list[tuple[str, str | tuple[str, ...]]] = [
        (words("training.when"), plain(f"{manifest.started or '?'}, {manifest.ended or '?'}")),
        (words("training.pipeline"), plain(manifest.pipeline)),
        (words("training.by"), plain(_who(subject))),
        (words("training.code"), _code(subject)),
        (words("training.lock"), Code(plain(lock)) if lock else words("not-recorded")),
        (words("training.configuration"), _configuration(subject)),
        (words("training.hardware"), _hardware(subject)),
    ]
    if train:
        recipe, cost = ", ".join(_recipe(train)), ", ".join(_cost(subject, train.measured))
        rows.append((words("training.recipe"), recipe or words("not-recorded")))
        rows.append((words("training.cost"), cost or words("not-recorded")))
    blocks: list[Block] = [Facts(tuple(rows))]
    cached = [plain(step.name) for step in manifest.steps if step.cached]
    if cached:
        blocks.append(Paragraph(words("training.cached", steps=", ".join(cached))))
    return Section("training", words("training"), tuple(blocks))


def _who(subject: Subject) -> str:
    trained_by = subject.manifest.authors.trained_by
    if not trained_by:
        return subject.words("approvals.unknown-author")
    return subject.person(trained_by) or subject.words("approvals.outsiders", count=1)


def _code(subject: Subject) -> tuple[str, ...]:
    words, code = subject.words, subject.manifest.code
    commit = plain(code.get("commit") or "")
    if not commit:
        told = words("training.no-commit")
    else:
        told = words("training.dirty" if code.get("dirty", True) else "training.clean", commit=commit)
    files = code.get("files")
    return (told, words("training.files", count=len(files))) if files else (told,)


def _configuration(subject: Subject) -> str | tuple[str, ...]:
    words, configuration = subject.words, subject.manifest.configuration
    file, digest = plain(configuration.get("file") or ""), str(configuration.get("digest") or "")
    named = words("training.overridden", file=file) if configuration.get("overrides") and file else file
    told = tuple(part for part in (named, Code(plain(digest)) if digest else "") if part)
    return told or words("not-recorded")


def _hardware(subject: Subject) -> tuple[str, ...] | str:
    words, hardware = subject.words, subject.manifest.hardware
    if not hardware:
        return words("not-recorded")
    memory = hardware.get("memory_bytes")
    machine = words(
        "training.cores", processor=plain(hardware.get("processor") or "?"), cores=plain(hardware.get("cores") or "?"),
        memory=f"{memory / 2**30:.0f}" if isinstance(memory, int) else "?",
    )  # fmt: skip
    gpus = hardware.get("gpus")
    return (machine, *(plain(gpu) for gpu in gpus)) if isinstance(gpus, list) else (machine,)


def _recipe(step: StepEntry) -> Iterator[str]:
    flat: dict[str, Any] = {}
    for name, value in step.parameters.items():
        flat |= value if isinstance(value, dict) else {name: value}
    stated = {name: value for name, value in flat.items() if isinstance(value, str | int | float) and value != ""}
    wanted = [name for name in RECIPE_FIRST if name in stated]
    wanted += [name for name in sorted(stated) if name not in wanted]
    for name in wanted[:RECIPE_LONGEST]:
        yield f"{plain(name)} {plain(stated[name], 60)}"
    for name, value in sorted(step.chosen.items()):
        yield f"{plain(name)} {plain(value, 60)}"


def _cost(subject: Subject, measured: Mapping[str, Any]) -> tuple[str, ...]:
    told = []
    for name in COSTS:
        value = measured.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            currency = plain(measured.get("currency") or "")
            told.append(subject.words(f"cost.{name}", value=f"{value:,.4g}", currency=currency))
    return tuple(told)


def _figure(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else plain(value, 60)
