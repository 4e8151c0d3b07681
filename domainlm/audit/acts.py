"""The acts, under the name of the stage that makes and reads them. They lie on the ground floor, since the signer adds
none that does not fit (`domainlm.ledger.contents`)."""

from domainlm.ledger.acts import (
    MODELS,
    Anchored,
    Approval,
    Backup,
    Bound,
    Condition,
    ConditionMet,
    Erasure,
    Hold,
    HoldRelease,
    Promotion,
    Read,
    Restore,
    Retention,
    StandingApproval,
    read_act,
)

__all__ = [
    "MODELS", "Anchored", "Approval", "Backup", "Bound", "Condition", "ConditionMet", "Erasure", "Hold",
    "HoldRelease", "Promotion", "Read", "Restore", "Retention", "StandingApproval", "read_act",
]  # fmt: skip
