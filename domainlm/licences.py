"""The licence gate: base licence x data licences x purpose, decided by a table that counsel owns.

    verdict = licence_gate("apache-2.0", ["proprietary", "CC-BY-4.0"], "model-training", read_licences(pack))
    verdict.duties   # what must be done; the gate itself raises where something is refused

The table (`licences.yaml` of the domain pack) says what each licence allows; this module only joins. It is no legal
advice. Whatever is not in the table is refused: an unknown licence, an unknown purpose, "other", no licence at all.

What is known, but not verified, counts and becomes a duty: `Apache-2.0?` is a base's licence that only the catalogue
states and that nobody held against the model's card; a row without `verified_from` was not held against the text.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from domainlm.errors import ConfigurationError, LicenceRefused, nearest
from domainlm.project import resolve
from domainlm.reports import Report, Settings
from domainlm.yaml_lines import at, model_faults, read_yaml

LICENCES_FILE = "licences.yaml"
UNKNOWN = "unknown"
UNVERIFIED = "?"  # ends the licence of a base that only the catalogue states, where nobody held it against the card
UNSTATED = frozenset({"", UNKNOWN, "other", "none", "n/a"})  # what hub model cards say where they say nothing
Permission = Literal["allowed", "conditional", "refused"]
Need = Literal["commercial", "derivatives", "distribution"]
Kind = Literal[
    "public-domain", "permissive", "share-alike", "use-restricted", "community", "non-commercial", "no-derivatives",
    "research-only", "proprietary",
]  # fmt: skip
NOT_VERIFIED = "the catalogue's entry was not verified"
DOING: dict[str, str] = {
    "commercial": "use in a business",
    "derivatives": "a model made from it",
    "distribution": "handing that model on",
}


class Licence(Settings):
    """What one licence allows."""

    name: str = Field(description="its full name")
    kind: Kind = Field(description="its family, for people")
    commercial: Permission = Field(description="use in a business")
    derivatives: Permission = Field(description="a model trained on the text, an adapter on the weights")
    distribution: Permission = Field(description="handing that model to others")
    condition: str = Field("", description="when what is conditional is allowed")
    duties: tuple[str, ...] = Field((), description="what everybody who uses it must do")
    duties_on_distribution: tuple[str, ...] = Field((), description="what is added when the model is handed on")
    share_alike: bool = Field(False, description="what is handed on must stand under this same licence")
    restricts: bool = Field(False, description="what is handed on stays bound by rules of this licence")
    aliases: tuple[str, ...] = Field((), description="other spellings; upper and lower case are one")
    source: str = Field("", description="where its text stands")
    verified_from: str = Field("", description="the copy of its text that this row was held against; empty: none")
    note: str = Field("", description="anything else")

    @model_validator(mode="after")
    def _conditions_are_stated(self) -> Licence:
        conditional = "conditional" in (self.commercial, self.derivatives, self.distribution)
        if conditional and not self.condition:
            raise ValueError("something is conditional: `condition` must say when it is allowed")
        return self


class Purpose(Settings):
    """What a model shall be used for, and what that needs of every licence."""

    meaning: str = Field(description="in a sentence")
    needs: tuple[Need, ...] = Field(min_length=1, description="what each licence must allow")


class LicenceTable(Settings):
    """All licences and purposes that the gate knows; JSON, so that it can be a step's parameter and its cache key."""

    version: int = Field(ge=1, description="raised with each change of the meaning of the table")
    checked: str = Field(pattern=r"^\d{4}-\d{2}$", description="month in which the licences were last read")
    purposes: dict[str, Purpose] = Field(min_length=1)
    licences: dict[str, Licence] = Field(min_length=1)

    @model_validator(mode="after")
    def _spellings_are_unique(self) -> LicenceTable:
        seen: dict[str, str] = {}
        for key, licence in self.licences.items():
            for spelling in {name.lower() for name in (key, *licence.aliases)}:
                if spelling in UNSTATED:
                    raise ValueError(f"'{spelling}' states no licence: it can never be allowed")
                if spelling in seen:
                    raise ValueError(f"'{spelling}' means two licences: {seen[spelling]} and {key}")
                seen[spelling] = key
        return self

    def key(self, stated: str) -> str | None:
        """The table's own key of a licence as somebody spelled it; None where the table does not have it."""
        wanted = stated.strip().lower()
        for key, licence in self.licences.items():
            if wanted in (key.lower(), *(alias.lower() for alias in licence.aliases)):
                return key
        return None

    def get(self, stated: str) -> Licence | None:
        """What a licence allows; None where the table does not have it."""
        key = self.key(stated)
        return self.licences[key] if key else None


class LicenceVerdict(Report):
    """Whether a base and data may be joined for a purpose.

    Fields:
        base: licences of the base's weights (several where they were trained on several).
        data: licences of the records, sorted.
        allowed: whether the gate is open.
        duties: what must be done, each with the licence that asks for it; conditions are among them.
        refusals: why the gate is closed.
        table_version, table_checked: the table that decided.
    """

    purpose: str
    base: list[str]
    data: list[str]
    allowed: bool
    duties: list[str]
    refusals: list[str]
    table_version: int
    table_checked: str

    @property
    def word(self) -> str:
        """`allowed`, `allowed with duties` or `refused`."""
        if not self.allowed:
            return "refused"
        return "allowed with duties" if self.duties else "allowed"


def read_licences(pack: str | Path) -> LicenceTable:
    """The table of a domain pack.

    Raises:
        ConfigurationError: the pack has none, or it is faulty; each fault has its line.
    """
    path = resolve(pack) / LICENCES_FILE
    if not path.is_file():
        raise ConfigurationError(
            "the domain pack says of no licence what it allows", str(path), f"write {LICENCES_FILE}; see docs/bases.md"
        )
    content, lines = read_yaml(path)
    if faults := model_faults(LicenceTable, content, ()):
        told = [f"{path}{at(lines, where)}: {'.'.join(map(str, where))}: {what}" for where, what in faults]
        raise ConfigurationError("\n".join(["the table of licences cannot be used:", *told]), "", "nothing was started")
    return LicenceTable(**content)


def licence_gate(
    base_licence: str, data_licences: Iterable[str], purpose: str | Iterable[str], table: LicenceTable
) -> LicenceVerdict:
    """Open the gate or raise.

    Args:
        base_licence: the licence of the base's weights; commas join several, which must then all allow the purpose.
            A trailing `?` says that only the catalogue states it, unverified.
        data_licences: the licences of the records.
        purpose: what the records may be used for, as their sources say; all must say the same.
        table: what each licence allows.

    Raises:
        LicenceRefused: a licence or the purpose is unknown, or one licence does not allow what the purpose needs.
    """
    verdict = judge(base_licence, list(data_licences) or [UNKNOWN], purpose, table)  # no data, no statement
    if not verdict.allowed:
        raise LicenceRefused(
            "\n".join([f"the licences do not allow the purpose '{verdict.purpose}':", *verdict.refusals]),
            "",
            "leave out what is refused, choose another base (domainlm bases), or let counsel change"
            f" {LICENCES_FILE} of the domain pack",
        )
    return verdict


def judge(
    base_licence: str | None, data_licences: Iterable[str], purpose: str | Iterable[str], table: LicenceTable
) -> LicenceVerdict:
    """As `licence_gate`, but a closed gate is told and not raised, and a part may be left out.

    Args:
        base_licence: None leaves the base out: a hub id that the catalogue does not have is known once it is fetched.
        data_licences: none leaves the data out, as for a table of bases.
        purpose: as in `licence_gate`.
        table: what each licence allows.
    """
    purposes = sorted({purpose} if isinstance(purpose, str) else set(purpose))
    base = sorted({part.strip() for part in base_licence.split(",")}) if base_licence is not None else []
    data = sorted({licence.strip() for licence in data_licences})
    parts = [("base", licence) for licence in base] + [("data", licence) for licence in data]
    refusals, duties = _purpose_refusals(purposes, table), []
    needs = table.purposes[purposes[0]].needs if not refusals else ()
    for role, stated in parts:
        refused, due = _one(role, stated, needs, table)
        refusals += refused
        duties += due
    if "distribution" in needs:
        refusals += _clashes(
            [stated.removesuffix(UNVERIFIED) if role == "base" else stated for role, stated in parts], table
        )
    return LicenceVerdict(
        purpose=", ".join(purposes),
        base=[table.key(licence.removesuffix(UNVERIFIED)) or licence for licence in base],
        data=[table.key(licence) or licence for licence in data],
        allowed=not refusals,
        duties=list(dict.fromkeys(duties)),
        refusals=refusals,
        table_version=table.version,
        table_checked=table.checked,
    )


def _purpose_refusals(purposes: list[str], table: LicenceTable) -> list[str]:
    if not purposes:
        return ["no purpose is stated"]
    if len(purposes) > 1:
        return [f"the sources state different purposes ({', '.join(purposes)}), and a model has one"]
    if purposes[0] not in table.purposes:
        return [f"purpose '{purposes[0]}' is unknown; {nearest(purposes[0], table.purposes)}"]
    return []


def _one(role: str, stated: str, needs: Iterable[str], table: LicenceTable) -> tuple[list[str], list[str]]:
    """Refusals and duties of one licence."""
    assumed = role == "base" and stated.endswith(UNVERIFIED)
    stated = stated.removesuffix(UNVERIFIED) if assumed else stated
    if stated.lower() in UNSTATED:
        return [f"{role}: {remedy_of_unstated(role)}"], []
    licence = table.get(stated)
    if licence is None:
        hint = nearest(stated, table.licences) if len(stated) > 2 else ""
        hint = hint if hint.startswith("did you mean") else "counsel can add it"
        return [f"{role}: licence '{stated}' is not in the table; {hint}"], []
    who = f"{role} {table.key(stated)}"
    refusals = [f"{who}: does not allow {DOING[need]}" for need in needs if getattr(licence, need) == "refused"]
    conditional = [need for need in needs if getattr(licence, need) == "conditional"]
    duties = [f"{who}: read the licence on the model's own card: {NOT_VERIFIED}"] if assumed else []
    if not licence.verified_from:
        duties.append(f"{who}: read its text: what the table says of it was not held against it")
    if conditional:
        duties.append(f"{who}: {', '.join(DOING[need] for need in conditional)} only if {licence.condition}")
    duties += [f"{who}: {duty}" for duty in licence.duties]
    if "distribution" in needs:
        duties += [f"{who}: {duty}" for duty in licence.duties_on_distribution]
    return refusals, duties


def remedy_of_unstated(role: str) -> str:
    """What to do where no licence is stated, for a base or for data."""
    if role == "base":
        return (
            "its licence is unknown; find it out, then write `license: ...` into the front matter of its README.md, or"
            " enter the base into bases.yaml of the domain pack"
        )
    return "a source states no licence; find it out, then write it into `licence:` of the source"


def _clashes(stated: list[str], table: LicenceTable) -> list[str]:
    """What is handed on under a share-alike licence can carry no other licence's rules."""
    known = {key: table.licences[key] for name in stated if (key := table.key(name))}
    refusals = []
    for alike in sorted(key for key, licence in known.items() if licence.share_alike):
        for other in sorted(key for key, licence in known.items() if licence.share_alike or licence.restricts):
            if other != alike and (other > alike or not known[other].share_alike):
                refusals.append(f"{alike} with {other}: each wants the model that is handed on under its own terms")
    return refusals
