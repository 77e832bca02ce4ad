"""The options of each kind of store, and how what users write becomes them.

The names and meanings are those of the configuration keys of object_store 0.13
(``AmazonS3ConfigKey``, ``GoogleConfigKey``, ``AzureConfigKey``, ``ClientConfigKey``); those of
delta-rs are from its documentation of object storage.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit

from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles._secrets import Secret
from fusiondelta.profiles._sizes import parse_duration
from fusiondelta.profiles._value import Texts, unknown


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a store.

    Attributes:
        name: Its name here.
        shape: ``text``, ``secret``, ``flag``, ``count``, ``duration`` or ``url``.
        delta: Name that delta-rs has for it; None where it has none.
        native: Name that object_store has for it; None where it has none.
        spellings: Names users have for it, in lower case; of two that are set in the environment
            the earlier one counts.
    """

    name: str
    shape: str
    delta: str | None
    native: str | None
    spellings: tuple[str, ...]


#: What is put before the names of options; in the environment one of these is always there.
VENDORS = {"s3": ("aws_",), "gcs": ("google_",), "azure": ("azure_storage_", "azure_"), "local": ()}


def _option(
    kind: str, name: str, shape: str = "text", *also: str, **other: str | None
) -> tuple[str, Option]:
    """An option under its name.

    Args:
        kind: Kind of store.
        name: Name here and, where `other` does not say otherwise, in object_store and, after the
            vendor, in delta-rs.
        shape: Shape of its value.
        *also: Spellings that count before the usual ones.
        **other: ``delta`` and ``native`` where they are not the usual ones.
    """
    vendors = VENDORS[kind]
    return name, Option(
        name=name,
        shape=shape,
        delta=other.get("delta", (vendors[0] + name).upper()),
        native=other.get("native", name),
        spellings=tuple(dict.fromkeys([*also, *(vendor + name for vendor in vendors), name])),
    )


_aws = partial(_option, "s3")
_dynamodb = partial(_option, "s3", delta=None, native=None)
_google = partial(_option, "gcs")
_azure = partial(_option, "azure")


def _client(kind: str) -> dict[str, Option]:
    """Options of the HTTP client, which every kind has; delta-rs has them by the same names."""
    rows = (
        ("allow_http", "flag"),
        ("allow_invalid_certificates", "flag"),
        ("default_content_type", "text"),
        ("http1_only", "flag"),
        ("http2_keep_alive_interval", "duration"),
        ("http2_keep_alive_timeout", "duration"),
        ("http2_keep_alive_while_idle", "flag"),
        ("http2_max_frame_size", "count"),
        ("http2_only", "flag"),
        ("pool_idle_timeout", "duration"),
        ("pool_max_idle_per_host", "count"),
        ("proxy_ca_certificate", "text"),
        ("proxy_excludes", "text"),
        ("proxy_url", "url"),
        ("randomize_addresses", "flag"),
        ("user_agent", "text"),
    )
    return dict(_option(kind, name, shape, delta=name) for name, shape in rows)


#: The options of each kind of store by name.
OPTIONS: dict[str, dict[str, Option]] = {
    "local": {},
    "s3": dict(
        (
            _aws("access_key_id"),
            _aws("secret_access_key", "secret"),
            _aws("session_token", "secret", "aws_token", "token"),
            _aws("profile", native=None),
            _aws("role_arn"),
            _aws("role_session_name"),
            _aws("web_identity_token_file"),
            _aws(
                "sts_endpoint",
                "url",
                "aws_endpoint_url_sts",
                "endpoint_url_sts",
                delta="AWS_ENDPOINT_URL_STS",
                native="endpoint_url_sts",
            ),
            _aws("container_authorization_token_file"),
            _aws("container_credentials_full_uri", "url"),
            _aws("container_credentials_relative_uri"),
            _aws("metadata_endpoint", "url"),
            _aws("imdsv1_fallback", "flag"),
            _aws("skip_signature", "flag"),
            _aws(
                "endpoint",
                "url",
                "aws_endpoint_url_s3",
                "aws_endpoint_url",
                "endpoint_url",
                "endpoint_override",
                delta="AWS_ENDPOINT_URL",
            ),
            _aws(
                "region",
                "text",
                "aws_region",
                "aws_default_region",
                "default_region",
                "region_name",
            ),
            _aws("virtual_hosted_style_request", "flag"),
            _aws("s3_express", "flag"),
            _aws("request_payer", "flag"),
            _aws("unsigned_payload", "flag"),
            _aws("checksum_algorithm"),
            _aws("disable_tagging", "flag"),
            _aws("server_side_encryption"),
            _aws("sse_kms_key_id"),
            _aws("sse_bucket_key_enabled", "flag"),
            _aws("sse_customer_key_base64", "secret"),
            _dynamodb("dynamodb_table", "text", "delta_dynamo_table_name"),
            _dynamodb("dynamodb_endpoint", "url", "aws_endpoint_url_dynamodb"),
            _dynamodb("dynamodb_region", "text", "aws_region_dynamodb"),
            _dynamodb("dynamodb_access_key_id", "text", "aws_access_key_id_dynamodb"),
            _dynamodb("dynamodb_secret_access_key", "secret", "aws_secret_access_key_dynamodb"),
            _dynamodb("dynamodb_session_token", "secret", "aws_session_token_dynamodb"),
        )
    )
    | _client("s3"),
    "gcs": dict(
        (
            _google(
                "service_account", "text", "google_service_account_path", "service_account_path"
            ),
            _google("service_account_key", "secret"),
            _google("application_credentials"),
            _google("skip_signature", "flag"),
            _google("base_url", "url"),
        )
    )
    | _client("gcs"),
    "azure": dict(
        (
            _azure("account_name", "text", "azure_storage_account"),
            _azure(
                "account_key",
                "secret",
                "azure_storage_access_key",
                "azure_storage_master_key",
                "azure_storage_key",
                "access_key",
                "master_key",
            ),
            _azure("client_id"),
            _azure("client_secret", "secret"),
            _azure(
                "tenant_id",
                "text",
                "azure_storage_authority_id",
                "azure_authority_id",
                "authority_id",
            ),
            _azure("authority_host", "url"),
            _azure("federated_token_file", delta="AZURE_FEDERATED_TOKEN_FILE"),
            _azure("sas_token", "secret", "azure_storage_sas_key", "sas_key"),
            _azure(
                "bearer_token",
                "secret",
                "azure_storage_token",
                "token",
                delta="AZURE_STORAGE_TOKEN",
            ),
            _azure(
                "msi_endpoint",
                "url",
                "azure_identity_endpoint",
                "identity_endpoint",
                delta="AZURE_MSI_ENDPOINT",
            ),
            _azure("object_id", delta="AZURE_OBJECT_ID"),
            _azure("msi_resource_id", delta="AZURE_MSI_RESOURCE_ID"),
            _azure("use_azure_cli", "flag", delta="AZURE_USE_AZURE_CLI"),
            _azure("skip_signature", "flag", delta="AZURE_SKIP_SIGNATURE"),
            _azure("endpoint", "url"),
            _azure("use_emulator", "flag", "object_store_use_emulator"),
            _azure("disable_tagging", "flag", delta="AZURE_DISABLE_TAGGING"),
            _azure("use_fabric_endpoint", "flag", delta="AZURE_USE_FABRIC_ENDPOINT"),
            _azure("fabric_token_service_url", "url", delta="AZURE_FABRIC_TOKEN_SERVICE_URL"),
            _azure("fabric_workload_host", delta="AZURE_FABRIC_WORKLOAD_HOST"),
            _azure("fabric_session_token", "secret", delta="AZURE_FABRIC_SESSION_TOKEN"),
            _azure("fabric_cluster_identifier", delta="AZURE_FABRIC_CLUSTER_IDENTIFIER"),
        )
    )
    | _client("azure"),
}
_NAMES: dict[str, dict[str, str]] = {
    kind: {s: option.name for option in options.values() for s in option.spellings}
    for kind, options in OPTIONS.items()
}

_POLICY = "is set by io=IoPolicy(...), the same for all that reads and writes"
_IN_URI = "is named by each location's URI, not by the profile"
_SAFETY = 'is declared with write_safety="conditional_put" (or another value of it)'
#: Names that other libraries take as options, and where what they say belongs here.
_REFUSED: dict[str, str] = {
    **dict.fromkeys(("timeout", "request_timeout", "connect_timeout"), _POLICY),
    **dict.fromkeys(("max_retries", "retries", "retry_timeout", "retry_budget"), _POLICY),
    **dict.fromkeys(("backoff_config.init_backoff", "backoff_config.max_backoff"), _POLICY),
    **dict.fromkeys(("backoff_config.base", "first_backoff", "longest_backoff"), _POLICY),
    **dict.fromkeys(("concurrency", "object_store_concurrency_limit", "coalesce"), _POLICY),
    **dict.fromkeys(("bucket", "bucket_name", "container", "container_name"), _IN_URI),
    **dict.fromkeys(("conditional_put", "copy_if_not_exists"), _SAFETY),
    **dict.fromkeys(("s3_locking_provider", "s3_allow_unsafe_rename"), _SAFETY),
    "connection_string": "is not read: give account_name and account_key",
}

#: Where data goes to. Services that give credentials to the machine itself speak http anyway.
_MAY_BE_HTTP = frozenset({"endpoint", "base_url", "dynamodb_endpoint"})

#: The words that object_store takes for bools.
TRUE = frozenset({"1", "true", "on", "yes", "y"})
FALSE = frozenset({"0", "false", "off", "no", "n"})
_DURATION = re.compile(r"(?:\d+ ?(?:ns|us|ms|s|sec|seconds?|m|min|minutes?|h|hours?|d|days?)\s*)+")


def split(
    kind: str, options: Mapping[str, object], secrets: Mapping[str, object]
) -> tuple[Texts[str], Texts[Secret]]:
    """Options and secrets by their own names, whichever way they were spelt.

    Args:
        kind: Kind of store.
        options: Values by any spelling; secrets may be among them.
        secrets: Secrets by any spelling, as texts or `Secret`.

    Raises:
        ConfigurationError: There is no such option (named with the nearest), it belongs elsewhere,
            it is given twice, or its value does not fit. No value is shown.
    """
    texts: dict[str, str] = {}
    hidden: dict[str, Secret] = {}
    for field, given in (("options", options), ("secrets", secrets)):
        for spelt, value in given.items():
            option = _named(kind, spelt)
            if field == "secrets" and option.shape != "secret":
                raise ConfigurationError(
                    f"StorageProfile.secrets: {option.name} is no secret; give it in options"
                )
            if option.name in texts or option.name in hidden:
                raise ConfigurationError(
                    f"StorageProfile.{field}: {option.name} is given twice, once as {spelt}"
                )
            if option.shape == "secret":
                hidden[option.name] = _secret(option.name, value)
            else:
                texts[option.name] = _text(option, value)
    return Texts(texts), Texts(hidden)


def check_urls(options: Mapping[str, str]) -> None:
    """That what the URLs among the options ask for is allowed.

    Args:
        options: Options by name.

    Raises:
        ConfigurationError: Unencrypted where that is not allowed, or a URL that would go unused.
    """
    for name in _MAY_BE_HTTP & set(options):
        if options[name].lower().startswith("http:") and options.get("allow_http") != "true":
            raise ConfigurationError(
                f"StorageProfile.options: {name} is http://, which sends data and signatures "
                "unencrypted; use https://, or say allow_http=True"
            )
    if options.get("sts_endpoint", "https:").lower().startswith("http:"):
        raise ConfigurationError(
            "StorageProfile.options: sts_endpoint must be https://; tokens are never sent "
            "unencrypted"
        )
    if options.get("use_emulator") == "true" and "endpoint" in options:
        raise ConfigurationError(
            "StorageProfile.options: use_emulator takes its URL from AZURITE_BLOB_STORAGE_URL or "
            "http://127.0.0.1:10000; leave endpoint or use_emulator out"
        )


def _named(kind: str, spelt: object) -> Option:
    name = str(spelt).lower()
    if found := _NAMES[kind].get(name):
        return OPTIONS[kind][found]
    if kind == "local":
        raise ConfigurationError("StorageProfile.options: local files have no options")
    bare = name
    for vendor in VENDORS[kind]:
        bare = bare.removeprefix(vendor)
    if reason := _REFUSED.get(bare):
        raise ConfigurationError(f"StorageProfile.options: {name} {reason}")
    raise unknown(f"StorageProfile.options: {kind} has no option", name, _NAMES[kind])


def _secret(name: str, value: object) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"StorageProfile.secrets: {name} must be a text, and not empty")
    return Secret(value)


def _text(option: Option, value: object) -> str:
    """The value as object_store reads it. Errors do not show it: it may be a misplaced secret."""
    fits: str | None = None
    if option.shape == "flag":
        word = str(value).lower() if isinstance(value, bool | int | str) else ""
        fits = "true" if word in TRUE else "false" if word in FALSE else None
        wanted = "True or False"
    elif option.shape == "count":
        wanted = "a whole number of at least 0"
        if isinstance(value, int | str) and not isinstance(value, bool):
            fits = str(value) if re.fullmatch(r"[0-9]+", str(value)) else None
    elif option.shape == "duration":
        wanted = "a timedelta, seconds as a number, or a text like '90s'"
        if isinstance(value, str):
            fits = value if _DURATION.fullmatch(value) else None
        elif isinstance(value, int | float | timedelta) and not isinstance(value, bool):
            duration = parse_duration(f"StorageProfile.options: {option.name}", value)
            fits = f"{duration // timedelta(microseconds=1)}us"
    elif option.shape == "url":
        wanted = "a URL that begins with https:// or http://"
        if isinstance(value, str):
            fits = _url(option.name, value)
    else:
        wanted = "a text that is not empty, or a number"
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            fits = str(value)
    if not fits:
        raise ConfigurationError(f"StorageProfile.options: {option.name} must be {wanted}")
    return fits


def _url(name: str, value: str) -> str | None:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return None
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError(
            f"StorageProfile.options: {name} must have no user, password, query or fragment; "
            "credentials are options of their own (those of a proxy go into HTTPS_PROXY)"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return None
    return value.rstrip("/")
