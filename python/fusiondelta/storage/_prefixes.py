"""Storage profiles by URI prefix, as an engine holds them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles import StorageProfile, _object_uris, _uris
from fusiondelta.profiles._object_uris import KINDS, SCHEMES
from fusiondelta.profiles._storage import NativeStorage


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


def covers(prefix: str, location: str) -> bool:
    """Whether a location is at or below a prefix, both canonical, by whole names."""
    return f"{location}/".startswith(f"{prefix.rstrip('/')}/")


def profile_for(
    storage: Mapping[str, StorageProfile], uri: str | os.PathLike[str]
) -> StorageProfile:
    """The profile that serves a location: the one with the longest prefix of it.

    Prefixes count by whole names: ``s3://bucket/a`` is one of ``s3://bucket/a/b``, not of
    ``s3://bucket/ab``. They may be spelt in any way their profile takes. Local locations need no
    profile.

    Args:
        storage: Profiles by prefix; ``""`` serves what no other does.
        uri: A path or URI.

    Raises:
        ConfigurationError: No profile serves it, two serve it by the same prefix, or a prefix is
            not one that its profile serves.
    """
    scheme = _uris.scheme_of(uri)
    kind = KINDS.get(scheme)
    found: list[tuple[int, StorageProfile]] = []
    for prefix, profile in storage.items():
        if not prefix or kind not in (None, profile.kind):
            continue
        root = profile.canonicalize_uri(prefix).rstrip("/")
        try:
            spelt = profile.canonicalize_uri(uri)
        except ConfigurationError:  # of another account or endpoint
            continue
        if covers(root, spelt):
            found.append((root.count("/"), profile))
    if found:
        depth = max(depth for depth, _ in found)
        best, *others = (profile for at, profile in found if at == depth)
        if any(other != best for other in others):
            raise ConfigurationError(
                "storage has two profiles for one prefix, spelt in different ways; keep one"
            )
        return best
    chosen = storage.get("", StorageProfile.local())
    if kind == "local":
        return chosen if chosen.kind == "local" else StorageProfile.local()
    if chosen.kind == "local":
        place = _object_uris.read(_object_uris.of_store(uri, scheme))
        usual = f"{SCHEMES[place.kind][0]}://{place.bucket}"
        raise ConfigurationError(
            f"no storage profile serves {scheme}://{place.bucket}: give the engine "
            f"storage=StorageProfile.from_env(), or a mapping like "
            f"{{{usual!r}: StorageProfile.{place.kind}(...)}}"
        )
    return chosen
