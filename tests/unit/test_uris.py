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
s3 = StorageProfile.s3().canonicalize_uri


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
def test_object_stores_need_their_profile(scheme):
    says = r"storage profile is of kind 'local'.*StorageProfile\.\w+\(.*from_env\(\)"
    with pytest.raises(ConfigurationError, match=says) as raised:
        canonical(f"{scheme}://key:hidden@bucket/t?sig=hidden")
    assert f"{scheme.lower()}:// locations are of kind" in str(raised.value)
    assert "hidden" not in str(raised.value)


def test_unknown_schemes_are_named_with_those_served():
    for call in (canonical, s3, StorageProfile.from_uri):
        with pytest.raises(ConfigurationError, match=r"ftp:// is not served.*file://.*memory://"):
            call("ftp://host/t")
        with pytest.raises(ConfigurationError, match=r"s3n:// .*write s3://"):
            call("s3n://bucket/t")


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
    assert local.to_deltalake_options() == {}
    assert local.write_safety is None


S3 = StorageProfile.s3()
MINIO = StorageProfile.s3(endpoint="http://127.0.0.1:9000/", allow_http=True)
BEHIND = StorageProfile.s3(endpoint="https://gate.example/s3", scheme="s3a")
GCS = StorageProfile.gcs()
FAKE_GCS = StorageProfile.gcs(base_url="https://fake:4443")
AZURE = StorageProfile.azure(account_name="acct")
NAMELESS = StorageProfile.azure()
AZURITE = StorageProfile.azure(
    account_name="devstoreaccount1", endpoint="http://h:10000/devstoreaccount1", allow_http=True
)
FABRIC = StorageProfile.azure(account_name="onelake", use_fabric_endpoint=True)


@pytest.mark.parametrize(
    ("profile", "given", "expected"),
    [
        (S3, "s3://bucket/a/b", "s3://bucket/a/b"),
        (S3, "S3A://bucket//a///b//", "s3://bucket/a/b"),
        (S3, "s3://bucket", "s3://bucket"),
        (S3, "s3://bucket//", "s3://bucket"),
        (S3, "s3://My_Bucket.x-1/A", "s3://My_Bucket.x-1/A"),
        (S3, "s3://b/a b", "s3://b/a%20b"),
        (S3, "s3://b/a%20b", "s3://b/a%20b"),
        (S3, "s3://b/a%2520b", "s3://b/a%2520b"),
        (S3, "s3://b/a%2Fb", "s3://b/a/b"),
        (S3, "s3://b/%zz%", "s3://b/%25zz%25"),
        (S3, "s3://b/k=v/x@y:z~", "s3://b/k=v/x@y:z~"),
        (S3, "s3://b/[x]^|%3F%23", "s3://b/%5Bx%5D%5E%7C%3F%23"),
        (S3, "s3://b/größe", "s3://b/gr%C3%B6%C3%9Fe"),
        (S3, "s3://b/...", "s3://b/..."),
        (S3.replace(scheme="s3a"), "s3://b/a", "s3a://b/a"),
        (S3, "https://b.s3.amazonaws.com/a", "s3://b/a"),
        (S3, "https://b.s3.eu-west-1.amazonaws.com/a/", "s3://b/a"),
        (S3, "https://a.b.s3.us-gov-west-1.amazonaws.com/a", "s3://a.b/a"),
        (S3, "https://b.s3.dualstack.eu-west-1.amazonaws.com:443/a", "s3://b/a"),
        (S3, "https://b.s3-us-west-2.amazonaws.com/a", "s3://b/a"),
        (S3, "https://b.s3.cn-north-1.amazonaws.com.cn/a", "s3://b/a"),
        (S3, "HTTPS://S3.eu-west-1.AMAZONAWS.com/b/a%20b", "s3://b/a%20b"),
        (S3, "https://s3.amazonaws.com/b", "s3://b"),
        (MINIO, "http://127.0.0.1:9000/bucket/x", "s3://bucket/x"),
        (MINIO, "http://127.0.0.1:9000//bucket//x/", "s3://bucket/x"),
        (MINIO, "s3://bucket/x", "s3://bucket/x"),
        (BEHIND, "https://gate.example:443/s3/bucket/x", "s3a://bucket/x"),
        (
            StorageProfile.s3(endpoint="https://s3.eu-west-1.amazonaws.com"),
            "https://b.s3.amazonaws.com/x",
            "s3://b/x",
        ),
        (GCS, "gs://bucket_1/a", "gs://bucket_1/a"),
        (GCS, "gcs://bucket/a", "gs://bucket/a"),
        (GCS.replace(scheme="gcs"), "gs://bucket/a", "gcs://bucket/a"),
        (GCS, "https://storage.googleapis.com/bucket/a", "gs://bucket/a"),
        (GCS, "https://bucket.storage.googleapis.com/a", "gs://bucket/a"),
        (GCS, "https://storage.cloud.google.com/bucket/a", "gs://bucket/a"),
        (FAKE_GCS, "https://fake:4443/bucket/a", "gs://bucket/a"),
        (AZURE, "az://c/p", "abfss://c@acct.dfs.core.windows.net/p"),
        (AZURE, "abfs://c/p", "abfss://c@acct.dfs.core.windows.net/p"),
        (AZURE, "adl://c/p", "abfss://c@acct.dfs.core.windows.net/p"),
        (AZURE, "azure://c", "abfss://c@acct.dfs.core.windows.net"),
        (AZURE, "abfss://c@ACCT.dfs.core.windows.net/p/", "abfss://c@acct.dfs.core.windows.net/p"),
        (AZURE, "abfs://c@acct.blob.core.windows.net/p", "abfss://c@acct.dfs.core.windows.net/p"),
        (AZURE, "https://acct.blob.core.windows.net/c/p", "abfss://c@acct.dfs.core.windows.net/p"),
        (AZURE, "https://acct.dfs.core.windows.net/c/p", "abfss://c@acct.dfs.core.windows.net/p"),
        (AZURE, "az://$web/p", "abfss://$web@acct.dfs.core.windows.net/p"),
        (AZURE.replace(scheme="abfs"), "az://c/p", "abfs://c@acct.dfs.core.windows.net/p"),
        (AZURE.replace(scheme="az"), "abfss://c@acct.dfs.core.windows.net/p", "az://c/p"),
        (NAMELESS, "abfss://c/p", "az://c/p"),
        (
            NAMELESS,
            "abfss://c@acct.dfs.core.windows.net/p",
            "abfss://c@acct.dfs.core.windows.net/p",
        ),
        (NAMELESS.replace(scheme="abfss"), "az://c/p", "abfss://c/p"),
        (AZURITE, "az://c/p", "abfss://c@devstoreaccount1.dfs.core.windows.net/p"),
        (
            AZURITE,
            "http://h:10000/devstoreaccount1/c/p",
            "abfss://c@devstoreaccount1.dfs.core.windows.net/p",
        ),
        (FABRIC, "az://w/i/Files", "abfss://w@onelake.dfs.fabric.microsoft.com/i/Files"),
        (
            FABRIC,
            "https://onelake.blob.fabric.microsoft.com/w/i",
            "abfss://w@onelake.dfs.fabric.microsoft.com/i",
        ),
    ],
)
def test_canonical_in_object_stores(profile, given, expected):
    assert profile.canonicalize_uri(given) == expected
    assert profile.canonicalize_uri(expected) == expected


@pytest.mark.parametrize(
    ("profile", "given", "hint"),
    [
        (S3, "s3://key:hidden@bucket/t", "no user or password.*storage profile"),
        (S3, "s3://hidden@bucket/t", "no user or password"),
        (GCS, "gs://hidden@bucket/t", "no user or password"),
        (AZURE, "abfss://c:hidden@acct.dfs.core.windows.net", "no user or password"),
        (AZURE, "abfss://c@hidden.example.com/p", "account_name and endpoint"),
        (S3, "s3://bucket/t?sig=hidden", "%3F"),
        (S3, "s3://bucket/t#hidden", "%23"),
        (S3, "s3://bucket?hidden", "no port and no query"),
        (S3, "s3://bucket:9000/t", "no port"),
        (S3, "s3://buck%20et/t", "letters, digits"),
        (S3, "s3:///t", "names no bucket.*s3://name/path"),
        (S3, "s3://", "names no bucket"),
        (S3, "s3://b/a/./b", r"no '\.' or '\.\.'"),
        (S3, "s3://b/a/../b", r"no '\.' or '\.\.'"),
        (S3, "s3://b/a/%2e%2E/b", r"no '\.' or '\.\.'"),
        (S3, "s3://b/a%0Ab", "control characters"),
        (S3, "s3://b/a\tb", "control characters"),
        (S3, "s3://b/%00", "NUL"),
        (S3, "s3://b/%FF", "UTF-8"),
        (S3, "s3://b/\udcff", "UTF-8"),
        (S3, "https://b.s3.amazonaws.com/t?X-Amz-Signature=hidden", "go into the storage profile"),
        (S3, "https://key:hidden@s3.amazonaws.com/b", "no user, password"),
        (S3, "https://s3.amazonaws.com:hidden/b", "no URL"),
        (S3, "https://s3.amazonaws.com", "names no bucket"),
        (S3, "http://s3.amazonaws.com/b/t", "nor beneath the profile's endpoint"),
        (S3, "https://b.s3-website-eu-west-1.amazonaws.com/t", "none of AWS"),
        (MINIO, "http://127.0.0.1:9001/b/t", "nor beneath the profile's endpoint"),
        (MINIO, "https://127.0.0.1:9000/b/t", "nor beneath the profile's endpoint"),
        (MINIO, "https://b.s3.amazonaws.com/t", "the storage profile's is http://127.0.0.1:9000"),
        (BEHIND, "https://gate.example/s3x/b/t", "nor beneath"),
        (
            StorageProfile.s3(endpoint="https://b.h", virtual_hosted_style_request=True),
            "https://b.h/t",
            "write s3://",
        ),
        (S3, "gs://b/t", r"gs:// locations are of kind 'gcs'.*of kind 's3'"),
        (S3, "https://acct.blob.core.windows.net/c/t", r"of kind 'azure'.*of kind 's3'"),
        (S3, "/t", r"local locations are of kind 'local'.*of kind 's3'"),
        (S3, "memory://n/t", r"of kind 'local'.*of kind 's3'"),
        (GCS, "s3://b/t", r"of kind 's3'.*of kind 'gcs'"),
        (StorageProfile.local(), "https://b.s3.amazonaws.com/t", r"of kind 's3'.*'local'"),
        (StorageProfile.local(), "https://example.com/t", "none of AWS"),
        (AZURE, "az://c@other.dfs.core.windows.net/p", "'other'.*'acct'"),
        (AZURE, "https://other.blob.core.windows.net/c/p", "'other'.*'acct'"),
        (NAMELESS.replace(scheme="az"), "az://c@a.dfs.core.windows.net/p", "account_name='a'"),
        (NAMELESS, "abfss://w@onelake.dfs.fabric.microsoft.com/i", "use_fabric_endpoint=True"),
        (FABRIC, "abfss://w@onelake.dfs.core.windows.net/i", "use_fabric_endpoint"),
        (S3, Path("s3://bucket/t"), "pathlib drops"),
        (S3, "", "not empty"),
        (S3, None, "not NoneType"),
    ],
)
def test_refusals_of_object_stores_tell_the_fix(profile, given, hint):
    with pytest.raises(ConfigurationError, match=hint) as raised:
        profile.canonicalize_uri(given)
    assert "\n" not in str(raised.value)
    assert "hidden" not in str(raised.value)
