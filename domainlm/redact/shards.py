"""The same redaction in several processes, or on several nodes, in the order of the records.

What travels to a process is the number of the first and the last row: it reads the sources itself, so raw text is never
pickled, never in a data set's cache and never in Ray's object store. What comes back are outcomes: redacted records,
encrypted originals of those that must not pass, and counts.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domainlm.errors import ConfigurationError, DomainLMError, RedactionIncomplete, SecretError
from domainlm.keys import KeyRing
from domainlm.records import Record
from domainlm.redact.forks import plain_signals_in_children
from domainlm.redact.outcome import Outcome
from domainlm.redact.ray_member import member
from domainlm.redact.settings import RedactSettings

if TYPE_CHECKING:
    from domainlm.redact.record import RecordRedactor
    from domainlm.sources import SourceManifest

BATCH_ROWS = 200
ROWS_WORTH_PREPARING = 20_000  # building all automata at once takes seconds; fewer rows build those that they need
_inherited: tuple[SourceManifest, RecordRedactor] | None = None


def outcomes(manifest: SourceManifest, redactor: RecordRedactor, folder: Path) -> Iterator[Outcome]:
    """What became of each record of a manifest, in order.

    Args:
        manifest: the sources.
        redactor: what a forked process inherits, and whose settings other nodes get.
        folder: where the processes leave what they made until it has been read; nothing of it stays.

    Raises:
        RedactionIncomplete: a process failed.
        ConfigurationError: this machine or the configuration does not allow it.
    """
    if redactor.settings.engine == "ray":
        return _by_ray(manifest, redactor)
    return _by_processes(manifest, redactor, folder)


def cut(rows: int, count: int) -> list[tuple[int, int]]:
    """First row and the one behind the last of each shard: as equal as can be, none empty."""
    count = max(1, min(count, rows))
    return [(rows * index // count, rows * (index + 1) // count) for index in range(count)]


def stream_shard(manifest: SourceManifest, keys: KeyRing, first: int, last: int) -> Iterator[Record]:
    """The raw records of a shard; rows are counted over all sources, in their order."""
    from domainlm.sources import stream_records

    at = 0
    for entry in manifest.sources:
        start, stop = max(first - at, 0), min(last - at, entry.rows)
        if start < stop:
            yield from stream_records(entry, manifest, keys, start, stop)
        at += entry.rows


def _shards(manifest: SourceManifest, count: int) -> list[tuple[int, int]]:
    return cut(sum(entry.rows for entry in manifest.sources), count)


def _dumped(
    manifest: SourceManifest, redactor: RecordRedactor, shards: list[tuple[int, int]]
) -> Iterator[dict[str, str]]:
    for first, last in shards:
        for record in stream_shard(manifest, redactor.keys, first, last):
            yield {"outcome": redactor.redact(record).dumps(redactor.keys)}


# ------------------------------------------------------------------------------------------ processes of this machine


def _by_processes(manifest: SourceManifest, redactor: RecordRedactor, folder: Path) -> Iterator[Outcome]:
    from datasets import Dataset, Features, Value, disable_progress_bars
    from multiprocess import get_start_method  # of the library's own pool

    global _inherited
    if get_start_method() != "fork":
        raise ConfigurationError(
            "several processes need an operating system that forks", "redact", "set processes: 1, or engine: ray"
        )
    disable_progress_bars()
    shards = _shards(manifest, redactor.settings.processes)
    cache = Path(tempfile.mkdtemp(prefix="parallel-", dir=folder))
    # A forked process shares the engine and the key of this one: nothing is pickled, nothing is built twice.
    _inherited = manifest, redactor
    try:
        with plain_signals_in_children():
            rows = Dataset.from_generator(
                _inherited_rows,
                features=Features({"outcome": Value("string")}),
                cache_dir=str(cache),
                gen_kwargs={"shards": shards},
                num_proc=len(shards),
            )
        for batch in rows.iter(BATCH_ROWS):
            yield from (Outcome.loads(row, redactor.keys) for row in batch["outcome"])
    except DomainLMError:
        raise
    except Exception as error:  # the library wraps what a process raised
        raise _failure(error) from None
    finally:
        _inherited = None
        shutil.rmtree(cache, ignore_errors=True)


def _inherited_rows(shards: list[tuple[int, int]]) -> Iterator[dict[str, str]]:
    assert _inherited is not None
    return _dumped(*_inherited, shards)


def _failure(error: BaseException) -> DomainLMError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DomainLMError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return RedactionIncomplete(
        f"a process of the redaction failed ({type(error).__name__})",
        "redact",
        "lower processes of redact, or free memory",
    )


# ------------------------------------------------------------------------------------------------------- several nodes


def _by_ray(manifest: SourceManifest, redactor: RecordRedactor) -> Iterator[Outcome]:
    """The shards as rows of a Ray data set. Every node needs the sources, the project, and the key by itself."""
    try:
        import ray
    except ImportError:
        raise ConfigurationError("engine: ray needs the package ray", "redact", "pip install 'domainlm[ray]'") from None
    if redactor.vault is not None:
        raise ConfigurationError(
            "the vault is a file of one machine", "redact", "use engine: local with the operator vault"
        )
    tasks = redactor.settings.processes
    started = not ray.is_initialized()
    with ExitStack() as joined:
        if started:
            joined.enter_context(member())
            _start_ray(ray, tasks)
            joined.callback(ray.shutdown)
        yield from _spread(ray, manifest, redactor, tasks)


def _spread(ray: Any, manifest: SourceManifest, redactor: RecordRedactor, tasks: int) -> Iterator[Outcome]:
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        rows = ray.data.from_items(
            [{"first": first, "last": last} for first, last in _shards(manifest, tasks)], override_num_blocks=tasks
        )
        given = {
            "manifest": manifest.model_dump_json(),
            "settings": redactor.settings.model_dump_json(),
            "profiles": json.dumps(redactor.book.profiles.to_json()) if redactor.book.profiles else "",
            "key_id": redactor.keys.lineage,
        }
        outcomes = rows.map_batches(
            _RayShard,
            fn_constructor_kwargs=given,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=tasks),
            num_cpus=1,
        )
        for batch in outcomes.iter_batches(batch_size=BATCH_ROWS, batch_format="pyarrow"):
            yield from (Outcome.loads(row, redactor.keys) for row in batch["outcome"].to_pylist())
    except DomainLMError:
        raise
    except Exception as error:
        raise _failure(error) from None


def _start_ray(ray: Any, tasks: int) -> None:
    """A cluster named by RAY_ADDRESS, else one of this machine alone, reachable by nobody else."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    names = ("DOMAINLM_PROJECT", "DOMAINLM_HOME", "DOMAINLM_KEY_FILE", "DOMAINLM_MODE", "PYTHONPATH")
    variables = {name: os.environ[name] for name in names if name in os.environ}
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "runtime_env": {"env_vars": variables}}
    if address := os.environ.get("RAY_ADDRESS"):
        ray.init(address=address, **quiet)
    else:
        # One core more than actors: a Ray data set holds one for itself, and would wait for ever. "local": without it,
        # Ray joins whatever cluster it finds on this machine, whoever's it is.
        ray.init("local", num_cpus=tasks + 1, include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)


class _RayShard:
    """What an actor holds: the same redactor, built from the same settings, with the node's own key."""

    def __init__(self, manifest: str, settings: str, profiles: str, key_id: str) -> None:
        from domainlm.redact.profiles import Profiles
        from domainlm.redact.record import RecordRedactor, SourceTraits
        from domainlm.sources import SourceManifest

        keys = KeyRing.load()
        if keys.lineage != key_id:
            raise SecretError(
                f"a node holds the key '{keys.lineage}', the run wants '{key_id}'",
                "redact",
                "mount one key on all nodes",
            )
        self.manifest = SourceManifest.model_validate_json(manifest)
        self.redactor = RecordRedactor(
            RedactSettings.model_validate_json(settings),
            keys,
            Profiles.from_json(json.loads(profiles)) if profiles else None,
            SourceTraits.of(self.manifest.sources),
        )
        self.redactor.scanner.prepare()

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[str]]]:
        found: list[str] = []
        for first, last in zip(batch["first"].tolist(), batch["last"].tolist(), strict=True):
            for row in _dumped(self.manifest, self.redactor, [(first, last)]):
                found.append(row["outcome"])
                if len(found) == BATCH_ROWS:
                    yield {"outcome": found}
                    found = []
        yield {"outcome": found}
