"""The map from law to evidence: which field, entry, document or command answers what a law asks; or that none does.

    checklist = read_checklist("domains/finance")
    for found in answer(checklist, manifest, evidence):
        print(found.item.at, found.state, found.value)

The checklist (`regulation.yaml` of the domain pack) is data that counsel owns; this module only joins it with one
model's evidence. It is no legal advice and no claim of compliance: "answered" says that the evidence has a value there,
never that the value suffices; "in part", that the item names a gap beside. What answers is written as one of

    manifest.sources[].licence      a field of the run's manifest; [] is every item of a list
    evidence.approval               an entry of this kind about the model; a field of it may follow
    evidence.erasure?               the same, where none is no lack: nothing of the kind had to happen
    manifest.steps[].measured?      where one item of the list suffices
    docs/erasure.md                 a document of the source tree
    domainlm erase                  a command
"""

from __future__ import annotations

import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Field

from domainlm.audit.evidence import Evidence, Stated
from domainlm.errors import ConfigurationError, nearest
from domainlm.ledger import entries
from domainlm.ledger.acts import MODELS
from domainlm.ledger.run.manifest import RunManifest
from domainlm.ledger.trust.gate import Policy
from domainlm.project import resolve
from domainlm.reports import Report, Settings
from domainlm.yaml_lines import Fault, at, model_faults, read_yaml

FILE = "regulation.yaml"
ANSWERED, PARTLY, NOT_COVERED, MISSING = "answered", "in part", "not covered", "missing here"
State = Literal["answered", "in part", "not covered", "missing here"]
MANIFEST_ROOT, EVIDENCE_ROOT = "manifest", "evidence"
DOCUMENTS = ("docs/", "domains/")
COMMAND = "domainlm "
KIND_MODELS: dict[str, type[BaseModel]] = {**MODELS, entries.RUN: RunManifest, entries.POLICY: Policy}
LONGEST_VALUE = 120  # characters of a summary


class LawSource(Settings):
    """One law, guideline or standard, and which text of it was read."""

    title: str = Field(description="its full name, and its name in its own language")
    title_ko: str = Field(description="its full name in Korean")
    number: str = Field(description="under which number it was published")
    version: str = Field(pattern=r"^\d{4}-\d{2}(-\d{2})?$", description="date of the version that the items follow")
    applies: str = Field(description="since when, or from when on, it applies")
    consulted: str = Field(pattern=r"^\d{4}-\d{2}$", description="month in which it was looked up")
    url: str = Field("", description="where its official text stands; empty where nobody is sure")
    verified: bool = Field(description="whether the text itself was read; else what others say of it")
    read: str = Field(description="what was read")
    note: str = Field("", description="what else one must know")


class Item(Settings):
    """One duty or field of a source, and what answers it. `gap` says what of it nothing answers."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,59}$")
    source: str = Field(description="key of its source")
    at: str = Field(description="article, section or control; a section's name where the number is not sure")
    asks: str = Field(description="what it asks, in our words")
    asks_ko: str = Field(description="the same in Korean")
    answers: tuple[str, ...] = Field((), description="what answers it; see the module")
    gap: str = Field("", description="what is not covered, and why; needed where nothing answers")
    gap_ko: str = Field("", description="the same in Korean")

    def asks_in(self, language: str) -> str:
        """What it asks, in English or Korean."""
        return self.asks_ko if language == "ko" else self.asks

    def gap_in(self, language: str) -> str:
        """What is not covered, in English or Korean."""
        return self.gap_ko if language == "ko" else self.gap


class Checklist(Settings):
    """Content of `regulation.yaml`."""

    version: int = Field(ge=1, description="raised with each change of the meaning of an item")
    consulted: str = Field(pattern=r"^\d{4}-\d{2}$", description="month in which the whole was last looked through")
    sources: dict[str, LawSource] = Field(min_length=1)
    items: tuple[Item, ...] = Field(min_length=1)

    def of(self, source: str) -> list[Item]:
        """The items of one source, in order.

        Raises:
            ConfigurationError: there is no such source.
        """
        if source not in self.sources:
            raise ConfigurationError("is no law of the checklist", source, nearest(source, self.sources))
        return [item for item in self.items if item.source == source]


class Answer(Report):
    """What one model's evidence says to one item.

    Fields:
        where: what answers, as the checklist names it.
        lacking: those of them that are empty for this model.
        value: a short summary of what stands there.
    """

    item: Item
    state: State
    where: list[str]
    lacking: list[str]
    value: str


def read_checklist(pack: str | Path) -> Checklist:
    """The checklist of a domain pack.

    Raises:
        ConfigurationError: the pack has none, or it is faulty: every fault with its line and the nearest right name.
    """
    path = resolve(pack) / FILE
    if not path.is_file():
        raise ConfigurationError("the domain pack has no map from law to evidence", str(path), f"write {FILE}")
    content, lines = read_yaml(path)
    faults = model_faults(Checklist, content, ())
    if not faults:
        checklist = Checklist(**content)
        faults = _faults_of(checklist)
    if faults:
        told = [f"{path}{at(lines, where)}: {'.'.join(map(str, where))}: {what}" for where, what in faults]
        raise ConfigurationError("\n".join(["the checklist cannot be used:", *told]), "", "nothing was answered")
    return checklist


def answer(checklist: Checklist, manifest: RunManifest, evidence: Evidence) -> list[Answer]:
    """What the evidence says to every item, for the model that a run registered.

    Args:
        manifest: of the run; an item is "missing here" where one of its fields is empty, in any item of a list.
    """
    return [_answer(item, manifest, evidence) for item in checklist.items]


def _answer(item: Item, manifest: RunManifest, evidence: Evidence) -> Answer:
    if not item.answers:
        return Answer(item=item, state=NOT_COVERED, where=[], lacking=[], value="")
    lacking, values = [], []
    for path in item.answers:
        found = list(_values(path.rstrip("?"), manifest, evidence))
        full = [value for value in found if not _empty(value)]
        if path.endswith("?"):
            lacks = not full and path.startswith(MANIFEST_ROOT)
        else:
            lacks = len(full) < len(found) or not found
        if lacks:
            lacking.append(path)
        if told := _summary(full):
            values.append(told)
    state = MISSING if lacking else PARTLY if item.gap else ANSWERED
    return Answer(
        item=item, state=state, where=list(item.answers), lacking=lacking,
        value="; ".join(values),
    )  # fmt: skip


def _values(path: str, manifest: RunManifest, evidence: Evidence) -> Iterable[Any]:
    """Everything that stands at a path: several values where it runs through a list or through several entries."""
    if path.startswith((*DOCUMENTS, COMMAND)):
        return [path]
    root, *parts = path.split(".")
    if root == MANIFEST_ROOT:
        return _descend(manifest, parts)
    kind, *inside = parts
    found = _entries(kind, manifest, evidence)
    if not inside:
        return [stated for stated in found]
    return [value for stated in found for value in _descend(stated.act, inside)]


def _entries(kind: str, manifest: RunManifest, evidence: Evidence) -> list[Stated]:
    """The entries of a kind that concern the run's model; those that concern no model (backups, holds) all."""
    identity = manifest.model.identity if manifest.model else ""
    if kind == entries.POLICY:
        return list(evidence.of_kind(kind))[-1:]
    if kind == entries.RUN:
        stated = evidence.run(manifest.run_id)
        return [stated] if stated else []
    if kind in (entries.APPROVAL, entries.PROMOTION, entries.ERASURE):
        return evidence.about(identity, kind) if identity else []
    if kind == entries.CONDITION_MET:
        approvals = {stated.digest for stated in evidence.about(identity, entries.APPROVAL)} if identity else set()
        return [stated for stated in evidence.of_kind(kind) if stated.act.approval in approvals]
    if kind == entries.STANDING:
        name = manifest.model.name if manifest.model else ""
        return [stated for stated in evidence.of_kind(kind) if stated.act.model == name]
    return list(evidence.of_kind(kind))


def _descend(value: Any, parts: list[str]) -> Iterable[Any]:
    if not parts:
        yield value
        return
    name, rest = parts[0], parts[1:]
    many = name.endswith("[]")
    name = name.removesuffix("[]")
    inner = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
    if many and inner:
        for item in inner:
            yield from _descend(item, rest)
    elif many or inner is None:
        yield None
    else:
        yield from _descend(inner, rest)


def _empty(value: Any) -> bool:
    """No value, or a record of nothing but such: false and zero are values."""
    if isinstance(value, BaseModel):
        return all(_empty(inner) for inner in dict(value).values())
    return value is None or value == "" or (isinstance(value, list | dict | tuple) and not value)


def _summary(values: list[Any]) -> str:
    """A few words on what stands there: names and counts, digests shortened."""
    if not values:
        return ""
    if all(isinstance(value, Stated) for value in values):
        last = values[-1]
        return f"{len(values)} x {last.header.kind}, last in entry {last.number} ({last.header.time[:10]})"
    told = list(dict.fromkeys(_told(value) for value in values))
    text = ", ".join(told[:6]) + (f" and {len(told) - 6} more" if len(told) > 6 else "")
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1].rstrip() + "…"


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        flat = [f"{key}: {_told(inner)}" for key, inner in value.items() if isinstance(inner, str | int | float)]
        return ", ".join(flat[:3]) if flat else f"{len(value)} fields"
    if isinstance(value, list | tuple):
        return f"{len(value)} items"
    if isinstance(value, BaseModel):
        return f"{len(type(value).model_fields)} fields"
    text = str(value)
    is_digest = len(text) >= 40 and all(letter in "0123456789abcdef" for letter in text)
    return f"{text[:12]}…" if is_digest else text


def path_fault(path: str) -> str | None:
    """Why a path of the checklist leads nowhere; None where it is right. Files and commands are not looked for."""
    if path.startswith((*DOCUMENTS, COMMAND)):
        return None
    root, *parts = path.rstrip("?").split(".")
    if root == MANIFEST_ROOT and parts:
        return _known(RunManifest, parts)
    if root == EVIDENCE_ROOT and parts:
        if parts[0] not in KIND_MODELS:
            return f"'{parts[0]}' is no kind of entry; {nearest(parts[0], KIND_MODELS)}"
        return _known(KIND_MODELS[parts[0]], parts[1:])
    return f"'{path}' is neither a field of the manifest or the evidence, nor a document, nor a command"


def _known(model: type[BaseModel], parts: list[str]) -> str | None:
    kind: Any = model
    for part in parts:
        name = part.removesuffix("[]")
        origin = get_origin(kind)
        if origin is dict or kind is dict or kind is Any:
            kind = get_args(kind)[1] if get_args(kind) else Any
            continue
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return f"'{part}' stands below a plain value"
        if name not in kind.model_fields:
            return f"'{name}' is no field of {kind.__name__}; {nearest(name, kind.model_fields)}"
        kind = _without_none(kind.model_fields[name].annotation)
        if (get_origin(kind) is list) != part.endswith("[]") and part is not parts[-1]:
            return f"'{name}' is {'a list: write ' + name + '[]' if get_origin(kind) is list else 'no list'}"
        if part.endswith("[]"):
            kind = get_args(kind)[0] if get_args(kind) else Any
    return None


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [inner for inner in get_args(annotation) if inner is not type(None)]
        return rest[0]
    return annotation


def _faults_of(checklist: Checklist) -> list[Fault]:
    faults: list[Fault] = []
    seen: set[str] = set()
    for number, item in enumerate(checklist.items):
        where = ("items", number)
        if item.id in seen:
            faults.append(((*where, "id"), f"'{item.id}' stands there twice"))
        seen.add(item.id)
        if item.source not in checklist.sources:
            faults.append(((*where, "source"), f"unknown source; {nearest(item.source, checklist.sources)}"))
        if not item.answers and not item.gap:
            faults.append((where, "nothing answers it: say in `gap` why"))
        if bool(item.gap) != bool(item.gap_ko):
            faults.append((where, "`gap` and `gap_ko` must both stand there, or neither"))
        for path in item.answers:
            fault = path_fault(path)
            if fault:
                faults.append(((*where, "answers"), fault))
    faults += [
        (("sources", key), "no item names this source")
        for key in checklist.sources
        if not any(item.source == key for item in checklist.items)
    ]
    return faults


OPENING = """# From law to evidence

This page says where evidence for a demand of a law, guideline or standard stands, or that nothing covers it. **It is
no legal advice and no claim of compliance**: "answered by" names a field that holds a value, not a value that suffices,
and counsel decides what applies. The sources were consulted in {consulted}; each has the date of its version, and says
whether its text itself was read ("no" means that only what others say of it was). The page is made from `{file}` of
the domain pack by `domainlm audit checklist`; `domainlm audit checklist MODEL` answers every line for one model:
answered, in part (something of the demand is not covered), missing here, or not covered.

How to read "answered by": `manifest.…` is a field of the run's manifest ([record](record.md)), where `[]` is every item
of a list (with `?`, at least one); `evidence.…` is an entry of the ledger about the model ([ledger](ledger.md)), which
with `?` need not exist; the rest are documents and commands that hold for every model.

{items} demands of {sources} sources: {covered} with an answer, of which {partly} in part, and {uncovered} not covered.
"""


def to_markdown(checklist: Checklist) -> str:
    """The page docs/regulation.md: the sources with their dates, then one table a source."""
    uncovered = sum(not item.answers for item in checklist.items)
    told = [
        OPENING.format(
            consulted=checklist.consulted, file=FILE, items=len(checklist.items), sources=len(checklist.sources),
            covered=len(checklist.items) - uncovered, uncovered=uncovered,
            partly=sum(bool(item.answers and item.gap) for item in checklist.items),
        ),
        "## Sources", "",
        "| key | source | number | version | applies | text read |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for key, source in checklist.sources.items():
        title = f"[{_cell(source.title)}]({source.url})" if source.url else _cell(source.title)
        read = f"{'yes' if source.verified else 'no'}: {_cell(source.read)}"
        cells = (f"`{key}`", title, _cell(source.number), source.version, _cell(source.applies), read)
        told.append(f"| {' | '.join(cells)} |")
    for key, source in checklist.sources.items():
        told += ["", f"## {source.title}", ""]
        if source.note:
            told += [f"{source.note[0].upper()}{source.note[1:]}.", ""]
        told += ["| at | asks | answered by | not covered |", "|---|---|---|---|"]
        for item in checklist.of(key):
            cells = (item.at, item.asks, ", ".join(map(_link, item.answers)) or "nothing", item.gap)
            told.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join(told) + "\n"


def _link(path: str) -> str:
    if path.startswith("docs/"):
        name = path.removeprefix("docs/")
        return f"[{name.removesuffix('.md')}]({name})"
    return f"`{path}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
