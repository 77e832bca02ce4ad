"""The front of fake-gcs-server: what object stores of Rust ask of Google's XML interface."""

from __future__ import annotations

import os
from xml.etree import ElementTree

import pytest

from tests.harness.raw import request
from tests.stores import kinds

pytestmark = [
    pytest.mark.stores,
    pytest.mark.parametrize("store", [kinds.GCS], indirect=True),
    pytest.mark.skipif(
        "FUSIONDELTA_GCS_ENDPOINT" in os.environ,
        reason="a server of yours has no front",
    ),
]


@pytest.fixture
def ask(store):
    def ask(method, name="", *, allow=(), **options):
        target = f"/{store.bucket}" + (f"/{name}" if name else "")
        return request(store.server.endpoint, method, target, allow=allow, **options)

    return ask


def names(data):
    page = ElementTree.fromstring(data)
    found = [*page.iter("Key"), *page.iter("Prefix")]
    return [each.text for each in found], page.findtext("NextContinuationToken")


def test_plain_uploads_and_their_condition(store, ask):
    new = {"headers": {"x-goog-if-generation-match": "0"}, "allow": (412,)}
    assert ask("PUT", "a%2Fb%20%C3%A9", body=b"one", **new)[0] == 200
    assert ask("PUT", "a%2Fb%20%C3%A9", body=b"two", **new)[0] == 412
    assert store.raw_get("a/b é") == b"one"
    assert ask("PUT", "a%2Fb%20%C3%A9", body=b"three") == (200, b"")
    assert ask("GET", "a%2Fb%20%C3%A9") == (200, b"three")
    assert ask("GET", "a%2Fb%20%C3%A9", headers={"Range": "bytes=1-2"}) == (206, b"hr")
    assert ask("HEAD", "a%2Fb%20%C3%A9") == (200, b"")
    assert ask("DELETE", "a%2Fb%20%C3%A9")[0] < 300
    assert ask("GET", "a%2Fb%20%C3%A9", allow=(404,))[0] == 404


def test_multipart_uploads(store, ask):
    _, data = ask("POST", "big", query={"uploads": ""})
    upload = ElementTree.fromstring(data).findtext("UploadId")
    for number, part in ((2, b"cd"), (1, b"ab")):
        ask("PUT", "big", query={"partNumber": str(number), "uploadId": upload}, body=part)
    assert store.raw_list() == []
    parts = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>x</ETag></Part>" for n in (1, 2))
    whole = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    _, data = ask("POST", "big", query={"uploadId": upload}, body=whole)
    assert ElementTree.fromstring(data).findtext("ETag")
    assert store.raw_get("big") == b"abcd"


def test_an_upload_that_is_given_up_leaves_nothing(store, ask):
    _, data = ask("POST", "big", query={"uploads": ""})
    upload = ElementTree.fromstring(data).findtext("UploadId")
    ask("PUT", "big", query={"partNumber": "1", "uploadId": upload}, body=b"ab")
    assert ask("DELETE", "big", query={"uploadId": upload})[0] == 204
    assert store.raw_list() == []


def test_copies_and_their_condition(store, ask):
    store.raw_put("a/from", b"x")
    copy = {"x-goog-copy-source": f"{store.bucket}/a%2Ffrom"}
    new = {"x-goog-if-generation-match": "0"}
    assert ask("PUT", "to", headers=copy | new)[0] == 200
    assert ask("PUT", "to", headers=copy | new, allow=(412,))[0] == 412
    assert ask("PUT", "to", headers=copy)[0] == 200
    assert store.raw_get("to") == b"x"
    gone = {"x-goog-copy-source": f"{store.bucket}/gone"}
    assert ask("PUT", "to", headers=gone, allow=(404,))[0] == 404


def test_lists_begin_after_an_offset_and_have_pages(store, ask):
    for name in ("a/1", "a/2", "b/3", "c"):
        store.raw_put(name, b"x")
    every = {"list-type": "2"}
    assert names(ask("GET", query=every)[1]) == (["a/1", "a/2", "b/3", "c"], None)
    assert names(ask("GET", query=every | {"prefix": "a/"})[1]) == (["a/1", "a/2"], None)
    assert names(ask("GET", query=every | {"start-after": "a/1"})[1])[0] == ["a/2", "b/3", "c"]
    assert sorted(names(ask("GET", query=every | {"delimiter": "/"})[1])[0]) == ["a/", "b/", "c"]
    first, token = names(ask("GET", query=every | {"max-keys": "3"})[1])
    rest, end = names(ask("GET", query=every | {"max-keys": "3", "continuation-token": token})[1])
    assert (first, rest, end) == (["a/1", "a/2", "b/3"], ["c"], None)
