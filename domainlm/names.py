"""Names that are written once: stages, artifacts, metadata keys."""

from __future__ import annotations

INGEST, REDACT, PREPARE, VALIDATE, VOCABULARY = "ingest", "redact", "prepare", "validate", "vocabulary"
PRETRAIN, TRAIN, EVALUATE, REGISTER, RECORD = "pretrain", "train", "evaluate", "register", "record"
COMPARE = "compare"
# of a retraining: its stage, and the steps that have other names than that
RETRAIN = "retrain"
DETECT, DECIDE, CONTEST, SETTLE = "detect", "decide", "contest", "settle"

# step metadata that varies from run to run and so stays out of reports: seconds, speed, memory, energy, cost
MEASURED = "measured"
# step metadata of a search: the values that it chose
CHOSEN = "chosen"
# step metadata of `decide`: what was decided, and why
DECISION = "decision"
# run metadata of a retraining: its claim on batches, without which no step of it goes on
CLAIM = "claim"
