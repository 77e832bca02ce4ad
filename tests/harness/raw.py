"""What lies in a store, asked without the library: put, get, list, delete, and put if absent.

S3 goes through botocore, which ministack brings along at a version of its own. Azure's shared key
is one signature, and emulators of GCS want none: plain HTTP instead of two more SDKs.
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import hashlib
import hmac
import http.client
import json
import urllib.parse
from typing import Any, Protocol
from xml.etree import ElementTree


class Raw(Protocol):
    """One bucket or container. Names are keys in it."""

    def make(self) -> None:
        """Make the bucket; one that is there is fine."""

    def put(self, name: str, data: bytes, *, only_new: bool = False) -> bool:
        """Store an object; with `only_new`, false instead when there is one already."""

    def get(self, name: str) -> bytes | None:
        """What is stored, or None."""

    def list(self, prefix: str = "") -> list[str]:
        """Every name that starts so, sorted."""

    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is fine."""

    def drop(self) -> None:
        """Remove the bucket and everything in it."""

    def close(self) -> None:
        """Let connections go."""


class UnexpectedAnswer(AssertionError):
    """A server answered with something that no test allows for."""


def request(
    endpoint: str,
    method: str,
    path: str,
    *,
    query: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    allow: tuple[int, ...] = (),
) -> tuple[int, bytes]:
    """One request on a connection of its own. Answers that are neither 2xx nor allowed raise."""
    at = urllib.parse.urlsplit(endpoint)
    kind = http.client.HTTPSConnection if at.scheme == "https" else http.client.HTTPConnection
    target = at.path.rstrip("/") + path + (f"?{urllib.parse.urlencode(query)}" if query else "")
    with contextlib.closing(kind(at.netloc, timeout=30)) as connection:
        connection.request(method, target, body, headers or {})
        answer = connection.getresponse()
        data = answer.read()
    if answer.status >= 300 and answer.status not in allow:
        raise UnexpectedAnswer(f"{method} {target}: {answer.status} {data[:500]!r}")
    return answer.status, data


def aws_client(service: str, endpoint: str, access_key_id: str, secret_access_key: str) -> Any:
    """A client of botocore that takes nothing from this machine: no profile, no proxy."""
    from botocore.config import Config
    from botocore.session import Session

    session = Session()
    session.set_config_variable("config_file", "")
    session.set_config_variable("credentials_file", "")
    return session.create_client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        config=Config(
            proxies={},
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


class RawS3:
    """A bucket of S3."""

    def __init__(
        self, endpoint: str, bucket: str, access_key_id: str, secret_access_key: str
    ) -> None:
        self._client = aws_client("s3", endpoint, access_key_id, secret_access_key)
        self._bucket = bucket

    def make(self) -> None:
        from botocore.exceptions import ClientError

        try:
            self._client.create_bucket(Bucket=self._bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
                raise

    def put(self, name: str, data: bytes, *, only_new: bool = False) -> bool:
        from botocore.exceptions import ClientError

        condition = {"IfNoneMatch": "*"} if only_new else {}
        try:
            self._client.put_object(Bucket=self._bucket, Key=name, Body=data, **condition)
        except ClientError as error:
            if only_new and error.response["Error"]["Code"] == "PreconditionFailed":
                return False
            raise
        return True

    def get(self, name: str) -> bytes | None:
        try:
            with self._client.get_object(Bucket=self._bucket, Key=name)["Body"] as body:
                return body.read()
        except self._client.exceptions.NoSuchKey:
            return None

    def list(self, prefix: str = "") -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix
        )
        return sorted(found["Key"] for page in pages for found in page.get("Contents", ()))

    def delete(self, name: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=name)

    def drop(self) -> None:
        for name in self.list():
            self.delete(name)
        self._client.delete_bucket(Bucket=self._bucket)

    def close(self) -> None:
        self._client.close()


class RawAzure:
    """A container of Azure Blob Storage; the endpoint ends with the account."""

    def __init__(self, endpoint: str, container: str, account: str, key: str) -> None:
        self._endpoint = endpoint
        self._container = container
        self._account = account
        self._key = base64.b64decode(key)

    def make(self) -> None:
        self._request("PUT", query={"restype": "container"}, allow=(409,))

    def put(self, name: str, data: bytes, *, only_new: bool = False) -> bool:
        headers = {"x-ms-blob-type": "BlockBlob"} | ({"If-None-Match": "*"} if only_new else {})
        allow = (409, 412) if only_new else ()
        status, _ = self._request("PUT", name, headers=headers, body=data, allow=allow)
        return status < 300

    def get(self, name: str) -> bytes | None:
        status, data = self._request("GET", name, allow=(404,))
        return data if status == 200 else None

    def list(self, prefix: str = "") -> list[str]:
        names, marker = [], ""
        while True:
            query = {"comp": "list", "prefix": prefix, "restype": "container"}
            _, data = self._request("GET", query=query | ({"marker": marker} if marker else {}))
            page = ElementTree.fromstring(data)
            names += [found.findtext("Name") for found in page.iter("Blob")]
            marker = page.findtext("NextMarker") or ""
            if not marker:
                return sorted(names)

    def delete(self, name: str) -> None:
        self._request("DELETE", name, allow=(404,))

    def drop(self) -> None:
        self._request("DELETE", query={"restype": "container"})

    def close(self) -> None:
        pass

    def _request(
        self,
        method: str,
        name: str = "",
        *,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        allow: tuple[int, ...] = (),
    ) -> tuple[int, bytes]:
        path = f"/{self._container}" + (f"/{urllib.parse.quote(name)}" if name else "")
        headers = {
            **(headers or {}),
            "x-ms-date": email.utils.formatdate(usegmt=True),
            "x-ms-version": "2023-11-03",
        }
        headers["Authorization"] = self._signature(method, path, query or {}, headers, len(body))
        return request(
            self._endpoint, method, path, query=query, headers=headers, body=body, allow=allow
        )

    def _signature(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], length: int
    ) -> str:
        # https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
        resource = f"/{self._account}{urllib.parse.urlsplit(self._endpoint).path}{path}"
        lines = [
            method,
            *("", "", str(length or ""), "", "", "", "", ""),
            headers.get("If-None-Match", ""),
            *("", ""),
            *(f"{name}:{headers[name]}" for name in sorted(headers) if name.startswith("x-ms-")),
            resource,
            *(f"{name}:{query[name]}" for name in sorted(query)),
        ]
        mac = hmac.new(self._key, "\n".join(lines).encode(), hashlib.sha256)
        return f"SharedKey {self._account}:{base64.b64encode(mac.digest()).decode()}"


class RawGcs:
    """A bucket of an emulator of Google Cloud Storage, by its JSON interface."""

    def __init__(self, endpoint: str, bucket: str) -> None:
        self._endpoint = endpoint
        self._bucket = bucket

    def make(self) -> None:
        request(
            self._endpoint,
            "POST",
            "/storage/v1/b",
            query={"project": "tests"},
            headers={"Content-Type": "application/json"},
            body=json.dumps({"name": self._bucket}).encode(),
            allow=(409,),
        )

    def put(self, name: str, data: bytes, *, only_new: bool = False) -> bool:
        query = {"uploadType": "media", "name": name}
        status, _ = request(
            self._endpoint,
            "POST",
            f"/upload/storage/v1/b/{self._bucket}/o",
            query=query | ({"ifGenerationMatch": "0"} if only_new else {}),
            headers={"Content-Type": "application/octet-stream"},
            body=data,
            allow=(412,) if only_new else (),
        )
        return status < 300

    def get(self, name: str) -> bytes | None:
        status, data = request(
            self._endpoint, "GET", self._object(name), query={"alt": "media"}, allow=(404,)
        )
        return data if status == 200 else None

    def list(self, prefix: str = "") -> list[str]:
        names, token = [], ""
        while True:
            query = {"prefix": prefix} | ({"pageToken": token} if token else {})
            _, data = request(self._endpoint, "GET", f"/storage/v1/b/{self._bucket}/o", query=query)
            page = json.loads(data)
            names += [found["name"] for found in page.get("items", ())]
            token = page.get("nextPageToken", "")
            if not token:
                return sorted(names)

    def delete(self, name: str) -> None:
        request(self._endpoint, "DELETE", self._object(name), allow=(404,))

    def drop(self) -> None:
        for name in self.list():
            self.delete(name)
        request(self._endpoint, "DELETE", f"/storage/v1/b/{self._bucket}")

    def close(self) -> None:
        pass

    def _object(self, name: str) -> str:
        return f"/storage/v1/b/{self._bucket}/o/{urllib.parse.quote(name, safe='')}"
