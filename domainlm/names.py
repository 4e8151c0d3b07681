"""Names that are written once: stages, artifacts, metadata keys."""

from __future__ import annotations

INGEST, REDACT, PREPARE, VALIDATE, VOCABULARY = "ingest", "redact", "prepare", "validate", "vocabulary"
PRETRAIN, TRAIN, EVALUATE, REGISTER, RECORD = "pretrain", "train", "evaluate", "register", "record"
COMPARE = "compare"

# step metadata that varies from run to run and so stays out of reports: seconds, speed, memory, energy, cost
MEASURED = "measured"
# step metadata of a search: the values that it chose
CHOSEN = "chosen"
