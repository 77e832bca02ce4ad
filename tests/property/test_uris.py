"""Every path has one URI, and every such URI one path."""

import os
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusiondelta.profiles import StorageProfile
from fusiondelta.profiles._uris import file_path, file_uri
from fusiondelta.storage import profile_for

pytestmark = [
    pytest.mark.property,
    pytest.mark.skipif(os.name == "nt", reason="POSIX paths"),
]

canonical = StorageProfile.local().canonicalize_uri

letters = st.characters(exclude_categories=["Cs"], exclude_characters="/\0")
tricky = st.sampled_from([*" %#?[]{}|\\:;&=+~^`\"'<>.\t\n\x7f", "%25", "%2F", "C|", "ß"])
names = st.lists(letters | tricky, min_size=1, max_size=8).map("".join)
parts = st.lists(names.filter(lambda n: n not in (".", "..")), max_size=5)
paths = parts.map(lambda p: "/" + "/".join(p))


@given(paths)
def test_paths_round_trip(path):
    uri = file_uri(path)
    assert file_path(uri) == path
    assert uri.isascii()
    assert not set(uri) & set(' "<>`#?{}\\\t\n\r\x7f')
    assert urlsplit(uri).path == uri.removeprefix("file://")
    assert uri == "file:///" or not uri.endswith("/")


@given(paths, paths)
def test_different_paths_have_different_uris(one, other):
    assert (file_uri(one) == file_uri(other)) == (one == other)


@given(paths)
def test_canonical_is_idempotent_and_forgets_slashes(path):
    # A folder that cannot be there, so that no link is in the way.
    uri = canonical("/no such root" + path)
    assert canonical(uri) == uri
    assert canonical("/no such root//./" + path + "/") == uri
    assert file_path(uri) == ("/no such root" + path).rstrip("/")


@given(parts)
def test_memory_is_idempotent(path):
    uri = canonical("memory://n/" + "/".join(p.replace("?", "").replace("#", "") for p in path))
    assert canonical(uri) == uri
    assert canonical(uri + "//") == uri


S3 = StorageProfile.s3(endpoint="http://127.0.0.1:9000", allow_http=True)
AWS = StorageProfile.s3()
GCS = StorageProfile.gcs()
AZURE = StorageProfile.azure(account_name="acct")

buckets = st.from_regex(r"[a-z0-9][a-z0-9-]{1,8}[a-z0-9]", fullmatch=True)
key_parts = st.lists(
    names.filter(lambda n: not set(n) & set(map(chr, (*range(32), 127))) and n not in (".", ".."))
    .map(lambda n: n.replace("%2F", "%"))
    .filter(bool),
    max_size=4,
)
slashes = st.sampled_from(["/", "//", "///"])


@st.composite
def spelt(draw):
    """A location, and two ways to write it for a profile that serves it."""
    bucket, parts = draw(buckets), draw(key_parts)
    profile, starts = draw(
        st.sampled_from(
            [
                (S3, ["s3://{}", "S3A://{}", "http://127.0.0.1:9000/{}"]),
                (AWS, ["s3://{}", "https://{}.s3.eu-west-1.amazonaws.com"]),
                (AWS, ["s3a://{}", "https://s3.us-east-1.amazonaws.com/{}"]),
                (GCS, ["gs://{}", "gcs://{}", "https://storage.googleapis.com/{}"]),
                (AZURE, ["az://{}", "abfss://{}@acct.dfs.core.windows.net", "adl://{}"]),
                (AZURE, ["abfs://{}", "https://acct.blob.core.windows.net/{}"]),
            ]
        )
    )

    def spell():
        text = draw(st.sampled_from(starts)).format(bucket)
        # What is plain in a name may be written as it is, or encoded; the rest is encoded.
        bare = draw(st.sampled_from(["", " ", "=:@,;", "~[]|^ö"]))
        for part in parts:
            text += draw(slashes) + quote(part, safe=bare)
        return text + draw(st.sampled_from(["", "/", "//"]))

    return profile, (bucket, *parts), spell(), spell()


@given(spelt())
def test_every_spelling_in_a_store_is_one(example):
    profile, (bucket, *parts), one, other = example
    uri = profile.canonicalize_uri(one)
    assert uri == profile.canonicalize_uri(other) == profile.canonicalize_uri(uri)
    assert uri.isascii()
    assert not set(uri) & set(' "<>`#?{}\\|^[]\t\n\r\x7f')
    assert not uri.endswith("/")
    # What a parser of URLs reads back is what was meant.
    read = urlsplit(uri)
    assert bucket in (read.netloc, read.username)
    assert read.path == "".join("/" + quote(part, safe="!$&'()*+,:;=@~") for part in parts)


@given(buckets, key_parts, buckets, key_parts)
def test_different_places_in_a_store_have_different_uris(bucket, parts, other, others):
    def uri(name, path):
        return AWS.canonicalize_uri("/".join([f"s3://{name}", *map(quote, path)]))

    same = (bucket, parts) == (other, others)
    assert (uri(bucket, parts) == uri(other, others)) == same


@given(key_parts, key_parts)
def test_prefixes_are_of_whole_names(prefix, path):
    special = StorageProfile.s3(region="special")
    root = "/".join(["s3://b", *map(quote, prefix)])
    location = "/".join(["s3a://b", *map(quote, path)])
    is_beneath = path[: len(prefix)] == prefix
    assert (profile_for({root: special, "": AWS}, location) is special) == is_beneath
    beneath = profile_for({root: special, "": AWS}, f"{root}/{quote('/'.join(path))}")
    assert beneath is special
