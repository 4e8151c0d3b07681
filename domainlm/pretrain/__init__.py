"""Pre-training: a tokenizer and a small base model from scratch, from the domain pack's own corpus.

base, report = pretrain(records, PretrainSettings(), folder, work)
"""

from domainlm.pretrain.pretraining import PretrainReport, pretrain

__all__ = ["PretrainReport", "pretrain"]
