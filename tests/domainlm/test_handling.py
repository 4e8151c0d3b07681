"""Handling classes: what is secret stays as secret as its most secret source, in records and in the model."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domainlm.errors import ArtifactError, RegistrationError
from domainlm.handling import CLASSES, HandlingError, handling_of, strictest
from domainlm.keys import KeyRing
from domainlm.records import features
from domainlm.register import handling_class
from domainlm.register.settings import RegisterSettings
from domainlm.sources import SourceManifest, SourceSettings, stream_records

SOURCE = dict(
    name="letters", uri="letters.jsonl", form="documents", licence="proprietary", consent="contract",
    purpose="model-training", jurisdiction="kr", language="en",
)  # fmt: skip


def test_the_order_is_public_internal_confidential_and_non_public() -> None:
    assert CLASSES == ("public", "internal", "confidential", "mnpi")
    for lower, higher in itertools.combinations(CLASSES, 2):
        assert strictest([lower, higher]) == strictest([higher, lower]) == higher


@given(st.lists(st.sampled_from(CLASSES), min_size=1), st.lists(st.sampled_from(CLASSES), min_size=1))
def test_nothing_lowers_a_class_and_grouping_does_not_matter(some: list[str], others: list[str]) -> None:
    whole = strictest(some + others)
    assert whole == strictest([strictest(some), strictest(others)])
    assert all(CLASSES.index(whole) >= CLASSES.index(name) for name in some + others)


@pytest.mark.parametrize("classes", [[], [""], ["public", "secret"], ["Public"]])
def test_no_class_and_an_unknown_one_are_errors(classes: list[str]) -> None:
    with pytest.raises(HandlingError):
        strictest(classes)


def test_an_error_does_not_quote_what_stands_where_a_class_should() -> None:
    with pytest.raises(HandlingError) as raised:
        strictest(["Hong Gil-dong"])
    assert "Hong" not in str(raised.value)


def records(*classes: str):
    from datasets import Dataset

    columns = {name: [] for name in features()}
    for number, handling in enumerate(classes, 1):
        values = dict.fromkeys(columns, "") | {
            "id": f"{number:032x}", "messages": [{"role": "document", "content": "text"}], "row": number,
            "split_bucket": 0, "subjects": [], "handling": handling,
        }  # fmt: skip
        for name, cells in columns.items():
            cells.append(values[name])
    return Dataset.from_dict(columns, features=features())


def test_a_model_inherits_the_strictest_of_its_records() -> None:
    assert handling_of(records("public", "public")) == "public"
    assert handling_of(records("public", "confidential", "internal")) == "confidential"
    assert handling_of(records("public", "mnpi").select([0])) == "public"  # rows that were dropped do not count
    with pytest.raises(HandlingError):
        handling_of(records("public", ""))
    with pytest.raises(HandlingError):
        handling_of(records())
    with pytest.raises(ArtifactError, match="no column 'handling'"):
        handling_of(records("public").remove_columns("handling"))


def test_a_source_is_internal_until_it_is_said_to_be_public() -> None:
    assert SourceSettings(**SOURCE).handling == "internal"
    assert SourceSettings(**SOURCE).trusted
    assert SourceSettings(**SOURCE, handling="public", trusted=False).handling == "public"
    with pytest.raises(ValueError, match="did you mean 'confidential'"):
        SourceSettings(**SOURCE, handling="confidental")


@pytest.mark.parametrize("handling", CLASSES)
def test_records_get_the_class_of_their_source(tmp_path: Path, handling: str) -> None:
    from domainlm.ingest import ingest
    from domainlm.ingest.settings import IngestSettings

    file = tmp_path / "letters.jsonl"
    file.write_text("".join(json.dumps({"text": f"Letter {number} of the bank."}) + "\n" for number in range(3)))
    manifest = ingest(IngestSettings(sources=(SourceSettings(**SOURCE | {"uri": str(file)}, handling=handling),)))
    again = SourceManifest.model_validate_json(manifest.model_dump_json())  # as the step's artifact is stored
    found = list(stream_records(again.sources[0], again, KeyRing("test-key", bytes(range(32)))))
    assert len(found) == 3
    assert {record["handling"] for record in found} == {handling}


class Base:
    """What `handling_class` reads of a base."""

    def __init__(self, **card: object) -> None:
        self.card = {"name": "base"} | card


def test_a_model_is_as_secret_as_the_base_it_grew_on() -> None:
    own = Base(external=False, handling="confidential")
    assert handling_class("public", own, RegisterSettings()) == "confidential"
    assert handling_class("mnpi", own, RegisterSettings()) == "mnpi"
    hub = Base(external=True)
    assert handling_class("internal", hub, RegisterSettings()) == "internal"
    assert handling_class("internal", hub, RegisterSettings(base_handling="confidential")) == "confidential"
    with pytest.raises(RegistrationError, match="states no handling class"):
        handling_class("public", Base(external=False), RegisterSettings())
