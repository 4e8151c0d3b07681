"""Jurisdiction profiles: faults are told where they stand, and a combination is never laxer than any of its parts."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from domainlm.errors import ConfigurationError
from domainlm.project import resolve
from domainlm.redact.profiles import Law, Profile, Profiles, Rule
from domainlm.redact.settings import ENTITIES, OPERATORS, PLACEHOLDER, REMOVE

FOLDER = resolve("domains/finance/jurisdictions")
PACK = Profiles.load(FOLDER)
NAMES = ("eu", "kr", "uk", "us")

# ------------------------------------------------------------------------------------------- the pack's own


def test_the_pack_has_the_four_jurisdictions_with_every_entity_in_each() -> None:
    assert PACK.jurisdictions == NAMES
    for name in NAMES:
        assert tuple(PACK.of(name).entities) == ENTITIES


def test_the_laws_that_the_issue_names_are_cited_and_dated() -> None:
    titles = {name: " ".join(law.title for law in PACK.of(name).laws) for name in NAMES}
    assert all(
        word in titles["kr"] for word in ("전자금융거래법", "외국환거래법", "개인정보 보호법", "신용정보", "금융실명")
    )
    assert "Gramm-Leach-Bliley" in titles["us"] and "Regulation S-P" in titles["us"]
    assert "2016/679" in titles["eu"] and "2022/2554" in titles["eu"]
    assert "Data Protection Act 2018" in titles["uk"]
    for name in NAMES:
        for law in PACK.of(name).laws:
            assert datetime.date(1990, 1, 1) < law.date < datetime.date(2028, 1, 1)
            assert law.demands.endswith(".") and law.article


def test_words_that_announce_a_value_are_in_the_languages_of_the_law() -> None:
    korean = PACK.of("kr").entities["KR_BANK_ACCOUNT"].context["ko"]
    assert "계좌번호" in korean
    assert set(PACK.of("eu").entities["DATE_OF_BIRTH"].context) == {"de", "es", "fr", "it", "nl"}
    assert set(PACK.of("us,kr,eu").entities["DATE_OF_BIRTH"].context) == {"de", "en", "es", "fr", "it", "ko", "nl"}


def test_resident_registration_numbers_are_removed_where_korean_law_applies() -> None:
    assert PACK.of("kr").entities["KR_RRN"].operator == REMOVE
    assert "pipa-24-2" in PACK.of("kr").entities["KR_RRN"].laws
    assert PACK.of("us").entities["KR_RRN"].operator == PLACEHOLDER
    assert PACK.of("us,kr").entities["KR_RRN"].operator == REMOVE


def test_each_rule_can_name_the_laws_that_it_serves() -> None:
    for codes in (*NAMES, "us,kr", ""):
        profile = PACK.of(codes)
        for entity in profile.entities:
            assert {law.id for law in profile.cited(entity)} == set(profile.entities[entity].laws)


def test_member_states_and_iso_codes_find_their_profile() -> None:
    assert PACK.of("de") == PACK.of("eu") == PACK.of("fr,no")
    assert PACK.of("gb") == PACK.of("uk")


# --------------------------------------------------------------------------------------------- which applies


@pytest.mark.parametrize("codes", ["", " ", ",", "xx", "us,xx", "xx,us"])
def test_no_code_and_an_unknown_one_get_the_strictest_of_all(codes: str) -> None:
    profile = PACK.of(codes)
    everything = Profile.strictest(PACK.of(name) for name in NAMES)
    assert profile.model_copy(update={"unknown": ()}) == everything
    assert profile.unknown == (("xx",) if "xx" in codes else ())


def test_what_stands_in_the_place_of_a_code_is_not_repeated() -> None:
    profile = PACK.of("hong gil-dong, us")
    assert profile.unknown == ("??",) and "hong" not in profile.model_dump_json()


def test_order_spaces_capitals_and_repetitions_do_not_matter() -> None:
    assert PACK.of("us,kr") is PACK.of("KR, us,us") is PACK.of("us,kr")


def test_many_strange_codes_do_not_fill_the_memory() -> None:
    profiles = Profiles.load(FOLDER)
    for number in range(3000):
        profiles.of(f"{chr(97 + number % 26)}{chr(97 + number // 26 % 26)},{chr(97 + number // 676 % 26)}q")
    assert len(profiles._combined) <= 1024


# ----------------------------------------------------------------------------------------- the strictest of several

LAWS = [
    Law(
        id=f"law-{number}", title=f"Law {number}", article="1", date=datetime.date(2020, 1, 1), demands="To be careful."
    )
    for number in range(4)
]
shares = st.floats(0.01, 1, allow_nan=False)
rules = st.builds(
    Rule,
    threshold=shares,
    operator=st.sampled_from(OPERATORS),
    context=st.dictionaries(st.sampled_from(["en", "ko", "de"]), st.lists(st.sampled_from(["ab", "cd", "계좌"]))),
    retention_days=st.integers(0, 3650),
    laws=st.lists(st.sampled_from([law.id for law in LAWS]), min_size=1),
)
profiles_of_a_pack = st.builds(
    Profile,
    jurisdiction=st.sampled_from(NAMES),
    title=st.sampled_from(["One", "Two", "Three"]),
    codes=st.lists(st.sampled_from(["de", "fr", "gb"])),
    laws=st.just(LAWS),
    entities=st.dictionaries(st.sampled_from(ENTITIES[:6]), rules, min_size=1),
    name_canary_rate=shares,
    risk_threshold=shares,
    max_quarantined_share=shares,
    retention_days=st.integers(0, 3650),
    unknown=st.just(()),
)


@settings(deadline=None)
@given(profiles_of_a_pack, profiles_of_a_pack, profiles_of_a_pack)
def test_combining_is_commutative_associative_and_idempotent(one: Profile, two: Profile, three: Profile) -> None:
    join = Profile.strictest
    whole = join([one, two, three])
    assert whole == join([three, one, two]) == join([join([one, two]), three]) == join([one, join([two, three])])
    assert join([whole, whole]) == whole == join([whole, one])
    assert join([one, one]) == join([one])


@settings(deadline=None)
@given(st.lists(profiles_of_a_pack, min_size=1, max_size=4))
def test_a_combination_is_at_least_as_strict_as_each_part(parts: list[Profile]) -> None:
    whole = Profile.strictest(parts)
    for part in parts:
        assert whole.name_canary_rate >= part.name_canary_rate
        assert whole.risk_threshold <= part.risk_threshold
        assert whole.max_quarantined_share <= part.max_quarantined_share
        assert whole.retention_days <= part.retention_days
        assert set(part.laws) <= set(whole.laws)
        for entity, rule in part.entities.items():
            joined = whole.entities[entity]
            assert joined.threshold <= rule.threshold and joined.retention_days <= rule.retention_days
            assert OPERATORS.index(joined.operator) <= OPERATORS.index(rule.operator)
            assert set(rule.laws) <= set(joined.laws)
            assert all(set(words) <= set(joined.context[language]) for language, words in rule.context.items())
    loosest = {
        name: max(part.entities[name].threshold for part in parts if name in part.entities) for name in whole.entities
    }
    assert all(rule.threshold <= loosest[name] for name, rule in whole.entities.items())


# ------------------------------------------------------------------------------------------------ faults of a file

GOOD = """\
jurisdiction: kr
title: Korea
laws:
  - id: pipa
    title: Personal Information Protection Act
    article: Art. 3
    date: 2023-09-15
    demands: Process as little as the purpose needs.
entities:
  PERSON: {threshold: 0.4, operator: placeholder, retention_days: 30, laws: [pipa], context: {ko: [성명]}}
  KR_RRN:
    threshold: 0.4
    operator: remove
    retention_days: 5
    laws:
      - pipa
name_canary_rate: 0.8
risk_threshold: 0.4
max_quarantined_share: 0.02
retention_days: 30
"""


def refusal(folder: Path, text: str, name: str = "kr.yaml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as raised:
        Profiles.load(folder)
    return str(raised.value)


def test_a_good_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "kr.yaml").write_text(GOOD, encoding="utf-8")
    assert Profiles.load(tmp_path).of("kr").entities["PERSON"].context == {"ko": ("성명",)}


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("PERSON:", "PERSN:", 10, "entities.PERSN: unknown entity; did you mean 'PERSON'?"),
        ("operator: remove", "operator: removed", 13, "unknown operator 'removed': did you mean 'remove'?"),
        (
            "    threshold: 0.4\n",
            "    treshold: 0.4\n",
            12,
            "entities.KR_RRN.treshold: unknown key; did you mean 'threshold'?",
        ),
        ("      - pipa", "      - pippa", 16, "'pippa' is not among the laws; did you mean 'pipa'?"),
        ("    date: 2023-09-15\n", "", 4, "laws.0.date: Field required"),
        ("date: 2023-09-15", "date: last year", 7, "laws.0.date"),
        ("risk_threshold: 0.4", "risk_threshold: 0", 18, "risk_threshold"),
        ("risk_threshold: 0.4", "risk_treshold: 0.4", 18, "unknown key; did you mean 'risk_threshold'?"),
        ("retention_days: 5\n", "retention_days: forever\n", 14, "entities.KR_RRN.retention_days"),
        ("    operator: remove\n", "", 11, "entities.KR_RRN.operator: Field required"),
        ("jurisdiction: kr", "jurisdiction: us", 1, "the file is called kr.yaml"),
        ("title: Korea", "title: Korea + Japan", 2, "must not hold"),
        ("title: Korea", "title: Korea\ncodes: [KOR]", 3, "no two-letter code"),
        ("{ko: [성명]}", "{korean: [성명]}", 10, "no ISO 639-1 code"),
        ("{ko: [성명]}", '{ko: ["a"]}', 10, "shorter than two characters"),
        ("title: Korea", "title: Korea\ntitle: Corea", 3, "stands there twice"),
        ("laws:\n      - pipa", "laws: []", 15, "entities.KR_RRN.laws"),
    ],
)
def test_a_fault_names_file_line_key_and_the_nearest_right_name(
    tmp_path: Path, old: str, new: str, line: int, told: str
) -> None:
    assert GOOD.count(old) == 1
    message = refusal(tmp_path, GOOD.replace(old, new))
    assert f"kr.yaml:{line}:" in message and told in message


def test_all_faults_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "us.yaml").write_text(GOOD.replace("kr", "us", 1).replace("PERSON:", "PERSOON:"), encoding="utf-8")
    message = refusal(tmp_path, GOOD.replace("operator: remove", "operator: burn").replace("title: Korea\n", ""))
    assert all(word in message for word in ("us.yaml:10", "'burn'", "kr.yaml", "title"))


def test_a_law_listed_twice_and_laws_told_differently_are_faults(tmp_path: Path) -> None:
    law = yaml.safe_load(GOOD)
    law["laws"] *= 2
    assert "is listed twice" in refusal(tmp_path, yaml.safe_dump(law, allow_unicode=True, sort_keys=False))
    (tmp_path / "kr.yaml").write_text(GOOD, encoding="utf-8")
    other = GOOD.replace("jurisdiction: kr", "jurisdiction: us").replace("Art. 3", "Art. 4")
    assert "'pipa' is told otherwise in kr.yaml" in refusal(tmp_path, other, "us.yaml")


def test_two_files_may_not_claim_one_code(tmp_path: Path) -> None:
    (tmp_path / "kr.yaml").write_text(GOOD, encoding="utf-8")
    other = GOOD.replace("jurisdiction: kr", "jurisdiction: us").replace("title: Korea", "title: States\ncodes: [kr]")
    assert "'kr' already belongs to kr.yaml" in refusal(tmp_path, other, "us.yaml")


@pytest.mark.parametrize("text", ["", "- kr", "a: [", "jurisdiction: kr", "laws: 3\nentities: 4\n"])
def test_what_is_no_profile_is_refused(tmp_path: Path, text: str) -> None:
    assert "kr.yaml" in refusal(tmp_path, text)


def test_an_empty_folder_and_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no profile"):
        Profiles.load(tmp_path)
    (tmp_path / "kr.yaml").write_bytes(b"title: \xff\xfe")
    with pytest.raises(ConfigurationError, match="is not UTF-8"):
        Profiles.load(tmp_path)


# --------------------------------------------------------------------------------------------------- as JSON, quickly


def test_profiles_go_through_json_and_keep_their_digest() -> None:
    back = Profiles.from_json(json.loads(json.dumps(PACK.to_json())))
    assert back.digest == PACK.digest and len(PACK.digest) == 64
    assert back.of("us,kr") == PACK.of("us,kr") and back.to_json() == PACK.to_json()


@pytest.mark.parametrize("content", [{}, {"kr": {}}, {"kr": 3}, {"kr": {"jurisdiction": "kr"}}])
def test_other_json_is_refused(content: dict) -> None:
    with pytest.raises(ConfigurationError):
        Profiles.from_json(content)


def test_the_digest_sees_every_change_and_no_comment(tmp_path: Path) -> None:
    (tmp_path / "kr.yaml").write_text(GOOD, encoding="utf-8")
    before = Profiles.load(tmp_path).digest
    (tmp_path / "kr.yaml").write_text(f"# a comment\n{GOOD}", encoding="utf-8")
    assert Profiles.load(tmp_path).digest == before
    for old, new in (("성명", "이름"), ("2023-09-15", "2023-09-16"), ("retention_days: 5\n", "retention_days: 6\n")):
        (tmp_path / "kr.yaml").write_text(GOOD.replace(old, new), encoding="utf-8")
        assert Profiles.load(tmp_path).digest != before


def test_reading_takes_less_than_50_ms_of_processor_time() -> None:
    began = time.process_time()
    Profiles.load(FOLDER).of("us,kr")
    assert time.process_time() - began < 0.05


def test_the_module_needs_nothing_heavy() -> None:
    code = (
        "import sys; import domainlm.redact.profiles; heavy = ('presidio_analyzer', 'spacy', 'torch', 'datasets'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
