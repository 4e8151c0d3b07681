"""The catalogue of open base models: what they are, what their licence allows, what memory they need.

    catalogue = load_catalogue("domains/finance")
    catalogue["tiiuae/falcon-7b"].memory_gb       # {4: 4.9, 8: 7.6, 16: 12.9}: the weights alone
    need(entry, settings, length=1024)            # a training of it, by domainlm.models.memory

Data of the domain pack (`bases.yaml`, `licences.yaml`); nothing here needs torch, so it answers in well under a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from domainlm.errors import ConfigurationError, DomainLMError, ModelError
from domainlm.licences import UNKNOWN, UNVERIFIED, LicenceTable, read_licences
from domainlm.models.architectures import ARCHITECTURES, context_of, known_faults
from domainlm.models.memory import GB, estimate, weights_bytes
from domainlm.models.shapes import Shape
from domainlm.project import resolve
from domainlm.reports import Settings
from domainlm.yaml_lines import at, model_faults, read_yaml

BASES_FILE = "bases.yaml"
Bits = Literal[4, 8, 16]
ALL_BITS: tuple[Bits, ...] = (4, 8, 16)
Verifiable = Literal["licence", "context", "released", "availability", "languages", "training_data"]
VERIFIABLE: tuple[Verifiable, ...] = ("licence", "context", "released", "availability", "languages", "training_data")
PICKLED = "published as pickled weights, which are refused: convert them once with save_pretrained"


class BaseEntry(Settings):
    """One base of the catalogue; the columns are the paper's criteria (size, purpose, availability, data, licence)."""

    id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="its name on the hub")
    family: str = Field(description="the family whose values it takes where it has none of its own")
    developer: str = Field(description="who made it")
    parameters_b: float = Field(gt=0, description="published count, in billions")
    licence: str = Field(description="a key of licences.yaml, or unknown")
    purpose: Literal["general", "instruct", "finance", "korean"] = Field(description="what it was made for")
    availability: Literal["open", "gated"] = Field(description="gated: its owner's form comes first")
    weights: Literal["safetensors", "pickle", "unknown"] = Field(description="how they are published")
    training_data: str = Field(description="what it learnt from, in a line")
    languages: tuple[str, ...] = Field(min_length=1, description="ISO 639-1 codes; only those that its makers name")
    released: str = Field(pattern=r"^(\d{4}(-\d{2})?|unknown)$", description="month of publication")
    config: dict[str, Any] = Field(description="keys of its config.json that decide its shape")
    faults: tuple[str, ...] = Field((), description="traps of this base alone")
    note: str = Field("", description="anything else")
    verified: tuple[Verifiable, ...] = Field((), description="fields held against what its makers say")
    verified_from: str = Field("", description="whose words: the model's card, the developer's repository, the paper")
    commercial_use: Literal["allowed", "conditional", "refused", "unknown"] = Field(
        "unknown", description="by licences.yaml; never written into the catalogue itself"
    )
    condition: str = Field("", description="when a conditional commercial use is allowed")

    @property
    def architecture(self) -> str:
        """transformers' `model_type`."""
        return str(self.config["model_type"])

    @property
    def encoder(self) -> bool:
        """Whether it reads only and needs a head."""
        return self.architecture in ARCHITECTURES and ARCHITECTURES[self.architecture].encoder

    @property
    def context(self) -> int | None:
        """Longest text in tokens."""
        return context_of(self.config)

    @property
    def unverified(self) -> list[Verifiable]:
        """The fields that stand here from memory or from others' words."""
        return [field for field in VERIFIABLE if field not in self.verified]

    @property
    def stated_licence(self) -> str:
        """The licence as the gate shall judge it: one that was not verified carries a mark, which becomes a duty."""
        return self.licence if self.licence == UNKNOWN or "licence" in self.verified else self.licence + UNVERIFIED

    @property
    def shape(self) -> Shape | None:
        """Its shape by formula; None where there is no formula for the architecture."""
        try:
            return Shape.of(self.config)
        except ModelError:
            return None

    @property
    def memory_gb(self) -> dict[int, float]:
        """GB of the weights alone at 4, 8 and 16 bits; only 16 where quantization does not reach them."""
        shape = self.shape
        if shape is None:
            return {16: round(2e9 * self.parameters_b / GB, 2)}
        return {bits: round(weights_bytes(shape, bits) / GB, 2) for bits in ALL_BITS}

    @property
    def quantizable(self) -> bool:
        """Whether 4 and 8 bits reach its weights."""
        return self.architecture not in ARCHITECTURES or ARCHITECTURES[self.architecture].quantizable

    @property
    def known_faults(self) -> list[str]:
        """Its own traps, those of how it is published, and those of its architecture."""
        return [*self.faults, *([PICKLED] if self.weights == "pickle" else []), *known_faults(self.architecture)]


class _File(Settings):
    """The catalogue as it is written."""

    version: int = Field(ge=1)
    checked: str = Field(pattern=r"^\d{4}-\d{2}$", description="month in which `verified` was last worked on")
    families: dict[str, dict[str, Any]]
    bases: list[dict[str, Any]] = Field(min_length=1)


def load_catalogue(pack: str | Path, table: LicenceTable | None = None) -> dict[str, BaseEntry]:
    """The bases of a domain pack by id, in the file's order.

    Args:
        pack: the domain pack.
        table: its table of licences, where it has been read already.

    Raises:
        ConfigurationError: there is no catalogue or it is faulty; each fault has its line.
    """
    path = resolve(pack) / BASES_FILE
    if not path.is_file():
        raise ConfigurationError(
            "the domain pack has no catalogue of base models", str(path), f"write {BASES_FILE}; see docs/bases.md"
        )
    content, lines = read_yaml(path)
    faults = model_faults(_File, content, ())
    table = table or read_licences(pack)
    found: dict[str, BaseEntry] = {}
    for place, written in enumerate(content.get("bases") or () if not faults else ()):
        here = ("bases", place)
        family = content["families"].get(written.get("family"))
        if family is None:
            faults.append((here, f"there is no family '{written.get('family')}'"))
            continue
        if "commercial_use" in written or "condition" in written:
            faults.append((here, "commercial use follows from the licence: write it into licences.yaml"))
            continue
        try:
            both = {"faults": [*family.get("faults", ()), *written.get("faults", ())]}
            entry = _with_permission(BaseEntry(**(family | written | both | _verified(family, written))), table)
        except ValidationError as error:
            faults += [((*here, *detail["loc"]), detail["msg"]) for detail in error.errors(include_url=False)]
            continue
        except DomainLMError as error:
            faults.append((here, error.what))
            continue
        if "model_type" not in entry.config:
            faults.append((here, "config needs model_type"))
        elif bool(entry.verified) != bool(entry.verified_from):
            faults.append((here, "verified and verified_from need each other"))
        elif entry.id in found:
            faults.append((here, f"'{entry.id}' stands there twice"))
        else:
            found[entry.id] = entry
    if faults:
        told = [f"{path}{at(lines, where)}: {'.'.join(map(str, where))}: {what}" for where, what in faults]
        raise ConfigurationError("\n".join(["the catalogue cannot be used:", *told]), "", "nothing was started")
    return found


def _verified(family: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """What is verified of the family holds for what the base takes from it; what it says itself it verifies itself."""
    taken = [field for field in family.get("verified", ()) if field not in written]
    sources = [family.get("verified_from", "") if taken else "", written.get("verified_from", "")]
    return {
        "verified": list(dict.fromkeys([*taken, *written.get("verified", ())])),
        "verified_from": "; ".join(dict.fromkeys(source for source in sources if source)),
    }


def _with_permission(entry: BaseEntry, table: LicenceTable) -> BaseEntry:
    if entry.licence == UNKNOWN:
        return entry
    licence = table.get(entry.licence)
    if licence is None:
        raise ConfigurationError(
            f"licence '{entry.licence}' is not in licences.yaml; write unknown, or let counsel add it"
        )
    return entry.model_copy(
        update={
            "licence": table.key(entry.licence),
            "commercial_use": licence.commercial,
            "condition": licence.condition if licence.commercial == "conditional" else "",
        }
    )


def entry_of(name: str, catalogue: Mapping[str, BaseEntry]) -> BaseEntry | None:
    """A base by its hub id, with or without `@revision`, in capitals or not; None where the catalogue has none."""
    wanted = name.partition("@")[0].lower()
    return next((entry for key, entry in catalogue.items() if key.lower() == wanted), None)


def stated_licence(name: str, pack: str | Path) -> str:
    """What the catalogue of a pack says of a base's licence, with `?` if nobody verified it: for `resolve_base`."""
    entry = entry_of(name, load_catalogue(pack))
    return entry.stated_licence if entry else UNKNOWN


class Need(NamedTuple):
    """What training one base at one precision needs.

    Args:
        bits: of the frozen weights.
        plain_gb: micro-batch 1, nothing recomputed; None where it cannot be told or done.
        least_gb: micro-batch 1 with recomputation.
        at_least_gb: the weights alone, where there is no formula for the rest.
        why_not: why this precision is out of the question for this base; empty if it is not.
    """

    bits: Bits
    plain_gb: float | None
    least_gb: float | None
    at_least_gb: float | None = None
    why_not: str = ""

    def verdict(self, memory_gb: float | None) -> Literal["fits", "recompute", "too large", "unknown", "refused"]:
        """Whether it fits into a memory; `recompute`: only with gradient checkpointing."""
        if self.why_not:
            return "refused"
        if memory_gb is None:
            return "unknown"
        if self.plain_gb is None:
            return "too large" if (self.at_least_gb or 0.0) > memory_gb else "unknown"
        if self.plain_gb <= memory_gb:
            return "fits"
        return "recompute" if (self.least_gb or 0.0) <= memory_gb else "too large"


def need(entry: BaseEntry, settings: Any, length: int) -> Need:
    """GB of GPU memory that a training needs at micro-batch 1, by `domainlm.models.memory`.

    Args:
        entry: the base.
        settings: the recipe (`TrainSettings`), with its bits.
        length: tokens of the longest row.
    """
    bits: Bits = settings.bits or (4 if settings.method == "qlora" else 16)
    if entry.context is not None and length > entry.context:
        return Need(bits, None, None, why_not=f"its context holds {entry.context:,} tokens")
    if bits != 16 and not entry.quantizable:
        return Need(bits, None, None, why_not="its experts are not quantized")
    shape = entry.shape
    if shape is None:
        bytes_each = {4: 0.5, 8: 1.0, 16: 2.0}[bits]
        return Need(bits, None, None, at_least_gb=bytes_each * 1e9 * entry.parameters_b / GB)
    plain, least = (estimate(shape, settings, 1, length, checkpointing).total_gb for checkpointing in (False, True))
    return Need(bits, plain, min(plain, least))
