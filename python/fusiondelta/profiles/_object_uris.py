"""The one spelling of a location in an object store.

Follows what object_store 0.13 takes for URLs of each store, and for paths within it
(``object_store::path``): no empty segments, no ``.`` or ``..``, no control characters. Encodes as
the local spelling does, so that the ``url`` crate reads back the very same text.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles._uris import decode, encode, not_served

#: Schemes of each kind of store; the first is the one of canonical URIs unless told otherwise.
SCHEMES: dict[str, tuple[str, ...]] = {
    "s3": ("s3", "s3a"),
    "gcs": ("gs", "gcs"),
    "azure": ("abfss", "abfs", "az", "azure", "adl"),
}
KINDS = {scheme: kind for kind, schemes in SCHEMES.items() for scheme in schemes} | {
    "file": "local",
    "memory": "local",
}
#: Schemes that can name a container's account.
_WITH_ACCOUNT = ("abfss", "abfs")
_BLOB = "core.windows.net"
_FABRIC = "fabric.microsoft.com"

#: Of buckets and containers of all stores, Azure's $root and $web among them.
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._$-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_AWS = re.compile(
    r"(?:(?P<bucket>.+)\.)?s3(?:[.-](?:dualstack\.)?(?P<region>[a-z]{2}(?:-[a-z]+)+-\d+))?"
    r"\.amazonaws\.com(?:\.cn)?"
)
_GOOGLE = re.compile(r"(?:(?P<bucket>.+)\.)?storage\.googleapis\.com|storage\.cloud\.google\.com")
_AZURE = re.compile(
    r"(?P<account>[a-z0-9-]+)\.(?:dfs|blob)\.(?P<domain>core\.windows\.net|fabric\.microsoft\.com)"
)


@dataclass(frozen=True, slots=True)
class Place:
    """A location in an object store.

    Attributes:
        kind: Kind of the store.
        bucket: Bucket or container.
        path: Path in it, decoded, without slashes at its ends.
        account: Azure's storage account, where the URI names it.
        fabric: Whether that account is one of Microsoft Fabric.
        region: Region of AWS, where the URI names it.
        public: Whether the URI named the cloud's own host.
    """

    kind: str
    bucket: str
    path: str
    account: str | None = None
    fabric: bool = False
    region: str | None = None
    public: bool = False


def read(uri: str, endpoint: tuple[str, str] | None = None) -> Place:
    """What a URI names.

    Args:
        uri: ``scheme://bucket/path``, the https URL of a cloud, or one beneath `endpoint`.
        endpoint: Kind of store, and URL that its buckets are beneath.

    Raises:
        ConfigurationError: It names nothing in an object store. The text is not shown, as it may
            hold credentials.
    """
    scheme, _, rest = uri.partition("://")
    scheme = scheme.lower()
    if _CONTROL.search(uri):
        raise ConfigurationError("a location has no control characters")
    if scheme in ("http", "https"):
        return _web(uri, endpoint)
    kind = KINDS.get(scheme)
    if kind not in SCHEMES:
        hint = "; write s3://" if scheme == "s3n" else ""
        raise ConfigurationError(
            f"the scheme {scheme}:// is none of an object store (s3, s3a, gs, gcs, abfss, abfs, "
            f"az, azure, adl, or an https URL){hint}"
        )
    authority, _, path = rest.partition("/")
    name, at, host = authority.rpartition("@")
    if not at:
        return _place(kind, host, path)
    if kind != "azure" or ":" in name:
        raise ConfigurationError(
            f"a {scheme}:// location has no user or password before its bucket; credentials go "
            "into the storage profile"
        )
    match = _AZURE.fullmatch(host.lower())
    if not match:
        raise ConfigurationError(
            f"a {scheme}:// location with an account is {scheme}://container@account.dfs."
            f"{_BLOB}/path; for another host leave it out and set account_name and endpoint"
        )
    return _place(kind, name, path, account=match["account"], fabric=match["domain"] == _FABRIC)


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a profile spells its locations.

    Attributes:
        kind: Kind of store.
        scheme: Scheme of canonical URIs; None for the usual one.
        endpoint: URL that its buckets are beneath, where that is not the cloud's own.
        account: Azure's storage account, in lower case; empty where it is not known.
        fabric: Whether that account is one of Microsoft Fabric.
    """

    kind: str
    scheme: str | None
    endpoint: str | None
    account: str
    fabric: bool

    def canonical(self, uri: str) -> str:
        """The one spelling of a location.

        Raises:
            ConfigurationError: It names nothing in an object store, or something elsewhere than in
                the profile's.
        """
        place = read(uri, (self.kind, self.endpoint) if self.endpoint else None)
        if place.kind != self.kind:
            raise of_other(f"locations on the host of {place.bucket}", place.kind, self.kind)
        if place.public and self.endpoint and not cloud_of(urlsplit(self.endpoint).hostname or ""):
            raise ConfigurationError(
                f"the location is on the cloud's own host, the storage profile's is "
                f"{self.endpoint}; write {SCHEMES[self.kind][0]}:// for a location there"
            )
        scheme, bucket = self.scheme, place.bucket
        if place.account:
            self._check_account(place.account, place.fabric)
        if self.kind != "azure":
            scheme = scheme or SCHEMES[self.kind][0]
        elif (account := self.account or place.account) and scheme in (None, *_WITH_ACCOUNT):
            scheme = scheme or "abfss"
            bucket = f"{bucket}@{account}.dfs.{_FABRIC if self.fabric else _BLOB}"
        else:
            scheme = scheme or "az"
        return f"{scheme}://{bucket}/{encode(place.path)}".rstrip("/")

    def _check_account(self, account: str, fabric: bool) -> None:
        """That a location that names this account is one of the profile's."""
        if self.account not in ("", account):
            raise ConfigurationError(
                f"the location is of the account {account!r}, the storage profile of "
                f"{self.account!r}; give a profile for each"
            )
        if fabric != self.fabric:
            raise ConfigurationError(
                "locations of Microsoft Fabric go with use_fabric_endpoint=True, others without"
            )
        if not self.account and self.scheme not in (None, *_WITH_ACCOUNT):
            raise ConfigurationError(
                f"{self.scheme}:// locations do not name their account; set "
                f"account_name={account!r} in the storage profile"
            )


def of_other(what: str, kind: str, own: str) -> ConfigurationError:
    """The error for locations of one kind and a profile of another."""
    return ConfigurationError(
        f"{what} are of kind {kind!r}, and the storage profile is of kind {own!r}; give the engine "
        f"a profile for them: storage=StorageProfile.{kind}(...), StorageProfile.from_env(), or a "
        "mapping from URI prefixes to profiles"
    )


def _place(
    kind: str,
    bucket: str,
    path: str,
    *,
    account: str | None = None,
    fabric: bool = False,
    region: str | None = None,
    public: bool = False,
) -> Place:
    if not bucket:
        raise ConfigurationError(
            f"the location names no bucket or container, as {SCHEMES[kind][0]}://name/path does"
        )
    if not _BUCKET.fullmatch(bucket):
        raise ConfigurationError(
            "the bucket or container of a location has letters, digits, '.', '_', '-' and '$' "
            "only, no port and no query"
        )
    parts = [part for part in decode(path).split("/") if part]
    if "." in parts or ".." in parts:
        raise ConfigurationError(
            "a location in an object store has no '.' or '..' between its slashes; write the path "
            "that is meant"
        )
    clean = "/".join(parts)
    if _CONTROL.search(clean) or any("\ud800" <= letter <= "\udfff" for letter in clean):
        raise ConfigurationError(
            "a location in an object store is UTF-8 without control characters, %XX included"
        )
    return Place(kind, bucket, clean, account, fabric, region, public)


def _web(uri: str, endpoint: tuple[str, str] | None) -> Place:
    """What an http or https URL names."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:  # its text shows a part of the URL
        raise ConfigurationError("the location is no URL") from None
    if parts.username is not None or "?" in uri or "#" in uri:
        raise ConfigurationError(
            "the URL of a location has no user, password, query or fragment; credentials and "
            "signatures go into the storage profile, and a '?' or '#' of a name is %3F or %23"
        )
    host = parts.hostname or ""
    if endpoint and (path := _beneath(uri, endpoint[1])) is not None:
        bucket, _, path = path.partition("/")
        return _place(endpoint[0], bucket, path)
    if parts.scheme == "https" and port in (None, 443) and (found := cloud_of(host)):
        kind, named = found
        bucket, path = named.get("bucket") or "", parts.path.lstrip("/")
        if not bucket:
            bucket, _, path = path.partition("/")
        return _place(
            kind,
            bucket,
            path,
            account=named.get("account"),
            fabric=named.get("domain") == _FABRIC,
            region=named.get("region"),
            public=True,
        )
    raise ConfigurationError(
        f"the URL of a location on {host or 'no host'} is none of AWS, Google Cloud or Azure, nor "
        "beneath the profile's endpoint; write s3://bucket/path, gs:// or abfss://"
    )


def cloud_of(host: str) -> tuple[str, dict[str, str | None]] | None:
    """Kind of the store whose own host this is, and what its name tells; None of other hosts."""
    for kind, pattern in (("s3", _AWS), ("gcs", _GOOGLE), ("azure", _AZURE)):
        if match := pattern.fullmatch(host):
            return kind, match.groupdict()
    return None


def _beneath(uri: str, endpoint: str) -> str | None:
    """The path of a URL below an endpoint, or None where it is elsewhere."""
    one, base = urlsplit(uri), urlsplit(endpoint)
    ports = {"http": 80, "https": 443}
    for_one = (one.scheme, one.hostname, one.port or ports.get(one.scheme))
    if for_one != (base.scheme, base.hostname, base.port or ports.get(base.scheme)):
        return None
    path, root = one.path.lstrip("/"), base.path.strip("/")
    if not root:
        return path
    return path[len(root) + 1 :] if f"{path}/".startswith(f"{root}/") else None


def of_store(uri: str | os.PathLike[str], scheme: str) -> str:
    """The text of a URI that may name an object store, by its scheme.

    Raises:
        ConfigurationError: No store has the scheme.
    """
    if scheme not in KINDS and scheme not in ("http", "https", "s3n"):
        raise not_served(scheme)
    return os.fspath(uri)
