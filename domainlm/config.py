"""The check of a whole run configuration, in well under a second, before torch or ZenML is imported.

ZenML itself ignores unknown top-level keys and misspelled step names in silence, and finds a wrong parameter only when
it compiles the run. Here every key that nothing knows is an error which names the key, its file and line, and the
nearest right one. ZenML's own two lists of keys are copied below, because importing ZenML takes seconds; a test
compares them with the installed version.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field

from domainlm.cluster.ray import ray_faults
from domainlm.cluster.run_settings import NAMED_BY_OTHERS, ORCHESTRATOR, SETTINGS, settings_faults
from domainlm.cluster.training import training_faults
from domainlm.errors import ConfigurationError, DomainLMError, nearest
from domainlm.ledger.run.outbox import PLACE_VARIABLE, POD
from domainlm.project import resolve
from domainlm.reports import Settings
from domainlm.variables import expand, once
from domainlm.yaml_lines import Fault, Lines, at, model_faults, read_yaml

EMBEDDED = "embedded"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

# PipelineRunConfiguration of ZenML 0.98
RUN_KEYS = frozenset(
    """run_name enable_cache enable_artifact_metadata enable_artifact_visualization enable_step_logs
    enable_pipeline_logs enable_heartbeat schedule build steps settings environment secrets tags extra model parameters
    retry init_hook_source init_hook_kwargs cleanup_hook_source failure_hook_source success_hook_source
    start_hook_source end_hook_source pause_hook_source resume_hook_source substitutions cache_policy
    execution_mode""".split()
)
# StepConfigurationUpdate of ZenML 0.98
STEP_KEYS = frozenset(
    """enable_cache enable_artifact_metadata enable_artifact_visualization enable_step_logs step_operator
    experiment_tracker parameters settings environment secrets extra failure_hook_source success_hook_source
    start_hook_source end_hook_source model retry substitutions cache_policy runtime heartbeat_healthy_threshold group
    outputs""".split()
)


class PipelineSettings(Settings):
    """The `parameters:` of a fine-tuning run, which hold for the whole pipeline."""

    base: str = Field(
        default=EMBEDDED,
        min_length=1,
        description="embedded (train a small base on the pack's corpus), a local path, or a hub id",
    )
    pack: str = Field(default="domains/finance", description="the domain pack: evaluation tasks and contracts")
    controls: bool = Field(default=True, description="also train the shuffled-label and the from-scratch control")
    mode: Literal["", "development", "production"] = Field(
        default="", description="production refuses the development key; empty: what DOMAINLM_MODE says"
    )
    search: bool = Field(
        default=False, description="first search for values of the recipe (steps.search), on the development split"
    )


# Invocation id in the DAG -> the settings model of its stage. Ids that begin with `base_` build the embedded base.
STEP_SETTINGS: dict[str, str] = {
    "base_ingest": "domainlm.ingest.settings:IngestSettings",
    "base_redact": "domainlm.redact.settings:RedactSettings",
    "base_prepare": "domainlm.prepare.settings:PrepareSettings",
    "base_validate": "domainlm.validate.settings:ValidateSettings",
    "pretrain": "domainlm.pretrain.settings:PretrainSettings",
    "resolve_base": "domainlm.reports:Settings",
    "ingest": "domainlm.ingest.settings:IngestSettings",
    "redact": "domainlm.redact.settings:RedactSettings",
    "prepare": "domainlm.prepare.settings:PrepareSettings",
    "validate": "domainlm.validate.settings:ValidateSettings",
    "vocabulary": "domainlm.vocabulary.settings:VocabularySettings",
    "search": "domainlm.train.search.settings:SearchSettings",
    "train": "domainlm.train.settings:TrainSettings",
    "control_shuffled_labels": "domainlm.train.settings:ControlSettings",
    "control_from_scratch": "domainlm.train.settings:ControlSettings",
    "evaluate": "domainlm.evaluate.settings:EvaluateSettings",
    "incumbent": "domainlm.reports:Settings",
    "start": "domainlm.reports:Settings",
    "contest": "domainlm.evaluate.settings:ContestSettings",
    "probe": "domainlm.evaluate.settings:ProbeSettings",
    "register": "domainlm.register.settings:RegisterSettings",
    "detect": "domainlm.retrain.settings:DetectSettings",
    "decide": "domainlm.retrain.settings:DecideSettings",
    "settle": "domainlm.retrain.settings:SettleSettings",
    "record": "domainlm.reports:Settings",
}


class RunConfiguration:
    """A run configuration that passed every check.

    Args:
        path: the YAML file.
        content: what it says, with the overrides applied; plain dicts, ready for ZenML.
    """

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path = path
        self.content = content

    @classmethod
    def load(cls, path: Path, overrides: list[str] | None = None) -> RunConfiguration:
        """Read and check a configuration file.

        Args:
            path: the YAML file.
            overrides: `dotted.key=value` assignments, values read as YAML; they win over the file.

        Raises:
            ConfigurationError: all faults at once, each with its line and the nearest right name.
        """
        if not path.is_file():
            raise ConfigurationError(
                "there is no such configuration file", str(path), "see configs/ and zenml_config.yaml"
            )
        content, lines = read_yaml(path)
        for override in overrides or []:
            _apply(content, override, lines)
        content, faults = _with_variables(content)
        if faults := faults or _faults(content):
            told = [f"{path}{at(lines, where)}: {'.'.join(map(str, where))}: {what}" for where, what in faults]
            raise ConfigurationError("\n".join(["the configuration cannot be used:", *told]), "", "nothing was started")
        return cls(path, content)

    def step(self, name: str) -> BaseModel:
        """The checked settings of one step of the DAG, defaults filled in."""
        return settings_type(name)(**_parameters(self.content, name))

    @property
    def pipeline(self) -> PipelineSettings:
        """The checked parameters of the pipeline."""
        return PipelineSettings(**(self.content.get("parameters") or {}))

    def require_scored_rows(self) -> None:
        """Say now what the evaluation would say after the whole training: that a task to score has no source.

        Not a part of `load`: an experiment (`domainlm compare`) names its own tasks to score.

        Raises:
            ConfigurationError: there are no sources, or none of a task that is to be scored.
        """
        from domainlm.tasks import load_tasks

        scored = self.step("evaluate").tasks or tuple(sorted(load_tasks(resolve(self.pipeline.pack) / "tasks")))
        steps = self.content.get("steps") or {}
        there = {source.get("task", "") for source in (_sources(steps, "ingest") | _feeds(steps)).values()}
        if not there:
            raise ConfigurationError(
                "there is no source to fine-tune on",
                f"{self.path}: steps.ingest.parameters.sources",
                "name sources; a base alone is made by zenml pipeline run pipelines.pretraining.pretraining_pipeline",
            )
        if missing := [name for name in scored if name not in there]:
            raise ConfigurationError(
                f"no source has rows of {', '.join(missing)}, which evaluation would score (all of the pack unless"
                " it names some)",
                f"{self.path}: steps.evaluate.parameters.tasks",
                f"name the tasks to score: [{', '.join(name for name in scored if name in there)}]",
            )


def _parameters(content: dict[str, Any], step: str) -> dict[str, Any]:
    return ((content.get("steps") or {}).get(step) or {}).get("parameters") or {}


def settings_type(step: str) -> type[BaseModel]:
    """The settings model of a step of the DAG."""
    module, name = STEP_SETTINGS[step].split(":")
    return getattr(importlib.import_module(module), name)


def _with_variables(content: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """The content with `${NAME}` replaced where it says how and where a run works; what it works on stays as it is."""
    parts = {key: value for key, value in content.items() if key not in ("steps", "parameters")}
    expanded, faults = expand(parts)
    steps = content.get("steps")
    if isinstance(steps, dict):
        steps = dict(steps)
        for name, step in steps.items():
            if isinstance(step, dict):
                place = {key: value for key, value in step.items() if key != "parameters"}
                new, more = expand(place, ("steps", name))
                steps[name] = {
                    key: new.get(key, value) for key, value in step.items() if key in new or key == "parameters"
                }
                faults += more
    found = {key: expanded.get(key, value) for key, value in content.items() if key in expanded or key == "parameters"}
    return found | ({"steps": steps} if "steps" in content else {}), once(faults)


# ---------------------------------------------------------------------------------------------- checks


def _faults(content: dict[str, Any]) -> list[Fault]:
    faults: list[Fault] = [((key,), f"unknown key; {nearest(key, RUN_KEYS)}") for key in content if key not in RUN_KEYS]
    steps = content.get("steps") or {}
    if not isinstance(steps, dict):
        return [*faults, (("steps",), "must map step names to their settings")]
    for name, step in steps.items():
        if name not in STEP_SETTINGS:
            faults.append((("steps", name), f"unknown step; {nearest(str(name), STEP_SETTINGS)}"))
            continue
        if not isinstance(step or {}, dict):
            faults.append((("steps", name), "must be a mapping"))
            continue
        faults += [
            (("steps", name, key), f"unknown key; {nearest(key, STEP_KEYS)}")
            for key in (step or {})
            if key not in STEP_KEYS
        ]
    for name in STEP_SETTINGS:
        step = steps.get(name) or {}
        if name in steps and isinstance(step, dict):
            faults += model_faults(settings_type(name), step.get("parameters") or {}, ("steps", name, "parameters"))
    for name in ("base_ingest", "ingest"):
        if name in steps and not faults and not _sources(steps, name) and not (name == "ingest" and _feeds(steps)):
            faults.append((("steps", name, "parameters", "sources"), "must name at least one source"))
    parameters = content.get("parameters") or {}
    faults += model_faults(PipelineSettings, parameters, ("parameters",))
    faults += settings_faults(content) + _environment_faults(content)
    if not faults:
        train = settings_type("train")(**_parameters(content, "train"))
        faults += training_faults(content, train) + ray_faults(content)
    if not faults:
        faults += _base_faults(str(parameters.get("base", EMBEDDED)), steps)
    if not faults:
        faults += _search_faults(PipelineSettings(**parameters).search, steps)
    if not faults:
        faults += _licence_faults(PipelineSettings(**parameters), steps)
    return faults


def _environment_faults(content: dict[str, Any]) -> list[Fault]:
    """Where evidence goes, with which key and how freely errors may speak is said by whoever runs, not by a file that
    may be handed round; `DOMAINLM_PLACE: pod` goes with the cluster's settings."""
    faults: list[Fault] = []
    places: list[tuple[tuple[str | int, ...], Any]] = [((), content)]
    places += [(("steps", name), step) for name, step in (content.get("steps") or {}).items()]
    for where, said in places:
        variables = said.get("environment") if isinstance(said, dict) else None
        for name, value in (variables if isinstance(variables, dict) else {}).items():
            if (name, value) == (PLACE_VARIABLE, POD) and not where:
                if ORCHESTRATOR not in (content.get("settings") or {}):
                    told = f"goes only with settings.{ORCHESTRATOR}: on one's own machine a run has no outbox"
                    faults.append(((*where, "environment", name), told))
            elif str(name).startswith("DOMAINLM_"):
                told = f"is not for a run configuration; only {PLACE_VARIABLE}: {POD} at its top is"
                faults.append(((*where, "environment", name), told))
    return faults


def _base_faults(base: str, steps: dict[str, Any]) -> list[Fault]:
    if base == EMBEDDED:
        missing = not (steps.get("base_ingest") or {}).get("parameters")
        return (
            [(("parameters", "base"), "the embedded base needs steps.base_ingest.parameters.sources")]
            if missing
            else []
        )
    if resolve(base).exists():
        return []
    if base.startswith((".", "/", "~")) or not HUB_ID.fullmatch(base.partition("@")[0]):  # owner/name@revision
        return [
            (
                ("parameters", "base"),
                f"no such path: {base}; name an existing folder, a hub id (owner/name) or {EMBEDDED}",
            )
        ]
    return []


def _search_faults(wanted: bool, steps: dict[str, Any]) -> list[Fault]:
    """A search is about the very recipe that is trained then; two recipes would be found out only after all trials."""
    place = ("steps", "search", "parameters")
    if not wanted:
        return []
    given = (steps.get("search") or {}).get("parameters") or {}
    if faults := model_faults(settings_type("search"), given, place):
        return faults
    searched = settings_type("search")(**given).recipe.model_dump()
    trained = settings_type("train")(**((steps.get("train") or {}).get("parameters") or {})).model_dump()
    other = [name for name in trained if trained[name] != searched[name]]
    if not other:
        return []
    remedy = "write `parameters: &recipe` in the step train, and `recipe: *recipe` here"
    return [((*place, "recipe"), f"is not the recipe of the step train ({', '.join(other)}); {remedy}")]


def _licence_faults(pipeline: PipelineSettings, steps: dict[str, Any]) -> list[Fault]:
    """What the licence gate would refuse after minutes of work, as far as it is known now."""
    from domainlm.licences import judge, read_licences

    sources = _sources(steps, "ingest") | _feeds(steps)
    corpus = _sources(steps, "base_ingest") if pipeline.base == EMBEDDED else {}
    if not sources:
        return []
    try:
        table = read_licences(pipeline.pack)
        base = ", ".join(source["licence"] for source in corpus.values()) or _licence_of(pipeline.base, pipeline.pack)
    except DomainLMError as error:
        return [(("parameters", "pack"), str(error))]
    purposes = {source["purpose"] for source in (sources | corpus).values()}
    refusals = judge(base, [source["licence"] for source in sources.values()], purposes, table).refusals
    faults: list[Fault] = []
    for place, source in (sources | corpus).items():
        alone = (source["licence"], []) if place in corpus else (None, [source["licence"]])
        for refusal in judge(*alone, source["purpose"], table).refusals:
            faults.append(((*place, "licence"), refusal))
    told = {refusal for _, refusal in faults}
    where = {True: ("parameters", "base"), False: ("steps", "ingest")}
    return faults + [(where[said.startswith("base")], said) for said in refusals if said not in told]


def _sources(steps: dict[str, Any], step: str) -> dict[tuple[str | int, ...], dict[str, Any]]:
    """The sources of an ingest by their place in the file."""
    parameters = (steps.get(step) or {}).get("parameters") or {}
    found = parameters.get("sources") or []
    return {("steps", step, "parameters", "sources", index): source for index, source in enumerate(found)}


def _feeds(steps: dict[str, Any]) -> dict[tuple[str | int, ...], dict[str, Any]]:
    """What may land, by its place in the file: feeds are sources too, whose files are known later."""
    found = ((steps.get("detect") or {}).get("parameters") or {}).get("feeds") or []
    return {("steps", "detect", "parameters", "feeds", index): feed for index, feed in enumerate(found)}


def _licence_of(base: str, pack: str) -> str | None:
    """The licence of an existing base; None for a hub id that only its own files can tell of."""
    from domainlm.models.bases import licence_of_folder
    from domainlm.models.catalogue import entry_of, load_catalogue

    path = resolve(base)
    if path.is_dir():
        return licence_of_folder(path)
    entry = entry_of(base, load_catalogue(pack))
    return entry.licence if entry else None


def _apply(content: dict[str, Any], override: str, lines: Lines) -> None:
    key, separator, text = override.partition("=")
    parts = _parts(content, key.strip())
    if not separator or not all(parts):
        raise ConfigurationError(f"cannot read '{override}'", "--set", "write dotted.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigurationError(f"the value of '{key}' is not YAML", "--set", "quote it") from None
    at: Any = content
    for depth, part in enumerate(parts[:-1]):
        if isinstance(at, list):
            at = _list_item(at, part, parts[: depth + 1])
            continue
        if at.get(part) is None:
            at[part] = {}
        at = at[part]
        if not isinstance(at, dict | list):
            raise ConfigurationError(
                f"'{'.'.join(parts[: depth + 1])}' is a value, not a mapping", "--set", "check the key"
            )
    if isinstance(at, list):
        _list_item(at, parts[-1], parts)
        at[int(parts[-1])] = value
    else:
        at[parts[-1]] = value
    lines.pop(tuple(parts), None)


def _parts(content: Any, key: str) -> list[str]:
    """The keys that a dotted key walks through; some hold dots (`step_operator.domainlm`, `nvidia.com/gpu`)."""
    pieces, found, at = key.split("."), [], content
    while pieces:
        known = {*(at if isinstance(at, dict) else ()), *(SETTINGS if found[-1:] == ["settings"] else ())}
        joined = [".".join(pieces[:count]) for count in range(len(pieces), 0, -1)]
        rest_is_a_name = isinstance(at, dict | None) and found[-1:] and found[-1] in NAMED_BY_OTHERS
        part = next((name for name in joined if name in known), joined[0] if rest_is_a_name else pieces[0])
        found.append(part)
        pieces = pieces[part.count(".") + 1 :]
        if isinstance(at, list):
            at = at[int(part)] if part.isdigit() and int(part) < len(at) else None
        else:
            at = at.get(part) if isinstance(at, dict) else None
    return found


def _list_item(items: list[Any], part: str, parts: list[str]) -> Any:
    if not part.isdigit() or int(part) >= len(items):
        raise ConfigurationError(f"'{'.'.join(parts)}': there are {len(items)} items", "--set", "count from 0")
    return items[int(part)]
