"""Which storage profiles a command needs, for the locations it was given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from fusiondelta import StorageProfile


def profiles_for(
    locations: Iterable[str], configured: Mapping[str, StorageProfile]
) -> dict[str, StorageProfile]:
    """Profiles by prefix: those of ``--config``, and the environment's for other object stores.

    Args:
        locations: URIs and paths of the command.
        configured: Profiles by prefix.

    Raises:
        ConfigurationError: A location is none, or the environment describes no usable profile.
    """
    profiles = dict(configured)
    for location in locations:
        kind = StorageProfile.from_uri(location).kind
        if kind == "local" or any(profile.kind == kind for profile in configured.values()):
            continue
        parts = urlsplit(location)
        profiles.setdefault(f"{parts.scheme}://{parts.netloc}", StorageProfile.from_env(kind))
    return profiles
