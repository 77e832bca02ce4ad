"""What the environment says about storage, in the names users know."""

from __future__ import annotations

from collections.abc import Mapping

from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles._credentials import first_way
from fusiondelta.profiles._storage_options import FALSE, OPTIONS, TRUE, VENDORS, Option

#: Of these the AWS default chain knows more than object_store does: it reads them itself.
_OF_THE_CHAIN = "container_"
#: Names that begin with no vendor.
_FURTHER = frozenset({"delta_dynamo_table_name"})

Variables = dict[str, tuple[str, str]]


def read(environ: Mapping[str, str], kind: str | None) -> tuple[str, dict[str, object]]:
    """Kind of store, and arguments of its profile.

    Args:
        environ: The environment. Names count in either case, and empty values do not.
        kind: Kind of store; None for the one whose variables are set, ``local`` without any.

    Returns:
        The kind, and ``options`` and ``write_safety``.

    Raises:
        ConfigurationError: Variables of several kinds are set and none was asked for, or those that
            say how commits are made safe contradict each other. Values are not shown.
    """
    # Sorted so that the upper case of a name, which sorts first, is set last and counts.
    variables: Variables = {
        name.lower(): (name, environ[name])
        for name in sorted(environ, reverse=True)
        if environ[name]
    }
    if kind is None:
        kind = _kind(variables)
    found = _found(kind, variables)
    options: dict[str, object] = {
        # Off in one spelling, as only what is on is a way to credentials.
        name: "false" if OPTIONS[kind][name].shape == "flag" and value.lower() in FALSE else value
        for name, (_, value) in found.items()
    }
    for name in first_way(kind, options):
        options.pop(name, None)
    safety = _safety(variables) if kind == "s3" else None
    return kind, {"options": options, "write_safety": safety}


def _kind(variables: Variables) -> str:
    found = {kind: found for kind in VENDORS if (found := _found(kind, variables))}
    if len(found) > 1:
        named = ", ".join(f"{min(found[kind].values())[0]} ({kind})" for kind in found)
        raise ConfigurationError(
            f"the environment has variables of several kinds of store: {named}; say which is meant "
            f"with StorageProfile.from_env({min(found)!r})"
        )
    return next(iter(found), "local")


def _found(kind: str, variables: Variables) -> Variables:
    """Variables by the name of the option they set."""
    return {
        name: variables[spelt]
        for name, option in OPTIONS[kind].items()
        if not name.startswith(_OF_THE_CHAIN)
        and (spelt := next((s for s in _spellings(kind, option) if s in variables), None))
    }


def _spellings(kind: str, option: Option) -> list[str]:
    return [s for s in option.spellings if s.startswith(VENDORS[kind]) or s in _FURTHER]


def _safety(variables: Variables) -> str | None:
    said: dict[str, str] = {}
    for name, values in _SAFETY.items():
        spelt, value = variables.get(name, (name, ""))
        if not value:
            continue
        word = "true" if value.lower() in TRUE else value.strip().lower()
        if word in values:
            said[spelt] = values[word]
        elif word not in _NOTHING:
            known = ", ".join(values)
            raise ConfigurationError(f"the variable {spelt} must be one of {known}, or not be set")
    if len(set(said.values())) > 1:
        raise ConfigurationError(
            f"the variables {' and '.join(sorted(said))} contradict each other; keep the one that "
            "says how commits are made safe"
        )
    return next(iter(said.values()), None)


_SAFETY = {
    "aws_conditional_put": {"etag": "conditional_put"},
    "aws_s3_locking_provider": {"dynamodb": "aws_s3_locked"},
    "aws_s3_allow_unsafe_rename": {"true": "single_writer_unsafe"},
}
_NOTHING = FALSE | {"disabled", "none"}
