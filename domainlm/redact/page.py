"""The redaction report as one page for a compliance officer: what was found, what became of it, how sure that is.

One file without scripts that loads nothing, so that it can be mailed, printed and filed; in light and dark, with table
headings for screen readers, and every figure of a bar also in words. It shows counts, codes and keyed ids; whatever a
source may have named itself is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from domainlm.keys import DEVELOPMENT
from domainlm.redact.reasons import (
    ERROR,
    IN_LABEL,
    INJECTION,
    INVALID_TEXT,
    MALFORMED,
    RISK,
    SURVIVES,
    TIME_OUT,
    TOO_LONG,
    TOO_MANY,
)
from domainlm.redact.report import NameCanaries, Rate, RedactionReport
from domainlm.redact.settings import ENTITIES

MOST_COLUMNS = 8  # groups side by side; more become a list
MOST_ROWS = 500  # of the quarantine list; the JSON beside this page holds all

PASSED, RESERVED, REFUSED = "passed", "passed, with reservations", "do not use"
_WORDS = {
    "PERSON": "names of persons", "EMAIL_ADDRESS": "e-mail addresses", "PHONE_NUMBER": "telephone numbers",
    "IP_ADDRESS": "IP addresses", "CREDIT_CARD": "payment card numbers", "IBAN_CODE": "IBANs",
    "SWIFT_BIC": "bank codes (BIC)", "US_BANK_NUMBER": "US bank accounts", "ABA_ROUTING_NUMBER": "US routing numbers",
    "KR_BANK_ACCOUNT": "Korean bank accounts", "BROKERAGE_ACCOUNT": "brokerage accounts",
    "US_SSN": "US social security numbers", "KR_RRN": "Korean resident registration numbers",
    "UK_NHS": "British NHS numbers", "UK_NINO": "British national insurance numbers", "PASSPORT": "passport numbers",
    "DRIVER_LICENSE": "driving licences", "DATE_OF_BIRTH": "dates of birth", "SECRET": "passwords and keys",
    "LOCATION": "addresses",
}  # fmt: skip
_REASONS = {
    INVALID_TEXT: "holds a character that no text should hold (NUL, lone surrogate)",
    TOO_LONG: "longer than one scan may be",
    TIME_OUT: "the scan ran out of time, so the text counts as unread",
    TOO_MANY: "a list of persons rather than a text",
    ERROR: "the scan failed, so the text counts as unread",
    SURVIVES: "an identifier still stood in it after redaction",
    IN_LABEL: "its class label holds an identifier",
    MALFORMED: "its language, jurisdiction or date is none",
    RISK: "something doubtful was left above the risk threshold",
    INJECTION: "an untrusted source with text that gives orders to a model",
}
_OPERATORS = {
    "placeholder": "placeholder of the document, such as [PERSON_1], with a keyed id beside the text",
    "remove": "removed",
    "mask": "masked but for its form",
    "surrogate": "an invented value of the same kind",
    "vault": "encrypted in the vault; can be revealed under logged access, or forgotten",
}
_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--paper:#fff;--tint:#f6f8fa;--good:#116329;
--warn:#7d4e00;--bad:#a40e26;--bar:#0969da;--bargood:#1a7f37}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9da7b3;--line:#3d444d;--paper:#0d1117;--tint:#161b22;
--good:#56d364;--warn:#e3b341;--bad:#ff7b72;--bar:#58a6ff;--bargood:#56d364}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI","Noto Sans","Noto Sans CJK KR","Noto Sans KR",
"Apple SD Gothic Neo","Malgun Gothic",sans-serif;
color:var(--ink);background:var(--paper);margin:2rem auto;max-width:76rem;padding:0 1.25rem}
h1{font-size:1.6rem;margin:0 0 .75rem}h2{font-size:1.15rem;margin:2.2rem 0 .5rem;padding-top:.6rem;
border-top:1px solid var(--line)}h3{font-size:1rem;margin:1.2rem 0 .3rem}
p,ul{max-width:48rem}ul{padding-left:1.2rem}li{margin:.15rem 0}
table{border-collapse:collapse;margin:.5rem 0 1rem}caption{text-align:left;color:var(--soft);padding-bottom:.3rem}
th,td{border-bottom:1px solid var(--line);padding:.28rem .8rem .28rem 0;text-align:left;vertical-align:top}
thead th{border-bottom:2px solid var(--line);vertical-align:bottom;white-space:nowrap}
tbody th{font-weight:500}th.n,td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.b{white-space:nowrap}tr.sum th,tr.sum td{font-weight:600}
code,.id{font:12.5px/1.5 ui-monospace,"SF Mono",Menlo,Consolas,
"DejaVu Sans Mono","Noto Sans Mono CJK KR",monospace;overflow-wrap:anywhere}small,.soft{color:var(--soft)}
td,tbody th{overflow-wrap:anywhere}tbody th{min-width:9rem}
.scroll{overflow-x:auto}.verdict{border:1px solid var(--line);border-left:.45rem solid var(--edge);
background:var(--tint);
padding:.9rem 1.2rem;border-radius:.35rem}.verdict p,.verdict ul{margin:.25rem 0;max-width:none}
.verdict strong{font-size:1.2rem;
color:var(--edge)}.good{--edge:var(--good)}.warn{--edge:var(--warn)}.bad{--edge:var(--bad)}
span.good,span.warn,span.bad{color:var(--edge);font-weight:600}
dl{display:flex;flex-wrap:wrap;gap:.6rem 2.2rem;margin:1.1rem 0 0}dl div{min-width:7rem}dt{color:var(--soft);
font-size:.85rem}dd{margin:0;font-size:1.35rem;font-variant-numeric:tabular-nums}
svg{vertical-align:middle;margin-right:.6rem}svg .t{fill:var(--line)}svg .i{fill:var(--bar);opacity:.45}
svg .p{fill:var(--bar)}svg .l{fill:var(--ink)}
@media print{:root{--ink:#000;--soft:#444;--line:#bbb;--paper:#fff;--tint:#fff;--good:#116329;--warn:#7d4e00;
--bad:#a40e26;--bar:#0969da}body{margin:0;max-width:none;font-size:10.5pt;padding:0}h2{break-after:avoid}
tr,.verdict{break-inside:avoid}thead{display:table-header-group}.scroll{overflow:visible}
svg{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""


def page(report: RedactionReport) -> str:
    """The report as one HTML page."""
    level, reasons = verdict(report)
    parts = [
        _head(report, level, reasons),
        _risk(report),
        _found(report),
        _operators(report),
        _quality(report),
        _canaries(report),
        _quarantine(report),
        _profiles(report),
        _handling(report),
        _evidence(report),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Redaction report: {escape(level)}</title><style>{_STYLE}</style></head><body><main>"
        + "".join(parts)
        + "</main></body></html>"
    )


def verdict(report: RedactionReport) -> tuple[str, list[str]]:
    """What to think of it at a glance, and why it is no better."""
    refused, reserved = [], []
    if not report.records_in:
        refused.append("No record was read, so nothing is shown about any text.")
    if not report.canaries:
        refused.append("No planted identifier was sent through the engine, so nothing shows that it worked.")
    for names in report.name_canaries:
        if names.found.rate < names.threshold:
            refused.append(
                f"Of the planted names ({names.language}) {_percent(names.found.rate)} were found, fewer than the"
                f" {_percent(names.threshold)} that the profile asks for."
            )
    if not report.name_canaries:
        reserved.append("No planted name was sent, so the share of names that are found is unknown for this run.")
    if report.quality is None:
        reserved.append("Precision and recall of this configuration were not measured: there was no labelled set.")
    if report.records_quarantined:
        reserved.append(
            f"{report.records_quarantined:,} of {report.records_in:,} records could not be made safe and lie in"
            " quarantine; a person should decide about them."
        )
    if report.records_in and not report.profiles:
        reserved.append("No jurisdiction profile held; the settings alone decided what is replaced.")
    if report.key_id.startswith(DEVELOPMENT):
        reserved.append("The ids were made with a development key, which is not kept apart from the project.")
    return (REFUSED if refused else RESERVED if reserved else PASSED), [*refused, *reserved]


def _head(report: RedactionReport, level: str, reasons: list[str]) -> str:
    tone = {PASSED: "good", RESERVED: "warn", REFUSED: "bad"}[level]
    replaced = sum(report.entities.values())
    sentence = (
        f"{report.records_out:,} of {report.records_in:,} records were passed on; in {report.records_changed:,} of them"
        f" {replaced:,} values were replaced."
        if report.records_in
        else "Nothing was redacted."
    )
    figures = {
        "records read": report.records_in,
        "passed on": report.records_out,
        "changed": report.records_changed,
        "in quarantine": report.records_quarantined,
        "values replaced": replaced,
        "subjects (keyed ids)": report.subjects,
        "characters read": report.characters,
    }
    if report.erased_rows:
        figures["left out, erased"] = report.erased_rows
    return (
        f'<h1>Redaction report</h1><section class="verdict {tone}" aria-label="Verdict">'
        f"<p><strong>{escape(level)}</strong></p><p>{sentence}</p>{_list(reasons)}</section><dl>"
        + "".join(f"<div><dt>{name}</dt><dd>{count:,}</dd></div>" for name, count in figures.items())
        + "</dl>"
    )


def _risk(report: RedactionReport) -> str:
    told = _list(report.residual_risk) or "<p>The run stated none. That is no promise that nothing is left.</p>"
    return f"<h2>What may still stand in the text</h2>{told}"


def _found(report: RedactionReport) -> str:
    if not report.entities:
        return "<h2>What was found</h2><p>No value was replaced.</p>"
    total = sum(report.entities.values())
    most = max(report.entities.values())
    rows = [
        (
            _entity(name),
            _number(count),
            _number_text(f"{count / total:.1%}"),
            f'<td class="b">{_share(count / most)}</td>',
        )
        for name, count in _in_order(report.entities)
    ]
    rows.append((_heading("all"), _number(total), _number_text("100%"), "<td></td>"))
    return (
        "<h2>What was found</h2>"
        + _table("Values replaced, by kind", ("kind", "#values", "#share", ""), rows, sums=True)
        + _groups("By jurisdiction, as the records state it", "jurisdiction", report.entities_by_jurisdiction, report)
        + _groups("By language", "language", report.entities_by_language, report)
        + _groups("By source", "source", report.entities_by_source, report)
    )


def _groups(title: str, kind: str, groups: Mapping[str, Mapping[str, int]], report: RedactionReport) -> str:
    if not groups:
        return ""
    if len(groups) > MOST_COLUMNS:
        rows = [
            (
                _heading(name or "(none stated)"),
                _number(sum(counts.values())),
                f"<td>{escape(', '.join(f'{entity} {count:,}' for entity, count in _in_order(counts)))}</td>",
            )
            for name, counts in groups.items()
        ]
        return f"<h3>{title}</h3>" + _table("", (kind, "#values", "kinds"), rows)
    names = list(groups)
    rows = [
        (_entity(entity), *(_number(groups[name].get(entity, 0)) for name in names))
        for entity, _ in _in_order(report.entities)
    ]
    rows.append((_heading("all"), *(_number(sum(groups[name].values())) for name in names)))
    heads = ("kind", *(f"#{name or '(none stated)'}" for name in names))
    return f"<h3>{title}</h3>" + _table("", heads, rows, sums=True)


def _operators(report: RedactionReport) -> str:
    if not report.operators:
        return ""
    rows = [
        (_heading(name), f"<td>{escape(_OPERATORS.get(name, ''))}</td>", _number(count))
        for name, count in sorted(report.operators.items(), key=lambda entry: (-entry[1], entry[0]))
    ]
    return "<h2>What became of the values</h2>" + _table("", ("operator", "meaning", "#values"), rows)


def _quality(report: RedactionReport) -> str:
    title = "<h2>How well this configuration finds</h2>"
    quality = report.quality
    if quality is None:
        return f"{title}<p>Not measured: the run had no labelled set.</p>"
    rows = [
        (
            _entity(row.entity), f"<td>{escape(row.language)}</td>", _number(row.spans),
            f'<td class="b">{_bar(row.recall, "recall")}</td>',
            f'<td class="b">{_bar(row.precision, "precision")}</td>',
        )
        for row in sorted(quality.rows, key=lambda row: (_rank(row.entity), row.language))
    ]  # fmt: skip
    return (
        f"{title}<p>Measured on {quality.texts:,} labelled texts of the domain pack, none of them from this run. Recall"
        " is the share of labelled values that were found, precision the share of findings that were right; the pale"
        " bar is the 95 % interval (Wilson), which is wide where there were few values.</p>"
        + _table("", ("kind", "language", "#values", "recall", "precision"), rows)
        + f'<p>Texts in which at least one value was left standing: <span class="b">{_bar(quality.leaking, "leaking")}'
        f'</span></p><p class="soft">labelled set <code>{escape(quality.sha256)}</code></p>'
    )


def _canaries(report: RedactionReport) -> str:
    sent = (
        f"<p>Before the first text was read, {report.canaries:,} made-up identifiers (cards, accounts, registration"
        " numbers, telephones, e-mail addresses in several spellings) went through this very engine. None survived; had"
        " one, the run would have stopped.</p>"
        if report.canaries
        else "<p>No made-up identifier was sent through the engine.</p>"
    )
    names = ""
    if report.name_canaries:
        rows = [
            (
                _heading(item.language),
                f'<td class="b">{_bar(item.found, "planted names found", item.threshold)}</td>',
                _number_text(_percent(item.threshold)), f"<td>{_reached(item)}</td>",
            )
            for item in report.name_canaries
        ]  # fmt: skip
        names = "<p>Names are found by their surroundings, so they are a rate and not a promise:</p>" + _table(
            "Planted names", ("language", "found", "#asked for", "verdict"), rows
        )
    return f"<h2>Canaries</h2>{sent}{names}"


def _reached(item: NameCanaries) -> str:
    return (
        '<span class="good">reached</span>'
        if item.found.rate >= item.threshold
        else '<span class="bad">not reached</span>'
    )


def _quarantine(report: RedactionReport) -> str:
    title = "<h2>Quarantine</h2>"
    if not report.records_quarantined:
        return f"{title}<p>No record had to be sealed away.</p>"
    reasons = [
        (_heading(reason), f"<td>{escape(_REASONS.get(reason, ''))}</td>", _number(count))
        for reason, count in sorted(report.quarantine_reasons.items(), key=lambda entry: (-entry[1], entry[0]))
    ]
    rows = [
        (f'<td class="id">{escape(item.file)}</td>', f"<td>{escape(item.reason)}</td>",
         f"<td>{escape(item.source)}</td>",
         _number(item.row))
        for item in report.quarantined[:MOST_ROWS]
    ]  # fmt: skip
    left = len(report.quarantined) - len(rows)
    more = f"<p>{left:,} more stand in the report's JSON.</p>" if left > 0 else ""
    return (
        f"{title}<p>These records are sealed one by one (AES-256-GCM) and were not passed on. Their files are named by"
        " keyed ids, which tell nothing without the key.</p>"
        + _table("Reasons", ("reason", "meaning", "#records"), reasons)
        + _table("Records", ("sealed file", "reason", "source", "#row"), rows)
        + more
    )


def _profiles(report: RedactionReport) -> str:
    title = "<h2>Rules that held</h2>"
    if not report.profiles:
        return f"{title}<p>No jurisdiction profile; the settings of the run alone.</p>"
    uses = [
        (
            _heading(use.jurisdictions or "(none stated)"), f"<td>{escape(', '.join(use.profiles)) or 'all'}</td>",
            _number(use.records), f"<td><code>{escape(use.sha256[:16])}</code></td>",
        )
        for use in report.profiles
    ]  # fmt: skip
    served: dict[str, list[str]] = {}
    for use in report.profiles:
        for law in use.laws:
            served.setdefault(law, []).append(use.jurisdictions or "(none stated)")
    laws = [(_heading(law), f"<td>{escape('; '.join(codes))}</td>") for law, codes in sorted(served.items())]
    return (
        f"{title}<p>Where several profiles meet, the strictest of their rules holds.</p>"
        + _table("Profiles", ("records of", "profiles", "#records", "digest of the rules"), uses)
        + _table("Laws that the rules serve, with the date of what was read", ("law", "records of"), laws)
    )


def _handling(report: RedactionReport) -> str:
    if not report.handling and not report.handling_class:
        return ""
    rows = [(_heading(name), _number(count)) for name, count in report.handling.items()]
    strictest = escape(report.handling_class) or "not known"
    return (
        f"<h2>Handling class</h2><p>The strictest is <strong>{strictest}</strong>; whatever is trained on these records"
        " inherits it.</p>" + _table("Records passed on, by class", ("class", "#records"), rows)
    )


def _evidence(report: RedactionReport) -> str:
    rows = [(_heading("key of the ids"), f"<td><code>{escape(report.key_id)}</code></td>")]
    rows += [
        (_heading(f"digest: {name}"), f"<td><code>{escape(value)}</code></td>")
        for name, value in report.digests.items()
    ]
    rows += [(_heading(name), f"<td><code>{escape(value)}</code></td>") for name, value in report.versions.items()]
    rows.append((_heading("this report"), f"<td><code>{escape(report.digest)}</code></td>"))
    texts = (
        f"<p>{report.texts:,} texts were scanned; the prefilter cleared {report.texts - report.texts_analyzed:,} of"
        " them by itself, since nothing in them can begin a finding.</p>"
    )
    most = ""
    if report.most_changed:
        changed = [
            (f'<td class="id">{escape(name)}</td>', _number(count))
            for name, count in sorted(report.most_changed.items(), key=lambda entry: (-entry[1], entry[0]))
        ]
        most = "<h3>Records with the most replaced values</h3>" + _table("", ("record (keyed id)", "#values"), changed)
    return f"<h2>Evidence</h2>{texts}" + _table("Versions and digests", ("what", "value"), rows) + most


# --- pieces -------------------------------------------------------------------------------------------------------


def _table(caption: str, heads: Iterable[str], rows: list[tuple[str, ...]], sums: bool = False) -> str:
    """A table; a head that begins with # is of numbers, and the last of the rows is their sum."""
    drawn = "".join(
        f'<th scope="col"{" class=n" if head.startswith("#") else ""}>{escape(head.removeprefix("#"))}</th>'
        for head in heads
    )
    body = "".join(
        f"<tr{' class=sum' if sums and at == len(rows) - 1 else ''}>{''.join(cells)}</tr>"
        for at, cells in enumerate(rows)
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{title}<thead><tr>{drawn}</tr></thead><tbody>{body}</tbody></table></div>'


def _heading(text: str) -> str:
    return f'<th scope="row">{escape(text)}</th>'


def _entity(name: str) -> str:
    words = _WORDS.get(name)
    return f'<th scope="row">{escape(words)} <small>{escape(name)}</small></th>' if words else _heading(name)


def _number(count: int) -> str:
    return f'<td class="n">{count:,}</td>' if count else '<td class="n soft">0</td>'


def _number_text(text: str) -> str:
    return f'<td class="n">{escape(text)}</td>'


def _list(items: Iterable[str]) -> str:
    told = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<ul>{told}</ul>" if told else ""


def _rank(entity: str) -> int:
    return ENTITIES.index(entity) if entity in ENTITIES else len(ENTITIES)


def _in_order(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda entry: (-entry[1], _rank(entry[0]), entry[0]))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _share(share: float) -> str:
    width = max(1.0, 160 * share)
    return (
        '<svg width="160" height="10" aria-hidden="true"><rect class="t" width="160" height="10" rx="2"/>'
        f'<rect class="p" width="{width:.1f}" height="10" rx="2"/></svg>'
    )


def _bar(rate: Rate, what: str, threshold: float | None = None) -> str:
    """A rate as a tick in its interval on a line from 0 to 100 %, and in words behind it."""
    if not rate.of:
        return '<span class="soft">nothing to measure</span>'
    interval = f"95 % interval {_percent(rate.low)} to {_percent(rate.high)}"
    words = f"{_percent(rate.rate)}, {interval}, {rate.hits:,} of {rate.of:,}"
    low, high, at = (140 * max(0.0, min(1.0, share)) for share in (rate.low, rate.high, rate.rate))
    line = (
        f'<rect class="l" x="{min(139.0, 140 * threshold):.1f}" width="1.5" height="14"/>'
        if threshold is not None
        else ""
    )
    return (
        f'<svg width="142" height="14" role="img" aria-label="{escape(what)}: {escape(words)}">'
        '<rect class="t" y="5" width="142" height="4" rx="2"/>'
        f'<rect class="i" x="{low:.1f}" y="2" width="{max(2.0, high - low):.1f}" height="10" rx="2"/>'
        f'<rect class="p" x="{min(139.0, at):.1f}" width="3" height="14" rx="1"/>{line}</svg>'
        f"{_percent(rate.rate)} <small>{_percent(rate.low)}–{_percent(rate.high)}, {rate.hits:,}/{rate.of:,}</small>"
    )
