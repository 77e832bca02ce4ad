"""Makes a bucket in the servers of scripts/it_up_*.sh and prints the variables that name them.

``python -m tests.harness.seed [BUCKET]``. Lines for a shell go to standard output, all else to
standard error.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import urllib.parse

from tests.harness.process import answers
from tests.harness.servers import HOST, AwsServer, MinioServer, MinistackServer

PORTS = {MinioServer: 9000, MinistackServer: 4566}  # as in docker/


def reached(kind: type[AwsServer], port: int) -> AwsServer | None:
    """The server that the environment names or that a container of ours would be, if it is up."""
    port = int(os.environ.get(f"{kind.variable}_PORT", port))
    os.environ.setdefault(f"{kind.variable}_ENDPOINT", f"http://{HOST}:{port}")
    server = kind.given()
    at = urllib.parse.urlsplit(server.endpoint)
    return server if at.hostname != HOST or answers(at.port) else None


def main(arguments: list[str]) -> int:
    """Seed what is up; fails when nothing is."""
    bucket = arguments[0] if arguments else "fusiondelta"
    servers = [server for kind, port in PORTS.items() if (server := reached(kind, port))]
    for server in servers:
        with contextlib.closing(server.raw(bucket)) as raw:
            raw.make()
        print(f"bucket {bucket} is in {server.layer} at {server.endpoint}", file=sys.stderr)
        for name, value in {
            "ENDPOINT": server.endpoint,
            "ACCESS_KEY": server.access_key_id,
            "SECRET_KEY": server.secret_access_key,
        }.items():
            print(f"export {server.variable}_{name}={shlex.quote(value)}")
    if not servers:
        print(
            "neither MinIO nor LocalStack is up: run scripts/it_up_minio.sh or"
            " scripts/it_up_localstack.sh first",
            file=sys.stderr,
        )
    return 0 if servers else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
