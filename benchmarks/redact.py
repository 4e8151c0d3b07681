"""How much personal data does redaction find, on sentences that neither its rules nor its tagger were built on?

    python benchmarks/redact.py [--half a|b|both] [--texts 3000] [--seed N] [--shared-data PATH] [--no-speed] [--memory]
    python benchmarks/redact.py --labelled FILE [--seed N] [--texts N]

Without `--labelled` it fills the shapes of benchmarks/redact_shapes/ with fresh identities by seed: at least `--texts`
texts a half, each shape equally often, and more until each structured entity has 800 values; those are counted for the
structured rows alone, since they repeat the few shapes that have the rare entities. Half `a` is open (its misses may be
looked at), half `b` is sealed and gives the headline.

With `--labelled` it takes a JSON list of {"full_text", "spans": [{"entity_type", "start_position", "end_position"}]}
(the format of Microsoft's presidio-research), puts a fresh identity of its type in place of every span, and scores
that.

How it counts (domainlm/redact/quality.py): a value is found when findings of its own entity cover all its letters and
digits; `exact` asks for the very same bounds, `hidden` for findings of any entity. A value found as another entity is
a miss and a wrong finding, but no leak. Leak rate: texts with personal data in which a letter or digit of a value
stays, of all such texts. Types of a labelled file that are no personal data by this project's policy (organisations,
titles, nationalities, dates, ages, domain names) are no targets, and a finding on them is a false alarm unless it also
overlaps a target. GPE counts as LOCATION in the totals and has a row of its own. A type that no table knows stays as it
is and is not judged.

Intervals are Wilson's at 95 %; values of one sentence shape are not independent, so the count of shapes stands beside.
The peer is stock Presidio on the same texts: its own recognizers, blank spaCy pipelines (nothing is downloaded, so it
has no names) whose lemma is the token in small letters so that its context words fire, the same score threshold; its
entities that ours have no name for are left out of its count.

False alarms on the sentences and table rows of TAT-QA's dev set need `--shared-data` or DOMAINLM_SHARED_DATA. Prints
tables, ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from domainlm.redact.engine import AnalysisFailed, Finding, Scanner  # noqa: E402
from domainlm.redact.quality import UNJUDGED, LabelledText, Score, Span, Tally, misses  # noqa: E402
from domainlm.redact.report import Rate  # noqa: E402
from domainlm.redact.settings import (  # noqa: E402
    CREDIT_CARD,
    DRIVER_LICENSE,
    EMAIL_ADDRESS,
    ENTITIES,
    IBAN_CODE,
    IP_ADDRESS,
    LOCATION,
    PASSPORT,
    PERSON,
    PHONE_NUMBER,
    STRUCTURED,
    US_BANK_NUMBER,
    US_SSN,
    RedactSettings,
)
from domains.makers.identities import ENGLISH_ADDRESSES, Identities  # noqa: E402
from domains.makers.labelled import draw, read_shapes  # noqa: E402

LEAST_SPANS, TEXTS = 800, 3000
SPEED = ("speedup_mixed", "speedup_light", "speedup_with_names", "identical_findings")
Find = Callable[[str, str], Sequence[Finding]]

# Types of other people's labelled files, in our words. "" is no personal data by our policy.
TYPES = {
    **{name: name for name in ENTITIES},
    "STREET_ADDRESS": LOCATION, "ADDRESS": LOCATION, "ZIP_CODE": LOCATION, "GPE": LOCATION, "LOC": LOCATION,
    "US_DRIVER_LICENSE": DRIVER_LICENSE, "US_PASSPORT": PASSPORT, "UK_PASSPORT": PASSPORT, "KR_PASSPORT": PASSPORT,
    "PER": PERSON, "NAME": PERSON, "FIRST_NAME": PERSON, "LAST_NAME": PERSON, "EMAIL": EMAIL_ADDRESS,
    "PHONE": PHONE_NUMBER, "IBAN": IBAN_CODE, "SSN": US_SSN, "IP": IP_ADDRESS, "BANK_ACCOUNT": US_BANK_NUMBER,
    "CREDIT_CARD_NUMBER": CREDIT_CARD,
    "ORGANIZATION": "", "ORG": "", "TITLE": "", "PREFIX": "", "NRP": "", "NATIONALITY": "", "DATE_TIME": "",
    "DATE": "", "AGE": "",
    "DOMAIN_NAME": "", "URL": "",
}  # fmt: skip
GPE = ("GPE", "LOC")
STOCK = {
    **{name: name for name in ENTITIES},
    "US_DRIVER_LICENSE": DRIVER_LICENSE, "KR_DRIVER_LICENSE": DRIVER_LICENSE, "US_PASSPORT": PASSPORT,
    "UK_PASSPORT": PASSPORT, "KR_PASSPORT": PASSPORT,
}  # fmt: skip


# -- texts


def relexicalised(path: Path, seed: int, texts: int = 0) -> tuple[list[LabelledText], Counter[str]]:
    """The texts of a labelled file with fresh identities, and the types that were left as they are.

    Args:
        path: see the head of this file.
        seed: of the identities.
        texts: how many at least; the file is drawn from again and again, once by default.

    Raises:
        SystemExit: the file is not of that form.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        rows = [(str(row["full_text"]), _spans(row["spans"], len(row["full_text"]))) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise SystemExit(f"{path}: no JSON list of full_text and spans ({type(problem).__name__})") from None
    if not rows:
        raise SystemExit(f"{path}: no texts")
    identities = Identities(seed, disturb=0)
    unknown: Counter[str] = Counter()
    drawn = []
    for index in range(max(texts, len(rows))):
        text, spans = rows[index % len(rows)]
        drawn.append(_relexicalise(text, spans, identities, unknown))
    return drawn, unknown


def _spans(spans: list[dict[str, Any]], length: int) -> list[tuple[int, int, str]]:
    """Sorted and without overlaps: of two that overlap, the longer."""
    kept: list[tuple[int, int, str]] = []
    given = [(int(span["start_position"]), int(span["end_position"]), str(span["entity_type"])) for span in spans]
    for start, end, kind in sorted(given, key=lambda span: (span[0] - span[1], span[0])):
        if not 0 <= start < end <= length:
            raise ValueError("a span lies outside of its text")
        if all(end <= other[0] or other[1] <= start for other in kept):
            kept.append((start, end, kind))
    return sorted(kept)


def _relexicalise(
    text: str, spans: list[tuple[int, int, str]], identities: Identities, unknown: Counter[str]
) -> LabelledText:
    letters = [sign for sign in text if sign.isalpha()]
    language = "ko" if sum("가" <= sign <= "힣" for sign in letters) > 0.2 * len(letters) else "en"
    built, new, last, people = "", [], 0, {}
    for start, end, kind in spans:
        built += text[last:start]
        last = end
        value, entity = text[start:end], TYPES.get(kind)
        if entity is None:
            unknown[kind] += 1
        elif value not in people:
            people[value] = _fresh(kind, entity, value, language, identities)
        value = people.get(value, value)
        if entity is None or entity:
            row = "LOCATION (GPE)" if kind in GPE else ""
            new.append(Span(len(built), len(built) + len(value), entity or UNJUDGED, row))
        built += value
    return LabelledText(built + text[last:], language, "", tuple(new))


def _fresh(kind: str, entity: str, old: str, language: str, identities: Identities) -> str:
    """Somebody or something else of the same type, built like the old value: as many parts, the same case."""
    value = _unlike(kind, entity, old, language, identities)
    cased = any(sign.isalpha() for sign in old) and entity in (PERSON, LOCATION)
    return value.lower() if cased and old.islower() else value.upper() if cased and old.isupper() else value


def _unlike(kind: str, entity: str, old: str, language: str, identities: Identities) -> str:
    fake, pick = identities.fake("ko_KR" if language == "ko" else "en_US"), identities.random
    if entity == PERSON:
        first, last = identities.name(language)
        words = old.split()
        if "가" <= last[0] <= "힣":
            return last + first
        if kind in ("FIRST_NAME", "LAST_NAME") or len(words) == 1:
            return {"FIRST_NAME": first, "LAST_NAME": last}.get(kind) or pick.choice((first, last))
        initial = next((word for word in words[1:-1] if len(word.rstrip(".")) == 1), "")
        return " ".join(filter(None, (first, pick.choice("ABEJLMRST") + initial[1:] if initial else "", last)))
    if kind in GPE:
        return str(pick.choice((fake.city, fake.country) if language == "en" else (fake.city,))())
    if entity == LOCATION and old.isdigit():
        return identities.digits(len(old))  # a ZIP code, or the number of a house that was marked by itself
    if kind == "ZIP_CODE":
        return str(fake.postcode())
    if entity == LOCATION and language == "en" and not re.search(r"[,\n]", old) and len(old.split()) <= 5:
        parts = identities.fake(pick.choice(list(ENGLISH_ADDRESSES)))
        flat = re.match(r"(?i)(apt|suite|flat|unit|room)\b", old)
        return str(fake.secondary_address() if flat else parts.street_address()).replace("\n", " ")
    if entity:
        return identities.draw(entity, language, "lines" if "\n" in old else "")
    if kind in ("ORGANIZATION", "ORG"):
        return str(fake.company())
    if kind == "DOMAIN_NAME":
        return str(fake.domain_name())
    if kind == "AGE" and old.isdigit():
        return str(pick.randrange(18, 95))
    if kind in ("TITLE", "PREFIX") and language == "en":
        return str(fake.prefix())
    return old  # dates, nationalities, addresses of the web: nobody's, so the old one serves


def filings(shared: str) -> list[str] | None:
    """Sentences and table rows of TAT-QA's dev set; None where it is not at hand."""
    path = Path(shared) / "tatqa_dev" / "tatqa_dataset_dev.json" if shared else None
    if path is None or not path.is_file():
        return None
    found = []
    for document in json.loads(path.read_text(encoding="utf-8")):
        for paragraph in document["paragraphs"]:
            found.extend(part for part in re.split(r"(?<=[.!?;])\s+(?=[A-Z(])", paragraph["text"]) if part.strip())
        rows = (" | ".join(cell for cell in row if cell) for row in document["table"]["table"])
        found.extend(row for row in rows if row.strip())
    return found


# -- finders


def ours(failures: Counter[str]) -> Find:
    """This project's engine with its default settings.

    Args:
        failures: reasons why texts were not scanned; the stage would seal them away, here they count as leaking.
    """
    scanner = Scanner(RedactSettings())

    def find(text: str, language: str) -> Sequence[Finding]:
        try:
            return scanner.find(text, language)[1]
        except AnalysisFailed as failure:
            failures[str(failure)] += 1
            return []

    return find


def stock() -> Find:
    """Presidio as it comes, without a model."""
    import logging

    import spacy
    import tldextract
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())  # the packaged list of suffixes: no network
    logging.getLogger("presidio-analyzer").setLevel(logging.CRITICAL)

    @spacy.Language.component("token_as_lemma")
    def token_as_lemma(doc: Any) -> Any:
        for token in doc:
            token.lemma_ = token.lower_
        return doc

    class Blank(SpacyNlpEngine):
        def load(self) -> None:
            self.nlp = {"en": spacy.blank("en"), "ko": spacy.blank("xx")}
            for pipeline in self.nlp.values():
                pipeline.add_pipe("token_as_lemma")

    engine = Blank(models=[{"lang_code": name, "model_name": "blank"} for name in ("en", "ko")])
    engine.load()
    registry = RecognizerRegistry(supported_languages=["en", "ko"])
    registry.load_predefined_recognizers(languages=["en", "ko"], nlp_engine=engine)
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en", "ko"])
    threshold = RedactSettings().threshold

    def find(text: str, language: str) -> Sequence[Finding]:
        results = analyzer.analyze(text, language, score_threshold=threshold)
        return [
            Finding(item.start, item.end, STOCK[item.entity_type], "", item.score)
            for item in results
            if item.entity_type in STOCK
        ]

    return find


# -- scores


@dataclass(frozen=True)
class Scores:
    """Two counts of one run.

    Fields:
        even: over the texts that take each shape equally often: names, places, totals, leaks.
        whole: over all texts, with those that were drawn for the structured entities with too few values.
        bare: over those of `even` in which at least one value has no cue word.
    """

    even: Score
    whole: Score
    bare: Score

    def entity(self, name: str) -> Tally:
        """All languages together."""
        return (self.whole if name in STRUCTURED else self.even).entity(name)

    def tallies(self) -> dict[tuple[str, str], Tally]:
        """By entity and language, in the order of the table."""
        found = {key: tally for key, tally in self.even.tallies.items() if key[0] not in STRUCTURED}
        found |= {key: tally for key, tally in self.whole.tallies.items() if key[0] in STRUCTURED}
        return dict(sorted(found.items(), key=lambda item: (_place(item[0][0]), item[0])))


def score(texts: list[LabelledText], even: int, find: Find) -> Scores:
    """Count every text, the first `even` of them apart too."""
    counts = Scores(Score(), Score(), Score())
    for index, text in enumerate(texts):
        found = find(text.text, text.language)
        counts.whole.add(text, found)
        if index < even:
            counts.even.add(text, found)
            if not text.cue:
                counts.bare.add(text, found)
    return counts


def false_alarms(texts: list[str] | None, find: Find) -> dict[str, Any]:
    """Texts with a finding, of 1,000: of the structured tier, and of all."""
    if texts is None:
        return {"filings": 0, "false_alarms_per_1000_structured": None, "false_alarms_per_1000_all": None}
    structured = either = 0
    for text in texts:
        found = {item.entity for item in find(text, "en")}
        structured += bool(found & set(STRUCTURED))
        either += bool(found)
    return {
        "filings": len(texts),
        "false_alarms_per_1000_structured": round(1000 * structured / len(texts), 3),
        "false_alarms_per_1000_all": round(1000 * either / len(texts), 3),
    }


def headline(counts: Scores) -> dict[str, Any]:
    """The figures of the JSON line."""
    even = counts.even
    measured = {name: tally for name in STRUCTURED if (tally := counts.entity(name)).spans}
    recalls = {name: tally.recall.rate for name, tally in measured.items()}
    precisions = {name: tally.precision.rate for name, tally in measured.items()}
    return {
        "structured_recall_min": min(recalls.values(), default=None),
        "structured_recall_min_entity": min(recalls, key=recalls.__getitem__, default=None),
        "structured_precision_min": min(precisions.values(), default=None),
        "structured_precision_min_entity": min(precisions, key=precisions.__getitem__, default=None),
        "structured_spans_min": min((tally.spans for tally in measured.values()), default=None),
        "person_f2": round(counts.entity(PERSON).f2, 4),
        "all_f2": round(even.total().f2, 4),
        "leak_rate": _share(even.leaking, even.documents),
        "leak_rate_without_cue": _share(counts.bare.leaking, counts.bare.documents),
        "character_recall": _share(even.covered, even.characters),
        "character_precision": _share(even.wanted, even.flagged),
        "harmless_alarm_rate": _share(even.alarmed, even.clean),
        "texts": counts.whole.texts,
        "texts_even": even.texts,
    }


def rows(counts: Scores) -> list[dict[str, Any]]:
    """One an entity and language."""
    found = []
    for (entity, language), tally in counts.tallies().items():
        recall_only = entity in counts.even.rows
        recall, precision = tally.recall, tally.precision
        found.append(
            {
                "entity": entity,
                "language": language,
                "spans": tally.spans,
                "shapes": len(tally.shapes - {""}),
                "recall": [recall.rate, recall.low, recall.high],
                "precision": None if recall_only else [precision.rate, precision.low, precision.high],
                "f2": None if recall_only else round(tally.f2, 4),
                "exact": _share(tally.exact, tally.spans),
                "hidden": _share(tally.hidden, tally.spans),
            }
        )
    return found


def table(title: str, counts: Scores, peer: Scores | None) -> str:
    """For people."""
    lines = [
        f"## {title}: {counts.whole.texts:,} texts, the first {counts.even.texts:,} of them evenly from all shapes",
        "| entity | language | values | shapes | recall (95 %) | precision (95 %) | F2 | exact | hidden |"
        " stock recall |"
        " stock precision |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    tallies, others = counts.tallies(), peer.tallies() if peer else {}
    languages = Counter(entity for entity, _ in tallies)
    for index, ((entity, language), tally) in enumerate(tallies.items()):
        recall_only = entity in counts.even.rows
        lines.append(_line(entity, language, tally, others.get((entity, language), Tally()), recall_only))
        if languages[entity] > 1 and [*tallies, ("", "")][index + 1][0] != entity:
            other = peer.entity(entity) if peer else Tally()
            lines.append(_line(entity, "both", counts.entity(entity), other, recall_only))
    lines.append(_line("all", "both", counts.even.total(), peer.even.total() if peer else Tally(), False))
    for name, one in (("ours", counts.even), ("stock Presidio", peer.even if peer else None)):
        if one:
            lines.append(
                f"{name}: leak rate {_interval(Rate.count(one.leaking, one.documents))} of {one.documents:,} texts with"
                f" personal data; character recall {_share(one.covered, one.characters)}, character precision"
                f" {_share(one.wanted, one.flagged)}; {one.alarmed} of {one.clean:,} harmless texts with a finding"
            )
    if bare := counts.bare.documents:
        lines.append(
            f"ours, texts with a value without a cue word: leak rate {_interval(Rate.count(counts.bare.leaking, bare))}"
        )
    return "\n".join(lines)


def _line(entity: str, language: str, tally: Tally, other: Tally, recall_only: bool) -> str:
    precision = "" if recall_only else _interval(tally.precision)
    stock_recall = f"{other.recall.rate:.3f}" if other.spans else "–"
    stock_precision = f"{other.precision.rate:.3f}" if other.findings else "–"
    shapes = len(tally.shapes - {""}) or "–"
    f2 = "" if recall_only else f"{tally.f2:.3f}"
    return (
        f"| {entity} | {language} | {tally.spans:,} | {shapes} | {_interval(tally.recall)} | {precision} | {f2} |"
        f" {_share(tally.exact, tally.spans)} | {_share(tally.hidden, tally.spans)} |"
        f" {stock_recall} | {stock_precision} |"
    )


def _interval(rate: Rate) -> str:
    return f"{rate.rate:.3f} ({rate.low:.3f}–{rate.high:.3f})"


def _share(hits: int, of: int) -> float | None:
    return round(hits / of, 4) if of else None


def _place(entity: str) -> int:
    return ENTITIES.index(entity) if entity in ENTITIES else len(ENTITIES)


def examples(texts: list[LabelledText], find: Find, count: int) -> Iterator[str]:
    """Misses and false alarms of the open half, at most `count` an entity, each of another shape."""
    shown: Counter[tuple[str, str]] = Counter()
    seen: set[tuple[str, str, str]] = set()
    for text in texts:
        found = find(text.text, text.language)
        wrong = {
            item.entity
            for item in found
            if not any(span.start < item.end and item.start < span.end for span in text.spans)
        }
        for kind, names in (("missed", misses(text, found)), ("false alarm", wrong)):
            for entity in names:
                if (kind, entity, text.shape) not in seen and shown[kind, entity] < count:
                    seen.add((kind, entity, text.shape))
                    shown[kind, entity] += 1
                    spans = [
                        text.text[item.start : item.end] + "=" + item.entity
                        for item in (found if kind == "false alarm" else text.spans)
                        if item.entity == entity
                    ]
                    if kind == "missed":
                        spans += ["found: " + ", ".join(sorted({item.entity for item in found}))]
                    yield f"- {kind} {entity} [{text.shape}] {spans!r} in {text.text!r}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labelled", type=Path, help="a labelled file instead of the held-out shapes")
    parser.add_argument("--seed", type=int, default=1, help="of the identities")
    parser.add_argument("--texts", type=int, default=None, help="at least so many (3000 a half; a labelled file once)")
    parser.add_argument("--half", choices=("a", "b", "both"), default="both", help="a: open, b: sealed (the headline)")
    parser.add_argument("--least-spans", type=int, default=LEAST_SPANS, help="values of each structured entity")
    parser.add_argument("--speed", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True, help="stock Presidio beside")
    parser.add_argument("--memory", action="store_true", help="also memory from 10^4 to 10^6 documents; minutes")
    parser.add_argument("--examples", type=int, default=0, help="misses to print for each entity, open half only")
    parser.add_argument("--shared-data", default=os.environ.get("DOMAINLM_SHARED_DATA", ""), help="folder of data sets")
    options = parser.parse_args()
    started = time.process_time()
    peer = stock() if options.peer else None  # before ours, whose recognizers Presidio would take for its own
    failures: Counter[str] = Counter()
    find = ours(failures)
    report: dict[str, Any] = {}
    sets: dict[str, list[LabelledText]] = {}
    if options.labelled:
        texts, unknown = relexicalised(options.labelled, options.seed, options.texts or 0)
        sets["labelled"] = texts
        if unknown:
            print("types left as they are and not judged: " + ", ".join(f"{name} {n}" for name, n in unknown.items()))
    else:
        for half in ("a", "b") if options.half == "both" else (options.half,):
            sets[half] = draw(read_shapes(half), options.texts or TEXTS, options.least_spans, options.seed)
    titles = {"a": "Open half", "b": "Sealed half (headline)", "labelled": "Labelled file, fresh identities"}
    for name, texts in sets.items():
        even = len(texts) if options.labelled else options.texts or TEXTS
        counts = score(texts, even, find)
        beside = score(texts, even, peer) if peer else None
        print(table(titles[name], counts, beside), end="\n\n")
        report = headline(counts) | {"set": name, "other_sets": report.get("other_sets", {}), "rows": rows(counts)}
        if beside:
            report["stock"] = headline(beside)
        if name == "a" and options.examples:
            print("\n".join(examples(texts, find, options.examples)), end="\n\n")
        if name != list(sets)[-1]:
            report = {"other_sets": {name: report}}
    alarms = false_alarms(filings(options.shared_data), find)
    print(
        f"False alarms on filings, texts of 1,000: {alarms}"
        if alarms["filings"]
        else "False alarms on filings: not measured"
    )
    if failures:
        print(f"Not scanned, and counted as leaking: {dict(failures)}")
    report |= alarms
    for key in SPEED:
        report[key] = None
    if options.speed:
        from benchmarks.redact_speed import measure_speed

        speed = measure_speed(seed=options.seed)
        print(f"Speed against the plain loop of Presidio's analyzer, same recognizers: {speed}")
        report |= {key: speed[key] for key in SPEED} | {"speed": speed}
    if options.memory:
        from benchmarks.redact_speed import measure_memory

        report["memory"] = measure_memory(seed=options.seed)
        print(f"Memory: {report['memory']}")
    report["unscanned"] = dict(failures)
    report["seed"] = options.seed
    report["cpu_s"] = round(time.process_time() - started, 1)
    print(json.dumps(report, ensure_ascii=False))


if __name__ == "__main__":
    main()
