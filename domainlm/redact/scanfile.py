"""What `domainlm scan` does without the terminal: personal data in files, for people who are about to hand them over.

A finding is a place, an entity, a score and a shape ("16 digits"), never the value. What cannot be read or scanned is a
failure with its place and reason, so that nothing passes in silence; a redacted copy is written whole, after it was
scanned itself, or not at all.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from domainlm.errors import ConfigurationError, DomainLMError
from domainlm.redact.files import (
    MARGIN_CHARACTERS,
    PARQUET,
    PIECE_CHARACTERS,
    ParquetCopy,
    Unit,
    is_binary,
    kind_of,
    units,
)
from domainlm.redact.operators import PLACEHOLDER_FORM
from domainlm.redact.reasons import INVALID_TEXT, SURVIVES, TIME_OUT, TOO_MANY, UNSAFE
from domainlm.redact.settings import PERSON, REMOVE, STRUCTURED, RedactSettings

if TYPE_CHECKING:
    from domainlm.redact.engine import Finding, Scanner
    from domainlm.redact.operators import Replacer

STANDARD_INPUT = "-"
_PROFILES = "domains/finance/jurisdictions"
INPUT_BYTES = 256 * 2**20  # most that standard input may hold: it is read twice, and no temporary file may hold it
HEAD_BYTES = 8192
MOST_LISTED = 10_000  # findings of a file that are kept with their places; all are counted
MOST_FAILURES = 1_000  # the same of its failures
MOST_KNOWN = 50_000  # values of one text that keep their placeholder
LEAST_HALVED = 2_000
_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]")
_SAFE_NAME = re.compile(
    r"\$[\w$.*()\[\]]*|[A-Za-z_][A-Za-z_ .()/%$#\[\]-]*(?:\d{1,3})?[\[\]\w.]*|column \d+|metadata", re.ASCII
)
_REMEDIES = {
    INVALID_TEXT: "remove NUL characters and lone surrogates",
    SURVIVES: "look at this place; the copy was not written",
    TIME_OUT: "look at this place, or raise text_timeout_s of redact",
}


@dataclass(frozen=True)
class Hit:
    """A finding as people may see it.

    Fields:
        line: from 1; 0 in Parquet files.
        column: characters from 1, of the finding in plain text and of the cell elsewhere; 0 in Parquet files.
        row: of a table or of JSON lines, from 1; else 0.
        field: column name, JSON path, or "".
        entity: what it is.
        score: 0 to 1.
        recognizer: what found it.
        shape: length and class of the value, such as `16 digits`.
    """

    line: int
    column: int
    row: int
    field: str
    entity: str
    score: float
    recognizer: str
    shape: str


@dataclass(frozen=True)
class Failure:
    """What could not be scanned: its place, a reason in words without any value, and what to do."""

    line: int
    row: int
    reason: str
    remedy: str


@dataclass
class FileResult:
    """What became of one file.

    Fields:
        path: as it was named.
        format: as what it was read.
        found: findings by entity.
        hits: the first `MOST_LISTED` of them.
        failures: why it, or parts of it, could not be scanned; then nothing is known of it.
        failures_left_out: how many more than `MOST_FAILURES` there were.
        skipped: why it was passed over ("binary"), or "".
        redacted: where the copy lies, or "".
    """

    path: str
    format: str = ""
    found: Counter[str] = field(default_factory=Counter)
    hits: list[Hit] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    failures_left_out: int = 0
    skipped: str = ""
    redacted: str = ""

    def as_json(self) -> dict[str, Any]:
        """JSON types only, without times, in a fixed order."""
        return {
            "path": printable(self.path),
            "format": self.format,
            "found": dict(sorted(self.found.items())),
            "findings": [asdict(hit) for hit in self.hits],
            "findings_left_out": self.found.total() - len(self.hits),
            "failures": [asdict(failure) for failure in self.failures],
            "failures_left_out": self.failures_left_out,
            "skipped": self.skipped,
            "redacted": printable(self.redacted),
        }


def exit_code(results: list[FileResult]) -> int:
    """0: nothing found; 1: something found; 2: something could not be scanned, whatever else was found."""
    if any(result.failures for result in results) or not results:
        return 2
    return int(any(result.found for result in results))


class FileScanner:
    """Finds personal data in files.

    Args:
        settings: see `RedactSettings`.
        jurisdiction: codes such as `us,kr`, whose profiles' thresholds, context words and entities hold; "" for none.

    Raises:
        ConfigurationError: there are no profiles here, or none of this jurisdiction.
    """

    def __init__(self, settings: RedactSettings, jurisdiction: str = "") -> None:
        from domainlm.redact.engine import Scanner

        self.settings = settings
        self.rules = jurisdiction or "all entities"
        self._least, context, self._operators = _rules(settings, jurisdiction)
        self._scanner: Scanner = Scanner(settings, context=context) if context else Scanner(settings)
        self._recognizers = _recognizers_by_entity()

    # --- one file -------------------------------------------------------------------------------------------------

    def scan(self, path: str, kind: str = "", copy: Path | None = None, passing: bool = False) -> FileResult:
        """Scan a file. Never raises for what the file holds.

        Args:
            path: of the file, or `-` for standard input.
            kind: one of `files.FORMATS`; by its name by default.
            copy: where a redacted copy shall lie; `-` for standard output.
            passing: whether the file was met in a folder, so that a binary one is skipped rather than refused.
        """
        result = FileResult(path, kind or kind_of(path))
        try:
            if passing and not os.path.isfile(path) and not os.path.isdir(path) and os.path.exists(path):
                result.skipped = "no regular file"
                return result
            with _opened(path) as stream:
                head = stream.read(HEAD_BYTES)
                if result.format != PARQUET and is_binary(head):
                    if passing:
                        result.skipped = "binary"
                    else:
                        result.failures.append(Failure(0, 0, "is binary, not text", "convert it to text first"))
                    return result
                stream.seek(0)
                if copy is None:
                    for unit in self._units(stream, result):
                        self._look(unit, result)
                else:
                    self._copy(stream, result, copy)
        except OSError as error:
            result.failures.append(Failure(0, 0, error.strerror or type(error).__name__, "check the path and rights"))
        except DomainLMError as error:
            where = f" ({error.where})" if error.where else ""
            result.failures.append(Failure(0, 0, error.what + where, error.remedy))
        except Exception as error:  # whatever it is, the file was not scanned, and its message may quote it
            result.failures.append(Failure(0, 0, f"cannot be read ({type(error).__name__})", "read it with --as text"))
        return result

    def _units(self, stream: IO[bytes], result: FileResult) -> Iterator[Unit]:
        return units(stream, result.format)

    def _look(self, unit: Unit, result: FileResult) -> list[list[Finding]] | None:
        """Scan a unit and note what was found; None where it could not be scanned."""
        from domainlm.redact.engine import AnalysisFailed

        texts = [cell.text for cell in unit.cells]
        if any(UNSAFE.search(text) for text in texts):
            self._fail(unit, INVALID_TEXT, result)
            return None
        try:
            found, counted = self._find(unit)
        except AnalysisFailed as failure:
            self._fail(unit, str(failure), result)
            return None
        for cell, findings, own in zip(unit.cells, found, counted, strict=True):
            for finding in findings:
                if finding not in own:
                    continue
                result.found[finding.entity] += 1
                if len(result.hits) < MOST_LISTED:
                    line, column = unit.place(cell, finding.start)
                    result.hits.append(
                        Hit(
                            line, column, unit.row, _shown(cell.field), finding.entity, round(finding.score, 3),
                            self._named(finding), shape(cell.text[finding.start : finding.end]),
                        )
                    )  # fmt: skip
        return found

    @staticmethod
    def _fail(unit: Unit, reason: str, result: FileResult) -> None:
        if len(result.failures) == MOST_FAILURES:
            result.failures_left_out += 1
            return
        result.failures.append(
            Failure(unit.line, unit.row, reason, _REMEDIES.get(reason, "look at this place by yourself"))
        )

    def _named(self, finding: Finding) -> str:
        return getattr(finding, "recognizer", "") or ", ".join(sorted(self._recognizers.get(finding.entity, ())))

    # --- one unit -------------------------------------------------------------------------------------------------

    def _find(self, unit: Unit) -> tuple[list[list[Finding]], list[set[Finding]]]:
        """The findings of each cell, with offsets inside it; and of these, those that begin in this unit."""
        from domainlm.redact.folding import fold
        from domainlm.redact.spreading import spread

        parts, spans, length = [unit.before], [], len(unit.before)
        for cell in unit.cells:
            label = "" if cell.verbatim or not cell.label else f"{cell.label}: "
            start = length + len(label)
            spans.append((start, start + len(cell.text)))
            parts += [label, cell.text, "" if cell.verbatim else "\n"]
            length = spans[-1][1] + (not cell.verbatim)
        text = "".join([*parts, unit.after])
        findings = self._announced(unit, spans, self._windows(text))
        if not findings:
            return [[] for _ in spans], [set() for _ in spans]
        findings = spread([fold(text)], [findings])[0]
        by_cell: list[list[Finding]] = []
        own: list[set[Finding]] = []
        for cell, (start, end) in zip(unit.cells, spans, strict=True):
            inside, begun = [], set()
            for finding in findings:
                first, last = max(start, finding.start), min(end, finding.end)
                if first >= last or _only_placeholders(text[first:last]):
                    continue
                # A number of which this cell holds a part alone is that part.
                part = finding if cell.verbatim or (first, last) == (finding.start, finding.end) else replace(
                    finding, value=text[first:last]
                )  # fmt: skip
                part = replace(part, start=first - start, end=last - start)
                inside.append(part)
                if finding.start >= start or not cell.verbatim:
                    begun.add(part)
            by_cell.append(inside)
            own.append(begun)
        return by_cell, own

    def _windows(self, text: str) -> list[Finding]:
        """The findings of a text of any length: each window is scanned with a margin, and keeps what begins in it."""
        if len(text) <= PIECE_CHARACTERS + 2 * MARGIN_CHARACTERS:
            return self._scan(text)
        found: list[Finding] = []
        for start in range(0, len(text), PIECE_CHARACTERS):
            found += self._window(text, start, min(len(text), start + PIECE_CHARACTERS))
        return _merged(found)

    def _window(self, text: str, start: int, end: int) -> list[Finding]:
        first = max(0, start - MARGIN_CHARACTERS)
        within = self._scan(text[first : end + MARGIN_CHARACTERS])
        moved = [replace(item, start=item.start + first, end=item.end + first) for item in within]
        return [item for item in moved if start <= item.start < end]

    def _scan(self, text: str) -> list[Finding]:
        from domainlm.redact.engine import AnalysisFailed

        language = "ko" if _HANGUL.search(text) else "en"
        try:
            if self._least is None:
                return list(self._scanner.find(text, language)[1])
            return list(self._scanner.find(text, language, self._least)[1])
        except AnalysisFailed as failure:
            if str(failure) != TOO_MANY or len(text) < LEAST_HALVED:
                raise
        half = len(text) // 2  # a list of numbers rather than prose
        return _merged([*self._window(text, 0, half), *self._window(text, half, len(text))])

    def _announced(self, unit: Unit, spans: list[tuple[int, int]], findings: list[Finding]) -> list[Finding]:
        """The findings, and the whole of each cell whose column says that it holds personal data."""
        from domainlm.redact.engine import Finding

        more = []
        for cell, (start, end) in zip(unit.cells, spans, strict=True):
            entity = _announced(cell.label) if cell.label else None
            if entity is None or entity not in self.settings.wanted or not _speaks(cell.text, entity):
                continue
            if not any(item.start < end and start < item.end for item in findings):
                more.append(Finding(start, end, entity, cell.text, 0.6))
        return sorted([*findings, *more]) if more else findings

    # --- copies ---------------------------------------------------------------------------------------------------

    def _copy(self, stream: IO[bytes], result: FileResult, copy: Path) -> None:
        to_output = str(copy) == STANDARD_INPUT
        folder = None if to_output else copy.parent
        mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode) if not isinstance(stream, BytesIO) else 0o600
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            if (
                copy.exists()
                and not isinstance(stream, BytesIO)
                and os.path.samestat(copy.stat(), os.fstat(stream.fileno()))
            ):
                result.failures.append(Failure(0, 0, "the copy would overwrite its input", "name another place"))
                return
        draft = BytesIO() if to_output else None
        path = ""
        if draft is None:
            # A draft holds redacted text alone.
            descriptor, path = tempfile.mkstemp(prefix=".scan-", dir=folder)
            os.close(descriptor)
        try:
            self._write(stream, result, draft if draft is not None else path)
            if not result.failures:
                self._rescan(draft if draft is not None else path, result)
            if result.failures:
                return
            if draft is not None:
                sys.stdout.buffer.write(draft.getvalue())
                sys.stdout.buffer.flush()
            else:
                os.chmod(path, mode)
                os.replace(path, copy)
                path = ""
            result.redacted = str(copy)
        finally:
            if path:
                with suppress(OSError):
                    os.unlink(path)

    def _write(self, stream: IO[bytes], result: FileResult, target: BytesIO | str) -> None:
        numbers = _Numbers(self.settings.phone_regions, self._operators, _highest(stream, result.format))
        stream.seek(0)
        if result.format == PARQUET:
            table = ParquetCopy(stream, target)
            stream.seek(0)
            for unit in self._units(stream, result):
                if (found := self._look(unit, result)) is not None:
                    table.put(unit, numbers.replaced(unit, found))
            table.close()
            return
        with _sink(target) as sink:
            for unit in self._units(stream, result):
                if (found := self._look(unit, result)) is not None:
                    sink.write(unit.spelled(numbers.replaced(unit, found)).encode())

    def _rescan(self, draft: BytesIO | str, result: FileResult) -> None:
        """Scan the copy by itself, with the engine and with expressions that share no code with it."""
        from domainlm.redact.rescan import survivors

        seen = FileResult(result.path, result.format)
        with open(draft, "rb") if isinstance(draft, str) else _rewound(draft) as stream:
            for unit in self._units(stream, seen):
                found = self._look(unit, seen)
                left = {item.entity for items in found or () for item in items} & set(STRUCTURED)
                for cell in unit.cells:
                    left |= survivors(cell.text, self.settings.wanted)
                if left or found is None:
                    self._fail(
                        unit, f"{SURVIVES}: {', '.join(sorted(left)) or 'the copy could not be scanned'}", result
                    )


class _Numbers:
    """Hands out the placeholders of a file, by unit or over all of it.

    Args:
        regions: countries whose telephone numbers are known.
        operators: entities that are removed rather than replaced.
        highest: placeholders that the file itself holds already.
    """

    def __init__(self, regions: tuple[str, ...], operators: dict[str, str], highest: dict[str, int]) -> None:
        self._regions, self._operators, self._highest = regions, operators, highest
        self._over_all = self._new([f"[{entity}_{number}]" for entity, number in highest.items()])

    def _new(self, texts: list[str]) -> Replacer:
        from domainlm.redact.operators import Replacer

        return Replacer(texts, self._regions, self._operators, None, None, "")

    def replaced(self, unit: Unit, found: list[list[Finding]]) -> list[str]:
        """The texts of a unit's cells with placeholders for what was found."""
        texts = [cell.text for cell in unit.cells]
        if not any(found):
            return texts
        replacer = self._new(texts) if unit.fresh else self._over_all
        changed = [
            replacer.replace(text, findings) if findings else text for text, findings in zip(texts, found, strict=True)
        ]
        if not unit.fresh:
            _raise(self._highest, changed)
            if len(replacer.values) > MOST_KNOWN:  # memory is bounded; numbers go on, so that none is given twice
                self._over_all = self._new([f"[{entity}_{number}]" for entity, number in self._highest.items()])
        return changed


def _highest(stream: IO[bytes], kind: str) -> dict[str, int]:
    stream.seek(0)
    highest: dict[str, int] = {}
    if kind != PARQUET:
        for unit in units(stream, kind):
            if unit.fresh:
                break
            _raise(highest, [cell.text for cell in unit.cells])
    return highest


def _raise(highest: dict[str, int], texts: list[str]) -> None:
    for text in texts:
        for entity, number in PLACEHOLDER_FORM.findall(text):
            highest[entity] = max(highest.get(entity, 0), int(number))


def _recognizers_by_entity() -> dict[str, list[str]]:
    """The names of the recognizers that can have found an entity."""
    from domainlm.redact.recognizers.base import CuedRecognizer

    names: dict[str, list[str]] = {}
    waiting = [CuedRecognizer]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if "ENTITY" in vars(kind):
            names.setdefault(kind.ENTITY, []).append(kind.__name__.removesuffix("Recognizer"))
    return names


# --- small things -------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    if path == STANDARD_INPUT:
        content = sys.stdin.buffer.read(INPUT_BYTES + 1)
        if len(content) > INPUT_BYTES:
            raise OSError(0, f"standard input holds more than {INPUT_BYTES // 2**20} MiB")
        yield BytesIO(content)
        return
    # O_NONBLOCK: a named pipe must not hang the scan before it is seen to be none of our files
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "is no regular file")
        yield stream


@contextmanager
def _rewound(stream: BytesIO) -> Iterator[IO[bytes]]:
    stream.seek(0)
    yield stream


@contextmanager
def _sink(target: BytesIO | str) -> Iterator[IO[bytes]]:
    if isinstance(target, BytesIO):
        yield target
    else:
        with open(target, "wb") as stream:
            yield stream


def _merged(findings: list[Finding]) -> list[Finding]:
    """In order, overlapping ones as one that covers them."""
    merged: list[Finding] = []
    for finding in sorted(findings):
        if merged and finding.start < merged[-1].end:
            merged[-1] = replace(merged[-1], end=max(merged[-1].end, finding.end))
        else:
            merged.append(finding)
    return merged


def _only_placeholders(text: str) -> bool:
    return not any(character.isalnum() or character == "*" for character in PLACEHOLDER_FORM.sub("", text))


@lru_cache(maxsize=4096)
def _announced(name: str) -> str | None:
    from domainlm.redact.forms import announced

    return announced(name)


def _speaks(text: str, entity: str) -> bool:
    """Whether a cell of an announced column holds a value at all, and none that was replaced already."""
    plain = PLACEHOLDER_FORM.sub("", text).strip()
    if plain.casefold() in ("", "-", "n/a", "na", "none", "null", "unknown", "nan", "없음", "미상"):
        return False
    return any(map(str.isalpha if entity == PERSON else str.isalnum, plain))


def _shown(name: str) -> str:
    """The name of a column or path; a column that might itself be somebody's name or number is not told."""
    if len(name) <= 80 and (_SAFE_NAME.fullmatch(name) or _announced(name)):
        return name
    return "(column)" if name else ""


def shape(value: str) -> str:
    """Length and class of a value, which tell where to look and not what it is.

    >>> shape("4539 1488 0343 6467"), shape("kim@a.kr"), shape("홍길동")
    ('16 digits', '8 characters with @', '3 Hangul syllables')
    """
    value = unicodedata.normalize("NFKC", value)
    signs = [character for character in value if not character.isspace() and character not in "-./()+"]
    if signs and all(character.isdigit() for character in signs):
        return f"{len(signs)} digits"
    if "@" in value:
        return f"{len(value)} characters with @"
    if signs and all("가" <= character <= "힣" for character in signs):
        return f"{len(signs)} Hangul syllables"
    if signs and all(character.isalpha() for character in signs):
        return f"{len(signs)} letters"
    return f"{len(value)} characters"


def printable(name: str) -> str:
    """A file's name for a terminal: control characters and bytes that are no text escaped."""
    name = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in name
    )


def _rules(
    settings: RedactSettings, jurisdiction: str
) -> tuple[dict[str, float] | None, dict[str, tuple[str, ...]], dict[str, str]]:
    """Least scores, context words and operators of the profiles of a jurisdiction.

    A copy holds placeholders, or nothing where the rules say `remove`: masks, surrogates and the vault's way back are
    weaker than a placeholder, need keys, and look like personal data to whoever scans the copy.
    """
    if not jurisdiction:
        return None, {}, {}
    from domainlm.project import SOURCE_ROOT, project_root
    from domainlm.redact.profiles import Profiles

    folder = SOURCE_ROOT / _PROFILES
    with suppress(ConfigurationError):
        own = project_root() / _PROFILES
        folder = own if own.is_dir() else folder
    profile = Profiles.load(folder).of(jurisdiction)
    if profile.unknown:  # a run takes the strictest of all for it; a person who types can mend it
        raise ConfigurationError("there is no profile of this jurisdiction", "--jurisdiction", f"see {folder}")
    rules = {name: rule for name, rule in profile.entities.items() if name in settings.wanted}
    words = {
        name: dict.fromkeys(word for group in rule.context.values() for word in group) for name, rule in rules.items()
    }
    return (
        {name: rule.threshold for name, rule in rules.items()},
        {name: tuple(group) for name, group in words.items()},
        {name: REMOVE for name, rule in rules.items() if rule.operator == REMOVE},
    )


def find_files(paths: list[str]) -> Iterator[tuple[str, bool, str]]:
    """The files that some paths name: path, whether it was met in a folder, and its place below that folder.

    Folders are walked in the order of their names; links to folders and `.git` are not followed.
    """
    for path in paths:
        if path == STANDARD_INPUT or not os.path.isdir(path):
            yield path, False, os.path.basename(path) if path != STANDARD_INPUT else "standard-input"
            continue
        refused: list[OSError] = []
        for folder, folders, names in os.walk(path, onerror=refused.append):
            folders[:] = sorted(name for name in folders if name != ".git")
            for name in sorted(names):
                whole = os.path.join(folder, name)
                yield whole, True, os.path.relpath(whole, path)
        for error in refused:  # opening it fails again, and is told
            yield str(error.filename), True, os.path.relpath(str(error.filename), path)
