"""What a verification says: findings, each with a stable code, and the verdict that follows from them."""

from __future__ import annotations

from typing import Literal

from domainlm.reports import Report

# code -> what it means; verification, the signer's gate, the page and the docs share these names
CODES: dict[str, str] = {
    "malformed": "bytes that are no canonical entry, checkpoint or bundle",
    "unknown-version": "an entry of a version that this program does not know",
    "unknown-kind": "an entry of a kind that this program does not know",
    "too-large": "an entry beyond the size limit",
    "foreign-entry": "an entry that was made for another ledger",
    "bad-signature": "a signature that does not verify",
    "unknown-key": "a key that the policy in force does not list",
    "revoked-key": "a key that was revoked before the entry",
    "wrong-role": "a signer whose role may not make this kind of entry",
    "untrusted-root": "the first policy is not signed by the pinned root",
    "bad-policy": "a policy that breaks the rules of succession",
    "clock-set-back": "an entry whose time lies before that of an earlier one",
    "clock-ahead": "an entry whose time lies ahead of the signer's clock, so that later ones would seem set back",
    "edited": "an entry whose bytes differ from what the ledger's tree holds",
    "deleted": "an entry that the tree holds and that is missing",
    "inserted": "an entry that the tree does not hold",
    "reordered": "entries in another order than the tree holds",
    "overtaken": "an act that was decided upon fewer entries than stand before it",
    "duplicate": "the same entry twice",
    "truncated": "fewer entries than a signed checkpoint covers",
    "rolled-back": "fewer entries than a published checkpoint covers",
    "forked": "a checkpoint that is no continuation of a published one",
    "no-checkpoint": "no signed checkpoint at all",
    "uncovered": "entries after the last signed checkpoint",
    "unanchored": "no checkpoint was published outside, so a roll-back would not be seen",
    "unreadable-anchor": "a published checkpoint, or a place of them, that cannot be read and may show a roll-back",
    "stale-anchor": "entries after the last published checkpoint",
    "replaced-artifact": "an artifact whose content differs from the digest in its manifest",
    "missing-artifact": "an artifact that the manifest names and that is not there",
    "erased-artifact": "an artifact that was deleted on the record: by an erasure or by retention",
    "missing-manifest": "a run that has no entry",
    "alias-edited": "a registry's champion that the ledger did not promote",
    "expired-approval": "an approval, a condition or a standing approval whose date has passed",
    "unapproved": "a promotion without the approvals that the policy asks for",
    "path-trick": "a name in a bundle that leaves it, or a link",
    "development-key": "keys that set-up made on this machine; not for production",
    "dirty-code": "a run from a work tree with uncommitted changes",
    "must-retrain": "a model that learnt from data erased since",
}

Severity = Literal["broken", "warning", "note"]
GOOD, UNANCHORED, BROKEN = "good", "unanchored", "broken"


class Finding(Report):
    """One line of a verification.

    Fields:
        code: one of `CODES`.
        severity: `broken` makes the verdict broken; a warning does not, but is said.
        where: entry number, run, artifact or file concerned.
        what: one sentence, without a value of the data.
    """

    code: str
    severity: Severity
    where: str
    what: str

    def line(self) -> str:
        """As `domainlm audit verify` prints it."""
        return f"{self.severity}: {self.code}: {self.where}: {self.what}"


def verdict(findings: list[Finding], anchored: bool) -> str:
    """`broken` where any finding is; `good` only where a published checkpoint binds the log; else `unanchored`."""
    if any(finding.severity == "broken" for finding in findings):
        return BROKEN
    return GOOD if anchored else UNANCHORED
