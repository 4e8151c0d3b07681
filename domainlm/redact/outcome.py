"""What became of one record; on its way between processes and nodes it holds no raw value."""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from domainlm.keys import KeyRing
from domainlm.records import Record

_USE = "outcome"


@dataclass(repr=False)  # no repr: a raw record must not land in a traceback or a log
class Outcome:
    """One record: itself, redacted, or the reason why it must not pass.

    Args:
        record: the redacted record; None when it must not pass.
        reason: reason code of the quarantine.
        origin: source, row, language and jurisdiction of the record, for the counts.
        original: the raw record where it must not pass, for the quarantine.
        entities: values replaced, by entity.
        operators: values replaced, by operator.
        texts: texts of the record.
        texts_analyzed: those that the prefilter could not clear.
        characters: their length in all.
    """

    record: Record | None
    reason: str = ""
    origin: dict[str, Any] = field(default_factory=dict)
    original: Record | None = None
    entities: Counter[str] = field(default_factory=Counter)
    operators: Counter[str] = field(default_factory=Counter)
    texts: int = 0
    texts_analyzed: int = 0
    characters: int = 0

    def dumps(self, keys: KeyRing) -> str:
        """The outcome as JSON, an original in it encrypted."""
        values = vars(self)
        if self.original is not None:
            # Escaped JSON: a lone surrogate is one of the reasons to be refused, and UTF-8 cannot hold it.
            raw = json.dumps(self.original, ensure_ascii=True).encode("ascii")
            values = values | {"original": base64.b64encode(keys.seal(_USE, raw, b"")).decode("ascii")}
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def loads(cls, text: str, keys: KeyRing) -> Outcome:
        """An outcome out of what `dumps` wrote.

        Raises:
            SecretError: it was written with another key.
        """
        values = json.loads(text)
        for name in ("entities", "operators"):
            values[name] = Counter(values[name])
        if values["original"] is not None:
            sealed = base64.b64decode(values["original"], validate=True)
            values["original"] = json.loads(keys.unseal(_USE, sealed, b""))
        return cls(**values)
