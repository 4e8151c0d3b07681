"""`domainlm audit approve` and its sisters, as a person types them, with the signer as a process of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_ledgers import SmallLedger, small_ledger, small_run
from typer.testing import CliRunner

from cli.main import app
from domainlm.errors import ApprovalRefused, ConfigurationError, EvidenceRefused, SecretError
from domainlm.ledger import entries
from domainlm.ledger.run.manifest import Authors
from domainlm.ledger.trust.gate import identity

MODEL, PASSPHRASE = "domainlm-finance/1", "four words are enough"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """A command enters its project: variables and folder; other tests must not find themselves there."""
    variables, folder = dict(os.environ), Path.cwd()
    yield
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)


@dataclass
class Bank:
    folder: Path
    made: SmallLedger

    def key(self, name: str) -> str:
        return str(self.folder / f"{name}.pem")

    def acts(self, *kinds: str) -> list:
        return [stated.act for stated in self.made.evidence().of_kind(*(kinds or (entries.APPROVAL,)))]


@pytest.fixture
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bank:
    """A ledger with one run, and the keys of everybody as files."""
    made = small_ledger(tmp_path)
    for name, value in made.as_files().items():
        monkeypatch.setenv(name, value)
    trusting = small_run().model.model_copy(update={"trusted": True})
    made.enter_run(small_run(verdicts={"licence": {"purpose": "commercial"}}, model=trusting))
    monkeypatch.chdir(tmp_path)
    return Bank(tmp_path, made)


def do(*arguments: str, code: int = 0, typed: str | None = None) -> str:
    """Run a command in this process; returns what it printed."""
    done = CliRunner().invoke(app, ["audit", *arguments], input=typed)
    if isinstance(done.exception, Exception) and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def test_what_is_signed_is_shown_before_and_asked(bank: Bank) -> None:
    with pytest.raises(ApprovalRefused, match="nothing was signed"):
        do("approve", MODEL, "--key", bank.key("anna"), typed="n\n")
    assert bank.acts() == []
    printed = do("approve", MODEL, "--key", bank.key("anna"), "--until", "2099-12-31", "--reason", "tests read",
                 "--condition", "bias: repeat the bias test: 2099-06-30", typed="y\n")  # fmt: skip
    run = small_run(verdicts={"licence": {"purpose": "commercial"}})
    for shown in (
        f"approve: {MODEL}", f"identity: {run.model.identity}", run.run_id, "with uncommitted changes",
        "evaluation: shown", "licence: purpose commercial", "headline_accuracy: 0.51", "counts until: 2099-12-31",
        "reason: tests read", "condition bias, by 2099-06-30: repeat the bias test", "signed by: anna", "sign this?",
    ):  # fmt: skip
        assert shown in printed, shown
    (act,) = bank.acts()
    assert (act.decision, act.until, act.conditions[0].id) == ("approve", "2099-12-31", "bias")
    assert act.identity == run.model.identity and bank.made.evidence().entry(act.run).act.run_id == run.run_id


def test_two_people_approve_and_the_list_says_what_was_missing(bank: Bank) -> None:
    assert "missing: the approval of a validator is missing: olga, victor" in do("approvals", MODEL, code=1)
    do("approve", MODEL, "--key", bank.key("anna"), "--yes")
    printed = do("approvals", MODEL, code=1)
    assert "counts: anna as officer" in printed and "may not be promoted" in printed and "anna: approve" in printed
    do("approve", MODEL, "--key", bank.key("victor"), "--yes")
    assert "may be promoted" in do("approvals", MODEL).splitlines()
    assert f"{MODEL}  {small_run().model.identity[:16]}  may be promoted" in do("approvals")
    do("revoke", MODEL[:17] + "1", "--key", bank.key("victor"), "--reason", "a fault was found", "--yes")
    assert "does not count: victor took their decision back" in do("approvals", small_run().model.identity[:12], code=1)


def test_a_rejection_needs_its_reason_and_is_shown_without_control_characters(bank: Bank) -> None:
    with pytest.raises(ApprovalRefused, match="needs its reason"):
        do("reject", MODEL, "--key", bank.key("olga"), "--reason", " ", "--yes")
    do("reject", MODEL, "--key", bank.key("olga"), "--reason", "biased \x1b[2J\nmay be promoted", "--yes")
    printed = do("approvals", MODEL, code=1)
    assert "\x1b" not in printed and "may be promoted" not in printed.splitlines()
    assert "olga rejected it" in printed


def test_a_condition_is_met_by_its_name_and_the_approvals_number(bank: Bank) -> None:
    do(
        "approve",
        MODEL,
        "--key",
        bank.key("anna"),
        "--yes",
        "--condition",
        "bias: repeat it: with more rows: 2099-06-30",
    )
    assert "open condition: bias of anna, by 2099-06-30: repeat it: with more rows" in do("approvals", MODEL, code=1)
    number = next(stated.number for stated in bank.made.evidence().of_kind(entries.APPROVAL))
    with pytest.raises(ApprovalRefused, match="has no condition 'other'"):
        do("condition-met", str(number), "other", "--evidence", "x", "--key", bank.key("victor"), "--yes")
    do("condition-met", str(number), "bias", "--evidence", "report 7", "--key", bank.key("victor"), "--yes")
    assert "open condition" not in do("approvals", MODEL, code=1)
    assert bank.acts(entries.CONDITION_MET)[0].evidence == "report 7"


@pytest.mark.parametrize(
    "text", ["bias", "bias: no day", "Bias: text: 2099-01-01", "bias: text: soon", ": text: 2099-01-01"]
)
def test_a_condition_of_another_shape_is_refused(bank: Bank, text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no condition"):
        do("approve", MODEL, "--key", bank.key("anna"), "--yes", "--condition", text)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--until", "2020-01-01"], "lies before"),
        (["--until", "20991231"], "is no day"),
        (["--condition", "a: b: 2020-01-01"], "lies before"),
        (["--condition", "a: b: 2099-01-01", "--condition", "a: c: 2099-01-01"], "two conditions have one name"),
    ],
)
def test_an_approval_that_could_never_count_is_not_signed(bank: Bank, arguments: list[str], word: str) -> None:
    with pytest.raises(ApprovalRefused, match=word):
        do("approve", MODEL, "--key", bank.key("anna"), "--yes", *arguments)
    assert bank.acts() == []


def test_who_may_not_approve_is_told_so_before_signing(bank: Bank) -> None:
    for who, word in (("tina", "has the roles trainer"), ("root", "has the roles root")):
        with pytest.raises(ApprovalRefused, match=word):
            do("approve", MODEL, "--key", bank.key(who), "--yes")
    with pytest.raises(ApprovalRefused, match="has the roles recorder"):  # no service can do what people decide
        do("approve", MODEL, "--key", str(bank.folder / "signer" / "recorder.pem"), "--yes")
    wrote = Authors(code=[identity("anna@bank.example")], configuration=[identity("x")], data=[identity("x")])
    bank.made.enter_run(small_run(2, authors=wrote))
    with pytest.raises(ApprovalRefused, match="four eyes"):
        do("approve", "domainlm-finance/2", "--key", bank.key("anna"), "--yes")
    do("reject", "domainlm-finance/2", "--key", bank.key("anna"), "--reason", "not ready", "--yes")  # that she may
    from domainlm.ledger.trust.signing import new_key

    new_key(bank.folder / "stranger.pem")
    with pytest.raises(ApprovalRefused, match="does not list this key"):
        do("approve", MODEL, "--key", bank.key("stranger"), "--yes")
    with pytest.raises(ApprovalRefused, match="no completed run"):
        do("approve", "domainlm-finance/9", "--key", bank.key("anna"), "--yes")


def test_a_sealed_key_wants_its_passphrase_from_standard_input_and_from_nowhere_else(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cryptography.hazmat.primitives import serialization

    plain = Path(bank.key("anna"))
    key = serialization.load_pem_private_key(plain.read_bytes(), None)
    plain.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(PASSPHRASE.encode()),
        )
    )  # fmt: skip
    for name in ("PASSPHRASE", "DOMAINLM_PASSPHRASE", "DOMAINLM_KEY_PASSPHRASE", "DOMAINLM_APPROVE"):
        monkeypatch.setenv(name, PASSPHRASE)
    with pytest.raises(SecretError, match="cannot be opened"):
        do("approve", MODEL, "--key", bank.key("anna"), "--yes", typed="wrong\n")
    assert bank.acts() == []
    printed = do("approve", MODEL, "--key", bank.key("anna"), "--yes", typed=PASSPHRASE + "\n")
    assert len(bank.acts()) == 1 and PASSPHRASE not in printed


def test_an_entry_signed_elsewhere_is_entered_and_one_that_nobody_signed_is_not(bank: Bank) -> None:
    out = bank.folder / "approval.json"
    with pytest.raises(ConfigurationError, match="who will sign it"):
        do("approve", MODEL, "--out", str(out))
    with pytest.raises(ConfigurationError, match="who signs, and where"):
        do("approve", MODEL)
    assert "signed by: anna" in do("approve", MODEL, "--out", str(out), "--by", "anna")
    assert out.stat().st_mode & 0o777 == 0o600 and bank.acts() == []
    with pytest.raises(EvidenceRefused, match="is not signed"):
        do("enter", str(out))
    do("sign", str(out), "--key", bank.key("olga"), "--yes")
    with pytest.raises(EvidenceRefused, match="by another than who signed it"):
        do("enter", str(out) + ".signed")
    do("sign", str(out), "--key", bank.key("anna"), "--yes", "-o", str(bank.folder / "signed"))
    assert "entered: entry" in do("enter", str(bank.folder / "signed"))
    assert [act.decision for act in bank.acts()] == ["approve"]


STANDING = """
model: domainlm-finance
base: {base}
sources: [headlines]
metrics: {{headline_accuracy: {{low: 0.5}}}}
until: 2099-12-31
uses: 3
reason: nightly retraining
tier: 1
"""


def test_a_standing_approval_is_given_by_an_officer_and_taken_back(bank: Bank) -> None:
    file = bank.folder / "standing.yaml"
    file.write_text(STANDING.format(base=small_run().model.digests["base"]))
    with pytest.raises(ApprovalRefused, match="has the roles validator"):
        do("standing", str(file), "--key", bank.key("victor"), "--yes")
    printed = do("standing", str(file), "--key", bank.key("anna"), "--yes")
    assert "3 promotions until 2099-12-31" in printed and "only with headline_accuracy: low 0.5" in printed
    assert "bears a loss of 0.05 at most (confidence 0.95, 10 groups or more), on every task" in printed
    (stated,) = bank.made.evidence().of_kind(entries.STANDING)
    printed = do("approvals", MODEL, code=1)
    assert f"standing approval {stated.digest[:16]} does not serve: the model was made from a work tree" in printed
    assert stated.digest[:16] in do("approvals")
    do("revoke", stated.digest[:16], "--reason", "no more", "--key", bank.key("anna"), "--yes")
    assert "anna: revoke: no more" in do("approvals", stated.digest[:16])
    assert "does not serve: anna took it back" in do("approvals", MODEL, code=1)
    with pytest.raises(ApprovalRefused, match="cannot be approved"):
        do("approve", stated.digest[:16], "--key", bank.key("anna"), "--yes")


@pytest.mark.parametrize(
    ("old", "new", "error", "word"),
    [
        ("uses: 3", "uses: 0", ConfigurationError, "uses"),
        ("uses: 3", "use: 3", ConfigurationError, "uses"),
        ("until: 2099-12-31", "until: 2020-12-31", ApprovalRefused, "lies before"),
        ("until: 2099-12-31", "until: for ever", ApprovalRefused, "is no day"),
        ("{headline_accuracy: {low: 0.5}}", "{}", ApprovalRefused, "bounds no metric"),
        ("[headlines]", "[]", ApprovalRefused, "no source"),
        ("base: ", "base: x", ApprovalRefused, "no base digest"),
        ("model: domainlm-finance", "- a", ConfigurationError, "cannot be read"),
    ],
)
def test_a_standing_approval_without_bounds_is_refused(bank: Bank, old: str, new: str, error: type, word: str) -> None:
    text = STANDING.format(base=small_run().model.digests["base"])
    assert old in text
    (bank.folder / "standing.yaml").write_text(text.replace(old, new))
    with pytest.raises(error, match=word):
        do("standing", str(bank.folder / "standing.yaml"), "--key", bank.key("anna"), "--yes")
    assert bank.acts(entries.STANDING) == []
