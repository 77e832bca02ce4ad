"""Storage profiles by URI prefix, as an engine holds them."""

from __future__ import annotations

from collections.abc import Mapping

from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles._storage import NativeStorage, StorageProfile


def by_prefix(
    storage: StorageProfile | Mapping[str, StorageProfile] | None,
) -> dict[str, StorageProfile]:
    """What an engine was given as ``storage=``, by canonical prefix; ``""`` serves all else.

    Raises:
        ConfigurationError: Neither a profile nor a mapping of profiles, or two spellings of one
            prefix.
    """
    if storage is None:
        return {"": StorageProfile.local()}
    if isinstance(storage, StorageProfile):
        return {"": storage}
    given: object = storage  # callers without a type checker pass anything
    if not isinstance(given, Mapping) or not all(
        isinstance(k, str) and isinstance(v, StorageProfile) for k, v in given.items()
    ):
        raise ConfigurationError(
            "storage is a StorageProfile or a mapping from URI prefixes to StorageProfile, as in "
            '{"s3://bucket": StorageProfile.s3(region="eu-west-1")}'
        )
    profiles: dict[str, StorageProfile] = {}
    for prefix, profile in storage.items():
        spelling = profile.canonicalize_uri(prefix) if prefix else ""
        if spelling in profiles:
            raise ConfigurationError(f"storage has two profiles for {spelling}")
        profiles[spelling] = profile
    return {"": StorageProfile.local(), **profiles}


def native_storage(profiles: Mapping[str, StorageProfile]) -> list[NativeStorage]:
    """The profiles as the extension takes them. Local files are served whatever was given."""
    rendered = [profile.native(prefix) for prefix, profile in profiles.items()]
    if not any(profile.kind == "local" for profile in profiles.values()):
        rendered.append(StorageProfile.local().native(""))
    return rendered
