"""`StorageProfile`: how locations are reached and how commits to them are made safe."""

# ruff: noqa: RUF009 - default() gives back its argument, profiles are frozen
from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NoReturn

from fusiondelta.errors import ConfigurationError, WriteSafetyError
from fusiondelta.profiles import _credentials, _environment, _object_uris, _uris
from fusiondelta.profiles._credentials import Credentials
from fusiondelta.profiles._io import IoPolicy
from fusiondelta.profiles._object_uris import KINDS, SCHEMES
from fusiondelta.profiles._secrets import Secret
from fusiondelta.profiles._storage_options import OPTIONS, check_urls, split
from fusiondelta.profiles._value import (
    Converted,
    Texts,
    Value,
    default,
    flag,
    instance_of,
    one_of,
    optional,
)

Kind = Literal["local", "s3", "gcs", "azure"]
WriteSafety = Literal["conditional_put", "aws_s3_locked", "single_writer_unsafe"]

#: The option of each kind that says which host to ask instead of the cloud's own.
_ENDPOINTS = {"s3": "endpoint", "gcs": "base_url", "azure": "endpoint"}
_SAFETY_OF_DELTA_RS = {
    "conditional_put": {"aws_conditional_put": "etag"},
    "single_writer_unsafe": {"AWS_S3_ALLOW_UNSAFE_RENAME": "true"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeLock:
    """A table of locks as the extension takes it.

    Attributes:
        table: Name of the table in DynamoDB.
        region: Its region.
        endpoint: URL of another DynamoDB than AWS'.
        access_key_id: Its key, where it is not the store's.
        secret_access_key: Its secret.
        session_token: Its token.
    """

    table: str
    region: str
    endpoint: str | None
    access_key_id: str | None = field(repr=False)
    secret_access_key: str | None = field(repr=False)
    session_token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeStorage:
    """A `StorageProfile` as the extension takes it: sizes in bytes, durations in seconds.

    Attributes:
        prefix: Canonical URI whose locations it serves; empty for all.
        kind: Kind of store.
        options: Options by the names of object_store, secrets among them.
        chain: Who finds credentials: ``options`` (they hold them, or the store's own client finds
            them), ``aws`` (the AWS default chain), ``callable``.
        aws_profile: Profile of ``~/.aws/config`` for the AWS default chain.
        aws_region: Region for the AWS default chain.
        credentials: The callable.
        lock: The table of locks, where commits go through one.
        connect_timeout: Longest wait for a connection.
        request_timeout: Longest wait for one answer.
        first_backoff: Wait before the first further try.
        longest_backoff: No wait is longer.
        retry_budget: No further try starts later.
        retries: Further tries of a request.
        concurrency: Requests in flight at once.
        coalesce: Bytes between ranges that are read as one.
    """

    prefix: str
    kind: str
    options: dict[str, str] = field(repr=False)
    chain: str
    aws_profile: str | None
    aws_region: str | None
    credentials: Credentials | None = field(repr=False)
    lock: NativeLock | None
    connect_timeout: float
    request_timeout: float
    first_backoff: float
    longest_backoff: float
    retry_budget: float
    retries: int
    concurrency: int
    coalesce: int

    def __reduce__(self) -> NoReturn:
        raise ConfigurationError(
            "a NativeStorage has secrets in the open and does not travel; send its StorageProfile"
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class StorageProfile(Value):
    """How locations of one kind of store are reached, and what makes commits to them safe.

    Best made with `local`, `s3`, `gcs`, `azure`, `from_env` or `from_uri`. It opens nothing.

    Attributes:
        kind: ``"local"`` (files, and ``memory://``), ``"s3"``, ``"gcs"`` or ``"azure"``.
        options: Options of the store by name, as texts. They may be given as texts, numbers, bools
            and timedelta, and in the spellings of environment variables, delta-rs and object_store
            (``AWS_REGION``, ``aws_region``, ``region``). Secrets among them are moved to `secrets`.
        secrets: Secret options by name. They are shown as ``***``, and pickles lack them.
        io: Timeouts, retries and concurrency.
        write_safety: What makes commits safe where the store alone does not, which is on S3:
            ``"conditional_put"`` (the store refuses a second object of one name),
            ``"aws_s3_locked"`` (a table of DynamoDB, as Spark's S3DynamoDBLogStore has it) or
            ``"single_writer_unsafe"`` (the caller sees to it that nobody else writes). None on
            other stores, which are safe as they are, and where nothing is written.
        conditional_put_verified: Whether the caller vouches that the store honours conditional
            puts, so that it is not tried out before the first write.
        scheme: Scheme of canonical URIs, for other engines that name tables by it: ``s3`` or
            ``s3a``; ``gs`` or ``gcs``; ``abfss``, ``abfs``, ``az``, ``azure`` or ``adl``. None for
            the usual one.
        credentials: Callable that gives credentials as a mapping, with ``expires_at`` (a datetime
            with a zone, or seconds since 1970) where they expire; it is called again ahead of that.
            For s3 ``access_key_id``, ``secret_access_key``, ``session_token``; for gcs
            ``bearer_token``; for azure ``bearer_token``, ``sas_token`` or ``account_key``.

    Raises:
        ConfigurationError: A value is not valid, an option does not exist or contradicts another;
            the message names it, and never shows the value of an option.
    """

    kind: Kind = "local"
    options: Converted[Texts[str], Mapping[str, object]] = default(Texts())
    secrets: Converted[Texts[Secret], Mapping[str, str | Secret]] = default(Texts())
    io: IoPolicy = IoPolicy()
    write_safety: WriteSafety | None = None
    conditional_put_verified: bool = False
    scheme: str | None = None
    credentials: Credentials | None = field(default=None, hash=False)  # == where it has no hash

    def __post_init__(self) -> None:
        self._check(one_of("local", *SCHEMES), "kind")
        self._check(_mapping, "options", "secrets")
        options, secrets = split(self.kind, self.options, self.secrets)
        object.__setattr__(self, "options", options)
        object.__setattr__(self, "secrets", secrets)
        self._check(instance_of(IoPolicy, "IoPolicy(retries=3)"), "io")
        safety = one_of("conditional_put", "aws_s3_locked", "single_writer_unsafe")
        self._check(optional(safety), "write_safety")
        self._check(flag, "conditional_put_verified")
        self._check(optional(one_of(*SCHEMES.get(self.kind, ("file",)))), "scheme")
        self._check(optional(_callable), "credentials")
        self._check_together()

    def _check_together(self) -> None:
        if self.write_safety is not None and self.kind != "s3":
            raise ConfigurationError(
                f"StorageProfile.write_safety is for s3: commits to {self.kind} are safe as they "
                "are; leave it out"
            )
        if self.conditional_put_verified and self.write_safety != "conditional_put":
            raise ConfigurationError(
                'StorageProfile.conditional_put_verified goes with write_safety="conditional_put"'
            )
        if self.kind == "local" and self.credentials is not None:
            raise ConfigurationError(
                "StorageProfile.credentials: local files need none; leave it out"
            )
        check_urls(self.options)
        _credentials.check(self.kind, self._given(), self.credentials)

    # making one

    @classmethod
    def local(cls) -> StorageProfile:
        """Files of this machine, and ``memory://`` stores of this process."""
        return cls(kind="local")

    @classmethod
    def s3(
        cls,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        allow_http: bool | None = None,
        anonymous: bool = False,
        profile: str | None = None,
        role_arn: str | None = None,
        web_identity_token_file: str | None = None,
        write_safety: WriteSafety | None = None,
        conditional_put_verified: bool = False,
        scheme: str | None = None,
        io: IoPolicy | None = None,
        credentials: Credentials | None = None,
        **options: object,
    ) -> StorageProfile:
        """AWS S3, or a store that speaks its language. What is None is not given.

        Without any credentials, those of the AWS default chain are used: environment,
        ``~/.aws/config`` with SSO, web identity, container, instance metadata.

        Args:
            endpoint: URL of another store than AWS.
            region: Region of AWS; ``us-east-1`` where nothing tells.
            access_key_id: Key, by which the store knows who asks.
            secret_access_key: Its secret.
            session_token: Its token, where it is short-lived.
            allow_http: Whether `endpoint` may be ``http://``.
            anonymous: Whether requests are sent unsigned, for public buckets.
            profile: Profile of ``~/.aws/config`` to take credentials from.
            role_arn: Role to take on with `web_identity_token_file`.
            web_identity_token_file: File with the token of a workload.
            write_safety: As the attribute.
            conditional_put_verified: As the attribute.
            scheme: As the attribute.
            io: As the attribute.
            credentials: As the attribute.
            **options: Further options; docs/storage.md lists them.

        Raises:
            ConfigurationError: A value is not valid, or contradicts another.
        """
        named = {
            "endpoint": endpoint,
            "region": region,
            "access_key_id": access_key_id,
            "secret_access_key": secret_access_key,
            "session_token": session_token,
            "allow_http": allow_http,
            "skip_signature": anonymous or None,
            "profile": profile,
            "role_arn": role_arn,
            "web_identity_token_file": web_identity_token_file,
        }
        return cls(
            kind="s3",
            options=_together(named, options),
            io=io or IoPolicy(),
            write_safety=write_safety,
            conditional_put_verified=conditional_put_verified,
            scheme=scheme,
            credentials=credentials,
        )

    @classmethod
    def gcs(
        cls,
        *,
        service_account: str | None = None,
        service_account_key: str | None = None,
        application_credentials: str | None = None,
        base_url: str | None = None,
        allow_http: bool | None = None,
        anonymous: bool = False,
        scheme: str | None = None,
        io: IoPolicy | None = None,
        credentials: Credentials | None = None,
        **options: object,
    ) -> StorageProfile:
        """Google Cloud Storage. What is None is not given.

        Without any credentials, the application default credentials are used: those that ``gcloud``
        has saved, or the instance's.

        Args:
            service_account: File of a service account.
            service_account_key: The content of such a file.
            application_credentials: File of application default credentials.
            base_url: URL of another host than Google's, an emulator for one.
            allow_http: Whether `base_url` may be ``http://``.
            anonymous: Whether requests are sent unsigned, for public buckets.
            scheme: As the attribute.
            io: As the attribute.
            credentials: As the attribute.
            **options: Further options; docs/storage.md lists them.

        Raises:
            ConfigurationError: A value is not valid, or contradicts another.
        """
        named = {
            "service_account": service_account,
            "service_account_key": service_account_key,
            "application_credentials": application_credentials,
            "base_url": base_url,
            "allow_http": allow_http,
            "skip_signature": anonymous or None,
        }
        return cls(
            kind="gcs",
            options=_together(named, options),
            io=io or IoPolicy(),
            scheme=scheme,
            credentials=credentials,
        )

    @classmethod
    def azure(
        cls,
        *,
        account_name: str | None = None,
        account_key: str | None = None,
        sas_token: str | None = None,
        bearer_token: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        tenant_id: str | None = None,
        endpoint: str | None = None,
        allow_http: bool | None = None,
        use_emulator: bool | None = None,
        anonymous: bool = False,
        scheme: str | None = None,
        io: IoPolicy | None = None,
        credentials: Credentials | None = None,
        **options: object,
    ) -> StorageProfile:
        """Azure Blob Storage and Data Lake Storage. What is None is not given.

        Without any credentials, the managed identity of the machine is used.

        Args:
            account_name: Storage account; needed where locations do not name it.
            account_key: Its key.
            sas_token: A shared access signature, percent-encoded as the portal gives it.
            bearer_token: A token of Entra ID.
            client_id: Service principal, or managed identity where a machine has several.
            client_secret: Secret of the service principal.
            tenant_id: Tenant of the service principal.
            endpoint: URL of another host than Azure's, with the account where it has one.
            allow_http: Whether `endpoint` may be ``http://``.
            use_emulator: Whether Azurite on this machine is meant.
            anonymous: Whether requests are sent unsigned, for public containers.
            scheme: As the attribute.
            io: As the attribute.
            credentials: As the attribute.
            **options: Further options; docs/storage.md lists them.

        Raises:
            ConfigurationError: A value is not valid, or contradicts another.
        """
        named = {
            "account_name": account_name,
            "account_key": account_key,
            "sas_token": sas_token,
            "bearer_token": bearer_token,
            "client_id": client_id,
            "client_secret": client_secret,
            "tenant_id": tenant_id,
            "endpoint": endpoint,
            "allow_http": allow_http,
            "use_emulator": use_emulator,
            "skip_signature": anonymous or None,
        }
        return cls(
            kind="azure",
            options=_together(named, options),
            io=io or IoPolicy(),
            scheme=scheme,
            credentials=credentials,
        )

    @classmethod
    def from_env(cls, kind: Kind | None = None) -> StorageProfile:
        """The profile that the environment describes, in the names of docs/storage.md.

        Of several ways to credentials the first of these counts: the identity of a workload, what
        is short-lived, what is static.

        Args:
            kind: Kind of store; None for the one whose variables are set, local without any.

        Raises:
            ConfigurationError: Variables of several kinds are set and `kind` is not given, or they
                make no valid profile.
        """
        optional(one_of("local", *SCHEMES))("StorageProfile.from_env: kind", kind)
        found, arguments = _environment.read(os.environ, kind)
        return cls(kind=found, **arguments)  # type: ignore[arg-type]  # checked when made

    @classmethod
    def from_uri(cls, uri: str | os.PathLike[str]) -> StorageProfile:
        """The profile that serves a location, with what the URI says: kind, account, region.

        Nothing else is read; credentials are found as those of a profile without any.

        Args:
            uri: A path or URI.

        Raises:
            ConfigurationError: No profile serves it.
        """
        scheme = _uris.scheme_of(uri)
        if KINDS.get(scheme) == "local":
            return cls.local()
        place = _object_uris.read(_object_uris.of_store(uri, scheme))
        said = {
            "account_name": place.account,
            "use_fabric_endpoint": place.fabric or None,
            "region": place.region,
        }
        return cls(kind=place.kind, options=_together(said, {}))  # type: ignore[arg-type]

    # what it says to others

    def to_deltalake_options(self) -> dict[str, str]:
        """The storage options that say the same to delta-rs, secrets included.

        Local files have none. A callable given as `credentials` is called once: delta-rs does not
        renew what it gave.

        Raises:
            ConfigurationError: A secret is missing, or delta-rs cannot express something.
            WriteSafetyError: Commits are guarded by a lock that delta-rs does not take.
        """
        if self.kind == "local":
            return {}
        if self.write_safety == "aws_s3_locked":
            raise WriteSafetyError(
                "delta-rs 1.6.1 and later do not take the lock of DynamoDB, so that its commits "
                'would not be safe beside those that do; use write_safety="conditional_put"'
            )
        options, secrets = self.options, self.secrets
        if self.credentials is not None:
            if self.kind == "gcs":
                raise ConfigurationError(
                    "delta-rs takes no bearer token for gcs; give service_account or "
                    "application_credentials instead of credentials=callable"
                )
            options, secrets = split(
                self.kind, {**options, **_credentials.ask(self.kind, self.credentials)}, secrets
            )
        known = OPTIONS[self.kind]
        rendered = {known[n].delta: v for n, v in options.items()}
        rendered |= {known[n].delta: s.reveal() for n, s in secrets.items()}
        named = {name: value for name, value in rendered.items() if name is not None}
        named |= _SAFETY_OF_DELTA_RS.get(self.write_safety or "", {})
        return named | self.io.to_deltalake_options()

    def native(self, prefix: str) -> NativeStorage:
        """This profile as the extension takes it, secrets included.

        Args:
            prefix: Location whose parts it serves; empty for all.

        Raises:
            ConfigurationError: A secret is missing, or the prefix is of another kind.
        """
        known = OPTIONS[self.kind]
        rendered = {known[n].native: v for n, v in self.options.items()}
        rendered |= {known[n].native: s.reveal() for n, s in self.secrets.items()}
        return NativeStorage(
            prefix=self.canonicalize_uri(prefix) if prefix else "",
            kind=self.kind,
            options={name: value for name, value in rendered.items() if name is not None},
            chain=_credentials.chain(self.kind, self._given(), self.credentials),
            aws_profile=self.options.get("profile"),
            aws_region=self.options.get("region"),
            credentials=self.credentials,
            lock=self._native_lock(),
            connect_timeout=self.io.connect_timeout.total_seconds(),
            request_timeout=self.io.request_timeout.total_seconds(),
            first_backoff=self.io.first_backoff.total_seconds(),
            longest_backoff=self.io.longest_backoff.total_seconds(),
            retry_budget=self.io.retry_budget.total_seconds(),
            retries=self.io.retries,
            concurrency=self.io.concurrency,
            coalesce=self.io.coalesce,
        )

    def _native_lock(self) -> NativeLock | None:
        if self.write_safety != "aws_s3_locked":
            return None
        options = self.options
        secrets = {name: secret.reveal() for name, secret in self.secrets.items()}
        region = options.get("dynamodb_region") or options.get("region")
        if region is None:
            raise ConfigurationError(
                'write_safety="aws_s3_locked" needs region= (or dynamodb_region=), where the table '
                "of locks is"
            )
        return NativeLock(
            table=options.get("dynamodb_table", "delta_log"),
            region=region,
            endpoint=options.get("dynamodb_endpoint"),
            access_key_id=options.get("dynamodb_access_key_id"),
            secret_access_key=secrets.get("dynamodb_secret_access_key"),
            session_token=secrets.get("dynamodb_session_token"),
        )

    # locations

    def canonicalize_uri(self, uri: str | os.PathLike[str]) -> str:
        """The one spelling of a location, whichever way it was written.

        Of local locations links are followed, ``~`` is a name like any other. In all of them
        doubled and trailing slashes vanish, and names are percent-encoded; %XX of a URI is decoded
        first, so that ``a b`` and ``a%20b`` are one.

        Args:
            uri: A path, relative or not, or a ``file://`` or ``memory://`` URI; for the other kinds
                ``scheme://bucket/path``, the https URL of a cloud, or one beneath the endpoint.

        Returns:
            ``file:///folder/table``, ``memory://name/table``, ``s3://bucket/table``,
            ``gs://bucket/table``, ``abfss://container@account.dfs.core.windows.net/table``, or
            ``az://container/table`` where the account is not known.

        Raises:
            ConfigurationError: Not a location, or of a store that this profile does not serve.
        """
        scheme = _uris.scheme_of(uri)
        kind = KINDS.get(scheme)
        if kind == "local" and self.kind == "local":
            return _uris.canonical(uri)
        if kind not in (None, self.kind):
            what = "local locations" if kind == "local" else f"{scheme}:// locations"
            raise _object_uris.of_other(what, str(kind), self.kind)
        return self._spelling().canonical(_object_uris.of_store(uri, scheme))

    def __repr__(self) -> str:
        shown = []
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name == "credentials" and value is not None:
                shown.append(f"credentials={_name(value)}")
            else:
                shown.append(f"{one.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def _given(self) -> dict[str, object]:
        return {**self.options, **self.secrets}

    def _spelling(self) -> _object_uris.Spelling:
        options = self.options
        # The endpoint of virtual hosts is one bucket, so that its URLs do not name it.
        virtual = options.get("virtual_hosted_style_request") == "true"
        return _object_uris.Spelling(
            kind=self.kind,
            scheme=self.scheme,
            endpoint=None if virtual else options.get(_ENDPOINTS.get(self.kind, "")),
            account=options.get("account_name", "").lower(),
            fabric=options.get("use_fabric_endpoint") == "true",
        )


def _together(named: Mapping[str, object], options: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in {**named, **options}.items() if value is not None}


def _mapping(name: str, value: object) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"{name} must be a mapping from names of options to values, not {type(value).__name__}"
        )
    return value


def _callable(name: str, value: object) -> object:
    if not callable(value):
        raise ConfigurationError(
            f"{name} must be a callable without arguments that gives a mapping, not "
            f"{type(value).__name__}"
        )
    return value


def _name(value: object) -> str:
    """A callable by where it is defined, without what it holds."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"
