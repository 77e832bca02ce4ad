"""Every path has one URI, and every such URI one path."""

import os
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusiondelta.profiles import StorageProfile
from fusiondelta.profiles._uris import file_path, file_uri

pytestmark = [
    pytest.mark.unit,
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
