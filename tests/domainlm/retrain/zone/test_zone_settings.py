"""What a configuration of a zone may say."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from small_zones import feed

from domainlm.retrain.settings import DetectSettings

QUERY = {"query": "SELECT 1 AS id", "database": "MARKET"}


@pytest.mark.parametrize("uri", ["news/*.csv", "**/*.csv", "a/**/b/*.csv", "[x]/?.csv", "한국/*.csv"])
def test_a_pattern_lies_below_the_zone(uri: str) -> None:
    assert feed("news", uri).uri == uri


@pytest.mark.parametrize(
    ("uri", "values", "said"),
    [
        ("/etc/*.csv", {}, "below the zone"),
        ("../other/*.csv", {}, "below the zone"),
        ("a//b.csv", {}, "below the zone"),
        ("s3://bucket/*.csv", {}, "below the zone"),
        ("zip::a.csv", {}, "below the zone"),
        ("a**/b.csv", {}, "stands alone"),
        ("sql:wire.jsonl", {}, "no other feed's is"),
        ("news/*.csv", QUERY, "no other feed's is"),
        ("sql:wire.jsonl", {"query": "SELECT 1"}, "go together"),
        ("sql:wire.csv", QUERY, "say format: jsonl"),
        ("sql:wire.jsonl", QUERY | {"batch": "folder"}, "neither folder nor checksum"),
        ("news/*.csv", {"order_column": "id"}, "order_column is a query's"),
    ],
)
def test_a_feed_that_cannot_work_is_refused(uri: str, values: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        feed("wire", uri, **values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"zone": "ftp://olga:Tr0ub4dor@host/landing"}, "holds a password"),
        ({"spool": "ftp://olga:Tr0ub4dor@host/landing"}, "holds a password"),
        ({"zone": "simplecache::s3://bucket/landing"}, "a chain of file systems"),
        ({"checksum_suffixes": (".sha257",)}, "names no digest"),
        ({"checksum_suffixes": ("sha256",)}, "names no digest"),
    ],
)
def test_a_zone_holds_no_password_and_knows_its_digests(values: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DetectSettings(feeds=(feed(),), **values)
