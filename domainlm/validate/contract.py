"""The check of records against a Great Expectations suite, in memory, with row ids and without values."""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domainlm.digests import digest_json
from domainlm.errors import ConfigurationError, ContractViolation, nearest
from domainlm.project import resolve
from domainlm.records import TEST
from domainlm.tasks import DOCUMENT_TASK
from domainlm.validate.settings import ValidateSettings
from domainlm.validate.table import table_of, unlike_schema
from domainlm.validate.verdict import ContractVerdict, ExpectationResult

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset
    from great_expectations.core.expectation_suite import ExpectationSuite

CRITICAL = "critical"
# Never the offending values: every other format of results embeds them, and with them what redaction may have missed.
RESULT_FORMAT = {
    "result_format": "COMPLETE",
    "exclude_unexpected_values": True,
    "unexpected_index_column_names": ["id"],
}


def validate(records: Dataset, suite: dict[str, Any], settings: ValidateSettings) -> ContractVerdict:
    """Check the records against the contract.

    Args:
        records: prepared records.
        suite: what `read_suite` returned; read when a run is compiled, so that a changed contract runs again.
        settings: how many test rows each task needs.

    Returns:
        The verdict, when nothing critical is broken.

    Raises:
        ContractViolation: names every broken expectation with its column, counts and row ids.
        ConfigurationError: the suite cannot be used.
    """
    if wrong := unlike_schema(records):
        raise ContractViolation(
            f"columns differ from the record schema: {', '.join(wrong)}",
            "records",
            "let prepare make the records again",
        )
    content = _outlined(suite, "the contract")
    where = f"contract {content['name']}"
    table = table_of(records)
    loaded = _load(content, where, list(table.columns))
    results = _run(loaded, table, settings.ids_shown)
    # An expectation that the library cannot load is dropped with a line in the log, and the rest then passes.
    counts = len(content["expectations"]), len(loaded.expectations), len(results)
    if len(set(counts)) > 1:
        raise ContractViolation(
            f"{counts[0]} expectations in the file, {counts[1]} loaded, {counts[2]} checked", where,
            "look for two equal expectations",
        )  # fmt: skip
    test_rows = Counter(table["task"][table["split"] == TEST])
    tasks = sorted(set(table["task"]) - {DOCUMENT_TASK})
    broken = [f"- {result.sentence()}" for result in results if not result.success and result.severity == CRITICAL]
    broken += [
        f"- task {task}: {test_rows[task]} test rows, at least {settings.min_test_rows} wanted"
        for task in tasks
        if task not in settings.train_only_tasks and test_rows[task] < settings.min_test_rows
    ]
    if broken:
        raise ContractViolation(
            "\n".join([f"{len(broken)} of {len(results) + len(tasks)} checks failed:", *broken]),
            f"{where} on {len(table)} records",
            "find the rows by their ids, mend their source, or change the contract on purpose",
        )
    import great_expectations

    return ContractVerdict(
        suite=content["name"],
        suite_digest=digest_json(content),
        great_expectations=great_expectations.__version__,
        rows=len(table),
        success=True,
        results=tuple(results),
        test_rows={task: test_rows[task] for task in tasks},
    )


def read_suite(suite: str | Path) -> dict[str, Any]:
    """Read a suite file and check its outline; which of its expectations exist is known only when they are loaded.

    Args:
        suite: path, from the project root when relative.

    Raises:
        ConfigurationError: it is missing, or not a suite.
    """
    path = resolve(suite)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        names = [file.name for file in path.parent.glob("*.json")] if path.parent.is_dir() else []
        remedy = nearest(path.name, names) if names else "its folder holds no suite"
        raise ConfigurationError("the contract does not exist", str(path), remedy) from None
    except ValueError as error:
        raise ConfigurationError(f"is not JSON: {error}", str(path), "mend the suite") from None
    return _outlined(content, str(path))


def _outlined(content: Any, where: str) -> dict[str, Any]:
    """A suite without expectations would pass anything, so it counts as none."""
    entries = content.get("expectations") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries or not content.get("name"):
        raise ConfigurationError("is not a suite", where, 'expected {"name": ..., "expectations": [...]}, not empty')
    return content


def _load(content: dict[str, Any], name: str, columns: list[str]) -> ExpectationSuite:
    _quiet()
    from great_expectations.core.expectation_suite import ExpectationSuite
    from great_expectations.expectations.registry import list_registered_expectation_implementations
    from pydantic.v1 import ValidationError

    known = list_registered_expectation_implementations()
    for number, entry in enumerate(content["expectations"], start=1):
        where = f"{name}, expectation {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("kwargs"), dict):
            raise ConfigurationError("has no kwargs", where, 'expected {"type": ..., "kwargs": {...}}')
        if entry.get("type") not in known:
            raise ConfigurationError(
                f"unknown expectation '{entry.get('type')}'", where, nearest(str(entry.get("type")), known)
            )
        used = [value for key, value in entry["kwargs"].items() if key.startswith("column") and isinstance(value, str)]
        for column in [*used, *entry["kwargs"].get("column_list", [])]:
            if column not in columns:
                raise ConfigurationError(f"unknown column '{column}'", where, nearest(column, columns))
    try:
        return ExpectationSuite(name=content["name"], expectations=content["expectations"])
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ConfigurationError(f"has an expectation that cannot be used: {wrong}", name, "mend its kwargs") from None


def _run(suite: ExpectationSuite, table: pd.DataFrame, ids_shown: int) -> list[ExpectationResult]:
    import great_expectations

    # this one module sets its own level when it is imported, and reports each temporary folder as news
    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
    context = great_expectations.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("records")
    batch = source.add_dataframe_asset("table").add_batch_definition_whole_dataframe("all")
    checked = batch.get_batch(batch_parameters={"dataframe": table}).validate(suite, result_format=RESULT_FORMAT)
    found = [_result(entry.to_json_dict(), ids_shown) for entry in checked.results]
    return sorted(found, key=lambda result: (result.column, result.type, result.condition))  # the library regroups them


def _result(entry: dict[str, Any], ids_shown: int) -> ExpectationResult:
    config, result = entry["expectation_config"], entry["result"]
    condition = config["kwargs"].get("row_condition") or ""
    if isinstance(condition, dict):
        condition = condition.get("pass_through_filter", "")
    ids = [found for item in result.get("unexpected_index_list") or [] for found in _listed(item["id"])]
    note = str((config.get("meta") or {}).get("note", ""))
    if _raised(entry.get("exception_info") or {}):
        note = "could not be computed, which counts as broken"  # the exception's own text may quote a value
    elif not ids and not entry["success"]:
        note = f"{note}{'; ' if note else ''}{_observed(config['type'], result)}"
    return ExpectationResult(
        type=config["type"],
        column=str(config["kwargs"].get("column", "")),
        condition=condition,
        severity=str(config.get("severity") or CRITICAL),
        success=bool(entry["success"]),
        checked=int(result.get("element_count") or 0),
        unexpected=int(result.get("unexpected_count") or 0),
        ids=tuple(ids[:ids_shown]),
        note=note,
    )


def _listed(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _raised(info: dict[str, Any]) -> bool:
    """Whether anything went wrong; the library nests this by metric."""
    if "raised_exception" in info:
        return bool(info["raised_exception"])
    return any(_raised(nested) for nested in info.values() if isinstance(nested, dict))


def _observed(kind: str, result: dict[str, Any]) -> str:
    """What was seen instead: only a number or names of columns, since other expectations observe values."""
    observed = result.get("observed_value")
    if isinstance(observed, int | float):
        return f"observed {observed}"
    missing = (result.get("details") or {}).get("mismatched")
    return (
        f"columns {re.sub(r'[{}]', '', json.dumps(missing))}"
        if kind.startswith("expect_table_columns")
        else "not as stated"
    )


def _quiet() -> None:
    """Keep the library from reporting its use over the network; it reads this when it is imported."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
