"""YAML files that people write, read with the line of every key, so that a fault names where it stands.

PyYAML would let the last of two equal keys win in silence, and pydantic knows no lines; here every fault has its place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from domainlm.errors import ConfigurationError, nearest

Fault = tuple[tuple[str | int, ...], str]
Lines = dict[tuple[str | int, ...], int]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # libyaml is ten times as fast
    """A safe loader for which a repeated key is an error: PyYAML would let the last one win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                problem = f"the key '{key}' stands there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> tuple[dict[str, Any], Lines]:
    """The mapping that a file holds, and the line of each of its keys and items.

    Raises:
        ConfigurationError: it is not UTF-8, not YAML, not a mapping, or has a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"is not UTF-8 (byte {error.start})", str(path), "save the file as UTF-8") from None
    try:
        content = yaml.load(text, _Loader)
        node = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigurationError(f"is not valid YAML: {error.problem}", f"{path}{line}", "mend the line") from None
    except yaml.YAMLError:
        raise ConfigurationError("holds a character that YAML does not allow", str(path), "delete it") from None
    if not isinstance(content, dict):
        raise ConfigurationError("is not a mapping", str(path), "write `key: value` lines; see zenml_config.yaml")
    lines: Lines = {}
    _collect_lines(node, (), lines)
    return content, lines


def _collect_lines(node: yaml.Node | None, where: tuple[str | int, ...], lines: Lines) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            lines[(*where, key.value)] = key.start_mark.line + 1
            _collect_lines(value, (*where, key.value), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*where, index)] = value.start_mark.line + 1
            _collect_lines(value, (*where, index), lines)


def at(lines: Lines, where: tuple[str | int, ...]) -> str:
    """`:LINE` of the nearest enclosing key that stands in the file, or nothing for a value from the command line."""
    for length in range(len(where), 0, -1):
        if line := lines.get(where[:length]):
            return f":{line}"
    return ""


def model_faults(model: type[BaseModel], values: Any, where: tuple[str | int, ...]) -> list[Fault]:
    """Everything that keeps values from being a model, each with its place and the nearest right name.

    Args:
        model: what the values should be.
        values: as the file says.
        where: the place of the values in the file.
    """
    if not isinstance(values, dict):
        return [(where, "must be a mapping")]
    try:
        model(**values)
    except ValidationError as error:
        faults = []
        for detail in error.errors(include_url=False, include_input=False, include_context=False):
            at = detail["loc"]
            if detail["type"] == "extra_forbidden":
                faults.append(((*where, *at), f"unknown key; {nearest(str(at[-1]), _fields_at(model, at[:-1]))}"))
            else:
                faults.append(((*where, *at), detail["msg"]))
        return faults
    return []


def _fields_at(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """The field names of the (possibly nested) model that a fault's location points into."""
    for part in path:
        if isinstance(part, int) or part not in model.model_fields:
            continue
        annotation = model.model_fields[part].annotation
        nested = [kind for kind in _types_in(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if nested:
            model = nested[0]
    return list(model.model_fields)


def _types_in(annotation: Any) -> list[Any]:
    inner = getattr(annotation, "__args__", ())
    return [annotation, *(kind for part in inner for kind in _types_in(part))]
