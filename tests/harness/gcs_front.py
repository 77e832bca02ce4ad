"""Stands before fake-gcs-server and adds the part of the XML interface that it lacks.

Object stores of Rust write to Google by that interface: plain and multipart uploads, copies, lists
with an offset. fake-gcs-server knows uploads of the JSON interface only, so those are what is made
of them; its check of ``ifGenerationMatch`` decides who wins. All else goes through unchanged.

A program of its own: ``gcs_front.py PORT INNER_PORT COMMAND...``, where the command starts the
server on the inner port. Both end together.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import urllib.parse
import uuid
from xml.etree import ElementTree
from xml.sax.saxutils import escape

HOST = "127.0.0.1"
OBJECT = re.compile(r"/(?!storage/|upload/|download/|batch/|_internal/)([^/?]+)/([^?]+)")
BUCKET = re.compile(r"/(?!storage$|upload$|download$|batch$|_internal$)([^/?]+)/?")
PAGE = 1000


class Front(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    inner: int
    uploads: dict[str, dict[int, bytes]]

    def handle_any(self) -> None:
        """Answer a request, by whichever of the two can."""
        target, _, query = self.path.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if found := OBJECT.fullmatch(target):
            self.bucket, self.name = (urllib.parse.unquote(part) for part in found.groups())
            self.on_object()
        elif self.command == "GET" and BUCKET.fullmatch(target) and "list-type" in self.query:
            self.list()
        else:
            self.pass_on()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = handle_any

    def on_object(self) -> None:
        match self.command:
            case "PUT" if "uploadId" in self.query:
                self.uploads[self.query["uploadId"]][int(self.query["partNumber"])] = self.body
                self.answer(200, headers={"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'})
            case "PUT" if "x-goog-copy-source" in self.headers:
                status, _, data = self.ask("GET", "/" + self.headers["x-goog-copy-source"])
                if status == 200:
                    self.upload(data, "<CopyObjectResult/>")
                else:
                    self.answer(status, data)
            case "PUT" if "uploadType" not in self.query:
                self.upload(self.body)
            case "POST" if "uploads" in self.query:
                upload = uuid.uuid4().hex
                self.uploads[upload] = {}
                self.xml("InitiateMultipartUploadResult", f"<UploadId>{upload}</UploadId>")
            case "POST" if "uploadId" in self.query:
                self.complete()
            case "DELETE" if "uploadId" in self.query:
                self.uploads.pop(self.query["uploadId"], None)
                self.answer(204)
            case _:
                self.pass_on()

    def complete(self) -> None:
        parts = self.uploads[self.query["uploadId"]]
        numbers = [int(n.text) for n in ElementTree.fromstring(self.body).iter("PartNumber")]
        content = b"".join(parts[number] for number in numbers)
        result = (
            "<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>"
        )
        self.upload(content, result)

    def upload(self, content: bytes, result: str = "") -> None:
        query = {"uploadType": "media", "name": self.name}
        if condition := self.headers.get("x-goog-if-generation-match"):
            query["ifGenerationMatch"] = condition
        target = f"/upload/storage/v1/b/{self.bucket}/o?{urllib.parse.urlencode(query)}"
        kind = self.headers.get("Content-Type") or "application/octet-stream"
        status, _, data = self.ask("POST", target, content, {"Content-Type": kind})
        if status != 200:
            self.answer(status, data)
            return
        made = json.loads(data)
        headers = {"ETag": f'"{made["etag"]}"', "x-goog-generation": made["generation"]}
        self.answer(200, result.format(etag=escape(headers["ETag"])).encode(), headers)

    def list(self) -> None:
        """All that the server lists, from where it was asked for and no more than a page."""
        query = {key: self.query[key] for key in ("prefix", "delimiter") if key in self.query}
        status, _, data = self.ask("GET", f"/{self.bucket_path()}?{urllib.parse.urlencode(query)}")
        if status != 200:
            self.answer(404 if b"not found" in data.lower() else status, data)
            return
        after = max(self.query.get("start-after", ""), self.query.get("continuation-token", ""))
        page = ElementTree.fromstring(data)
        entries = [(found.findtext("Key"), found) for found in page.iter("Contents")]
        entries += [(found.findtext("Prefix"), found) for found in page.iter("CommonPrefixes")]
        entries = sorted(
            (entry for entry in entries if entry[0] > after), key=lambda entry: entry[0]
        )
        most = min(int(self.query.get("max-keys", PAGE)), PAGE)
        inner = "".join(ElementTree.tostring(found, "unicode") for _, found in entries[:most])
        if len(entries) > most:
            token = escape(entries[most - 1][0])
            inner += f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}"
            inner += "</NextContinuationToken>"
        self.xml("ListBucketResult", inner)

    def bucket_path(self) -> str:
        return self.path.partition("?")[0].strip("/")

    def xml(self, name: str, inner: str) -> None:
        headers = {"Content-Type": "application/xml"}
        self.answer(200, f"<{name}>{inner}</{name}>".encode(), headers)

    def pass_on(self) -> None:
        names = ("Connection", "Content-Length", "Host", "Transfer-Encoding")
        dropped = {name.lower() for name in names}
        sent = {key: text for key, text in self.headers.items() if key.lower() not in dropped}
        status, headers, data = self.ask(self.command, self.path, self.body, sent)
        if self.command != "HEAD":  # whose length is that of what it does not send
            headers = [header for header in headers if header[0].lower() not in dropped]
        self.answer(status, data, dict(headers))

    def ask(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(HOST, self.inner, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, target, body or None, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()

    def answer(self, status: int, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, text in (headers or {}).items():
            if name.lower() not in {"date", "server"}:
                self.send_header(name, text)
        if self.command != "HEAD" and status not in {204, 304}:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing of what went well."""


class Server(http.server.ThreadingHTTPServer):
    """Many connections."""

    daemon_threads = True
    request_queue_size = 128


def main(port: str, inner: str, *command: str) -> None:
    """Serve until the server behind ends."""
    behind = subprocess.Popen(command)
    Front.inner = int(inner)
    Front.uploads = {}
    threading.Thread(target=lambda: os._exit(behind.wait() or 1), daemon=True).start()
    Server((HOST, int(port)), Front).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
