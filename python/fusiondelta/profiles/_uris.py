"""The one spelling of a local location.

Percent-encodes at least what the ``file`` URLs of the WHATWG (Rust's ``url`` crate) do, so that the
native side reads back the very same text.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

from fusiondelta.errors import ConfigurationError

SERVED = "local paths, file:// and memory://"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_FILE = re.compile(r"file:/+", re.IGNORECASE)
#: A store's URI that lost a slash, as pathlib does to it: not meant as a folder named "s3:".
_CRIPPLED = re.compile(
    r"(s3[an]?|gs|gcs|az|azure|adl|abfss?|https?|hdfs|memory):/(?!/)", re.IGNORECASE
)
_NAME = re.compile(r"[A-Za-z0-9._-]*")
#: Characters besides letters and digits that are left as they are. Such a URL would leave "[]^|"
#: too, but delta-rs makes a host name of the path, where they may not be, and "/C|" is a drive.
_PLAIN = "/!$&'()*+,:;=@"


def scheme_of(uri: str | os.PathLike[str]) -> str:
    """``file``, ``memory``, or another scheme as spelt, in lower case; a path is ``file``.

    Raises:
        ConfigurationError: Empty, or a URI that lost a slash.
    """
    text = _text(uri)
    if match := _CRIPPLED.match(text):
        raise ConfigurationError(
            f"the location starts with {match[0]!r}: write {match[1]}:// as a str (pathlib drops a "
            f"slash), or ./{match[1]}:/ for a folder of that name"
        )
    if isinstance(uri, str) and (match := _SCHEME.match(text)):
        return match[1].lower()
    return "file"


def canonical(uri: str | os.PathLike[str]) -> str:
    """The one spelling of a location on this machine.

    Raises:
        ConfigurationError: Not a location, or of a scheme that is not served.
    """
    scheme = scheme_of(uri)
    text = _text(uri)
    if scheme == "memory":
        return _memory_uri(text)
    if scheme != "file":
        raise not_served(scheme)
    if isinstance(uri, str) and _FILE.match(text):
        text = file_path(text)
    return file_uri(os.path.realpath(text))


def not_served(scheme: str) -> ConfigurationError:
    """The error for a scheme that no profile serves."""
    return ConfigurationError(
        f"the scheme {scheme}:// is not served; {SERVED} are, and with the profile of their store "
        "s3://, s3a://, gs://, gcs://, abfss://, abfs://, az://, azure://, adl:// and https://"
    )


def file_uri(path: str) -> str:
    """The URI of an absolute path without ``.``, ``..`` or links; the inverse of `file_path`.

    Raises:
        ConfigurationError: The path is on a network share of Windows.
    """
    if os.name == "nt":
        path = path.removeprefix("\\\\?\\").replace("\\", "/")
        if path.startswith("//"):
            raise ConfigurationError("network shares are not served; map the share to a drive")
    return "file:///" + encode(path.strip("/"))


def file_path(uri: str) -> str:
    """The path that a ``file:`` URI names; the inverse of `file_uri`.

    Raises:
        ConfigurationError: The URI names a host, or has a query or fragment.
    """
    rest = uri[len("file:") :]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host.lower() not in ("", "localhost") or not slash:
            raise ConfigurationError(
                "a file URI has three slashes, file:///folder, and no host besides localhost"
            )
        rest = "/" + path
    path = decode(rest)
    if os.name == "nt" and re.match(r"/+[A-Za-z]:", path):
        return path.lstrip("/")
    return path


def _memory_uri(uri: str) -> str:
    name, _, path = uri[len("memory://") :].partition("/")
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            "the name in memory://name/path may have letters, digits, '.', '_' and '-' only"
        )
    parts: list[str] = []
    for part in decode(path).split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    path = encode("/".join(parts))
    return f"memory://{name}/{path}" if path or not name else f"memory://{name}"


def _text(uri: str | os.PathLike[str]) -> str:
    if not isinstance(uri, str | os.PathLike):
        raise ConfigurationError(
            f"a location is a str or a path object, not {type(uri).__name__}; {SERVED} are served"
        )
    text = os.fsdecode(uri)
    if not text or "\0" in text:
        raise ConfigurationError("a location is not empty and has no NUL character")
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise ConfigurationError("the location has characters that no file name has") from error
    return text


def encode(path: str) -> str:
    """A path as it stands in a URI; the inverse of `decode`."""
    return quote_from_bytes(os.fsencode(path), safe=_PLAIN)


def decode(path: str) -> str:
    """The path that stands in a URI.

    Raises:
        ConfigurationError: A query or fragment follows it, or it has a NUL character.
    """
    if "?" in path or "#" in path:
        raise ConfigurationError(
            "a '?' or '#' in a URI begins a query or fragment, which a location does not have; "
            "write %3F or %23 (a path that is no URI has them as they are)"
        )
    text = os.fsdecode(unquote_to_bytes(os.fsencode(path)))
    if "\0" in text:
        raise ConfigurationError("a location has no NUL character, %00")
    return text
