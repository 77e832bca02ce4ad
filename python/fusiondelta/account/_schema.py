"""The layout of manifests: the published JSON schema, and the check of a document against it.

The check reads the schema itself, so that there is one description of the layout. It knows the few
keywords that this one schema uses and is no validator for others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from fusiondelta.errors import ConfigurationError

#: Version of the document's layout that is written and read.
SCHEMA_VERSION = 2

#: Keywords that the check knows; those that only explain are among them.
KEYWORDS = frozenset(
    {
        *("$schema", "$id", "$defs", "title", "description"),
        *("$ref", "anyOf", "type", "const", "enum", "minimum", "maximum"),
        *("required", "properties", "additionalProperties", "items"),
    }
)

#: How many problems an error names.
_NAMED = 3

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list | tuple),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: _is_number(value) and (isinstance(value, int) or value.is_integer()),
    "number": lambda value: _is_number(value),
}
_CALLED = {
    "object": "an object",
    "array": "a list",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
    "integer": "a whole number",
    "number": "a number",
}


def manifest_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of manifests, as `RunManifest.to_dict` gives them."""
    schema: dict[str, Any] = json.loads(_schema_text())
    return schema


@cache
def _schema_text() -> str:
    return files("fusiondelta.account").joinpath("manifest.schema.json").read_text("utf-8")


@cache
def _schema() -> dict[str, Any]:
    return manifest_schema()


def check_manifest(document: Any) -> None:
    """Refuse what is not a manifest that this version reads.

    Args:
        document: What a JSON document parses to.

    Raises:
        ConfigurationError: It is none, or of another layout; the message names the version or the
            places and what is wrong there.
    """
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"a manifest is a JSON object, not {_name_of(document)}")
    _check_version(document)
    try:
        problems = _first(_problems(document, _schema(), ""))
    except RecursionError:
        raise ConfigurationError("the manifest is nested too deeply to be read") from None
    if problems:
        raise ConfigurationError(
            f"this is no manifest as version {SCHEMA_VERSION} of its layout has it: "
            + "; ".join(problems)
        )


def _check_version(document: Mapping[str, Any]) -> None:
    found = document.get("schema_version")
    if found is None:
        raise ConfigurationError(
            "this is no manifest: it has no schema_version; RunManifest.write() and "
            "result.manifest().to_json() make manifests"
        )
    if isinstance(found, bool) or not isinstance(found, int):
        raise ConfigurationError(
            f"schema_version is a whole number, not {_name_of(found)}; this version of "
            f"fusiondelta reads {SCHEMA_VERSION}"
        )
    if found > SCHEMA_VERSION:
        raise ConfigurationError(
            f"the manifest has schema_version {found}, and this version of fusiondelta reads "
            f"{SCHEMA_VERSION}; use a newer fusiondelta"
        )
    if found < SCHEMA_VERSION:
        raise ConfigurationError(
            f"the manifest has schema_version {found}, which holds too little to replay or "
            f"compare; this version of fusiondelta reads {SCHEMA_VERSION}: run the query again"
        )


def _first(problems: Iterator[str]) -> list[str]:
    named = [problem for problem, _ in zip(problems, range(_NAMED + 1), strict=False)]
    return [*named[:_NAMED], "and more"] if len(named) > _NAMED else named


def _problems(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """What is wrong with a value, each with its path."""
    if "$ref" in schema:
        yield from _problems(value, _referred(schema["$ref"]), path)
    if "anyOf" in schema:
        yield from _none_fits(value, schema["anyOf"], path)
    if "type" in schema and not _has_type(value, schema["type"]):
        yield f"{_place(path)} is {_name_of(value)}, not {_names_of(schema['type'])}"
        return
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    if choices is not None and not any(_same(value, choice) for choice in choices):
        known = ", ".join(repr(choice) for choice in choices)
        yield f"{_place(path)} is {_shown(value)}, not one of {known}"
    if _is_number(value):
        yield from _outside(value, schema, path)
    elif isinstance(value, Mapping):
        yield from _within_object(value, schema, path)
    elif isinstance(value, list | tuple) and "items" in schema:
        for number, item in enumerate(value):
            yield from _problems(item, schema["items"], f"{path}[{number}]")


def _referred(reference: str) -> Mapping[str, Any]:
    schema: Any = _schema()
    for name in reference.removeprefix("#").split("/")[1:]:
        schema = schema[name]
    found: Mapping[str, Any] = schema
    return found


def _none_fits(value: Any, choices: list[Mapping[str, Any]], path: str) -> Iterator[str]:
    """Problems with the first choice, which the others are null beside, where none fits."""
    if not any(next(_problems(value, choice, path), None) is None for choice in choices):
        yield from _problems(value, choices[0], path)


def _within_object(value: Mapping[Any, Any], schema: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{_place(_below(path, name))} is missing"
    known = schema.get("properties", {})
    others = schema.get("additionalProperties")
    for name, inner in value.items():
        if name in known:
            yield from _problems(inner, known[name], _below(path, name))
        elif others is not None:
            yield from _problems(inner, others, _below(path, name))


def _outside(value: float, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if "minimum" in schema and value < schema["minimum"]:
        yield f"{_place(path)} is {_shown(value)}, less than {schema['minimum']}"
    if "maximum" in schema and value > schema["maximum"]:
        yield f"{_place(path)} is {_shown(value)}, more than {schema['maximum']}"


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _has_type(value: Any, types: str | list[str]) -> bool:
    return any(_TYPES[one](value) for one in ([types] if isinstance(types, str) else types))


def _same(value: Any, choice: Any) -> bool:
    return isinstance(value, type(choice)) and not isinstance(value, bool) and value == choice


def _names_of(types: str | list[str]) -> str:
    return " or ".join(_CALLED[one] for one in ([types] if isinstance(types, str) else types))


def _name_of(value: Any) -> str:
    for kind, fits in _TYPES.items():
        if fits(value):
            return _CALLED[kind]
    return f"{value!r}" if isinstance(value, float) else f"a {type(value).__name__}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _below(path: str, name: object) -> str:
    text = str(name)
    shown = text if text.isidentifier() else repr(text)
    return f"{path}.{shown}" if path else shown


def _place(path: str) -> str:
    return path or "it"
