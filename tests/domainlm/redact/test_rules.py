"""Which rules hold for a record: its jurisdictions' strictest, the settings beyond them."""

import json
from collections import Counter

import pytest

from domainlm.errors import ConfigurationError, SecretError
from domainlm.keys import KeyRing
from domainlm.project import resolve
from domainlm.redact.outcome import Outcome
from domainlm.redact.policy import Policy, read_policy
from domainlm.redact.profiles import Profiles
from domainlm.redact.rules import RuleBook
from domainlm.redact.settings import ENTITIES, PLACEHOLDER, RedactSettings

PACK = "domains/finance"


@pytest.fixture(scope="module")
def profiles():
    return Profiles.from_json(json.loads(json.dumps(read_policy(PACK)["profiles"])))


def test_without_profiles_the_settings_hold_for_every_record():
    book = RuleBook(RedactSettings(entities=("EMAIL_ADDRESS",), threshold=0.5, risk_threshold=0.3), None)
    rules = book.of("us")
    assert rules.least == {"EMAIL_ADDRESS": 0.5} and rules.operators == {"EMAIL_ADDRESS": PLACEHOLDER}
    assert rules.floor == {"EMAIL_ADDRESS": 0.3}
    assert set(RuleBook(RedactSettings(), None).of("").least) == set(ENTITIES)


def test_settings_add_to_a_profile_and_never_take_away(profiles):
    profile = profiles.of("us")
    lax = RuleBook(RedactSettings(risk_threshold=1.0, max_quarantined_share=1.0), profiles).of("us")
    assert set(lax.least) == set(profile.entities)
    assert lax.risk_threshold == profile.risk_threshold
    assert lax.max_quarantined_share == profile.max_quarantined_share
    strict = RuleBook(RedactSettings(risk_threshold=0.01, max_quarantined_share=0.0), profiles).of("us")
    assert (strict.risk_threshold, strict.max_quarantined_share) == (0.01, 0.0)


def test_the_scanner_serves_the_strictest_jurisdiction(profiles):
    book = RuleBook(RedactSettings(), profiles)
    for codes in ("kr", "us", "eu", "uk", "us,kr", ""):
        rules = book.of(codes)
        assert set(rules.least) <= set(book.scanner_settings.entities)
        assert min(rules.floor.values()) >= book.scanner_settings.threshold
    assert any(any("가" <= letter <= "힣" for letter in word) for words in book.context.values() for word in words)


def test_a_policy_names_what_changed_since_the_run_was_compiled(profiles):
    policy = read_policy(PACK)
    assert Policy.of(policy).profiles.digest == profiles.digest
    with pytest.raises(ConfigurationError, match="changed since the run was compiled"):
        Policy.of(policy | {"labelled": "0" * 64})


def test_a_pack_without_jurisdictions_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="no jurisdictions"):
        read_policy(str(tmp_path))
    assert resolve(PACK).is_dir()


def test_an_outcome_survives_its_journey_between_processes_and_holds_no_raw_value_on_the_way(record, keys):
    raw = record("Tom Becker \x00 \ud800")
    refused = Outcome(None, "invalid-text", {"source": "s", "row": 1}, raw, Counter(), Counter(mask=1), 3, 2, 9)
    assert "Becker" not in refused.dumps(keys)
    assert Outcome.loads(refused.dumps(keys), keys) == refused
    passed = Outcome(record("가나다"), entities=Counter(PERSON=2))
    assert Outcome.loads(passed.dumps(keys), keys) == passed
    with pytest.raises(SecretError):
        Outcome.loads(refused.dumps(keys), KeyRing("other", bytes(32)))
