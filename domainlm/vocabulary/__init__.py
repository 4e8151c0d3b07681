"""Vocabulary: domain terms as tokens of their own, mined from the training split.

tokenizer, report = extend(records, base, VocabularySettings(), folder)
"""

from domainlm.vocabulary.extension import VocabularyReport, extend, kept

__all__ = ["VocabularyReport", "extend", "kept"]
