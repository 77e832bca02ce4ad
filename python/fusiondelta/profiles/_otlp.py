"""Where OTLP goes and with which headers: checks, and what the environment says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles._secrets import Secret
from fusiondelta.profiles._value import Texts

PROTOCOLS = ("http/protobuf", "grpc")

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
_SERVICE = "OTEL_SERVICE_NAME"
_DISABLED = "OTEL_SDK_DISABLED"

#: What HTTP allows as the name of a header; gRPC and OTLP want it in lower case.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
#: What both HTTP and gRPC carry unchanged; blanks at the ends are lost on the way.
_HEADER_VALUE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
_SIGNAL_PATH = re.compile(r"/v1/(?:traces|metrics|logs)$")


def endpoint(name: str, value: object) -> str:
    """A base URL without credentials, and without a slash at its end."""
    hint = f"{name} must be a base URL such as http://collector:4318"
    if not isinstance(value, str):
        raise ConfigurationError(f"{hint}, not {type(value).__name__}")
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError(f"{hint}; host or port cannot be read") from None
    if {"@", "?", "#"} & set(value):
        # Not shown: whoever writes a password there would find it in logs.
        raise ConfigurationError(
            f"{hint}, without a user, query or fragment; use headers for those"
        )
    if parts.scheme not in ("http", "https") or not host or not value.isprintable():
        raise ConfigurationError(f"{hint}, not {value!r}")
    url = value.rstrip("/")
    if found := _SIGNAL_PATH.search(url):
        raise ConfigurationError(f"{hint}: leave out {found[0]!r}, which is added")
    return url


def headers(name: str, value: object) -> Texts[Secret]:
    """Headers by name in lower case, as secrets."""
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"{name} must be a mapping from names of headers to texts, not {type(value).__name__}"
        )
    found: dict[str, Secret] = {}
    for key, given in value.items():
        if not isinstance(key, str) or not _HEADER_NAME.fullmatch(key.lower()):
            raise ConfigurationError(f"{name}: {key!r} cannot be the name of a header")
        if key.lower() in found:
            raise ConfigurationError(f"{name}: {key.lower()} is there twice")
        # A secret out of a pickle has lost its text; that is told when it is to be sent.
        if not isinstance(given, Secret):
            if not isinstance(given, str) or not _HEADER_VALUE.fullmatch(given):
                raise ConfigurationError(
                    f"{name}: the value of {key.lower()} must be a text of printable ASCII without "
                    "blanks at its ends"
                )
            given = Secret(given)
        found[key.lower()] = given
    return Texts(found)


def service_name(name: str, value: object) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{name} must be a text that is not empty, not {value!r}")
    return value


def read(environ: Mapping[str, str]) -> dict[str, Any]:
    """Fields of a `TelemetryConfig` by name.

    Args:
        environ: The environment; empty variables do not count.

    Raises:
        ConfigurationError: A variable is not valid. Headers are not shown.
    """
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    fields: dict[str, Any] = {"enabled": given.get(_DISABLED, "").lower() != "true"}
    if _ENDPOINT not in given:
        return fields
    fields["endpoint"] = endpoint(f"the variable {_ENDPOINT}", given[_ENDPOINT])
    if _HEADERS in given:
        fields["headers"] = _listed(given[_HEADERS])
    if _PROTOCOL in given:
        fields["protocol"] = _protocol(given[_PROTOCOL])
    if _SERVICE in given:
        fields["service_name"] = given[_SERVICE]
    delta = _names_delta(given.get("RUST_LOG", ""))
    fields["delta_tracing"] = delta and fields.get("protocol") != "grpc"
    return fields


def _names_delta(directives: str) -> bool:
    """Whether a filter asks for delta-rs by name: ``deltalake=debug`` does, ``info`` does not."""
    for directive in directives.split(","):
        target, _, level = directive.partition("=")
        if target.strip().startswith("deltalake") and level.strip().lower() != "off":
            return True
    return False


def _listed(text: str) -> Texts[Secret]:
    """Headers of a list as the variable has it; an empty part is none."""
    where = f"the variable {_HEADERS}"
    found: dict[str, str] = {}
    for number, part in enumerate(text.split(","), 1):
        if not part.strip():
            continue
        key, equals, value = part.partition("=")
        try:
            key, value = (unquote(one.strip(), errors="strict") for one in (key, value))
        except UnicodeDecodeError:
            equals = ""
        if not equals or not key:
            raise ConfigurationError(
                f"{where} must be a list like key=value,key2=value2, with %XX for what is special; "
                f"its part {number} is not of that form"
            )
        # The last one counts, as in the SDKs.
        found[key.lower()] = value
    return headers(where, found)


def _protocol(text: str) -> str:
    if text not in PROTOCOLS:
        listed = " or ".join(PROTOCOLS)
        raise ConfigurationError(f"the variable {_PROTOCOL} must be {listed}, not {text!r}")
    return text
