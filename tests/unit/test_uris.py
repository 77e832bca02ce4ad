"""Locations: one spelling each."""

import os
import sys
from pathlib import Path

import pytest

from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles import StorageProfile

pytestmark = [
    pytest.mark.unit,
    pytest.mark.skipif(os.name == "nt", reason="POSIX paths"),
]

canonical = StorageProfile.local().canonicalize_uri


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/no/such", "file:///no/such"),
        ("/no/such/", "file:///no/such"),
        ("//no///such//", "file:///no/such"),
        ("/no/./a/../such/.", "file:///no/such"),
        (Path("/no/such"), "file:///no/such"),
        ("/", "file:///"),
        ("file:///", "file:///"),
        ("file:///no/such/", "file:///no/such"),
        ("file:/no/such", "file:///no/such"),
        ("FILE://LOCALHOST/no/such", "file:///no/such"),
        ("file:///no/%2e%2e/such%2fx", "file:///such/x"),
        ("/a b#c?d%e", "file:///a%20b%23c%3Fd%25e"),
        ("/100%25", "file:///100%2525"),
        ("file:///100%25", "file:///100%25"),
        ("file:///100%zz", "file:///100%25zz"),
        ("/[x]{y}^`<>\"'|&", "file:///%5Bx%5D%7By%7D%5E%60%3C%3E%22'%7C&"),
        ("/a\\b", "file:///a%5Cb"),
        ("/größe/表", "file:///gr%C3%B6%C3%9Fe/%E8%A1%A8"),
        ("file:///größe", "file:///gr%C3%B6%C3%9Fe"),
        ("/C|/x|y", "file:///C%7C/x%7Cy"),
        ("/C:/x", "file:///C:/x"),
        ("/k=v;+,@!$*()~-_.", "file:///k=v;+,@!$*()~-_."),
        ("/tab\t\n\x7f", "file:///tab%09%0A%7F"),
        ("memory://name/a/b", "memory://name/a/b"),
        ("memory://name//a//b/", "memory://name/a/b"),
        ("memory://name/a/./c/../b", "memory://name/a/b"),
        ("memory://name/", "memory://name"),
        ("memory://name", "memory://name"),
        ("MEMORY://name/a b", "memory://name/a%20b"),
        ("memory://name/a%20b", "memory://name/a%20b"),
        ("memory:///a", "memory:///a"),
        ("memory://", "memory:///"),
    ],
)
def test_canonical(given, expected):
    assert canonical(given) == expected
    assert canonical(expected) == expected


def test_relative_paths_and_a_literal_tilde(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = "file://" + os.path.realpath(tmp_path)
    assert canonical("x/../t/") == f"{base}/t"
    assert canonical(".") == base
    assert canonical("~/t") == f"{base}/~/t"
    assert canonical("a:b") == f"{base}/a:b"
    assert canonical("./s3:/b") == f"{base}/s3:/b"


def test_links_are_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert canonical(tmp_path / "link" / "t") == canonical(tmp_path / "real" / "t")
    assert canonical(f"file://{tmp_path}/link") == canonical(tmp_path / "real")


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8 there")
def test_names_that_are_not_unicode():
    assert canonical(os.fsdecode(b"/\xff")) == "file:///%FF"
    assert canonical("file:///%FF") == "file:///%FF"


@pytest.mark.parametrize("scheme", ["s3", "gs", "az", "abfss", "S3"])
def test_object_stores_are_not_served(scheme):
    for call in (canonical, StorageProfile.from_uri):
        with pytest.raises(ConfigurationError, match="object stores are not served") as raised:
            call(f"{scheme}://key:hidden@bucket/t?sig=hidden")
        assert scheme.lower() in str(raised.value)
        assert "hidden" not in str(raised.value)


def test_unknown_schemes_are_named_with_those_served():
    for call in (canonical, StorageProfile.from_uri):
        with pytest.raises(ConfigurationError, match=r"ftp:// is not served.*file://.*memory://"):
            call("ftp://host/t")


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("", "not empty"),
        ("/a\0b", "NUL"),
        ("file:///a%00b", "NUL"),
        ("/\ud800", "no file name has"),
        ("memory://n/\ud800", "no file name has"),
        ("file://host/share", "no host"),
        ("file://user:hidden@host/share", "no host"),
        ("file://folder", "three slashes"),
        ("file:///a?b", "%3F"),
        ("file:///a#b", "%23"),
        ("memory://name/a?b", "%3F"),
        ("memory://na me/a", "letters"),
        (Path("s3://bucket/t"), "pathlib drops"),
        ("gs:/bucket/t", "gs://"),
        (5, "not int"),
        (None, "not NoneType"),
    ],
)
def test_refusals_tell_the_fix(given, hint):
    with pytest.raises(ConfigurationError, match=hint) as raised:
        canonical(given)
    assert "hidden" not in str(raised.value)


def test_profiles_of_local_locations(tmp_path):
    local = StorageProfile.local()
    for uri in (tmp_path, str(tmp_path), "file:///t", "memory://n/t"):
        assert StorageProfile.from_uri(uri) == local
    assert StorageProfile.from_env() == local
    assert local.to_deltalake_options() == {}
    assert local.write_safety is None
